"""Watching what is agreed: who holds a lock, who leads. The same events as of keys.

Of an election the leader says so in a key, and a watcher is woken by that. A lock says nothing to those who do not wait for it
(that would cost each grant a write): its voters are asked twice a second, and what was held and given back in between is not
seen."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import trio

from coordination.agreed.vocabulary.registers import split_register
from coordination.core import LeaseCore
from coordination.locking.elections import Leader
from coordination.locking.standing import Holding, standing
from coordination.watch import EventKind, WatchEvent

__all__ = ["ElectionWatch", "LockWatch"]

ASK_SECONDS = 0.5


class Events(Protocol):
    """A watch of keys, of a peer or a thin client."""

    async def __aenter__(self) -> Any: ...
    async def __anext__(self) -> WatchEvent: ...
    def close(self) -> None: ...


class LockWatch:
    """`async with peer.watch(lock=…) as changes`: who holds a lock, read-write lock, semaphore or barrier. `value` is a tuple
    of `Holding`, `origin` the first holder, `stamp` the highest token; a `delete` says that nobody does.

    What a majority of the voters says, so the iteration raises `NoQuorum` where none answers."""

    __slots__ = ("_core", "_entered", "_known", "_line", "_register", "_revision", "_scope", "_snapshot", "name")

    def __init__(self, core: LeaseCore, register: str, snapshot: bool) -> None:
        self._core = core
        self._register = register
        self.name = split_register(register)[1]
        self._snapshot = snapshot
        self._entered = False
        self._known: tuple[Holding, ...] | None = None
        """None before the first look."""
        self._line: deque[WatchEvent] = deque()
        self._revision = 0
        self._scope: trio.CancelScope | None = None

    @property
    def token(self) -> None:
        """None: go on with `snapshot=True`."""
        return

    async def __aenter__(self) -> LockWatch:
        if not self._snapshot:
            self._known = await standing(self._core, self._register)
        else:
            await trio.lowlevel.checkpoint()
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""
        self._entered = False
        if self._scope is not None:
            self._scope.cancel()

    def __aiter__(self) -> LockWatch:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next event. A checkpoint; cancelled, nothing is lost."""
        looked = False
        while self._entered:
            if self._line:
                if not looked:
                    await trio.lowlevel.checkpoint()
                return self._line.popleft()
            with trio.CancelScope() as self._scope:
                if self._known is not None:
                    await trio.sleep(ASK_SECONDS)
                self._compare(await standing(self._core, self._register))
                looked = True
        raise StopAsyncIteration

    def _compare(self, found: tuple[Holding, ...]) -> None:
        known, self._known = self._known, found
        if known is None:
            if found:
                self._tell(EventKind.PUT, found, None)
            self._tell(EventKind.SYNCED, None, None)
        elif _grants(found) != _grants(known):
            self._tell(EventKind.PUT if found else EventKind.DELETE, found or None, known or None)

    def _tell(self, kind: EventKind, value: tuple[Holding, ...] | None, old: tuple[Holding, ...] | None) -> None:
        self._revision += 1
        token = max([each.token for each in value], default=0) if value else 0
        self._line.append(WatchEvent(kind, self.name, value, old, token, value[0].name if value else None, self._revision))


def _grants(holders: tuple[Holding, ...]) -> set[tuple[str, int, int]]:
    return {(each.name, each.token, each.permits) for each in holders}


class ElectionWatch:
    """`async with peer.watch(election=…) as changes`: who leads. `value` and `old` are `Leader`s, `origin` the leader's name; a
    `delete` or `lease_ended` says that nobody does."""

    __slots__ = ("_changes", "name")

    def __init__(self, changes: Events, name: str) -> None:
        self._changes = changes
        self.name = name

    @property
    def token(self) -> None:
        """None: go on with `snapshot=True`."""
        return

    async def __aenter__(self) -> ElectionWatch:
        await self._changes.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""
        self._changes.close()

    def __aiter__(self) -> ElectionWatch:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next event. A checkpoint."""
        while True:
            event = await self._changes.__anext__()
            if event.kind is not EventKind.FENCED:
                leader = _leader(event.value)
                origin = leader.name if leader is not None else event.origin
                return WatchEvent(
                    event.kind, self.name, leader, _leader(event.old), event.stamp, origin, event.revision
                )  # fmt: skip


def _leader(said: Any) -> Leader | None:
    if not isinstance(said, dict):
        return None
    return Leader(str(said.get("leader")), int(said.get("token") or 0), said.get("value"))
