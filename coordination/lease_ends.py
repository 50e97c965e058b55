"""From the end of a lease, as the voters decided it, to the cell that hides what was bound to it on every replica.

The agreed state says that a lease is over after a majority accepted its end, perhaps on several nodes; the cell is
idempotent. Voters are pinned in the membership here too, for they must stay known however long they are dead."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Protocol

from coordination.agreed.events import LeaseOver, RosterDecided
from crdt.clock import Instant
from mesh.directives import Act, Directives, Event, Message, Source
from mesh.replication import Replication

__all__ = ["LeaseEnds", "Pins"]


class Pins(Protocol):
    def pin(self, names: Iterable[str]) -> None: ...


class LeaseEnds:
    """The part between the agreed and the replicated state."""

    name = "lease_ends"
    messages: tuple[type[Message], ...] = ()

    def __init__(self, replication: Replication, pins: Pins) -> None:
        self._replication = replication
        self._pins = pins
        self._written = 0

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            self._pins.pin(event.roster.voters)
        elif isinstance(event, LeaseOver):
            self._written += 1
            return (Act(self._replication, self._replication.end_lease(event.lease_id, now)),)
        return ()

    def stats(self) -> dict[str, int]:
        return {"ends_written": self._written}
