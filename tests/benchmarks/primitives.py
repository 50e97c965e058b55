"""Counters and what is built on them, in a mesh of one: processor time, as the machine may be busy with other things."""

from __future__ import annotations

import time

import trio

from coordination import Peer, open_peer
from tests.benchmarks.figures import rate, title
from tests.benchmarks.limits import dictionary_gets

__all__ = ["main"]

ADDS = 200_000
TURN = 32
"""Adds between two checkpoints: their windows open and end meanwhile."""


async def adds(peer: Peer) -> float:
    counter = peer.counter("orders")
    began = time.process_time()
    for n in range(ADDS):
        counter.add(n % 3)
        if not n % TURN:
            await trio.lowlevel.checkpoint()
    took = time.process_time() - began
    assert counter.value == sum(n % 3 for n in range(ADDS))
    return ADDS / took


async def measure() -> None:
    limit = dictionary_gets(ADDS)
    async with open_peer() as peer:
        rate("counter.add, local", await adds(peer), 200_000, limit, "a dictionary behind a method")


def main() -> None:
    title("Primitives, in a mesh of one")
    trio.run(measure)
