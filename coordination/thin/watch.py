"""A watch through a sponsor, which sends a few batches ahead and then waits until these have been read."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import trio

from coordination.errors import MeshError
from coordination.sponsor.messages import Happening, Taken, Unwatch
from coordination.thin.core import ThinCore
from coordination.watch import EventKind, WatchEvent
from mesh.values import decode_value

__all__ = ["ThinWatch"]


class ThinWatch:
    """`async with client.watch(key=… | prefix=…, snapshot=False) as changes: async for event in changes: …`

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time. Once the stream has broken, and what had come is read, it raises `Disconnected`."""

    __slots__ = ("_batches", "_core", "_key", "_number", "_prefix", "_snapshot", "_wake")

    def __init__(self, core: ThinCore, key: str | None, prefix: str | None, snapshot: bool) -> None:
        self._core = core
        self._key = key
        self._prefix = prefix
        self._snapshot = snapshot
        self._number = 0
        """0 outside of the context."""
        self._batches: deque[deque[Happening]] = deque()
        self._wake: trio.Event | None = None

    async def __aenter__(self) -> ThinWatch:
        self._number = self._core.new_watch(self)
        try:
            await self._core.ask("watch", self._number, self._key, self._prefix, self._snapshot)
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
        value = decode_value(event.value) if event.value is not None else None
        old = decode_value(event.old) if event.old is not None else None
        return WatchEvent(EventKind(event.kind), event.key, value, old, event.stamp, event.origin, event.revision)
