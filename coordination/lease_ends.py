"""From the end of a lease, as the voters decided it, to the cell that hides what was bound to it on every replica.

The agreed state says that a lease is over after a majority accepted its end, perhaps on several nodes; the cell is
idempotent. That word may be lost for good (every voter restarts), so each max_ttl the owners ask anew about the leases that
something here is bound to: what their register does not hold is over. Nothing bound outlives its lease for ever.

Voters are pinned in the membership here too, for they must stay known however long they are dead."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Protocol

from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.events import LeaseOver, RosterDecided
from crdt.clock import Instant
from mesh.directives import Act, Arm, Directives, Event, Message, Source
from mesh.replication import Replication

__all__ = ["LeaseEnds", "Pins"]


ASKED_AT_ONCE = 256
"""Leases that one step asks about; more are spread over the period."""


class Pins(Protocol):
    def pin(self, names: Iterable[str]) -> None: ...


class LeaseEnds:
    """The part between the agreed and the replicated state."""

    name = "lease_ends"
    messages: tuple[type[Message], ...] = ()
    hears = (RosterDecided, LeaseOver)

    def __init__(self, replication: Replication, owner: Owner, pins: Pins) -> None:
        self._replication = replication
        self._owner = owner
        self._pins = pins
        self._interval = 0
        self._rest: list[str] = []
        """Leases that are still to be asked about in this period."""
        self._written = 0

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        leases = self._rest or self._replication.store.visible_leases()
        asked, self._rest = leases[:ASKED_AT_ONCE], leases[ASKED_AT_ONCE:]
        pause = self._interval // (1 + len(leases) // ASKED_AT_ONCE)
        again = Arm("recheck", now.mono + pause)
        return (Act(self._owner, self._owner.recheck(asked, now)), again) if asked else (again,)

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            self._pins.pin(event.roster.voters)
            self._interval = event.roster.max_ttl
            return (Arm("recheck", now.mono + self._interval),)
        if isinstance(event, LeaseOver):
            self._written += 1
            return (Act(self._replication, self._replication.end_lease(event.lease_id, now)),)
        return ()

    def stats(self) -> dict[str, int]:
        return {"ends_written": self._written}
