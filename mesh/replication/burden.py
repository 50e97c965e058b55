"""What waits to be forgotten while no cut is made, and when that is to be told.

Nothing is forgotten by time (see docs/cuts.md): without a majority of the voters the deleted and the expired stay, and a mesh
that goes on writing new keys and deleting them grows. Nothing is refused for that: a cut-off side may write, and to refuse its
deletions would let its memory grow faster. But it is told, early, and again each time the number has doubled.

Rules:
  - Told from `MANY` on, once no cut has been applied for `STILL`: longer than it takes until a dead member is ended, for which
    rounds wait as well.
  - A cut begins it anew."""

from __future__ import annotations

from mesh.directives import Event
from mesh.frozen import frozen

__all__ = ["MANY", "STILL", "Burden", "Unforgotten"]

S = 1_000_000_000
STILL = 900 * S
"""ns without a cut."""
MANY = 100_000
"""Keys, of about 400 bytes each."""


@frozen
class Unforgotten(Event):
    """No cut has been made for a while, and much waits for one."""

    keys: int
    """Deleted, expired, or hidden by the end of their lease."""
    seconds: int
    """Since the last cut, or since this node began."""


class Burden:
    def __init__(self) -> None:
        self._round = -1
        self._since = 0
        self._told = 0

    def look(self, keys: int, round: int, mono: int) -> Unforgotten | None:
        """What is to be told now, if anything.

        Parameters
        ----------
        keys: that wait to be forgotten.
        round: of the cut that has been applied last.
        mono: ns; looked at about once a second.
        """
        if round != self._round:
            self._round, self._since, self._told = round, mono, 0
        if mono - self._since < STILL or keys < max(MANY, 2 * self._told):
            return None
        self._told = keys
        return Unforgotten(keys, (mono - self._since) // S)
