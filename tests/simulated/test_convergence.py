"""Twenty nodes, 20 % loss, a partition and a crash: all stores are equal in the end (C2, C5, C13, C15, M1, M19, W6)."""

from __future__ import annotations

from random import Random

import pytest

from simulations.dice import seed_of
from simulations.faults import Crash, Fault, Partition
from simulations.scenarios.scenarios import run_spreading
from simulations.world import SECOND

NODES = 20
LONGEST = 60 * SECOND


def partition_and_crash(seed: int, nodes: int = NODES) -> list[Fault]:
    """Each begins in the first seconds and may outlast the writing; who crashes may be on either side."""
    dice = Random(seed_of(seed, "partition and crash"))
    names = [f"n{number}" for number in range(nodes)]
    side = tuple(sorted(dice.sample(names, dice.randint(1, nodes // 2))))
    return [
        Partition(dice.randrange(2 * SECOND), dice.randrange(2 * SECOND, 5 * SECOND), side),
        Crash(dice.randrange(4 * SECOND), dice.randrange(3 * SECOND), dice.choice(names), wipe=True),
    ]


def campaign(seeds: range) -> None:
    for seed in seeds:
        done = run_spreading(seed, partition_and_crash(seed), nodes=NODES)
        assert done.world.now <= LONGEST
        assert done.phases.faults.begun == {"Partition": 1, "Crash": 1}
        assert sum(peer.store.revision for peer in done.cluster.living()) > 200


@pytest.mark.parametrize("first", range(0, 200, 10))
def test_all_stores_are_equal_after_loss_a_partition_and_a_crash(first: int) -> None:
    campaign(range(first, first + 10))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1_000, 6_000, 100))
def test_many_more_seeds(first: int) -> None:
    campaign(range(first, first + 100))
