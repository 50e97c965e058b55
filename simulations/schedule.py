"""The one heap of a world: what happens when, by true time.

Entries are compared by (time, sequence) alone: what is due at the same time happens in the order in which it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

__all__ = ["Schedule"]


class Schedule:
    __slots__ = ("_heap", "_sequence", "now", "performed")

    def __init__(self) -> None:
        self.now = 0
        """True time, ns."""
        self.performed = 0
        """Events so far."""
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, time: int, action: Callable[..., object], *args: Any) -> None:
        """Call `action` at a true time, now at the earliest."""
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (time if time > self.now else self.now, sequence, action, args))

    def after(self, delay: int, action: Callable[..., object], *args: Any) -> None:
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (self.now + delay, sequence, action, args))

    def run_to(self, end: int) -> None:
        """Let everything happen that is due by then."""
        heap = self._heap
        count = 0
        try:
            while heap and heap[0][0] <= end:
                self.now, _, action, args = heappop(heap)
                count += 1
                action(*args)
        finally:
            self.performed += count
        self.now = end

    def clear(self) -> None:
        """Nothing of what was asked for happens."""
        self._heap.clear()

    def next(self) -> int | None:
        """When something is due next."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)
