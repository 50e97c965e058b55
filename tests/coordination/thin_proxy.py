"""A way to a node that can stall or break, as networks do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["Proxy", "proxy_to"]


class Proxy:
    """Passes bytes on between each caller and the node."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._scope = trio.CancelScope()
        self._open = trio.Event()
        self._open.set()
        self.address = ""

    def stall(self) -> None:
        """Pass on nothing from now on, either way."""
        self._open = trio.Event()

    def resume(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """Break every stream."""
        self._scope.cancel()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        with self._scope:
            async with listener, trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    nursery.start_soon(self._join, await listener.accept())

    async def _join(self, near: trio.SocketStream) -> None:
        host, _, port = self._target.rpartition(":")
        far = await trio.open_tcp_stream(host, int(port))
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, near, far)
            nursery.start_soon(self._pass, far, near)

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            async for data in source:
                await self._open.wait()
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
