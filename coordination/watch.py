"""Watching keys and counters: every change, woken by the merge that made it, and never in the way of one.

What a watcher has not read yet stands in line for it (`coordination.following.feed`): one slot a key, or, with `history=`, each
change by itself. Whoever lags too far behind is told so (`resync`) and begins anew with a snapshot. Per key the order is that
of the store, over all keys revisions rise, and nothing comes twice. Law: the events folded over the snapshot are the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import trio

from coordination.bell import Belfry, Bell
from coordination.core import Core
from coordination.following.feed import RESYNC, Feed, Told
from coordination.following.interest import Follower, Interest
from coordination.following.journal import Journal, parse_token, resume, token_of
from crdt.change import Change
from mesh.replication import Changed
from mesh.values import decode_value

__all__ = ["EventKind", "Hub", "KeyWatch", "PeerWatch", "WatchEvent", "event_of"]


class EventKind(StrEnum):
    """What happened."""

    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"
    LEASE_ENDED = "lease_ended"
    FENCED = "fenced"
    """A put or delete of this peer lost to a fence that it had not seen, though it is the later one: `stamp` is what that put
    answered, `old` its value, `origin` who wrote what won. What is seen now another event tells."""
    SYNCED = "synced"
    """The snapshot is over; what follows are changes."""
    RESYNC = "resync"
    """This watcher has lagged too far behind, or came back too late, or one of its keys has fallen back to an older write (of a
    peer that was cut off for long, or from one that was): forget everything, a fresh snapshot follows."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change, as the watcher sees it."""

    kind: EventKind
    key: str
    """Or the name of the counter, lock or election."""
    value: Any
    """The new value, None if there is none."""
    old: Any
    """What this watcher saw before, None if nothing."""
    stamp: int
    """Hybrid logical time of the write; 0 for `synced`, `resync` and counters."""
    origin: str | None
    """The member that wrote it, if it is one now."""
    revision: int
    """Of the local store, never falling; of one watch each change has its own. A snapshot has that at which it began."""


class Followed(Follower, Protocol):
    """A watch of keys."""

    def close(self) -> None: ...


class Counted(Protocol):
    """A watch of a counter."""

    def changed(self) -> None: ...
    def close(self) -> None: ...


class Hub:
    """The watches of one peer."""

    __slots__ = ("_event", "_told", "belfry", "core", "counters", "interest", "journal", "resyncs")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.belfry = Belfry()
        self.interest: Interest[Followed] = Interest()
        self.journal = Journal()
        self.counters: dict[str, dict[Counted, None]] = {}
        """Who follows which counter."""
        self.resyncs = 0
        """How often a watcher was told that it lagged, or came back too late."""
        self._told: Told | None = None
        self._event: WatchEvent | None = None
        core.dispatch.handle(Changed, self._changed)
        core.endings.append(self.close)

    def _changed(self, event: Changed) -> None:
        changes, counters = event.changes, event.counters
        self.belfry.begin()
        if changes:
            self.journal.add(changes)
            self.interest.tell(changes)
        if counters and self.counters:
            for name in counters:
                for watch in self.counters.get(name, ()):
                    watch.changed()

    def stats(self) -> dict[str, int]:
        return {"watch.resyncs": self.resyncs, "watch.journal": len(self.journal)}

    def name_of(self, session: bytes) -> str | None:
        member = self.core.assembly.membership.by_session(session)
        return None if member is None else member.name

    def event(self, told: Told) -> WatchEvent:
        """The public form. Watchers who are told the same are given the same event, if nobody can alter what is in it: a
        thousand watchers of one key cost one decoding."""
        origin = self.name_of(told.origin) if told.origin else None
        event = self._event
        if event is None or told != self._told or origin != event.origin:
            event = event_of(told, origin)
            if not isinstance(event.value, list | dict) and not isinstance(event.old, list | dict):
                self._told, self._event = told, event
        return event

    def close(self) -> None:
        """The peer has ended, and every watch with it."""
        counted = [watch for followers in self.counters.values() for watch in followers]
        watches: list[Followed | Counted] = [*self.interest.all(), *counted]
        for watch in watches:
            watch.close()


W = TypeVar("W", bound="PeerWatch")


class PeerWatch(ABC):
    """`async with peer.watch(key=… | prefix=… | …, snapshot=False) as changes: async for event in changes: …`

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time."""

    __slots__ = ("_bell", "_entered", "_hub")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._entered = False
        self._bell = Bell(hub.belfry)

    @property
    def token(self) -> str | None:
        """With this, `peer.watch(…, resume=token)` goes on behind the last event that was read; None while a snapshot is read,
        as that begins anew, and for counters, locks and elections, which one goes on with by `snapshot=True`.

        Good at this peer as long as it lives and not too much has changed meanwhile (some thousand changes): else the watch
        that resumes begins with `resync`, and a snapshot."""
        return None

    async def __aenter__(self: W) -> W:
        """Begin. A checkpoint. Raises `Closed` if the peer has ended."""
        await trio.lowlevel.checkpoint()
        self._hub.core.driver.check()
        self._begin()
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""
        if self._entered:
            self._entered = False
            self._end()
            self._bell.ring()

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next event. A checkpoint; cancelled, nothing is lost."""
        if self._waiting():
            await self._hub.core.turn()
        elif self._entered:
            await self._bell.wait()
        while self._entered:
            event = self._next()
            if event is not None:
                return event
            await self._bell.wait()
        raise StopAsyncIteration

    @abstractmethod
    def _begin(self) -> None:
        """Of the context."""

    @abstractmethod
    def _end(self) -> None: ...

    @abstractmethod
    def _waiting(self) -> bool:
        """Whether `_next` may have something."""

    @abstractmethod
    def _next(self) -> WatchEvent | None:
        """None if there is nothing to tell."""


class KeyWatch(PeerWatch):
    """Of keys and prefixes."""

    __slots__ = ("_feed", "_left", "_resume", "keys", "prefixes")

    def __init__(self, hub: Hub, feed: Feed, token: str | None = None) -> None:
        super().__init__(hub)
        self._feed = feed
        self.keys = feed.keys
        self.prefixes = feed.prefixes
        self._resume = parse_token(token) if token is not None else None
        self._left: str | None = None
        """The token when it was left."""

    @property
    def token(self) -> str | None:
        if not self._entered or not self._feed.settled:
            return self._left
        return token_of(self._hub.core.assembly.store.actor, self._feed.position)

    def _begin(self) -> None:
        core, journal = self._hub.core, self._hub.journal
        store, stamp = core.assembly.store, core.assembly.clock.read(core.now())
        journal.begin(store.revision)
        resume(self._feed, store, stamp, journal, self._resume)
        self._hub.interest.add(self)

    def _end(self) -> None:
        if self._feed.settled:
            self._left = token_of(self._hub.core.assembly.store.actor, self._feed.position)
        self._hub.interest.remove(self)
        self._feed.lag()

    def offer(self, change: Change) -> None:
        """A change that this watch wants; never waits."""
        self._feed.offer(change)
        self._bell.ring()

    def _waiting(self) -> bool:
        return self._feed.waiting

    def _next(self) -> WatchEvent | None:
        assembly, feed = self._hub.core.assembly, self._feed
        stamp = 0 if feed.settled else assembly.clock.read(self._hub.core.now())  # only a snapshot looks at it
        told = feed.next(assembly.store, stamp)
        if told is None:
            return None
        if told.kind == RESYNC:
            self._hub.resyncs += 1
        return self._hub.event(told)


def event_of(told: Told, origin: str | None) -> WatchEvent:
    """The public form, with values of its own."""
    kind, key, value, old, stamp, _, revision = told
    return WatchEvent(
        EventKind(kind),
        key,
        decode_value(value) if value is not None else None,
        decode_value(old) if old is not None else None,
        stamp,
        origin,
        revision,
    )
