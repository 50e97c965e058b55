"""Which writes a replica has: a vector, and the dots above it (Almeida et al., dotted version vectors).

The rule on which everything rests: *a replica claims a dot only if its own cell for that dot's key is at least the dot's
cell*. A write that arrived is claimed by itself, beside the vector if something before it is missing; the vector itself rises
where dots are contiguous, or to a sender's whole summary after the last chunk of a pull, and by nothing else. (Raised
interval by interval, or for cells that were superseded elsewhere, it claims writes that never come again: they are lost.)"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from crdt.cell import Actor

__all__ = ["EMPTY", "DotSet", "Summary"]


class Summary(NamedTuple):
    """A set of dots as a value: sorted by actor, so that equal sets are equal values."""

    vector: tuple[tuple[Actor, int], ...]
    extras: tuple[tuple[Actor, tuple[int, ...]], ...]


EMPTY = Summary((), ())


class DotSet:
    __slots__ = ("_digest", "_extras", "_vector")

    def __init__(self, summary: Summary = EMPTY) -> None:
        self._vector: dict[Actor, int] = dict(summary.vector)
        self._extras: dict[Actor, set[int]] = {actor: set(ns) for actor, ns in summary.extras}
        self._digest: bytes | None = None

    def covers(self, actor: Actor, n: int) -> bool:
        return n <= self._vector.get(actor, 0) or (actor in self._extras and n in self._extras[actor])

    def claim(self, actor: Actor, n: int) -> bool:
        """Add one dot; whether it was new."""
        reached = self._vector.get(actor, 0)
        if n <= reached:
            return False
        if n == reached + 1:
            self._vector[actor] = n
            if actor in self._extras:
                self._advance(actor)
        else:
            extras = self._extras.setdefault(actor, set())
            if n in extras:
                return False
            extras.add(n)
        self._digest = None
        return True

    def _advance(self, actor: Actor) -> None:
        """Take into the vector what has become contiguous, and drop what it covers."""
        extras = self._extras[actor]
        reached = self._vector.get(actor, 0)
        while reached + 1 in extras:
            reached += 1
        self._vector[actor] = reached
        left = {n for n in extras if n > reached}
        if left:
            self._extras[actor] = left
        else:
            del self._extras[actor]

    def absorb(self, summary: Summary) -> None:
        """Claim all of a summary at once: only after every cell that it stands for has been merged."""
        for actor, n in summary.vector:
            if n > self._vector.get(actor, 0):
                self._vector[actor] = n
                self._digest = None
                if actor in self._extras:
                    self._advance(actor)
        for actor, ns in summary.extras:
            for n in ns:
                self.claim(actor, n)

    def reached(self, actor: Actor) -> int:
        """Every dot of the actor up to this number is claimed."""
        return self._vector.get(actor, 0)

    def highest(self, actor: Actor) -> int:
        return max(self._extras.get(actor, ()), default=self._vector.get(actor, 0))

    def has_gaps(self) -> bool:
        return bool(self._extras)

    def gap_actors(self) -> list[Actor]:
        """The actors of whom something is missing below what is held, sorted."""
        return sorted(self._extras)

    def includes(self, summary: Summary) -> bool:
        """Whether every dot of the summary is claimed."""
        return all(self.covers_up_to(actor, n) for actor, n in summary.vector) and all(
            self.covers(actor, n) for actor, ns in summary.extras for n in ns
        )

    def covers_up_to(self, actor: Actor, n: int) -> bool:
        reached = self._vector.get(actor, 0)
        if n <= reached:
            return True
        extras = self._extras.get(actor)
        return extras is not None and all(m in extras for m in range(reached + 1, n + 1))

    def summary(self) -> Summary:
        return Summary(
            tuple(sorted((actor, n) for actor, n in self._vector.items() if n)),
            tuple(sorted((actor, tuple(sorted(ns))) for actor, ns in self._extras.items())),
        )

    def digest(self) -> bytes:
        """16 bytes that are equal exactly if the sets are."""
        if self._digest is None:
            state = blake2b(digest_size=16)
            vector, extras = self.summary()
            for actor, n in vector:
                state.update(b"v%d:%s:%d;" % (len(actor), actor, n))
            for actor, ns in extras:
                state.update(b"x%d:%s:" % (len(actor), actor))
                state.update(b",".join([b"%d" % n for n in ns]) + b";")
            self._digest = state.digest()
        return self._digest
