"""Which writes a replica has: a vector, and the dots above it.

The one rule of the whole store: *a dot is claimed only if the own cell for that dot's key is at least the dot's cell.* What
claims a dot:

  - holding its cell, or a higher one that was compared with it (`claim`);
  - the end of a transfer: everything that the sender's first snapshot claimed (`raise_to`). Not before: a dot that the sender
    claims may live on only in a cell of another actor, which a later chunk brings. Raising the vector interval by interval,
    while the transfer runs, loses writes.

Dots above the vector are kept one by one and belong to everything that is stated: digests, requests, snapshots. Stating
less than one has is always safe: others merely send more than they need to.

A *retired* actor (see `crdt.cuts`) has no place in vectors any more: everything of it is claimed, and nothing is stated."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from crdt.cbor import array_head, write_bytes, write_int

__all__ = ["NOBODY", "NOTHING", "DotSet", "Summary"]

DIGEST_BYTES = 16
NOBODY = bytes(16)
"""The actor of cells whose writer is forgotten, and of folded counters: nothing of it is ever lacking."""


class Summary(NamedTuple):
    """What a replica claimed at one moment; canonical: equal claims are equal values."""

    vector: tuple[tuple[bytes, int], ...]
    """Each actor with the number up to which everything is claimed, by actor."""
    extras: tuple[tuple[bytes, tuple[int, ...]], ...]
    """Each actor with the numbers above, rising."""


NOTHING = Summary((), ())


class DotSet:
    """The claims of one replica."""

    __slots__ = ("_digest", "_extras", "_retired", "_summary", "_vector")

    def __init__(self, summary: Summary = NOTHING) -> None:
        self._vector: dict[bytes, int] = {}
        self._extras: dict[bytes, set[int]] = {}
        self._retired: dict[bytes, None] = {NOBODY: None}
        self._summary: Summary | None = NOTHING
        self._digest: bytes | None = None
        if summary is not NOTHING:
            self.raise_to(summary)

    def last(self, actor: bytes) -> int:
        """The number up to which everything of the actor is claimed."""
        return self._vector.get(actor, 0)

    def extras(self, actor: bytes) -> set[int]:
        """The numbers above, not to be changed."""
        return self._extras.get(actor, _NONE)

    def covers(self, actor: bytes, n: int) -> bool:
        return n <= self._vector.get(actor, 0) or n in self._extras.get(actor, _NONE) or actor in self._retired

    def has(self, actor: bytes) -> bool:
        """Whether anything of the actor is claimed."""
        return actor in self._vector or actor in self._extras or actor in self._retired

    def retired(self) -> Iterable[bytes]:
        return self._retired

    def is_retired(self, actor: bytes) -> bool:
        return actor in self._retired

    def retire(self, actors: Iterable[bytes]) -> None:
        """Everything of these actors is claimed, and they leave the vector."""
        for actor in actors:
            self._vector.pop(actor, None)
            self._extras.pop(actor, None)
            self._retired[actor] = None
        self._summary = self._digest = None

    def unretire(self, actor: bytes) -> None:
        """The actor is forgotten: not even its name is kept."""
        self._retired.pop(actor, None)

    def covers_all(self, summary: Summary) -> bool:
        """Whether everything that the summary claims is claimed here."""
        vector = self._vector
        for actor, n in summary.vector:
            # The number after the vector's is never an extra.
            if n > vector.get(actor, 0) and actor not in self._retired:
                return False
        return all(self.covers(actor, n) for actor, numbers in summary.extras for n in numbers)

    def gaps(self) -> list[bytes]:
        """The actors of whom a later write is here and an earlier one is not."""
        return sorted(self._extras) if self._extras else []

    def claim(self, actor: bytes, n: int) -> bool:
        """Claim one dot; False if it was claimed already."""
        last = self._vector.get(actor, 0)
        if n <= last or actor in self._retired:
            return False
        extras = self._extras.get(actor)
        if n != last + 1:
            if extras is None:
                self._extras[actor] = {n}
            elif n in extras:
                return False
            else:
                extras.add(n)
        elif extras is None:
            self._vector[actor] = n
        else:
            self._vector[actor] = n
            self._absorb(actor, extras)
        self._summary = self._digest = None
        return True

    def _absorb(self, actor: bytes, extras: set[int]) -> None:
        """Let the vector pass over the extras that follow it."""
        last = self._vector[actor]
        while last + 1 in extras:
            last += 1
            extras.discard(last)
        self._vector[actor] = last
        if not extras:
            del self._extras[actor]

    def raise_to(self, summary: Summary) -> None:
        """Claim everything that a snapshot claimed: at the end of its transfer, never before."""
        for actor, n in summary.vector:
            if n > self._vector.get(actor, 0) and actor not in self._retired:
                self._vector[actor] = n
                extras = self._extras.get(actor)
                if extras is not None:
                    extras.difference_update([number for number in extras if number <= n])
                    self._absorb(actor, extras)
                self._summary = self._digest = None
        for actor, numbers in summary.extras:
            for n in numbers:
                self.claim(actor, n)

    def brief(self, limit: int) -> Summary:
        """Everything claimed, but at most so many numbers above the vector: less than is claimed may always be stated."""
        extras = []
        for actor in sorted(self._extras):
            numbers = self._extras[actor]
            limit -= len(numbers)
            if limit >= 0:
                extras.append((actor, tuple(sorted(numbers))))
        return Summary(tuple(sorted(self._vector.items())), tuple(extras))

    def summary(self) -> Summary:
        """Everything claimed, as one value."""
        if self._summary is None:
            self._summary = Summary(
                tuple(sorted(self._vector.items())),
                tuple([(actor, tuple(sorted(self._extras[actor]))) for actor in sorted(self._extras)]),
            )
        return self._summary

    def digest(self) -> bytes:
        """Equal claims have equal digests."""
        if self._digest is None:
            self._digest = digest(self.summary())
        return self._digest


_NONE: set[int] = set()


def digest(summary: Summary) -> bytes:
    """A hash of the canonical form."""
    parts = [array_head(2), array_head(len(summary.vector))]
    for actor, n in summary.vector:
        parts += (array_head(2), write_bytes(actor), write_int(n))
    parts.append(array_head(len(summary.extras)))
    for actor, numbers in summary.extras:
        parts += (array_head(2), write_bytes(actor), array_head(len(numbers)), *map(write_int, numbers))
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES).digest()
