"""Real processes: how long until a killed one is known, who is wrongly accused, and what a node at rest costs.

The figures of DESIGN's table, beside the same machine's own limits. Every part checks what it measures: that the killed were
called dead and nobody else, that the mesh was whole before and after, that the idle nodes were idle members of a whole mesh."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from tests.benchmarks.figures import percentile, title
from tests.benchmarks.limits import round_trip
from tests.processes.flock import Flock, flock

__all__ = ["IDLE_BYTES", "IDLE_CPU", "IDLE_MEMORY", "KNOWN", "accusations", "burning", "idle", "kills", "main"]

SIZES = (3, 10, 30)
KILLS = 20
IDLE = 60.0
LOADED = 60.0

KNOWN = 1.0
"""Seconds until all know."""
IDLE_CPU = 0.005
IDLE_BYTES = 400
IDLE_MEMORY = 40 << 20

SETTLING = 3.0
"""Seconds until streams are woven and gossip has ended."""


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


async def accusations(mesh: Flock, seconds: float) -> tuple[int, int]:
    """(deaths, suspicions) of anyone while nothing is done to anybody; the mesh is whole in the end."""
    since = len(mesh.seen)
    await trio.sleep(seconds)
    await mesh.until(mesh.whole, 60)
    states = [seen.state for seen in mesh.seen[since:]]
    return states.count("dead"), states.count("suspect")


async def idle(mesh: Flock, seconds: float) -> tuple[float, float, float]:
    """Share of a core, bytes sent a second, and bytes of memory, a node."""
    names = list(mesh.nodes)
    await trio.sleep(2 * SETTLING)
    before = [await mesh.report(name) for name in names]
    await trio.sleep(seconds)
    after = [await mesh.report(name) for name in names]
    assert mesh.whole()
    lasted = [(late["at"] - early["at"]) / 1e9 for early, late in zip(before, after, strict=True)]
    cpu = [(late["cpu"] - early["cpu"]) / s for early, late, s in zip(before, after, lasted, strict=True)]
    sent = [(_sent(late["stats"]) - _sent(early["stats"])) / s for early, late, s in zip(before, after, lasted, strict=True)]
    assert min(sent) > 10, "a node was silent"
    return statistics.mean(cpu), statistics.mean(sent), statistics.mean(mesh.proportional_bytes(name) for name in names)


def _sent(stats: dict[str, int]) -> int:
    return stats["shell.udp_sent_bytes"] + stats.get("shell.tcp_sent_bytes", 0)


def told(what: str, text: str, reached: bool) -> None:
    print(f"  {what:<46}{text}   ({'reached' if reached else 'missed'})", flush=True)


async def measure(trip: float, sizes: tuple[int, ...] = SIZES, turns: int = KILLS, idle_for: float = IDLE) -> None:
    cores = os.cpu_count() or 1
    for size in sizes:
        title(f"{size} processes (load average {os.getloadavg()[0]:.1f})")
        began = time.monotonic()
        async with flock(size) as mesh:
            print(f"  whole after {time.monotonic() - began:.1f} s", flush=True)
            cpu, sent, memory = await idle(mesh, idle_for)
            told("idle, a node: share of a core", f"{cpu:.2%} (goal {IDLE_CPU:.1%})", cpu < IDLE_CPU)
            told("idle, a node: bytes sent", f"{sent:.0f} B/s (goal {IDLE_BYTES})", sent < IDLE_BYTES)
            told("idle, a node: memory (PSS)", f"{memory / (1 << 20):.1f} MB (goal 40)", memory < IDLE_MEMORY)
            first, all_ = await kills(mesh, turns)
            for what, took in (("first", first), ("all", all_)):
                text = (
                    f"median {statistics.median(took) * 1000:.0f} ms, 99th {percentile(took, 99) * 1000:.0f}, "
                    f"max {max(took) * 1000:.0f}; median {statistics.median(took) / trip:.0f} x a bare UDP round trip"
                )
                told(f"{turns} kills: known to {what}", text, percentile(took, 99) < KNOWN)
            dead, suspect = await accusations(mesh, idle_for)
            told(f"idle {idle_for:.0f} s: called dead, suspected", f"{dead}, {suspect}", dead == 0)
            with burning(cores):
                dead, suspect = await accusations(mesh, LOADED if idle_for == IDLE else idle_for)
            told(f"every core busy {idle_for:.0f} s: called dead, suspected", f"{dead}, {suspect}", dead == 0)


def main() -> None:
    trio.run(measure, round_trip())


if __name__ == "__main__":
    sizes, turns, idle_for = (tuple(map(int, sys.argv[1].split(","))), int(sys.argv[2]), float(sys.argv[3]))
    trio.run(measure, round_trip(), sizes, turns, idle_for)
