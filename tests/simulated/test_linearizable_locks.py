"""The locks of a whole mesh are those of a mutex with rising tokens (L1, L2), and the checker shows what they are not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from coordination.assembly import build
from simulations.checkers import RecordedLocks, Violation
from simulations.cluster import Build, Cluster
from simulations.faults import Fault, Faults, Pause, Suspend, WallStep
from simulations.locking import Locks, LockUser
from simulations.plans.plans import random_plan
from simulations.scenarios.scenarios import SHORT_TERMS
from simulations.world import SECOND, World
from tests.coordination.agreed_faults import FAULTS
from tests.simulated.planted import with_planted


def recorded(seed: int, make: Build = build, plan: Sequence[Fault] | None = None) -> RecordedLocks:
    """Eight users of one or two locks, under faults of every kind or of this plan."""
    world = World(seed)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS, make=make)
    cluster.form()
    locks = Locks(cluster)
    history = RecordedLocks(locks)
    for name in cluster.names:
        for number in range(2):
            LockUser(locks, name, ["lock/a", "lock/b"][: 1 + seed % 2], number, world.now + 20 * SECOND)
    injector = Faults(world)
    injector.set(random_plan(seed, cluster.names, 25, 20 * SECOND) if plan is None else plan)
    world.run(20 * SECOND)
    return history


CLOCKS_APART: list[Fault] = [
    *[WallStep(0, 20 * SECOND, name, ms) for name, ms in (("n0", 240), ("n1", -240), ("n2", -240))],
    *[Pause((2 + 3 * turn) * SECOND // 2, SECOND * 6 // 10, f"n{turn % 3}") for turn in range(12)],
]
"""Wall clocks that are as far apart as is allowed, and owners that give way to each other within less than that."""


def test_l1_l2_the_locks_of_a_mesh_are_those_of_a_mutex_with_rising_tokens() -> None:
    operations = []
    for seed in range(8):
        history = recorded(seed)
        history.check()
        operations += list(history)
        recorded(seed, plan=CLOCKS_APART).check()
    names = [each.name for each in operations]
    assert names.count("acquire") > 200
    assert names.count("release") > 50
    assert names.count("lapse") > 50


def test_a_belief_that_ran_out_while_its_machine_slept_ended_in_its_time_not_when_that_woke() -> None:
    """Found by seed 203: the next holder was called a second one."""
    world = World(1)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS)
    cluster.form()
    locks = Locks(cluster)
    history = RecordedLocks(locks)
    first = locks.acquire(cluster.peers["n3"], "lock/a", ttl=SECOND, renew=False)
    assert world.run_until(lambda: first.state == "held", SECOND) is not None
    Faults(world).set([Suspend(SECOND // 5, 20 * SECOND, "n3")])
    world.run(SECOND // 2)
    second = locks.acquire(cluster.peers["n0"], "lock/a")
    assert world.run_until(lambda: second.state == "held", 2 * SECOND) is not None
    world.run(25 * SECOND)
    assert first.state == "ended"
    history.check()
    _, lapse, acquire, _ = history
    assert (lapse.name, acquire.name) == ("lapse", "acquire")
    assert acquire.returned is not None
    assert acquire.returned - SECOND // 20 < lapse.invoked < acquire.returned


@pytest.mark.parametrize(
    "fault",
    ["accepts a value that loses a live identity", "the owner takes one answer for a quorum", "token from the clock alone"],
)
def test_l1_l2_catch_a_mesh_in_which_a_rule_is_broken(fault: str) -> None:
    plan = CLOCKS_APART if "clock" in fault else None
    for seed in range(16):
        history = recorded(seed, with_planted(FAULTS[fault].changes), plan)
        try:
            history.check()
        except Violation as violation:
            assert str(violation).startswith("L1/L2: the history of 'lock/")
            assert "cannot be linearized" in str(violation)
            return
    pytest.fail("not caught")
