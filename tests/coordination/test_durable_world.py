"""Random histories of voters with disks: the same laws as without, and those of `disk_laws`."""

from __future__ import annotations

import pytest

from tests.coordination.agreed_campaign import PLAIN
from tests.coordination.disk_laws import DiskLaws
from tests.coordination.durable_campaign import durable_hunt, durable_stress
from tests.coordination.durable_faults import MEMORY_FAULTS

SEEDS = range(60)
SOAK_SEEDS = range(1_000, 4_000)
SEEDS_FOR_FAULTS = range(80)


def test_no_violation_with_disks() -> None:
    worlds = [durable_stress(seed) for seed in SEEDS]
    assert sum(world.grants for world in worlds) >= 1_500, "the histories hardly grant anything: they prove nothing"
    disks = [node.disk for world in worlds for node in world.nodes.values() if node.disk is not None]
    assert sum(disk.commits for disk in disks) > 10_000
    assert sum(disk.set_aside for disk in disks) > 5, "no process met a damaged memory"
    laws = [world.laws for world in worlds if isinstance(world.laws, DiskLaws)]
    assert sum(each.checked for each in laws) > 500, "hardly a register was compared after a restart"
    assert sum(each.quorums for each in laws) > 500, "hardly a grant was looked for on the disks"


def test_who_has_accepted_what_was_decided_takes_part_whatever_it_proposed_since() -> None:
    """Two propose at once: the second has accepted its own proposal when it learns that the first one is decided."""
    assert durable_stress(1_000_807).grants > 0


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_no_violation_with_disks_over_many_seeds() -> None:
    assert durable_hunt(SOAK_SEEDS) is None


@pytest.mark.parametrize("fault", MEMORY_FAULTS)
def test_a_planted_fault_of_memory_is_caught(fault: str) -> None:
    planted = MEMORY_FAULTS[fault]
    found = durable_hunt(SEEDS_FOR_FAULTS, planted.changes, planted.focus, PLAIN)
    assert found is not None, f"{fault}: no checker noticed in {len(SEEDS_FOR_FAULTS)} seeds"
    print(f"{fault}: {found[0] + 1} seeds, {found[1][:100]}")
