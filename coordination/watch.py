"""Watching keys: every change, woken by the merge that made it, and never in the way of one.

A watcher holds one slot for each key that changed since it last read, so a slow one costs the keys and not the changes: it
sees the last state of each, with the value that it saw before as `old`. Per key the order is that of the store; nothing comes
twice; what came first stays first in line. Folding the events over a snapshot gives the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import trio

from coordination.core import Core
from coordination.interest import Interest, Slot, note
from crdt.cell import Cell
from crdt.change import Change, ChangeKind
from mesh.replication import Changed
from mesh.values import decode_value

__all__ = ["EventKind", "Hub", "Watch", "WatchEvent"]


class EventKind(StrEnum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"
    LEASE_ENDED = "lease_ended"
    FENCED = "fenced"
    """A put or delete of this peer lost to a fence that it had not seen, though it is the later one: `stamp` is what that put
    answered, `old` its value, `origin` who wrote what won. What is seen now another event tells."""
    SYNCED = "synced"
    """The snapshot is over; what follows are changes."""


KINDS = {kind: EventKind(kind.value) for kind in ChangeKind}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change, as the watcher sees it."""

    kind: EventKind
    key: str
    value: Any
    """The new value, None if there is none."""
    old: Any
    """What this watcher saw before, None if nothing."""
    stamp: int
    """Hybrid logical time of the write; 0 for `synced`."""
    origin: str | None
    """The member that wrote it, if it is one now."""
    revision: int
    """Of the local store, strictly increasing."""


class Hub:
    """The watches of one peer."""

    __slots__ = ("core", "interest")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.interest: Interest[Watch] = Interest()
        core.dispatch.handle(Changed, lambda event: self.interest.tell(event.changes))

    def close(self) -> None:
        """The peer has left: every watch ends."""
        for watch in self.interest.all():
            watch.close()


class Watch:
    """`async with peer.watch(key=… | prefix=…, snapshot=False) as changes: async for event in changes: …`

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time."""

    __slots__ = ("_entered", "_hub", "_slots", "_snapshot", "_wake", "key", "prefix")

    def __init__(self, hub: Hub, key: str | None, prefix: str | None, snapshot: bool) -> None:
        self._hub = hub
        self.key = key
        self.prefix = prefix
        self._snapshot = snapshot
        self._slots: dict[str, Slot | None] = {}
        self._wake: trio.Event | None = None
        self._entered = False

    async def __aenter__(self) -> Watch:
        await trio.lowlevel.checkpoint()
        self._hub.interest.add(self)
        self._entered = True
        if self._snapshot:
            store = self._hub.core.assembly.store
            stamp = self._hub.core.assembly.clock.read(self._hub.core.now())
            found: Iterable[Cell]
            if self.key is not None:
                cell = store.get(self.key, stamp)
                found = [] if cell is None else [cell]
            else:
                found = store.scan(self.prefix or "", stamp)
            for cell in found:
                self._slots[cell.key] = Slot(None, Change(ChangeKind.PUT, cell.key, cell, None, cell.actor, store.revision))
            self._slots[SYNCED_KEY] = None
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""
        self._entered = False
        self._hub.interest.remove(self)
        self._slots.clear()
        if self._wake is not None:
            self._wake.set()

    def offer(self, change: Change) -> None:
        """A change that this watch wants; never waits."""
        note(self._slots, change)
        if self._wake is not None:
            self._wake.set()

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        while self._entered:
            if self._slots:
                await self._hub.core.turn()
                if self._slots:  # leaving the context empties it
                    event = self._event(self._slots.pop(next(iter(self._slots))))
                    if event is not None:
                        return event
                continue
            self._wake = trio.Event()
            try:
                await self._wake.wait()
            finally:
                self._wake = None
        raise StopAsyncIteration

    def _event(self, slot: Slot | None) -> WatchEvent | None:
        if slot is None:
            revision = self._hub.core.assembly.store.revision
            return WatchEvent(EventKind.SYNCED, self.key or self.prefix or "", None, None, 0, None, revision)
        if slot.void:
            return None
        return make_event(slot.change, slot.old, self._hub.core.assembly.membership.by_session)


SYNCED_KEY = "\0"
"""No key is this; it stands in line behind the snapshot."""


def make_event(change: Change, old: Cell | None, by_session: Callable[[bytes], Any]) -> WatchEvent:
    """The public form of a change."""
    cell = change.new
    stamp = cell.order[1]
    assert isinstance(stamp, int)
    shown = change.kind is ChangeKind.PUT
    member = by_session(change.origin)
    return WatchEvent(
        KINDS[change.kind],
        change.key,
        decode_value(cell.body) if shown and cell.body is not None else None,
        decode_value(old.body) if old is not None and old.body is not None else None,
        stamp,
        None if member is None else member.name,
        change.revision,
    )
