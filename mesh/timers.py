"""The timers of one node: a heap by due time, with a token for each arming.

Arming a timer again moves it, and disarming forgets it, by dropping its token: the stale heap entry is skipped when it comes
up. A token is looked for by itself, not by its timer: to hash that takes long, and after each step it is asked what is due.
Entries are compared by (due, token) alone, so equal times fire in the order in which they were armed."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush

__all__ = ["Timers"]

STALE_SLACK = 64
"""The heap is rebuilt when it holds more stale entries than live ones and this many."""


class Timers:
    __slots__ = ("_heap", "_live", "_token", "_tokens")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Hashable]] = []
        self._live: dict[tuple[int, Hashable], int] = {}
        self._token = 0
        self._tokens: set[int] = set()
        """Those that are live."""

    def arm(self, owner: int, timer: Hashable, at: int) -> None:
        """Wake `owner` with `timer` at `at` (monotonic ns); replaces an earlier arming of the same timer."""
        self._token = token = self._token + 1
        live, tokens, key = self._live, self._tokens, (owner, timer)
        if key in live:
            tokens.remove(live[key])
        live[key] = token
        tokens.add(token)
        heappush(self._heap, (at, token, owner, timer))
        if len(self._heap) > 2 * len(live) + STALE_SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in tokens]
            heapify(self._heap)

    def armed(self, owner: int, timer: Hashable) -> bool:
        return (owner, timer) in self._live

    def disarm(self, owner: int, timer: Hashable) -> None:
        token = self._live.pop((owner, timer), None)
        if token is not None:
            self._tokens.remove(token)

    def due(self) -> int | None:
        """When the next live timer is due, or None."""
        heap = self._heap
        while heap:
            if heap[0][1] in self._tokens:
                return heap[0][0]
            heappop(heap)
        return None

    def pop(self, now: int) -> tuple[int, Hashable] | None:
        """The next timer that is due at `now`, disarmed, as (owner, timer)."""
        heap, tokens = self._heap, self._tokens
        while heap and heap[0][0] <= now:
            _, token, owner, timer = heappop(heap)
            if token in tokens:
                tokens.remove(token)
                del self._live[owner, timer]
                return owner, timer
        return None

    def __len__(self) -> int:
        return len(self._live)
