"""A watch through a sponsor, which sends a few batches ahead and then waits until these have been read."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import trio

from coordination.errors import MeshError
from coordination.following.feed import Position
from coordination.following.journal import token_of
from coordination.sponsor.messages import Happening, Taken, Unwatch
from coordination.thin.core import ThinCore
from coordination.watch import EventKind, WatchEvent
from mesh.values import decode_value

__all__ = ["ThinWatch"]


class ThinWatch:
    """`async with client.watch(key=… | prefix=…, snapshot=False) as changes: async for event in changes: …`

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time. Once the stream has broken, and what had come is read, it raises `Disconnected`."""

    __slots__ = ("_arguments", "_batches", "_core", "_number", "_operation", "_revision", "_session", "_settled", "_wake")

    def __init__(self, core: ThinCore, operation: str, *arguments: Any) -> None:
        self._core = core
        self._operation = operation
        self._arguments = arguments
        self._session = b""
        """Of the node's store."""
        self._revision: int | None = None
        self._settled = operation == "follow" and (not arguments[-2] or arguments[-1] is not None)
        """Whether no snapshot is being read: one was not asked for, or has ended."""
        self._number = 0
        """0 outside of the context."""
        self._batches: deque[deque[Happening]] = deque()
        self._wake: trio.Event | None = None

    async def __aenter__(self) -> ThinWatch:
        self._number = self._core.new_watch(self)
        try:
            self._session = await self._core.ask(self._operation, self._number, *self._arguments)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await trio.lowlevel.checkpoint_if_cancelled()

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""
        number, self._number = self._number, 0
        del self._core.watches[number]
        self._batches.clear()
        self.wake()
        with suppress(MeshError):  # a client that has been closed watches nothing
            self._core.say(Unwatch(number))

    def happened(self, events: Sequence[Happening]) -> None:
        self._batches.append(deque(events))
        self.wake()

    def wake(self) -> None:
        """Wake the iteration: there is something to look at."""
        if self._wake is not None:
            self._wake.set()

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        while self._number:
            if self._batches:
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._next()
            self._core.check()
            self._wake = trio.Event()
            try:
                await self._wake.wait()
            finally:
                self._wake = None
        raise StopAsyncIteration

    def _next(self) -> WatchEvent:
        batch = self._batches[0]
        event = batch.popleft()
        if not batch:
            self._batches.popleft()
            self._core.say(Taken(self._number, 1))
        self._note(event)
        value = decode_value(event.value) if event.value is not None else None
        old = decode_value(event.old) if event.old is not None else None
        return WatchEvent(EventKind(event.kind), event.key, value, old, event.stamp, event.origin, event.revision)

    @property
    def token(self) -> str | None:
        """As `Watch.token`. (What `old` is of the first event of a key after a resumption, the node says: a value may have been
        passed over that came and went before the break.)"""
        if self._operation != "follow" or self._revision is None:
            return None
        revision = self._revision
        return token_of(self._session, Position(revision, revision, revision))

    def _note(self, event: Happening) -> None:
        if event.kind == EventKind.RESYNC:
            self._settled = False
        elif event.kind == EventKind.SYNCED:
            self._settled = True
        self._revision = event.revision if self._settled else None
