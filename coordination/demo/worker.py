"""A worker of the demonstration: a small service that embeds a peer which does not vote.

It prints what it did as lines of JSON, and stays until its standard input is closed, so that what it wrote has others to
reach. Run as `python -m coordination.demo.worker JOB JSON`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from coordination import Peer, open_peer

__all__ = ["main"]


def tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


async def until_told() -> None:
    """Wait until standard input is closed."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some():
            pass


async def increment(peer: Peer, file: str, rounds: int) -> None:
    """Read a number from an ordinary file and write it back one higher, each time under the lock."""
    path = trio.Path(file)
    tokens: list[int] = []
    lock = peer.lock("demo/number", ttl=5)
    for _ in range(rounds):
        async with lock as held:
            number = int(await path.read_text())  # whoever else came in between would read the same number
            await path.write_text(str(number + 1))
            tokens.append(held.token)
    tell(rounds=rounds, rising=tokens == sorted(set(tokens)), last=tokens[-1])


async def count(peer: Peer, adds: int, each: float) -> None:
    """Add to a counter, a little at a time."""
    counter = peer.counter("demo/orders")
    for number in range(adds):
        counter.add(1)
        if number == adds // 4:
            tell(halfway=True)
        await trio.sleep(each)
    tell(added=adds)


async def hold(peer: Peer, lock: str, ttl: float) -> None:
    """Hold a lock, and never let go."""
    async with peer.lock(lock, ttl=ttl) as held:
        tell(token=held.token)
        await until_told()


JOBS: dict[str, Callable[..., Awaitable[None]]] = {"increment": increment, "count": count, "hold": hold}


async def main(job: str, name: str, seeds: list[str], **arguments: Any) -> None:
    async with open_peer(name=name, seeds=seeds, secret=os.environ["MESH_SECRET"], voter=False, profile="local") as peer:
        await JOBS[job](peer, **arguments)
        await until_told()


if __name__ == "__main__":
    trio.run(lambda: main(sys.argv[1], **json.loads(sys.argv[2])))
