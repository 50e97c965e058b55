"""Which cut the store of this process is at, in which of its lives, and what it holds aside.

A process that starts anew in the same session leads its next life, under another actor (`actor_of`). Its store goes on from cut
to cut (`_apply`): what is void, and held, is put again; what may be forgotten goes; what an older life held is brought back,
once it can be told what of it the mesh has seen. The rules of these are in `crdt.returning` and `crdt.forgetting`; when a cut
may be applied at all is in `mesh.replication.standing`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from crdt.clock import COUNTER_BITS, HybridClock, Instant, Stamp
from crdt.cuts import NO_CUT, Brought, Cut, End, is_told
from crdt.forgetting import apply_cut
from crdt.returning import bring_back, put_again, tell_for_others
from crdt.store import Store
from mesh.directives import Directive, Mark

__all__ = ["LAST_ROUND", "LIFE_BITS", "Applying", "Held", "State", "actor_of", "mark_of"]

LIFE_BITS = 16
LAST_ROUND = (1 << 64 - LIFE_BITS) - 1
"""A mark has 64 bits. (A cut with a higher number, once it was applied, left a node that could send nothing any more.)"""
LIVES_KEPT = 4_096


def actor_of(session: bytes, life: int) -> bytes:
    """Under which a process writes in one of its lives; the first is the session itself."""
    return session if not life else blake2b(session + life.to_bytes(4, "big"), digest_size=len(session)).digest()


def mark_of(round: int, life: int) -> int:
    return round << LIFE_BITS | life


class State(Enum):
    MEMBER = "member"
    WAITING = "waiting"
    PULLING = "pulling"


_MEMBER = State.MEMBER
"""Asked for with each message: to find it in its class takes longer than to compare."""


@dataclass(frozen=True, slots=True)
class Held:
    """An old store."""

    store: Store
    since: int
    """The last cut that it had applied."""


class Applying:
    """Parameters
    ----------
    store: whose first actor is the session.
    lease_slack_ms: how long after its end something may still be bound to a lease: max_ttl and twice max_drift.
    kept: the number of the cut that a store from the disk is at.
    """

    def __init__(self, store: Store, clock: HybridClock, lease_slack_ms: int, kept: int = 0) -> None:
        self.store = store
        self.session = store.actor
        self.cut: Cut = NO_CUT
        self.state = State.MEMBER
        self.life = 0
        self.lives: dict[bytes, int] = {}
        """Of other sessions, as they were last heard."""
        self.noted = 0
        """How often one of them was another."""
        self.ends: dict[bytes, End] = {}
        self.joiners: dict[bytes, None] = {}
        self.brought: list[Brought] = []
        self.held: list[Held] = []
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._slack: Stamp = lease_slack_ms << COUNTER_BITS
        self._led = 0
        """The life that the store is of."""
        self._since = 0
        """While a joiner: the last cut that the old store has applied."""
        self._read_at = kept

    @property
    def open(self) -> bool:
        return self.state is _MEMBER

    @property
    def actor(self) -> bytes:
        """Under which this life writes, or will."""
        return actor_of(self.session, self.life)

    @property
    def applied(self) -> int:
        """The number of the cut that the present store is at."""
        if not self.open:
            return self._since
        return self.cut.round or self._read_at

    @property
    def led(self) -> bytes:
        """The actor that the store is of: while a joiner, that of the life before."""
        return actor_of(self.session, self._led)

    @property
    def mark(self) -> int:
        return mark_of(self.cut.round, self.life)

    def stats(self) -> dict[str, int]:
        return {
            "cut": self.cut.round,
            "retired_actors": len(self.cut.retired),
            "ended_actors": len(self.ends),
            "old_stores": len(self.held),
            **self.counts,
        }

    def note_life(self, session: bytes, life: int) -> None:
        if life > self.lives.get(session, 0):
            self.lives[session] = life
            self.noted += 1
            if len(self.lives) > LIVES_KEPT:
                del self.lives[next(iter(self.lives))]

    def is_ended(self, actor: bytes) -> bool:
        return actor in self.ends or self.store.dots.is_retired(actor)

    def _adopt(self, cut: Cut, now: Instant, out: list[Directive]) -> None:
        self.cut = cut
        self._clock.merge(cut.stamp, now)
        out.append(Mark(self.mark))
        if self.open:
            self._apply(now)

    def _apply(self, now: Instant) -> None:
        cut = self.cut
        stamp = self._clock.read(now)
        self.brought += put_again(self.store, cut, stamp)
        self.counts["cells_forgotten"] += apply_cut(self.store, cut, stamp, self._slack)
        self.counts["cuts_applied"] += 1
        retired = {each.actor for each in cut.retired}
        self.ends = {actor: end for actor, end in self.ends.items() if actor not in retired}
        self.ends.update({end.actor: end for end in cut.ended})
        for joiner in list(self.joiners):
            if cut.counts(joiner) or joiner in self.ends or joiner in retired:
                del self.joiners[joiner]
        self.brought += tell_for_others(self.store, cut)
        self.brought = [each for each in self.brought if not is_told(cut, each)]
        for held in list(self.held):
            brought = bring_back(self.store, held.store, cut, held.since, stamp)
            if brought is not None:
                self.brought += brought
                self.held.remove(held)
                self.counts["stores_brought_back"] += 1
