"""The campaign of replicated state with the bug of seed 188 planted back: the worked example of docs/simulation.md.

mesh simulate run tests.simulated.forwarding:FORWARDING --seed 14"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.faults import Fault
from simulations.running import Scenario
from simulations.scenarios import run_spreading
from simulations.world import SECOND, World
from tests.simulated.planted import ForwardsAnothersDot, with_parts

__all__ = ["FORWARDING"]


def forwarding(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = run_spreading(
        seed, plan, nodes=nodes, loss=0.3, writes=1_500, bound=90 * SECOND, make=with_parts(ForwardsAnothersDot), seen=seen
    )
    return done.phases.reached


FORWARDING = Scenario("tests.simulated.forwarding:FORWARDING", "C5", forwarding, nodes=8, fewest=6, duration=7 * SECOND)
