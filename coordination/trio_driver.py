"""The ordinary driver of a peer: Trio, real sockets, the machine's clocks and entropy."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from coordination.assembly import Assembly
from mesh.directives import Address
from mesh.node import Node
from mesh.shell.clocks import read_instant
from mesh.shell.driver import TrioDriver, open_driver

__all__ = ["Entropy", "open_trio_driver"]

SESSION_BYTES = 16
BUFFER_BYTES = 4096


class Entropy:
    """The operating system's random bytes, drawn in larger pieces: every datagram takes four.

    A fork would repeat what is left of a piece; a driver refuses to go on in one."""

    __slots__ = ("_buffer", "_position")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0

    def __call__(self, count: int) -> bytes:
        start = self._position
        end = start + count
        if end > len(self._buffer):
            if count > BUFFER_BYTES:
                return os.urandom(count)
            self._buffer = os.urandom(BUFFER_BYTES)
            start, end = 0, count
        self._position = end
        return self._buffer[start:end]


@asynccontextmanager
async def open_trio_driver(
    build: Callable[..., Assembly], *, bind: str | None, advertise: str | None
) -> AsyncIterator[tuple[TrioDriver[Node], Assembly]]:
    """Build a node for the address that is bound, and drive it. See `mesh.shell.driver.open_driver`."""
    assemblies: list[Assembly] = []

    def make(address: Address) -> Node:
        session = os.urandom(SESSION_BYTES)
        random = Random(int.from_bytes(os.urandom(32), "big"))
        assembly = build(address, session=session, entropy=Entropy(), random=random, now=read_instant())
        assemblies.append(assembly)
        return assembly.node

    async with open_driver(make, bind=bind, advertise=advertise) as driver:
        yield driver, assemblies[0]
