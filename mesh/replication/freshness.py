"""How old what is read here may be: when this replica was last heard to have all that another member had.

An equal digest says so of the moment at which it was sent, a finished pull of the moment at which it was begun. Both only cover
what that member had: news that was on its way to it is not covered. So it is a measure for people and alarms, and no proof."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Freshness"]


class Freshness:
    __slots__ = ("_at", "_began")

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._began = 0

    def begins(self, now: int) -> None:
        self._began = now

    def note(self, name: str, at: int) -> None:
        """This replica had at `at` (mono ns) all that the member had then."""
        self._at[name] = max(at, self._at.get(name, 0))

    def lag(self, names: Sequence[str], now: int) -> int:
        """ns since the oldest of the moments at which this replica had all that each of these had; 0 if there are none.

        Of others nothing is remembered any more."""
        for name in [name for name in self._at if name not in names]:
            del self._at[name]
        return max([now - self._at.get(name, self._began) for name in names], default=0)
