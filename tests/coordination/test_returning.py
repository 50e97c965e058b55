"""Histories in which voters come back without memory, and vote early; and those that found anew by an operator's word."""

from __future__ import annotations

import pytest

from tests.coordination.agreed_world import MS, S, Worker, World
from tests.coordination.reader_hall import KEY
from tests.coordination.returning_campaign import ReturningCampaign, relayed, returned, returning_hunt, returning_stress
from tests.coordination.returning_faults import RETURN_FAULTS

SEEDS = 40


def test_histories_of_voters_that_come_back_early() -> None:
    """Of fixed rosters, half of them without gossip of restarts."""
    read = grants = 0
    for seed in range(SEEDS):
        world = returning_stress(seed)
        read += returned(world)["tables_read"]
        grants += world.grants
    assert read > SEEDS
    assert grants > 20 * SEEDS


def test_a_lock_is_kept_over_those_that_forget_it_in_turn() -> None:
    for seed in range(40):
        relayed(seed)


def held_behind_a_partition(*, durable: bool = False) -> tuple[World, Worker]:
    """A member that holds a lock, and that neither of the two voters hears any more."""
    world = World(1, voters=2, clients=1, durable=durable)
    assert world.run_until(world.founded, 10 * S)
    holder = world.acquire("n2", KEY, ttl=3 * S)
    assert world.run_until(lambda: holder.state == "held", S)
    world.isolate("n2")
    return world, holder


def test_the_word_of_one_operator_gives_two_voters_no_memory() -> None:
    """Both have lost the roster and found anew, one of them wrongly `fresh`; a lock lives on behind a partition."""
    assert ReturningCampaign(1_002_646).run().voters == 2
    world, holder = held_behind_a_partition()
    for name in ("n0", "n1"):
        world.crash(name)
        world.start(name, fresh=name == "n0")
    assert world.run_until(world.founded, S)
    other = world.acquire("n0", KEY, ttl=S)
    world.run(2 * S)
    assert world.valid(holder) and other.state != "held"


def test_nor_does_it_give_a_memory_to_the_next_process_on_its_disk() -> None:
    """The same, and who was wrongly `fresh` restarts at once: the other voter would read from it that nothing is held."""
    world, holder = held_behind_a_partition(durable=True)
    for name in ("n0", "n1"):
        world.crash(name)
        disk = world.nodes[name].disk
        assert disk is not None and world.laws is not None
        disk.wipe()
        world.laws.lost(name)
        world.start(name, fresh=name == "n0")
    assert world.run_until(world.founded, S)
    world.run(100 * MS)
    world.crash("n0")
    world.start("n0")
    other = world.acquire("n0", KEY, ttl=S)
    world.run(2 * S)
    assert world.valid(holder) or other.state != "held"
    world.run(3 * S)
    assert other.state == "held"


def test_who_founds_anew_by_an_operators_word_has_a_whole_memory() -> None:
    """Both voters have lost their disks at once, and one of them says `fresh`: no law of disks is broken by that (D3)."""
    assert returning_stress(20_091, durable=True).grants


@pytest.mark.parametrize("fault", RETURN_FAULTS)
def test_planted_fault_is_found(fault: str) -> None:
    changes, within = RETURN_FAULTS[fault]
    assert returning_hunt(range(within), changes) is not None, f"{fault}: not found within {within} seeds"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(10_000, 14_000, 1_000))
def test_thousands_of_histories(first: int) -> None:
    for seed in range(first, first + 1_000):
        returning_stress(seed)
    for seed in range(first, first + 200):
        returning_stress(seed, durable=True)
