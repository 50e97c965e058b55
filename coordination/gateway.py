"""What a sponsor does for thin clients: it answers their operations, and relays between their holders and the voters."""

from __future__ import annotations

from collections.abc import Hashable

from coordination.agreed.agreed import Agreed
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import Directives, Event, Message, Source
from mesh.membership import Identity, Membership
from mesh.replication import Replication

__all__ = ["Gateway"]


class Gateway:
    name = "gateway"
    messages: tuple[type[Message], ...] = ()

    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        store: Store,
        clock: HybridClock,
        replication: Replication,
        agreed: Agreed,
    ) -> None:
        self._identity = identity

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return {}
