"""One leader among all instances; when it dies another one goes on, and everyone knows who it is.

The leader hands out numbers that never repeat, also over its successors: each is written under the token of its leadership, so
a leader that was paused and does not know yet that it has been succeeded cannot write its old number over a newer one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import trio

from coordination import Fenced, Held, LeaseLost, NoQuorum, Peer
from examples.opening import joined, options, run, tell

__all__ = ["follow", "lead"]

Told = Callable[..., None]


async def lead(peer: Peer, tell: Told, *, ttl: float = 3.0, pause: float = 0.2) -> None:
    """Be the leader whenever it is this instance's turn."""
    election = peer.election("numbers", ttl=ttl)
    while True:
        try:
            async with election.lead({"address": peer.address}) as held:
                await hand_out(peer, held, tell, pause)
        except (LeaseLost, NoQuorum, Fenced) as problem:
            tell(event="lost", by=peer.name, why=str(problem))
            await trio.sleep(pause)


async def hand_out(peer: Peer, held: Held, tell: Told, pause: float) -> None:
    await peer.synced()  # what the last leader wrote may still be on its way
    while True:
        number = 1 + peer.kv.get("numbers/last", 0)
        await peer.kv.put("numbers/last", number, fence=held, acks="majority")
        tell(event="number", number=number, by=peer.name, token=held.token)
        await trio.sleep(pause)


async def follow(peer: Peer, tell: Told) -> None:
    """Say who leads, whenever that changes."""
    async with peer.watch(election="numbers", snapshot=True) as changes:
        async for event in changes:
            if event.kind != "synced":
                tell(event="leader", seen_by=peer.name, leader=event.value.name if event.value else None)


async def main(arguments: argparse.Namespace) -> None:
    async with joined(arguments) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(follow, peer, tell)
        await lead(peer, tell)


if __name__ == "__main__":
    run(main, options(__doc__ or "").parse_args())
