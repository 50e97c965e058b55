"""What waits to be forgotten while no cut is made: when that is told, and from when on no more of it is taken.

Nothing is forgotten by time (see docs/cuts.md): without a majority of the voters, or while a dead member has not been ended,
the deleted and the expired stay, and a mesh that goes on writing new keys and deleting them grows.

Rules:
  - Told from `MANY` keys on once no cut has been applied for `STILL`, longer than it takes until a dead member is ended, for
    which rounds wait as well; from half of the limit on after `PAUSE`; and again each time the number has doubled.
  - From the limit on, local writes that would let one more key fade are refused, but never before that was told. What comes
    from others is merged, and nothing is purged: an early purge brings deletions back from the dead.
  - A write lets a key fade if it leaves behind what waits for a cut sooner or later (a tombstone, a ttl, a lease) where there
    was nothing, or a value that stays. So an expired key may be put again, a key with a ttl be touched and deleted, and plain
    puts are always taken.
  - What is deleted here counts at once, not at the next look. Only what others write, and what expires, goes above the limit.
  - A cut begins it anew: whoever was refused may write again at once."""

from __future__ import annotations

from crdt.cell import Cell, expiry_of
from mesh.directives import Event
from mesh.frozen import frozen

__all__ = ["LIMIT", "MANY", "PAUSE", "STILL", "Burden", "Relieved", "StoreFullError", "Unforgotten", "lasts"]

S = 1_000_000_000
STILL = 900 * S
"""ns without a cut."""
PAUSE = 180 * S
"""ns without a cut after which cuts stand still: three rounds at their usual pace."""
MANY = 100_000
"""Keys, of about 400 bytes each."""
LIMIT = 2_000_000
"""Keys. A member that dies holds cuts back for about eleven minutes: enough for 3,000 a second all that time."""


@frozen
class Unforgotten(Event):
    """No cut has been made for a while, and much waits for one."""

    keys: int
    """Deleted, expired, or hidden by the end of their lease."""
    seconds: int
    """Since the last cut, or since this node began."""
    limit: int
    """Keys from which on no more are taken."""

    @property
    def full(self) -> bool:
        return self.keys >= self.limit


@frozen
class Relieved(Event):
    """A cut has been applied, and what was refused is taken again."""

    refused: int
    """Writes, since the limit was reached."""


class StoreFullError(Exception):
    """So many keys wait for a cut that no more may fade. Nothing was written."""

    def __init__(self, keys: int, limit: int, seconds: int) -> None:
        super().__init__(f"{keys} keys wait to be forgotten, of {limit}, and no cut was made for {seconds} s")
        self.keys = keys
        self.limit = limit
        self.seconds = seconds


def lasts(cell: Cell | None) -> bool:
    """Whether nothing is left to forget under a key: there is no cell, or its value stays until somebody writes."""
    return cell is None or (cell.body is not None and cell.bound is None and not expiry_of(cell))


class Burden:
    """Parameters
    ----------
    limit: keys that may wait while cuts stand still."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.refused = 0
        """Writes, ever."""
        self._round = -1
        self._since = 0
        self._told = 0
        self._keys = 0
        """At the last look, and what was let fade since."""
        self._stands = False
        """Cuts stand still, which was told: the limit counts."""
        self._refused_before = 0
        self._full = False

    def look(self, keys: int, round: int, mono: int) -> Unforgotten | Relieved | None:
        """What is to be told now, if anything.

        Parameters
        ----------
        keys: that wait to be forgotten.
        round: of the cut that has been applied last.
        mono: ns; looked at about once a second.
        """
        if round != self._round:
            relieved = Relieved(self.refused - self._refused_before) if self._full else None
            self._round, self._since, self._told, self._stands, self._full = round, mono, 0, False, False
            return relieved
        still = mono - self._since
        many = still >= STILL and keys >= MANY
        half = still >= PAUSE and 2 * keys >= self.limit
        told = None
        full = half and keys >= self.limit and not self._full
        if full or ((many or half) and keys >= 2 * self._told) or (half and 2 * self._told < self.limit):
            self._told = keys
            told = Unforgotten(keys, still // S, self.limit)
        if full:
            self._full, self._refused_before = True, self.refused
        if half:
            self._stands, self._keys = True, keys
        return told

    def still(self, mono: int) -> int:
        """ns without a cut, if so many that cuts stand still; else 0."""
        if self._round < 0:  # nothing was looked at yet: the clock counts from when the machine began
            return 0
        still = mono - self._since
        return still if still >= PAUSE else 0

    def check(self, more: int, mono: int) -> None:
        """Whether so many keys more may fade by local writes.

        Raises
        ------
        StoreFullError: they may not. (Also if some of them might: a batch is taken whole or not at all.)
        """
        if more and self._keys + more > self.limit:
            self.refused += 1
            raise StoreFullError(self._keys, self.limit, (mono - self._since) // S)

    def take(self, more: int) -> None:
        """They will."""
        self._keys += more

    def counts(self, round: int) -> bool:
        """Whether `check` may refuse anything, so that it is worth to find out what a write does."""
        return self._stands and round == self._round
