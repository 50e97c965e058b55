"""No two faults exclude each other: any two kinds may overlap, and leave nothing behind."""

from __future__ import annotations

import pytest

from simulations.faults import Fault, Faults
from simulations.network.network import Conditions
from simulations.plans.plans import KINDS, random_plan
from simulations.world import MS, SECOND, World
from tests.simulated.fake import build_fakes

NAMES = ["a", "b", "c", "d"]


def two(one: type[Fault], other: type[Fault], seed: int) -> list[Fault]:
    return [random_plan(seed + number, NAMES, 1, SECOND, kinds=[kind])[0] for number, kind in enumerate((one, other))]


@pytest.mark.parametrize("one", KINDS)
def test_any_two_faults_overlap_and_leave_nothing_behind(one: type[Fault]) -> None:
    for number, other in enumerate(KINDS):
        world = World(number, conditions=Conditions((MS, MS)))
        nodes = build_fakes(world, *NAMES)
        faults = Faults(world)
        faults.set(two(one, other, number))
        for turn in range(40):
            for name, node in nodes.items():
                if node.process.running:
                    for far in NAMES:
                        node.send(world.machines[far].address, bytes(300))
                    node.dial(2 * turn + 2, world.machines[NAMES[turn % 4]].address)
                    node.write(2 * turn, name.encode() * 500)
                    node.arm(20 * MS)
            world.run(30 * MS)
        faults.heal()
        world.run(60 * SECOND)
        assert faults.begun[one.__name__] + faults.begun[other.__name__] == (2 if one is not other else 4)
        for node in nodes.values():
            assert node.process.running
            assert not node.process.holds
            assert not node.timers
            assert node.process.datagrams.held == 0
            node.seen.clear()
        for node in nodes.values():
            for far in NAMES:
                node.send(world.machines[far].address, b"well")
        world.run(2 * MS)
        assert [len(node.of("datagram")) for node in nodes.values()] == [4] * 4, (one, other)
