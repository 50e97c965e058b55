"""One node that prints every change of a member that it sees, with the moment, and its counts when it is asked.

Run as `python -m tests.processes.member JSON`. The moments are CLOCK_MONOTONIC, which all processes of a machine share."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import trio

from coordination import Peer, open_peer

__all__ = ["main"]


def tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


async def watch(peer: Peer) -> None:
    async with peer.watch_members(snapshot=True) as changes:
        async for event in changes:
            if event.member is not None:
                member = event.member
                tell(kind=event.kind.value, member=member.name, state=member.state.value, at=time.monotonic_ns())


async def answer(peer: Peer) -> None:
    """Each line of standard input asks for the counts; its end, for the end."""
    lines = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    async for data in lines:
        for _ in range(data.count(b"\n")):
            times = os.times()
            tell(stats=dict(peer.stats()), cpu=times.user + times.system, at=time.monotonic_ns())


async def run(told: dict[str, Any]) -> None:
    async with open_peer(fresh=True, secret=os.environ["MESH_SECRET"], **told) as peer, trio.open_nursery() as nursery:
        tell(up=peer.name)
        nursery.start_soon(watch, peer)
        await answer(peer)
        nursery.cancel_scope.cancel()


def main() -> None:
    trio.run(run, json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
