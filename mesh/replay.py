"""A sliding window over one sender's counters: each frame is taken once (RFC 4303, section 3.4.3).

A counter above the window moves it; one inside is taken if it was not before; one below is refused, for nothing is known
of it. `WIDTH` frames may overtake each other."""

from __future__ import annotations

__all__ = ["WIDTH", "ReplayWindow"]

WIDTH = 1024
_MASK = (1 << WIDTH) - 1


class ReplayWindow:
    __slots__ = ("_seen", "highest")

    def __init__(self, highest: int = 0) -> None:
        self.highest = highest
        """The highest counter taken; everything up to the one given at the start counts as taken."""
        self._seen = _MASK

    def take(self, counter: int) -> bool:
        """Whether this counter is new. Call it only for a frame that authenticated."""
        ahead = counter - self.highest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _MASK if ahead < WIDTH else 1
            self.highest = counter
            return True
        if ahead <= -WIDTH:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True

    def close(self, counter: int) -> None:
        """Count everything up to this one as taken."""
        below = self.highest - counter
        if below <= 0:
            self.highest, self._seen = counter, _MASK
        elif below < WIDTH:
            self._seen |= _MASK << below & _MASK
