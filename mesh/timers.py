"""The timers of one node: a heap by due time, with a token for each arming.

Arming a timer again moves it, and disarming forgets it, by dropping its token: the stale heap entry is skipped when it comes
up. Entries are compared by (due, token) alone, so equal times fire in the order in which they were armed."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush

__all__ = ["Timers"]

STALE_SLACK = 64
"""The heap is rebuilt when it holds more stale entries than live ones and this many."""


class Timers:
    __slots__ = ("_heap", "_live", "_token")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Hashable]] = []
        self._live: dict[tuple[int, Hashable], int] = {}
        self._token = 0

    def arm(self, owner: int, timer: Hashable, at: int) -> None:
        """Wake `owner` with `timer` at `at` (monotonic ns); replaces an earlier arming of the same timer."""
        self._token += 1
        self._live[owner, timer] = self._token
        heappush(self._heap, (at, self._token, owner, timer))
        if len(self._heap) > 2 * len(self._live) + STALE_SLACK:
            self._heap = [entry for entry in self._heap if self._live.get((entry[2], entry[3])) == entry[1]]
            heapify(self._heap)

    def armed(self, owner: int, timer: Hashable) -> bool:
        return (owner, timer) in self._live

    def disarm(self, owner: int, timer: Hashable) -> None:
        self._live.pop((owner, timer), None)

    def due(self) -> int | None:
        """When the next live timer is due, or None."""
        heap, live = self._heap, self._live
        while heap:
            at, token, owner, timer = heap[0]
            if live.get((owner, timer)) == token:
                return at
            heappop(heap)
        return None

    def pop(self, now: int) -> tuple[int, Hashable] | None:
        """The next timer that is due at `now`, disarmed, as (owner, timer)."""
        due = self.due()
        if due is None or due > now:
            return None
        _, _, owner, timer = heappop(self._heap)
        del self._live[owner, timer]
        return owner, timer

    def __len__(self) -> int:
        return len(self._live)
