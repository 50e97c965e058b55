"""Random histories of voters with disks: the same laws as without, and none of them abstains for a crash."""

from __future__ import annotations

import pytest

from tests.coordination.durable_campaign import durable_hunt, durable_stress

SEEDS = range(120)
SOAK_SEEDS = range(1_000, 4_000)


def test_no_violation_with_disks() -> None:
    worlds = [durable_stress(seed) for seed in SEEDS]
    assert sum(world.grants for world in worlds) >= 3_000, "the histories hardly grant anything: they prove nothing"
    disks = [node.disk for world in worlds for node in world.nodes.values() if node.disk is not None]
    assert sum(disk.commits for disk in disks) > 10_000
    assert sum(disk.set_aside for disk in disks) > 5, "no process met a damaged memory"


@pytest.mark.soak
def test_no_violation_with_disks_over_many_seeds() -> None:
    assert durable_hunt(SOAK_SEEDS) is None
