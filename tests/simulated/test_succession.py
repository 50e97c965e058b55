"""Whole nodes whose roster changes: the scenario `roster`."""

from __future__ import annotations

from itertools import pairwise

import pytest

from coordination.agreed.vocabulary.events import Granted, RosterDecided
from mesh.directives import Event
from simulations.checkers import Violation
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.registry import find
from simulations.scenarios.succession import ROSTER_DURATION, OneRoster, run_succession
from simulations.world import SECOND, World

SEEDS = range(3)
TWO_OF_THREE_WIPED = 1
"""A hostile plan that takes their disks from two founders at once."""
SOAK_SEEDS = range(100)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_voters_are_replaced_on_a_flaky_network(seed: int) -> None:
    result = find("roster").run(seed)
    assert result.violation is None
    assert result.reached["replaced"] == 4 and result.reached["grants"] > 100


def test_a_roster_that_is_lost_serves_again_once_it_is_reset() -> None:
    result = find("roster").run(TWO_OF_THREE_WIPED, profile="hostile")
    assert result.violation is None
    assert result.reached["resets"] == 1 and result.reached["epochs"] == 1, "it was not lost"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", ["calm", "flaky"])
def test_no_rule_is_broken_while_machines_keep_their_disks(profile: str) -> None:
    for seed in SOAK_SEEDS:
        result = find("roster").run(seed, profile=profile)
        assert result.violation is None, result.violation
        assert "resets" not in result.reached, f"seed {seed}: the roster was lost, and no disk was"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", ["hostile", "disks"])
def test_no_rule_is_broken_also_if_the_roster_is_lost(profile: str) -> None:
    """Where a majority of the disks are wiped no lock is granted, by design, until an operator has reset the roster."""
    resets = 0
    for seed in SOAK_SEEDS:
        result = find("roster").run(seed, profile=profile)
        assert result.violation is None, result.violation
        resets += result.reached.get("resets", 0)
    assert resets < len(SOAK_SEEDS) // 3, "a lost roster is the exception"


def test_locks_are_granted_throughout() -> None:
    """The longest time without a grant is that of a lock whose holder was killed."""
    times = [0]
    worlds: list[World] = []

    class Grants(Observer):
        def published(self, process: Process, event: Event) -> None:
            if isinstance(event, Granted) and worlds[0].now < ROSTER_DURATION:
                times.append(worlds[0].now)

    def watch(world: World) -> None:
        worlds.append(world)
        world.observe(Grants())

    done = run_succession(11, [], seen=watch)
    assert done.rosters.newest.epoch >= 7
    assert len(times) > 100
    assert max(later - earlier for earlier, later in pairwise(times)) < 5 * SECOND


def test_two_rosters_of_one_epoch_are_noticed() -> None:
    done = run_succession(12, [])
    one = OneRoster(World(1))
    process = done.world.machines["n1"].process
    assert process is not None
    first = done.rosters.decided[1]
    one.published(process, RosterDecided(first))
    with pytest.raises(Violation, match="L11"):
        one.published(process, RosterDecided(first._replace(voters=("n1", "n2"))))
