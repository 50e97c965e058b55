"""Many due times behind one timer of the node.

Locks come and go thousands of times a second, and nearly none of their timeouts is ever reached. So a timeout is one
entry here, a superseded one is skipped when it comes up, and the node's timer moves only to an earlier time.

Most are set for the same while from now, so they come due in the order in which they are set, and are over in about the same
order: such stand in a line, of which what is superseded leaves at once. Only what comes before the last of every line is sorted
into a heap. (There it stays until its time, and the collector looks at thousands of them again and again.)"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from mesh.directives import Arm, Directive

__all__ = ["Agenda"]

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    __slots__ = ("_armed", "_due", "_heap", "_lines", "_sequence", "_timer")

    def __init__(self, timer: Hashable) -> None:
        self._timer = timer
        self._due: dict[K, int] = {}
        self._lines: tuple[deque[tuple[int, int, K]], ...] = (deque(), deque())
        """Each in order of time: two, for one that is far off would keep all nearer ones out of its line."""
        self._heap: list[tuple[int, int, K]] = []
        self._sequence = 0
        self._armed: int | None = None

    def at(self, key: K, when: int, out: list[Directive]) -> None:
        """Have `key` come up at `when`, instead of any time given before."""
        if self._due.get(key) == when:
            return
        self._due[key] = when
        self._sequence += 1
        entry = (when, self._sequence, key)
        self._close_up()
        for line in self._lines:
            if not line or line[-1][0] <= when:
                line.append(entry)
                break
        else:
            heappush(self._heap, entry)
        if self._armed is None or when < self._armed:
            self._armed = when
            out.append(Arm(self._timer, when))

    def sooner(self, key: K, when: int, out: list[Directive]) -> None:
        """Have `key` come up at `when`, unless it comes up before."""
        due = self._due.get(key)
        if due is None or when < due:
            self.at(key, when, out)

    def drop(self, key: K) -> None:
        if self._due.pop(key, None) is not None:
            self._close_up()

    def _close_up(self) -> None:
        """Let go of what stands first in a line and counts no more."""
        due = self._due
        for line in self._lines:
            while line and due.get(line[0][2]) != line[0][0]:
                line.popleft()

    def take(self, now: int) -> list[K]:
        """What is due, in order of time. Call it when the timer fires, and `rearm` once that is handled."""
        self._armed = None
        up: list[tuple[int, int, K]] = []
        for line in self._lines:
            while line and line[0][0] <= now:
                up.append(line.popleft())
        while self._heap and self._heap[0][0] <= now:
            up.append(heappop(self._heap))
        up.sort(key=_order)
        due: list[K] = []
        for when, _, key in up:
            if self._due.get(key) == when:
                del self._due[key]
                due.append(key)
        return due

    def rearm(self, out: list[Directive]) -> None:
        due, heap = self._due, self._heap
        self._close_up()
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        first = min([entries[0][0] for entries in (*self._lines, heap) if entries], default=None)
        if first is not None and (self._armed is None or first < self._armed):
            self._armed = first
            out.append(Arm(self._timer, first))


def _order(entry: tuple[int, int, object]) -> tuple[int, int]:
    return entry[:2]
