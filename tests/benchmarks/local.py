"""Keys in a mesh of one."""

from __future__ import annotations

import time

import trio

from coordination import open_peer
from tests.benchmarks.figures import rate, title
from tests.benchmarks.limits import dictionary_gets, encodings

__all__ = ["main"]

GETS = 500_000
PUTS = 100_000


async def measure() -> tuple[float, float]:
    async with open_peer() as peer:
        keys = [f"key/{n}" for n in range(1000)]
        for n, key in enumerate(keys):
            await peer.kv.put(key, n)
        get, total = peer.kv.get, 0
        began = time.perf_counter()
        for n in range(GETS):
            total += get(keys[n % 1000])
        gets = GETS / (time.perf_counter() - began)
        assert total == sum(n % 1000 for n in range(GETS))
        put = peer.kv.put
        began = time.perf_counter()
        for n in range(PUTS):
            await put(keys[n % 1000], n)
        puts = PUTS / (time.perf_counter() - began)
        assert [get(key) for key in keys] == list(range(PUTS - 1000, PUTS))
        return gets, puts


def main() -> None:
    title("A mesh of one")
    dictionary, encoder = dictionary_gets(GETS), encodings(PUTS)
    gets, puts = trio.run(measure)
    rate("kv.get", gets, 1_000_000, dictionary, "a dictionary behind a method")
    rate("kv.put", puts, 100_000, encoder, "cbor2 encoding alone")
