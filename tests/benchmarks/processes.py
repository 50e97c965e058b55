"""Three processes: from a put to a watcher's event, and atomic adds. Locks: `tests.benchmarks.locks`."""

from __future__ import annotations

import json
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from coordination.demo.programs import Program, Programs, free_addresses
from tests.benchmarks.atomic import messages_per_add
from tests.benchmarks.figures import rate, times, title
from tests.benchmarks.limits import round_trip, sealed_round_trips

__all__ = ["SECONDS", "founders", "main", "reports"]

PUTS = 1000
SECONDS = 4.0


@asynccontextmanager
async def founders(count: int = 3, *, durable: bool = False) -> AsyncIterator[list[Program]]:
    """So many founders; `durable` ones keep their promises on disk."""
    async with Programs.opened("a secret of the benchmarks, of 32 bytes") as programs:
        addresses = list(free_addresses(count))
        nodes = []
        for index, address in enumerate(addresses):
            state_dir = str(programs.directory / f"b{index}") if durable else None
            told = json.dumps({"name": f"b{index}", "bind": address, "seeds": addresses, "state_dir": state_dir})
            nodes.append(await programs.start(f"b{index}", "tests.benchmarks.child", told))
        for node in nodes:
            assert (await node.read())["up"]
        yield nodes


async def latency(nodes: list[Program]) -> list[float]:
    await nodes[1].write({"job": "watch", "count": PUTS})
    assert (await nodes[1].read())["watching"]
    await nodes[0].write({"job": "puts", "count": PUTS, "pause": 0.002})
    assert (await nodes[0].read())["put"] == PUTS
    took: list[float] = (await nodes[1].read())["took"]
    assert len(took) == PUTS and min(took) > 0
    return took


async def reports(nodes: list[Program], clients: list[int], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Have each do the job with so many clients, all at once, and tell what they report.

    All are read at once: who has to wait until its report has been read answers nobody meanwhile, and the others are left
    without a majority."""
    found: list[dict[str, Any]] = []

    async def one(node: Program, count: int) -> None:
        await node.write({**job, "clients": count})
        found.append(await node.read())

    async with trio.open_nursery() as nursery:
        for node, count in zip(nodes, clients, strict=True):
            if count:
                nursery.start_soon(one, node, count)
    return found


async def totals(nodes: list[Program], name: str) -> tuple[list[int], float]:
    """What each says that the register holds, and the processor seconds of all so far."""
    seen: list[int] = []
    cpu = 0.0
    for node in nodes:
        await node.write({"job": "total", "name": name})
        report = await node.read()
        seen.append(report["total"])
        cpu += report["cpu"]
    return seen, cpu


async def adds(nodes: list[Program], clients: list[int], name: str) -> tuple[float, list[float], float]:
    """Rate over all processes, the time of each add, and the processor's us for each, of all processes together."""
    _, before = await totals(nodes, name)
    took: list[float] = []
    sums: list[int] = []
    for report in await reports(nodes, clients, {"job": "adds", "seconds": SECONDS, "name": name}):
        took += report["took"]
        sums += report["sums"]
    seen, after = await totals(nodes, name)
    assert sorted(sums) == list(range(1, len(sums) + 1)), "a sum was told twice, or never"
    assert seen == [len(sums)] * len(nodes), "not every add counts once"
    return len(took) / SECONDS, took, (after - before) / len(took) * 1e6


async def measure(trip: float, bare: float) -> None:
    async with founders() as nodes:
        title("Three processes")
        times("put on one, event at a watcher of another", await latency(nodes), 0.002, 0.010, trip, "a bare UDP round trip")
        limit = "Trio + CBOR + AES round trips"
        for clients, name in (([1, 0, 0], "one"), ([6, 5, 5], "many")):
            per_second, took, cpu = await adds(nodes, clients, name)
            what = f"atomic add, {sum(clients)} client{'s on one register' if sum(clients) > 1 else ''}"
            rate(what, per_second, None, bare, limit)
            sent, least = messages_per_add(clients)
            told = f"median {statistics.median(took) * 1000:.2f} ms, {cpu:.0f} us of processors, {sent:.2f} messages"
            print(f"  {'  each':<46}{told} (one alone: {least} at the least)", flush=True)


def main() -> None:
    trio.run(measure, round_trip(), sealed_round_trips())
