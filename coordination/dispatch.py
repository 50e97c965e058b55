"""From what a node publishes to whoever waits for it.

One callback takes each event and looks its class up in a table; what nobody waits for costs one look-up. Waiting for one
request (a lock, a query) is a `Mailbox`, which keeps the first outcome and tells the rest to `on_event`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from coordination.agreed.events import (
    Busy,
    Ended,
    Ending,
    Explained,
    Granted,
    Released,
    Renewed,
    RenewFailed,
    Unavailable,
)
from mesh.directives import Event
from mesh.replication import Synced

__all__ = ["Dispatch", "Mailbox"]


KEPT = 16
"""Events that wait to be read: nobody reads those of a lease that is merely renewed."""


class Mailbox:
    """The events of one request."""

    __slots__ = ("_arrived", "_events", "on_event")

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        self.on_event = on_event
        self._events: list[Event] = []
        self._arrived: trio.Event | None = None

    def put(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)
        self._events.append(event)
        if len(self._events) > KEPT:
            del self._events[0]
        if self._arrived is not None:
            self._arrived.set()

    def clear(self) -> None:
        """Forget what came so far: only what follows from now on is of interest."""
        self._events.clear()

    async def next(self) -> Event:
        """The next event, in order. A checkpoint; cancelling loses nothing."""
        if not self._events:
            self._arrived = trio.Event()
            await self._arrived.wait()
            self._arrived = None
        else:
            await trio.lowlevel.checkpoint()
        return self._events.pop(0)


class Dispatch:
    """The table."""

    def __init__(self) -> None:
        self._requests: dict[int, Mailbox] = {}
        self._explains: dict[int, Mailbox] = {}
        self._syncs: dict[int, Mailbox] = {}
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Explained: lambda event: self._tell(self._explains, event.query, event),
            Synced: lambda event: self._tell(self._syncs, event.query, event),
        }
        for kind in (Granted, Busy, Unavailable, Ending, Ended, Renewed, RenewFailed, Released):
            self._handlers[kind] = self._on_request
        self._query = 0

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def handle(self, kind: type[Event], handler: Callable[[Any], None]) -> None:
        """Call `handler` with each event of a class."""
        self._handlers[kind] = handler

    def request(self, number: int, mailbox: Mailbox) -> None:
        self._requests[number] = mailbox

    def requests(self) -> list[tuple[int, Mailbox]]:
        """Those that are asked for or held."""
        return list(self._requests.items())

    def explain(self) -> tuple[int, Mailbox]:
        return self._ask(self._explains)

    def sync(self) -> tuple[int, Mailbox]:
        return self._ask(self._syncs)

    def done(self, number: int) -> None:
        """Nobody waits for this request any more."""
        self._requests.pop(number, None)

    def asked(self, query: int) -> None:
        """Nobody waits for this query any more."""
        self._explains.pop(query, None)
        self._syncs.pop(query, None)

    def _ask(self, table: dict[int, Mailbox]) -> tuple[int, Mailbox]:
        self._query += 1
        mailbox = table[self._query] = Mailbox()
        return self._query, mailbox

    def _on_request(self, event: Any) -> None:
        self._tell(self._requests, event.request, event)

    @staticmethod
    def _tell(table: dict[int, Mailbox], number: int, event: Event) -> None:
        mailbox = table.get(number)
        if mailbox is not None:
            mailbox.put(event)
