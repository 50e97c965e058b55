"""The simulated world: events a second, and how much faster than real time whole nodes live in it."""

from __future__ import annotations

import time
from heapq import heappop, heappush

from simulations import SECOND, Cluster, World
from simulations.checkers import agree
from tests.benchmarks.figures import rate, title

__all__ = ["main"]

SIZES: tuple[tuple[int, int, float | None], ...] = ((10, 60, None), (100, 20, 20.0))
"""Nodes, virtual seconds, and how many times faster than real time the design wants it."""


def heap_events(count: int) -> float:
    """Events a second of a bare heap whose handlers do nothing."""
    heap: list[tuple[int, int]] = [(n, n) for n in range(1000)]
    done = 0
    began = time.perf_counter()
    for n in range(1000, count):
        at, _ = heappop(heap)
        done += at >= 0
        heappush(heap, (n, n))
    took = time.perf_counter() - began
    assert done == count - 1000
    return count / took


def live(nodes: int, seconds: int, *, writing: bool) -> tuple[float, float]:
    """(events a second, virtual seconds a second) of a settled mesh, idle or with a key written a second."""
    world = World(nodes)
    cluster = Cluster(world, nodes)
    cluster.form()
    world.run(30 * SECOND)
    before = world.schedule.performed
    began = time.perf_counter()
    for second in range(seconds):
        if writing:
            cluster.living()[second % nodes].put("key", second)
        world.run(SECOND)
    took = time.perf_counter() - began
    events = world.schedule.performed - before
    assert world.run_until(lambda: agree(cluster.living()), 30 * SECOND) is not None, "the stores differ"
    assert cluster.whole(), "the mesh is not whole"
    return events / took, seconds / took


def main() -> None:
    title("The simulated world, whole nodes, every message encoded and sealed")
    limit = heap_events(500_000)
    for nodes, seconds, goal in SIZES:
        for writing in (False, True):
            what = f"{nodes} nodes, {'one write a second' if writing else 'idle'}"
            events, speed = live(nodes, seconds, writing=writing)
            rate(f"{what}: events", events, None, limit, "a bare heap")
            rate(f"{what}: virtual seconds", speed, goal, 1.0, "real time")
