"""Real processes: how long until a killed one is known, who is wrongly accused, and what a node at rest costs.

The figures of DESIGN's table, beside the same machine's own limits. Every part checks what it measures: that the killed were
called dead and nobody else, that the mesh was whole before and after, that the idle nodes were idle members of a whole mesh."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

import trio

from tests.benchmarks.figures import percentile, title
from tests.benchmarks.limits import round_trip
from tests.processes.flock import Flock, flock

__all__ = ["IDLE_BYTES", "IDLE_CPU", "IDLE_MEMORY", "KNOWN", "Watched", "burning", "kills", "main", "side_by_side", "watched"]

SIZES = (3, 10, 30)
KILLS = 20
SECONDS = 60.0
"""Of rest, and of load: ten minutes in `make soak` (tests/processes/test_members.py)."""

KNOWN = 1.0
"""Seconds until all know."""
IDLE_CPU = 0.005
IDLE_BYTES = 400
IDLE_MEMORY = 40 << 20

SETTLING = 3.0
"""Seconds until streams are woven and gossip has ended."""


class Watched(NamedTuple):
    """Of a mesh to which nothing is done; means over its nodes."""

    cpu: float
    """Share of a core."""
    sent: float
    """Bytes a second."""
    memory: float
    """Bytes of memory (PSS)."""
    dead: int
    """How often somebody was called dead,"""
    suspect: int
    """and suspected."""
    load: float
    """The machine's load average in the end."""


@contextmanager
def burning(processes: int) -> Iterator[None]:
    """Every core is busy with something less important (nice 10)."""
    burners = [
        subprocess.Popen(["nice", "-n", "10", sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


async def kills(mesh: Flock, count: int) -> tuple[list[float], list[float]]:
    """Seconds until the first and until all knew, of so many kills, one after the other; the killed start again."""
    first, all_ = [], []
    names = list(mesh.nodes)
    for turn in range(count):
        victim = names[1 + turn % (len(names) - 1)]
        await trio.sleep(SETTLING)
        since = len(mesh.seen)
        at = await mesh.kill(victim)
        await mesh.until(lambda: mesh.all_see(victim, "dead"), 60)  # noqa: B023
        told = {seen.observer: seen.at for seen in mesh.seen[since:] if seen.member == victim and seen.state == "dead"}
        assert set(told) == set(mesh.nodes), "not everyone told of the death"
        assert mesh.accused(since) == [], mesh.accused(since)
        first.append((min(told.values()) - at) / 1e9)
        all_.append((max(told.values()) - at) / 1e9)
        assert first[-1] > 0
        await mesh.start(victim)
        await mesh.until(mesh.whole, 60)
    return first, all_


async def watched(mesh: Flock, seconds: float) -> Watched:
    """So long nothing is done to anybody; the mesh is whole before and after."""
    names = list(mesh.nodes)
    await trio.sleep(2 * SETTLING)
    since = len(mesh.seen)
    before = [await mesh.report(name) for name in names]
    await trio.sleep(seconds)
    after = [await mesh.report(name) for name in names]
    await mesh.until(mesh.whole, 60)
    lasted = [(late["at"] - early["at"]) / 1e9 for early, late in zip(before, after, strict=True)]
    cpu = [(late["cpu"] - early["cpu"]) / s for early, late, s in zip(before, after, lasted, strict=True)]
    sent = [(_sent(late["stats"]) - _sent(early["stats"])) / s for early, late, s in zip(before, after, lasted, strict=True)]
    assert min(sent) > 10, "a node was silent"
    states = [seen.state for seen in mesh.seen[since:]]
    memory = statistics.mean(mesh.proportional_bytes(name) for name in names)
    return Watched(
        statistics.mean(cpu), statistics.mean(sent), memory, states.count("dead"), states.count("suspect"), os.getloadavg()[0]
    )


def _sent(stats: dict[str, int]) -> int:
    return stats["shell.udp_sent_bytes"] + stats.get("shell.tcp_sent_bytes", 0)


def told(what: str, text: str, reached: bool) -> None:
    print(f"  {what:<46}{text}   ({'reached' if reached else 'missed'})", flush=True)


async def measure(trip: float, sizes: tuple[int, ...] = SIZES, turns: int = KILLS, seconds: float = SECONDS) -> None:
    """All sizes side by side, at rest and under load; but kills in one mesh after the other."""
    async with AsyncExitStack() as stack:
        meshes = []
        for size in sizes:
            began = time.monotonic()
            meshes.append(await stack.enter_async_context(flock(size)))
            title(f"{size} processes: whole after {time.monotonic() - began:.1f} s")
        title(f"At rest for {seconds:.0f} s")
        for size, rest in zip(sizes, await side_by_side(meshes, seconds), strict=True):
            tell_of(size, rest)
        title(f"{turns} kills each, one after the other (load average {os.getloadavg()[0]:.1f})")
        for size, mesh in zip(sizes, meshes, strict=True):
            first, all_ = await kills(mesh, turns)
            for what, took in (("first", first), ("all", all_)):
                text = (
                    f"median {statistics.median(took) * 1000:.0f} ms, 99th {percentile(took, 99) * 1000:.0f}, "
                    f"max {max(took) * 1000:.0f}; median {statistics.median(took) / trip:.0f} x a bare UDP round trip"
                )
                told(f"{size} processes: known to {what}", text, percentile(took, 99) < KNOWN)
        title(f"Every core busy for {seconds:.0f} s")
        with burning(os.cpu_count() or 1):
            for size, busy in zip(sizes, await side_by_side(meshes, seconds), strict=True):
                tell_of(size, busy)


async def side_by_side(meshes: Sequence[Flock], seconds: float) -> list[Watched]:
    results: dict[int, Watched] = {}

    async def watch(number: int, mesh: Flock) -> None:
        results[number] = await watched(mesh, seconds)

    async with trio.open_nursery() as nursery:
        for number, mesh in enumerate(meshes):
            nursery.start_soon(watch, number, mesh)
    return [results[number] for number in range(len(meshes))]


def tell_of(size: int, of: Watched) -> None:
    told(f"{size} processes: called dead, suspected", f"{of.dead}, {of.suspect} (load average {of.load:.1f})", of.dead == 0)
    told(f"{size} processes, a node: share of a core", f"{of.cpu:.2%} (goal {IDLE_CPU:.1%})", of.cpu < IDLE_CPU)
    told(f"{size} processes, a node: bytes sent", f"{of.sent:.0f} B/s (goal {IDLE_BYTES})", of.sent < IDLE_BYTES)
    told(f"{size} processes, a node: memory (PSS)", f"{of.memory / (1 << 20):.1f} MB (goal 40)", of.memory < IDLE_MEMORY)


def main() -> None:
    trio.run(measure, round_trip())


if __name__ == "__main__":
    sizes, turns, seconds = (tuple(map(int, sys.argv[1].split(","))), int(sys.argv[2]), float(sys.argv[3]))
    trio.run(measure, round_trip(), sizes, turns, seconds)
