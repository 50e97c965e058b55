"""The simulated world: events a second, and how much faster than real time whole nodes live in it."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import NamedTuple

from simulations import MS, SECOND, Cluster, World
from simulations.checkers import agree
from simulations.sweeps.workers import GARBAGE
from tests.benchmarks.figures import rate, title
from tests.benchmarks.limits import heap_events

__all__ = ["main", "thousand"]


class Size(NamedTuple):
    nodes: int
    seconds: int
    """Virtual ones, measured."""
    goal: float | None
    """How many times faster than real time the design wants it."""
    encoded: tuple[bool, ...]


SMALL = (Size(10, 60, None, (True, False)), Size(100, 20, 20.0, (True, False)))
THOUSAND = (Size(1_000, 5, 1.0, (False,)),)


def live(cluster: Cluster, seconds: int, *, writing: bool) -> tuple[float, float]:
    """(events a second, virtual seconds a second) of a settled mesh, idle or with a key written a second."""
    world = cluster.world
    before = world.schedule.performed
    began = time.perf_counter()
    for second in range(seconds):
        if writing:
            cluster.living()[second % len(cluster.names)].put("key", second)
        world.run(SECOND)
    took = time.perf_counter() - began
    events = world.schedule.performed - before
    assert world.run_until(lambda: agree(cluster.living()), 30 * SECOND) is not None, "the stores differ"
    assert cluster.whole(), "the mesh is not whole"
    return events / took, seconds / took


def kill(cluster: Cluster) -> tuple[float, float]:
    """(virtual seconds until all know of a death, virtual seconds a second until then)."""
    world, victim = cluster.world, cluster.names[-1]
    world.kill(victim)
    began = time.perf_counter()
    took = world.run_until(
        lambda: all(not peer.assembly.membership.is_alive(victim) for peer in cluster.living()), 60 * SECOND, 100 * MS
    )
    assert took is not None, "not everyone knows of a death"
    assert all(len(peer.assembly.membership.names_alive()) == len(cluster.names) - 1 for peer in cluster.living())
    return took / SECOND, took / SECOND / (time.perf_counter() - began)


def main() -> None:
    title("The simulated world, whole nodes")
    measure(SMALL)


def thousand() -> None:
    title("The simulated world, a thousand whole nodes (to form them takes minutes)")
    measure(THOUSAND)


def measure(sizes: Sequence[Size]) -> None:
    limit = heap_events(500_000)
    gc.set_threshold(GARBAGE, 20, 10)  # as in the workers of a sweep
    for size in sizes:
        for encoded in size.encoded:
            how = f"{size.nodes:,} nodes, {'sealed' if encoded else 'not encoded'}"
            cluster = Cluster(World(size.nodes), size.nodes, encoded=encoded)
            began = time.perf_counter()
            cluster.form()
            print(f"  {how}: formed in {time.perf_counter() - began:.1f} s", flush=True)
            cluster.world.run(30 * SECOND)
            gc.collect()
            gc.freeze()  # what stays need not be looked through again and again
            for writing in (False, True):
                what = f"{how}, {'one write a second' if writing else 'idle'}"
                events, speed = live(cluster, size.seconds, writing=writing)
                rate(f"{what}: events", events, None, limit, "a bare heap")
                rate(f"{what}: virtual seconds", speed, size.goal, 1.0, "real time")
            known, speed = kill(cluster)
            rate(f"{how}, a death ({known:.1f} s): virtual seconds", speed, None, 1.0, "real time")
            gc.unfreeze()
