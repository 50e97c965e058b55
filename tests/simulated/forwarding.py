"""The worked example of docs/simulation.md, small enough to be read: the bug that `run_spreading` found with seed 188, planted
back into six nodes, two of which write three values at the worst moments.

    mesh simulate replay tests/simulated/forwarding.json"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crdt.clock import Instant
from mesh.directives import Directives, Event
from mesh.replication import Mending
from simulations.cluster import Build, Cluster
from simulations.faults import Fault, Isolate, Weather
from simulations.network.network import Conditions
from simulations.phases import Phases
from simulations.running import Scenario
from simulations.world import MS, SECOND, World
from tests.simulated.planted import ForwardsAnothersDot, with_parts

__all__ = ["FORWARDING", "PLAN", "write_at_bad_moments"]

PLAN: list[Fault] = [
    Isolate(100 * MS, 100 * MS, "n0"),  # nobody hears of its first value
    Weather(
        200 * MS, 100 * MS, Conditions((60 * MS, 60 * MS)), targets=("n0",)
    ),  # what n1 says arrives when it has written again
    Isolate(200 * MS, 50 * MS, "n5"),  # of which n5 has not heard by then
]


def write_at_bad_moments(
    make: Build, seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    world = World(seed)
    seen(world)
    cluster = Cluster(world, nodes, make=make)
    cluster.form()
    world.run(SECOND)
    phases = Phases(cluster, plan, SECOND)
    for at, name, key in ((50, "n1", "price"), (150, "n0", "stock"), (205, "n1", "price"), (225, "n0", "price")):
        world.after(at * MS, cluster.peers[name].put, key, at)
    phases.heal()
    phases.converge(10 * SECOND)
    return phases.reached


class MendsNothing(Mending):
    """As it was when the bug was found: else the store is mended before it is judged."""

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()


def forwarding(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    return write_at_bad_moments(with_parts(ForwardsAnothersDot, MendsNothing), seed, plan, nodes, seen)


FORWARDING = Scenario("tests.simulated.forwarding:FORWARDING", "C5", forwarding, nodes=6, fewest=6, duration=SECOND)
