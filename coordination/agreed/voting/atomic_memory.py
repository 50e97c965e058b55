"""Which atomic registers a voter remembers: all that it ever answered of them, also as an earlier process of its name.

That is every one if this process, or one that kept its memory on this disk, took part in the mesh's birth; else those that it
has read back (`recollector`), with what it answered since. Where rosters follow each other it is said from which one on: the
process that a roster admits by its boot has answered nothing before it; and for one that has forgotten, but was told by enough
others that theirs is the newest roster (`Standing.recalled`), no earlier process of its name has answered anything in the next
one. Rules for the acceptor, each with what breaks without it:

  - Of a register that it does not remember a voter gives no answer that counts, however long ago it started. Leases pass with
    M; a decided value does not. (It answers "empty", and the value is lost.)
  - A proposal that rests on a promise of a process that is known to have been replaced is refused by everyone, not by that
    voter alone. (The new process has read back less than the old one had promised, and both count.)
  - A register that exists is never forgotten, not even an empty one: it has been promised. (A proposer that stood still for
    longer goes on with that promise, past what was decided since.)"""

from __future__ import annotations

from dataclasses import dataclass

from coordination.agreed.vocabulary.messages import Accept
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.voting.standing import Standing
from mesh.directives import Boot, Event

__all__ = ["AtomicMemory", "Blank"]


@dataclass(frozen=True, slots=True)
class Blank(Event):
    """To the recollector of the same node: an atomic register is asked for that is not remembered here."""

    key: str


class AtomicMemory:
    __slots__ = ("_keys", "_recollected", "_standing")

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._keys: list[str] = []
        self._recollected: dict[str, int] = {}
        """By the roster in which each was read back."""

    def since(self, key: str) -> int | None:
        """The first roster from which on nothing is missing of a register; None: there is none."""
        lasting, back = self._standing.lasting, self._recollected.get(key)
        return lasting if back is None or (lasting is not None and lasting < back) else back

    def remembers(self, key: str) -> bool:
        """Enough to vote on it, in the newest roster."""
        since = self.since(key)
        return since is not None and since <= self._standing.epoch

    def add(self, key: str) -> None:
        """A register is kept from now on."""
        self._keys.append(key)

    def recollected(self, key: str, epoch: int) -> None:
        """It was read back in a roster, or found on this disk, where none is kept that was not remembered."""
        self._recollected[key] = epoch

    def kept(self) -> list[str]:
        """The keys of all that there are here."""
        return self._keys

    def page(self, start: int, count: int, name: str, placement: Placement) -> tuple[tuple[str, ...], int]:
        """Of so many registers from a place on, those that are remembered and whose group `name` is of; and the place to go on
        from, or 0. The places are this process's: a register stays in its own."""
        page = self._keys[start : start + count]
        keys = tuple([key for key in page if name in placement.group(key) and self.remembers(key)])
        return keys, start + count if start + count < len(self._keys) else 0

    @staticmethod
    def rests_on_replaced(ask: Accept, known: tuple[Boot, ...]) -> bool:
        """Whether an accept rests on a promise of a process that, by this record of the group's boots, has been replaced."""
        named = zip(ask.boots, known, strict=True)
        return any(ask.rests >> index & 1 and newer > boot for index, (boot, newer) in enumerate(named))
