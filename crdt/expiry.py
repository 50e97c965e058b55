"""When keys expire: a heap with at most one entry in force for each key.

A key that is touched again and again does not pile up entries: its entry stays, and when it comes up it is moved to the
expiry that the key has by then. Only an earlier expiry makes a new entry; the old one is then stale and skipped."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from crdt.clock import Stamp

__all__ = ["Expiries"]

SLACK = 64
"""Stale entries that do not matter."""


class Expiries:
    __slots__ = ("_heap", "_scheduled")

    def __init__(self) -> None:
        self._heap: list[tuple[Stamp, str]] = []
        self._scheduled: dict[str, Stamp] = {}

    def schedule(self, key: str, expiry: Stamp) -> None:
        """Bring the key up at this stamp or before."""
        scheduled = self._scheduled.get(key)
        if scheduled is not None and scheduled <= expiry:
            return
        self._scheduled[key] = expiry
        heappush(self._heap, (expiry, key))
        if len(self._heap) > 2 * len(self._scheduled) + SLACK:
            self._heap = [(stamp, name) for name, stamp in self._scheduled.items()]
            heapify(self._heap)

    def pop(self, stamp: Stamp) -> str | None:
        """A key that comes up by now, or None. It must be scheduled again if it has not expired."""
        while self._heap and self._heap[0][0] <= stamp:
            expiry, key = heappop(self._heap)
            if self._scheduled.get(key) == expiry:
                del self._scheduled[key]
                return key
        return None

    def next(self) -> Stamp | None:
        """When to look again; it may be early, never late."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._scheduled)
