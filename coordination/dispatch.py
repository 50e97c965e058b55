"""From what a node publishes to whoever waits for it.

One callback takes each event and looks its class up in a table; what nobody waits for costs one look-up. Waiting for one
request (a lock, a query) is a `Mailbox`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import trio

from coordination.agreed.vocabulary.events import (
    Busy,
    Called,
    CallFailed,
    Ended,
    Ending,
    Explained,
    Granted,
    Listed,
    OtherLimit,
    Released,
    Renewed,
    RenewFailed,
    ResetOver,
    Surveyed,
    Unavailable,
)
from mesh.directives import Event
from mesh.errors import ClosedError
from mesh.replication import Acknowledged, Synced

__all__ = ["Dispatch", "Mailbox", "Waiting"]


class GaveUp(Event):
    """What comes of a call whose time is over."""

    __slots__ = ()


class Waiting:
    """One call that waits for the first event of some classes, as long as its context lasts.

    It parks its task itself: an event of Trio's beside it cost as much again for each lock."""

    __slots__ = ("_event", "_mailbox", "_over", "_task", "kinds", "shielded")

    def __init__(self, mailbox: Mailbox, kinds: tuple[type[Event], ...]) -> None:
        self.kinds = kinds
        self._mailbox = mailbox
        self._event: Event | None = None
        self._over = False
        self._task: trio.lowlevel.Task | None = None
        self.shielded = False
        """Cancellation does not end it: whoever sets this sees to it that something does (`patience`)."""

    def __enter__(self) -> Self:
        self._mailbox.waiting.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._mailbox.waiting.remove(self)

    def close(self) -> None:
        """Nothing comes any more."""
        self._over = True
        self._wake()

    def give_up(self) -> None:
        """Its time is over."""
        self._event = self._event or GaveUp()
        self._wake()

    def tell(self, event: Event) -> None:
        if self._event is None and isinstance(event, self.kinds):
            self._event = event
            self._wake()

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        if self.shielded:
            return trio.lowlevel.Abort.FAILED
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def outcome(self) -> Event:
        """A checkpoint, of one task; cancelling loses nothing. Raises `Closed` if the peer has left meanwhile."""
        if self._event is not None or self._over:
            if self.shielded:
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._event is None:
            raise ClosedError
        return self._event


class Mailbox:
    """The events of one request: each is told to everyone who waits for its kind, for a lease may be renewed by one task and
    released by another at the same time."""

    __slots__ = ("guarded", "on_event", "waiting")

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        self.on_event = on_event
        self.guarded = False
        """A body runs under what was granted, and is cancelled when that ends."""
        self.waiting: list[Waiting] = []

    def close(self) -> None:
        for waiting in self.waiting:
            waiting.close()

    def put(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)
        for waiting in self.waiting:
            waiting.tell(event)

    def expecting(self, *kinds: type[Event]) -> Waiting:
        """Wait for what comes from now on: its context is to be entered before the command is given."""
        return Waiting(self, kinds)


class Dispatch:
    """The table."""

    def __init__(self) -> None:
        self._requests: dict[int, Mailbox] = {}
        self._explains: dict[int, Mailbox] = {}
        self._calls: dict[int, Mailbox] = {}
        self._syncs: dict[int, Mailbox] = {}
        self._countings: dict[int, Mailbox] = {}
        self._entrusted: dict[int, Mailbox] = {}
        self._surveys: dict[int, Mailbox] = {}
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Explained: lambda event: self._tell(self._explains, event.query, event),
            Called: lambda event: self._tell(self._calls, event.call, event),
            CallFailed: lambda event: self._tell(self._calls, event.call, event),
            Listed: lambda event: self._tell(self._countings, event.query, event),
            Acknowledged: lambda event: self._tell(self._entrusted, event.query, event),
            Synced: lambda event: self._tell(self._syncs, event.query, event),
            Surveyed: lambda event: self._tell(self._surveys, event.query, event),
            ResetOver: lambda event: self._tell(self._surveys, event.query, event),
        }
        for kind in (Granted, Busy, OtherLimit, Unavailable, Ending, Ended, Renewed, RenewFailed, Released):
            self._handlers[kind] = self._on_request
        self._query = 0
        self._shut = False
        self._done: trio.Event | None = None

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def handle(self, kind: type[Event], handler: Callable[[Any], None]) -> None:
        """Call `handler` with each event of a class, after those that were named for it before."""
        before = self._handlers.get(kind)
        if before is None:
            self._handlers[kind] = handler
            return

        def both(event: Any) -> None:
            before(event)
            handler(event)

        self._handlers[kind] = both

    def shut(self) -> None:
        """No new request from now on: the peer leaves."""
        self._shut = True

    def close(self) -> None:
        """Tell whoever still waits that nothing comes any more."""
        for table in (
            self._requests,
            self._explains,
            self._calls,
            self._syncs,
            self._countings,
            self._entrusted,
            self._surveys,
        ):
            for mailbox in table.values():
                mailbox.close()

    def request(self, number: int, mailbox: Mailbox) -> None:
        """Raises `Closed` while the peer leaves, and after."""
        if self._shut:
            raise ClosedError
        self._requests[number] = mailbox

    def requests(self) -> list[tuple[int, Mailbox]]:
        """Those that are asked for or held."""
        return list(self._requests.items())

    def call(self, number: int) -> Mailbox:
        """For what a call of an atomic register comes to."""
        mailbox = self._calls[number] = Mailbox()
        return mailbox

    def called(self, number: int) -> None:
        """Nobody waits for this call any more."""
        self._calls.pop(number, None)

    def explain(self) -> tuple[int, Mailbox]:
        return self._ask(self._explains)

    def count(self) -> tuple[int, Mailbox]:
        return self._ask(self._countings)

    def survey(self) -> tuple[int, Mailbox]:
        return self._ask(self._surveys)

    def sync(self) -> tuple[int, Mailbox]:
        return self._ask(self._syncs)

    def entrust(self) -> tuple[int, Mailbox]:
        return self._ask(self._entrusted)

    def done(self, number: int) -> None:
        """Nobody waits for this request any more, nor is told of it. (A mailbox and whom it tells hold each other: left so they
        are most of what Python's collector has to find.)"""
        mailbox = self._requests.pop(number, None)
        if mailbox is not None:
            mailbox.on_event = None
        if self._done is not None:
            self._done.set()

    async def unguarded(self) -> None:
        """Wait until no body runs under a request. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while any(mailbox.guarded for mailbox in self._requests.values()):
            self._done = trio.Event()
            await self._done.wait()

    def asked(self, query: int) -> None:
        """Nobody waits for this query any more."""
        self._explains.pop(query, None)
        self._syncs.pop(query, None)
        self._countings.pop(query, None)
        self._entrusted.pop(query, None)
        self._surveys.pop(query, None)

    def _ask(self, table: dict[int, Mailbox]) -> tuple[int, Mailbox]:
        self._query += 1
        mailbox = table[self._query] = Mailbox()
        return self._query, mailbox

    def _on_request(self, event: Any) -> None:
        mailbox = self._requests.get(event.request)
        if mailbox is not None:
            mailbox.put(event)

    @staticmethod
    def _tell(table: dict[int, Mailbox], number: int, event: Event) -> None:
        mailbox = table.get(number)
        if mailbox is not None:
            mailbox.put(event)
