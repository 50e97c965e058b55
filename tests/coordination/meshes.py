"""Real peers in this process, over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from coordination import Peer, open_peer
from coordination.demo.programs import free_addresses

__all__ = ["SECRET", "joined", "mesh_of", "until"]

SECRET = "a secret of the tests, at least 32 bytes"


@asynccontextmanager
async def mesh_of(count: int, *, fresh: bool = True, **options: Any) -> AsyncIterator[list[Peer]]:
    """So many founders (`p0`, `p1`, …) that know each other and have a roster."""
    addresses = list(free_addresses(count))
    async with AsyncExitStack() as stack:
        peers: list[Peer] = []
        for index, address in enumerate(addresses):
            opened = open_peer(
                name=f"p{index}",
                bind=address,
                seeds=addresses if count > 1 else (),
                expect=count,
                secret=SECRET,
                fresh=fresh,
                profile="local",
                **options,
            )
            peers.append(await stack.enter_async_context(opened))
        with trio.fail_after(10):
            for peer in peers:
                await peer.synced()
                await until(lambda peer=peer: len(peer.members) == count)
            if fresh:
                async with peers[0].lock("a first lock"):
                    pass
        yield peers


@asynccontextmanager
async def joined(to: Peer, name: str, **options: Any) -> AsyncIterator[Peer]:
    """A peer that joins, and does not vote."""
    async with open_peer(name=name, seeds=[to.address], secret=SECRET, voter=False, profile="local", **options) as peer:
        yield peer


async def until(condition: Any, within: float = 5.0) -> None:
    """Wait for a condition; fail if it takes longer."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.002)
