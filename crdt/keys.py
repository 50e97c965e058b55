"""Keys in order, kept so at the moment when the order is asked for: adding one costs an append."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Set

__all__ = ["SortedKeys"]

FEW = 32
"""So many are inserted one by one (a move of memory each); more are sorted in, which is one pass over nearly sorted keys."""


class SortedKeys:
    __slots__ = ("_fresh", "_sorted")

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self._fresh: list[str] = []

    def add(self, key: str) -> None:
        """A key that has not been added before."""
        self._fresh.append(key)

    def discard(self, gone: Set[str]) -> None:
        """Remove keys that were added before: one pass over all if they are many."""
        if self._fresh:
            self._settle()
        if len(gone) > FEW:
            self._sorted = [key for key in self._sorted if key not in gone]
            return
        for key in gone:
            del self._sorted[bisect_left(self._sorted, key)]

    def after(self, key: str, count: int, *, inclusive: bool = False) -> list[str]:
        """At most `count` keys above this one. A walk that asks again with the last of them survives any change."""
        if self._fresh:
            self._settle()
        keys = self._sorted
        first = bisect_left(keys, key) if inclusive else bisect_right(keys, key)
        return keys[first : first + count]

    def _settle(self) -> None:
        if len(self._fresh) <= FEW:
            for key in self._fresh:
                insort(self._sorted, key)
        else:
            self._sorted += self._fresh
            self._sorted.sort()
        self._fresh.clear()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)
