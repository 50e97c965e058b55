"""Very many keys: what one costs, how long the node stands still when all expire at once, a join, and a put seen on all.

Judged by processor time where the machine may be busy with others: the join's is that of both ends together, which on two cores
would run beside each other."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from random import Random

import trio

from coordination import open_peer
from coordination.assembly import Assembly, Settings, build
from coordination.demo.programs import Program, free_addresses
from crdt.cell import encode_cell
from crdt.clock import Instant
from mesh.values import encode_value
from tests.benchmarks.figures import percentile, times, title
from tests.benchmarks.limits import round_trip
from tests.benchmarks.processes import founders

__all__ = ["main"]

KEYS = 100_000
VALUE = {"rps": 10}
TTL_MS = 5_000
MS = 1_000_000
PUTS = 200
SECRET = "a secret of the benchmarks, of 32 bytes"


def at(ns: int) -> Instant:
    return Instant(ns, ns, 1_700_000_000_000 + ns // MS)


def filled(ttl_ms: int) -> Assembly:
    """A node without a network, that holds all keys; each millisecond it has its turn."""
    settings = Settings(name="a", address="127.0.0.1:1", networked=False)
    node = build(settings, session=b"s" * 16, entropy=bytes, random=Random(1), now=at(0))
    node.node.start(at(0))
    for n in range(KEYS):
        now = at(n // 100 * MS)
        if n % 100 == 0:
            node.node.on_due(now)
            node.node.take()
        _, directives = node.replication.put(f"config/{n:06}", encode_value(VALUE), now, ttl_ms=ttl_ms)
        node.node.command(node.replication, directives, now)
    node.node.on_due(at(KEYS // 100 * MS + 20 * MS))
    node.node.take()
    return node


def memory() -> None:
    gc.collect()
    tracemalloc.start()
    node = filled(0)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(node.store) == KEYS
    encoded = statistics.mean([len(encode_cell(cell)) for cell in node.store.cells()])
    print(
        f"  {'memory for each key':<46}{held / KEYS:.0f} bytes, {held / KEYS / encoded:.1f} x its encoded size ({encoded:.0f})"
    )


def expiry() -> None:
    node = filled(TTL_MS)
    now, steps = KEYS // 100 * MS, []
    while node.store.next_expiry() is not None:
        due = node.node.due()
        assert due is not None
        now = max(now, due)
        began = time.process_time()
        node.node.on_due(at(now))
        steps.append(time.process_time() - began)
        node.node.take()
    assert next(node.store.scan("", 1 << 62), None) is None
    print(
        f"  {f'{KEYS:,} keys expire in one second':<46}longest step {max(steps) * 1000:.2f} ms, 99th "
        f"{percentile(steps, 99) * 1000:.2f} ms of {len(steps)}; {sum(steps) * 1000:.0f} ms of processor in all"
    )


async def join() -> None:
    (address,) = free_addresses(1)
    founder = open_peer(name="a", bind=address, secret=SECRET, fresh=True, profile="local")
    async with founder as peer:
        await peer.kv.put_many({f"config/{n:06}": VALUE for n in range(KEYS)})
        began, cpu = time.perf_counter(), time.process_time()
        async with open_peer(name="b", seeds=[address], secret=SECRET, voter=False, profile="local") as late:
            await late.synced()
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            assert sum(1 for _ in late.kv.scan("config/")) == KEYS
    reached = "reached" if cpu < 5 else "missed"
    print(
        f"  {f'{KEYS:,} keys to a joiner':<46}{cpu:.2f} s of processor of both ends, {wall:.2f} s by the clock   "
        f"goal 5 s ({reached})"
    )


async def seen_on_all(count: int, goal: float, trip: float) -> None:
    async with founders(count) as nodes:
        before = await spent(nodes)
        for node in nodes[1:]:
            await node.write({"job": "watch", "count": PUTS})
        for node in nodes[1:]:
            assert (await node.read())["watching"]
        await nodes[0].write({"job": "puts", "count": PUTS, "pause": 0.05})
        found: list[list[float]] = []

        async def report(node: Program) -> None:
            found.append((await node.read())["took"])

        async with trio.open_nursery() as nursery:
            for node in nodes[1:]:
                nursery.start_soon(report, node)
        assert (await nodes[0].read())["put"] == PUTS
        cost = (await spent(nodes) - before) / PUTS
    last = [max(each) for each in zip(*found, strict=True)]
    assert len(found) == count - 1 and len(last) == PUTS and min(last) > 0
    times(f"a put seen on all of {count} processes", last, goal, None, trip, "a bare UDP round trip")
    print(
        f"  {'  each, and what else they do in 50 ms':<46}{cost * 1e6 / count:.0f} us of processor of each process", flush=True
    )


async def spent(nodes: list[Program]) -> float:
    """Processor seconds of all so far."""
    total = 0.0
    for node in nodes:
        await node.write({"job": "spent"})
        total += (await node.read())["cpu"]
    return total


async def spreading(trip: float) -> None:
    await seen_on_all(10, 0.015, trip)
    await seen_on_all(30, 0.030, trip)


def main() -> None:
    title("Very many keys")
    memory()
    expiry()
    trio.run(join)
    trio.run(spreading, round_trip())
