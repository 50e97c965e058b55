"""Many due times behind one timer of the node.

Locks come and go thousands of times a second, and nearly none of their timeouts is ever reached. So a timeout is one
heap entry here, a superseded one is skipped when it comes up, and the node's timer moves only to an earlier time."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from mesh.directives import Arm, Directive

__all__ = ["Agenda"]

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    __slots__ = ("_armed", "_due", "_heap", "_sequence", "_timer")

    def __init__(self, timer: Hashable) -> None:
        self._timer = timer
        self._due: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._sequence = 0
        self._armed: int | None = None

    def at(self, key: K, when: int, out: list[Directive]) -> None:
        """Have `key` come up at `when`, instead of any time given before."""
        if self._due.get(key) == when:
            return
        self._due[key] = when
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, key))
        if self._armed is None or when < self._armed:
            self._armed = when
            out.append(Arm(self._timer, when))

    def sooner(self, key: K, when: int, out: list[Directive]) -> None:
        """Have `key` come up at `when`, unless it comes up before."""
        due = self._due.get(key)
        if due is None or when < due:
            self.at(key, when, out)

    def drop(self, key: K) -> None:
        self._due.pop(key, None)

    def take(self, now: int) -> list[K]:
        """What is due, in order of time. Call it when the timer fires, and `rearm` once that is handled."""
        self._armed = None
        due: list[K] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, key = heappop(heap)
            if self._due.get(key) == when:
                del self._due[key]
                due.append(key)
        return due

    def rearm(self, out: list[Directive]) -> None:
        heap = self._heap
        while heap and self._due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        if heap and (self._armed is None or heap[0][0] < self._armed):
            self._armed = heap[0][0]
            out.append(Arm(self._timer, self._armed))
