"""The failures of the field, brought back: for each scenario of `simulations.field` builders and patches that break the rule
which protects this mesh. A `Plant` patches what it must and answers with the builder of the nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordination.agreed.holding.holder import Holder
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.events import LeaseOver
from coordination.assembly import Assembly, Settings, build
from crdt.cell import KEY, Cell
from crdt.cell import above as honest
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import Directives, Emit
from mesh.membership import Member
from mesh.membership.hearing import Hearing
from mesh.membership.member import RANK
from mesh.membership.probe import Prober
from mesh.replication import Replication
from mesh.replication.masks import Masks
from simulations.cluster import Build
from simulations.field.holders import Resource
from simulations.machine.clocks import MachineClocks
from tests.coordination.agreed_faults import FAULTS, FromTheReply, KeepsGhosts, with_belief
from tests.simulated.planted import ForgetsPromises, NeverWarns, RaisesEarly, with_parts, with_planted

__all__ = ["Plant", "Row", "FAULTS_OF_THE_FIELD"]

Plant = Callable[[pytest.MonkeyPatch], Build]
Row = tuple[str, Plant, tuple[str, ...]]
"""The scenario, the fault, and the laws of which it breaks one."""


# --- replicated state ---------------------------------------------------------------------------------------------------


def actor_is_the_name(patch: pytest.MonkeyPatch) -> Build:
    """A counter's slot belongs to the node, not to one life of it."""

    def make(settings: Settings, **sources: Any) -> Assembly:
        assembly = build(settings, **sources)
        assembly.store.actor = settings.name.encode().ljust(16)
        return assembly

    return make


GRACE_MS = 4_000


class GcGrace(Replication):
    """Drops a tombstone once it is four seconds old."""

    def on_timer(self, timer: Any, now: Instant) -> Directives:
        out = super().on_timer(timer, now)
        if timer == "digest":
            old = self._clock.read(now) - (GRACE_MS << 16)
            for cell in list(self.store.cells()):
                if cell.kind == KEY and cell.body is None and not cell.hash and cell.n and int(cell.order[1]) < old:
                    self._drop(cell)
        return out

    def _drop(self, cell: Cell) -> None:
        store = self.store
        store._order[KEY]._settle()
        store._order[KEY]._sorted.remove(cell.key)
        del store._keys[cell.key]
        del store._by_actor[cell.actor][cell.n]


def gc_grace(patch: pytest.MonkeyPatch) -> Build:
    return with_parts(GcGrace)


def the_first_to_come_stays(patch: pytest.MonkeyPatch) -> Build:
    """At equal stamps a replica keeps what it has."""

    def above(cell: Cell, other: Cell) -> bool:
        return honest(cell, other) and (
            cell.kind != KEY or cell.order[:2] > other.order[:2] or cell.order[:3] == other.order[:3]
        )

    patch.setattr("crdt.store.above", above)
    return build


def a_delete_beats_a_put_where_it_was_made(patch: pytest.MonkeyPatch) -> Build:
    """At equal stamps a tombstone is never replaced, but replaces nothing elsewhere."""

    def above(cell: Cell, other: Cell) -> bool:
        return honest(cell, other) and not (cell.kind == KEY and cell.order[1] == other.order[1] and other.body is None)

    patch.setattr("crdt.store.above", above)
    return build


def stamps_of_any_clock_count(patch: pytest.MonkeyPatch) -> Build:
    """Last writer wins by the writers' own clocks, whatever these say: a write below what is there is lost without a word."""
    honest_put = Store.put

    def put(self: Store, key: str, body: Any, stamp: int, *rest: Any) -> Cell:
        old = self.cell(KEY, key)
        return old if old is not None and old.order[:2] > (0, stamp) else honest_put(self, key, body, stamp, *rest)

    patch.setattr(HybridClock, "merge", lambda self, stamp, now: True)
    patch.setattr(Store, "put", put)
    return build


def clocks_follow_any_stamp(patch: pytest.MonkeyPatch) -> Build:
    """One bad clock drags the mesh with it."""

    def merge(self: HybridClock, stamp: int, now: Instant) -> bool:
        self.raise_floor(stamp)
        return True

    patch.setattr(HybridClock, "merge", merge)
    return build


def forgets_whom_it_refuses(patch: pytest.MonkeyPatch) -> Build:
    """What was refused as of the future is asked for again at every difference."""
    patch.setattr(Masks, "active", lambda self, stamp: [])
    return build


def claims_with_the_first_chunk(patch: pytest.MonkeyPatch) -> Build:
    return with_parts(RaisesEarly)


# --- locks and leases ---------------------------------------------------------------------------------------------------


def owner_by_view(patch: pytest.MonkeyPatch) -> Build:
    """Who believes to be the owner grants and asks nobody, and who is granted believes it and asks nobody. (With either rule in
    force nobody holds the lock beside another: a handed-over grant is confirmed by q acceptors.)"""
    changes = FAULTS["the owner takes one answer for a quorum"].changes
    return with_planted((*changes, *FAULTS["hands over without confirming"].changes))


def tokens_by_the_clock(patch: pytest.MonkeyPatch) -> Build:
    return with_planted(FAULTS["token from the clock alone"].changes)


def resource_without_a_fence(patch: pytest.MonkeyPatch) -> Build:
    patch.setattr(Resource, "takes", lambda self, token: True)
    return build


def keys_without_fences(patch: pytest.MonkeyPatch) -> Build:
    """The last write counts, whoever it is of."""
    honest = Store.put

    def put(self: Store, key: str, body: Any, stamp: int, expiry: int, bound: Any, *fence: Any) -> Cell:
        return honest(self, key, body, stamp, expiry, bound)

    patch.setattr(Store, "put", put)
    return build


def bodies_are_not_told(patch: pytest.MonkeyPatch) -> Build:
    return with_parts(NeverWarns)


def deadlines_by_a_clock_that_sleeps(patch: pytest.MonkeyPatch) -> Build:
    """The holder reads the monotonic clock, which stands still while its machine sleeps."""
    honest = MachineClocks.read

    def read(self: MachineClocks, true: int) -> Instant:
        now = honest(self, true)
        return now._replace(boot=now.mono)

    patch.setattr(MachineClocks, "read", read)
    return build


def nobody_says_that_it_is_over(patch: pytest.MonkeyPatch) -> Build:
    return with_planted(FAULTS["tells no ends"].changes)


def ends_are_said_once(patch: pytest.MonkeyPatch) -> Build:
    """Nobody asks again about leases that something is bound to: who had to say that they are over may have died."""
    patch.setattr(Owner, "recheck", lambda self, ids, now: ())
    return build


def ends_what_is_alive(patch: pytest.MonkeyPatch) -> Build:
    """Takes every lease that is asked about for over."""
    patch.setattr(Owner, "recheck", lambda self, ids, now: tuple([Emit(LeaseOver(lease)) for lease in ids]))
    return build


def grants_are_believed_as_they_come(patch: pytest.MonkeyPatch) -> Build:
    """A waiter that is told that it holds the lock believes it from then on, and asks nobody."""
    return with_planted(((Holder, with_belief(FromTheReply)), *FAULTS["hands over without confirming"].changes))


class LeavesItsPlace(KeepsGhosts):
    """Who gives up forgets that it has asked, and says so to nobody."""

    def cancel(self, request: int, now: Instant) -> Directives:
        record = self._requests.get(request)
        if record is not None:
            record.belief.end()
            self._forget(record)
        return ()


def cancels_are_not_told(patch: pytest.MonkeyPatch) -> Build:
    return with_planted(((Holder, LeavesItsPlace),))


def votes_at_once(patch: pytest.MonkeyPatch) -> Build:
    return with_parts(ForgetsPromises)


def abstains_once(patch: pytest.MonkeyPatch) -> Build:
    """A voter that has forgotten abstains, unless it has already begun to do so in the life before."""
    births: dict[str, int] = {}

    def make(settings: Settings, **sources: Any) -> Assembly:
        births[settings.name] = births.get(settings.name, 0) + 1
        assembly = build(settings, **sources)
        if births[settings.name] > 2:
            assembly.agreed.acceptor.__class__ = ForgetsPromises
        return assembly

    return make


# --- members and clocks -------------------------------------------------------------------------------------------------


def asks_no_others(patch: pytest.MonkeyPatch) -> Build:
    """Who does not answer a ping is suspected; nobody else is asked, and no stream is tried."""
    patch.setattr(Prober, "_ask_otherwise", lambda self, probe: None)
    return build


def incarnation_before_boot(patch: pytest.MonkeyPatch) -> Build:
    """News is ordered by incarnation first, whichever process of the name it is about."""
    order = property(lambda self: (self.incarnation, RANK[self.state], self.boot, self.address, self.tags))
    patch.setattr(Member, "order", order)
    return build


def believes_any_rumour(patch: pytest.MonkeyPatch) -> Build:
    patch.setattr(Hearing, "_plausible", lambda self, news, now: True)
    patch.setattr(Hearing, "_plausible_boot", lambda self, boot, now: True)
    return build


def time_is_the_wall_clock(patch: pytest.MonkeyPatch) -> Build:
    patch.setattr(HybridClock, "_physical", lambda self, now: now.wall)
    return build


FAULTS_OF_THE_FIELD: list[Row] = [
    ("lost-increment", actor_is_the_name, ("C2", "C5", "C15")),
    ("resurrected-delete", gc_grace, ("C5", "C7", "C15", "C18")),
    ("broken-transfer", claims_with_the_first_chunk, ("C5", "C15", "C18")),
    ("equal-stamps", the_first_to_come_stays, ("C5", "C9", "C15", "C18")),
    ("equal-stamps", a_delete_beats_a_put_where_it_was_made, ("C5", "C9", "C15", "C18")),
    ("skewed-clock", stamps_of_any_clock_count, ("C10",)),
    ("skewed-clock", clocks_follow_any_stamp, ("C10",)),
    ("skewed-clock", forgets_whom_it_refuses, ("C11",)),
    ("double-grant", owner_by_view, ("L1", "L2")),
    ("stale-token", tokens_by_the_clock, ("L2",)),
    ("stale-token", resource_without_a_fence, ("L5",)),
    ("stale-token", keys_without_fences, ("L7",)),
    ("paused-holder", bodies_are_not_told, ("L4",)),
    ("paused-holder", deadlines_by_a_clock_that_sleeps, ("L1", "L7")),
    ("zombie-lease", nobody_says_that_it_is_over, ("C19",)),
    ("zombie-lease", ends_are_said_once, ("C19",)),
    ("zombie-lease", ends_what_is_alive, ("C19",)),
    ("late-grant", grants_are_believed_as_they_come, ("L1", "L2")),
    ("ghost-waiter", cancels_are_not_told, ("L13",)),
    ("voters-restart", votes_at_once, ("L1",)),
    ("voters-restart", abstains_once, ("L1",)),
    ("one-way-flap", asks_no_others, ("M9",)),
    ("old-incarnation", incarnation_before_boot, ("M1", "M3", "M8")),
    ("poison", believes_any_rumour, ("M4",)),
    ("clock-jump", time_is_the_wall_clock, ("C12", "M12")),
]
