"""Conditions over time: each holds in an untouched world, and fails, at its moment, in one with a planted failure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import pytest

from coordination.assembly import build
from simulations.checkers import Always, Eventually, LeadsTo, Violation
from simulations.cluster import Build, Cluster
from simulations.faults import Faults, Isolate, Pause
from simulations.locking import Claim, Locks
from simulations.world import MS, SECOND, World
from tests.coordination.agreed_faults import FAULTS
from tests.simulated.planted import NeverCompares, with_parts, with_planted


def formed(make: Build = build, nodes: int = 3) -> Cluster:
    cluster = Cluster(World(5), nodes, expect=3, make=make)
    cluster.form()
    return cluster


# --- always ---------------------------------------------------------------------------------------------------------------


def one_holder(make: Build) -> int:
    """Two processes ask for one lock in turn; how often it was looked at."""
    cluster = formed(make)
    world, locks = cluster.world, Locks(cluster)
    looks = 0

    def at_most_one() -> bool:
        nonlocal looks
        looks += 1
        return sum(claim.believed for claim in locks.on("lock/a")) <= 1

    Always(world, "L1", at_most_one)
    for _ in range(20):
        claims = [locks.acquire(peer, "lock/a") for peer in cluster.living()]
        world.run(100 * MS)
        for claim in claims:
            locks.cancel(claim)
        world.run(100 * MS)
    return looks


def test_always_holds_at_every_look() -> None:
    assert one_holder(build) > 500


def test_always_catches_an_owner_that_gives_one_lock_to_two() -> None:
    with pytest.raises(Violation, match=r"^L1: must always hold, and does not \(seed 5, at"):
        one_holder(with_planted(FAULTS["accepts a value that loses a live identity"].changes))


def test_always_fails_at_the_step_at_which_the_condition_broke() -> None:
    cluster = formed()
    world = cluster.world
    Always(world, "C", lambda: cluster.peers["n1"].store.counter("orders") <= 2)
    cluster.peers["n1"].add("orders", 2)
    world.run(SECOND)
    with pytest.raises(Violation, match=f"at {world.now / 1e9:.6f} s"):
        cluster.peers["n1"].add("orders", 1)


@pytest.mark.parametrize("how", ["kill", "boot"])
def test_always_looks_when_a_process_dies_and_when_one_boots(how: str) -> None:
    cluster = formed()
    world = cluster.world
    if how == "boot":
        world.kill("n2")
    running = world.machines["n2"].process is not None
    Always(world, "M", lambda: (world.machines["n2"].process is not None) == running)
    with pytest.raises(Violation, match=r"^M:"):
        getattr(world, how)("n2")


# --- eventually -----------------------------------------------------------------------------------------------------------


def spread(make: Build) -> int:
    """A put on one node while another one is cut off, longer than anything that was pushed is kept."""
    cluster = formed(make, 4)
    world = cluster.world
    Faults(world).set([Isolate(0, 3 * SECOND, "n3")])
    world.run(MS)
    cluster.peers["n0"].put("key", 1)
    there = Eventually(world, "C15", lambda: cluster.peers["n3"].store.peek("key") is not None, 20 * SECOND)
    world.run(30 * SECOND)
    there.check()
    assert there.held is not None
    return there.held


def test_eventually_says_how_long_it_took() -> None:
    assert 2 * SECOND < spread(build) < 20 * SECOND


def test_eventually_catches_a_mesh_that_never_compares_what_it_has() -> None:
    with pytest.raises(Violation, match=r"^C15: did not hold within 20\.0 s .*at 2[0-9]\."):
        spread(with_parts(NeverCompares))


def test_eventually_is_not_met_by_what_comes_too_late_and_stays_met() -> None:
    cluster = formed()
    world = cluster.world
    begun = world.now
    short = Eventually(world, "C", lambda: begun + SECOND <= world.now < begun + 2 * SECOND, 3 * SECOND)
    world.run(5 * SECOND)
    short.check()
    Eventually(world, "C", lambda: world.now >= begun + 8 * SECOND, 2 * SECOND)
    with pytest.raises(Violation, match="did not hold within"):
        world.run(5 * SECOND)


def test_eventually_fails_at_the_first_look_after_its_bound_though_the_condition_holds_by_then() -> None:
    world = World(5)
    late = Eventually(world, "C", lambda: world.now > 0, SECOND)
    world.run(2 * SECOND)  # nothing runs in it: there is no look
    with pytest.raises(Violation, match="did not hold within"):
        late.check()


def test_eventually_does_not_pass_in_a_world_that_ended_too_soon() -> None:
    world = World(5)
    never = Eventually(world, "C", lambda: False, SECOND)
    world.run(SECOND // 2)
    with pytest.raises(Violation, match=r"has not held yet, after 0\.5 s"):
        never.check()


# --- leads to -------------------------------------------------------------------------------------------------------------


def answered(make: Build, *, paused: bool = False, within: int = 5 * SECOND) -> int:
    """Whoever asks is answered, also with two of three voters away; how many were."""
    cluster = formed(make, 4)
    world, locks = cluster.world, Locks(cluster)
    asked: list[Claim] = []

    def asking() -> Iterator[Claim]:
        return (claim for claim in asked if claim.state == "asking")

    def decided(claim: Hashable) -> bool:
        return isinstance(claim, Claim) and claim.state != "asking"

    told = LeadsTo(world, "L12", asking, decided, within)
    asked.append(locks.acquire(cluster.peers["n3"], "lock/a"))
    world.run(SECOND)
    locks.release(asked[0])
    world.run(SECOND)
    away = [Pause(0, 8 * SECOND, "n3")] if paused else [Isolate(0, 30 * SECOND, "n0"), Isolate(0, 30 * SECOND, "n1")]
    asked.append(locks.acquire(cluster.peers["n3"], "lock/a"))
    Faults(world).set(away)
    world.run(20 * SECOND)
    told.check()
    return told.met


def test_leads_to_counts_the_effects_that_came_in_time() -> None:
    assert answered(build) == 2


def test_leads_to_catches_a_holder_that_never_says_that_there_is_no_quorum() -> None:
    with pytest.raises(Violation, match=r"^L12: claim .* has not led to it within 5\.0 s"):
        answered(with_planted(FAULTS["never says that there is no quorum"].changes))


def test_leads_to_is_not_met_by_an_effect_that_comes_after_the_bound() -> None:
    assert answered(build, paused=True, within=10 * SECOND) == 2
    with pytest.raises(Violation, match=r"has not led to it within 5\.0 s"):
        answered(build, paused=True)


def test_leads_to_counts_from_the_first_cause_and_a_new_cause_owes_a_new_effect() -> None:
    world = World(5)
    causes: list[str] = ["a"]
    done: list[str] = []
    told = LeadsTo(world, "L", lambda: causes, lambda subject: subject in done, SECOND)
    told.look()
    world.run(SECOND)
    told.look()  # still a cause, and just in time
    done.append("a")
    told.look()
    assert told.met == 1
    causes[:], done[:] = ["a", "b"], ["b"]
    told.look()
    assert told.met == 2
    world.run(SECOND // 2)
    told.check()  # not overdue yet
    world.run(SECOND)
    with pytest.raises(Violation, match=r"^L: a has not led"):
        told.check()
