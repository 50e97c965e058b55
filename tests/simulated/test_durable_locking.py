"""Whole nodes with voters that keep their promises on disk, and what becomes of locks if a disk forgets in silence."""

from __future__ import annotations

from functools import partial

import pytest

from mesh.outputs import Commit
from simulations.checkers import Exclusion, Violation
from simulations.cluster import Cluster
from simulations.faults import Blackout, Crash, Damage, Fault, Faults, FullDisk, Isolate, OldDisk, SlowDisk, Torn, WallStep
from simulations.locking import Locks
from simulations.machine.disk import Disk
from simulations.plans.plan_json import dump_plan, load_plan
from simulations.registry import find
from simulations.scenarios.scenarios import SHORT_TERMS
from simulations.schedule import Schedule
from simulations.world import MS, SECOND, World

SEEDS = range(12)
SOAK_SEEDS = range(1_000)


def test_locks_are_safe_and_live_on_disks() -> None:
    scenario = find("durable-locking")
    results = [scenario.run(seed) for seed in SEEDS]
    assert [result.violation for result in results if result.violation] == []
    for what in scenario.sometimes:
        assert sum(result.reached.get(what, 0) for result in results), f"{what} was never reached"
    again = scenario.run(SEEDS[3])
    assert again.digest == results[3].digest


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_locks_are_safe_and_live_on_disks_over_many_seeds() -> None:
    scenario = find("durable-locking")
    broken = [(seed, result.violation) for seed in SOAK_SEEDS if (result := scenario.run(seed)).violation]
    assert broken == []


def held_through(seed: int, *plan: Fault) -> Locks:
    """n3, which does not vote, holds a lock of three voters through a plan; then n0 asks for it, for two seconds.

    Raises Violation if both believe."""
    world = World(seed)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS, durable=True)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    world.run(500 * MS)
    Faults(world).set(plan)
    world.run(500 * MS)
    claim = locks.acquire(cluster.peer("n3"), "lock/a", ttl=3 * SECOND)
    assert world.run_until(lambda: claim.state == "held", SECOND) is not None
    world.run(2_600 * MS)
    assert claim.believed
    for _ in range(10):
        world.run(200 * MS)
        peer = cluster.peers["n0"]
        if peer.process.running and not locks.of(peer.process):
            locks.acquire(peer, "lock/a", ttl=SECOND)
    return locks


AWAY = (Isolate(3_000 * MS, 4 * SECOND, "n3"), Crash(3_000 * MS, 4 * SECOND, "n2"))
"""The holder, which has just renewed, and one voter are cut off from the two others."""


def test_two_voters_with_old_disks_grant_what_is_held() -> None:
    """What a disk that was restored from a backup does; so it must be emptied. Not a fault that a mesh could survive."""
    with pytest.raises(Violation, match=r"^L1"):
        held_through(1, OldDisk(100 * MS, 3_000 * MS, "n0"), OldDisk(100 * MS, 3_000 * MS, "n1"), *AWAY)


@pytest.mark.parametrize("restart", [Crash, Damage])
def test_two_voters_that_remember_or_know_that_they_do_not_grant_nothing(restart: type[Crash] | type[Damage]) -> None:
    locks = held_through(1, restart(3_100 * MS, 0, "n0"), restart(3_100 * MS, 0, "n1"), *AWAY)
    assert locks.grants == 1


def test_everyone_restarts_at_once_twice_and_locks_are_had_at_once() -> None:
    world = World(5)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS, durable=True)
    cluster.form()
    locks = Locks(cluster)
    everyone = tuple(cluster.names)
    Faults(world).set([Blackout(SECOND, 500 * MS, everyone), Blackout(1_600 * MS, 500 * MS, everyone)])
    world.run(2_200 * MS)
    claim = locks.acquire(cluster.peer("n1"), "lock/a")
    took = world.run_until(lambda: claim.state == "held", 10 * SECOND)
    assert took is not None and took < SECOND, "a voter with memory does not abstain"


def test_boots_rise_though_every_clock_goes_back_a_day() -> None:
    """Nobody is left who could tell of the earlier ones; and the clock itself is not dragged ahead."""
    world = World(7)
    cluster = Cluster(world, 3, parameters=SHORT_TERMS, durable=True)
    cluster.form()
    world.run(SECOND)
    before = {name: cluster.peer(name).assembly.identity.boot.stamp for name in cluster.names}
    Faults(world).set([WallStep(100 * MS, 60 * SECOND, name, -86_400_000) for name in cluster.names])
    Faults(world).set([Blackout(200 * MS, 500 * MS, tuple(cluster.names))])
    world.run(3 * SECOND)
    for name in cluster.names:
        peer = cluster.peer(name)
        assert peer.process.boot == 2
        assert peer.assembly.identity.boot.stamp > before[name]
        assert peer.assembly.clock.read(peer.process.instant()) < before[name]


def test_a_full_disk_makes_a_voter_silent_and_it_says_why() -> None:
    world = World(6)
    cluster = Cluster(world, 3, parameters=SHORT_TERMS, durable=True)
    cluster.form()
    locks = Locks(cluster)
    two = [FullDisk(0, 10 * SECOND, name) for name in ("n1", "n2")]
    Faults(world).set(two)
    world.run(100 * MS)
    claim = locks.acquire(cluster.peer("n0"), "lock/a")
    assert world.run_until(lambda: claim.state == "unavailable", 6 * SECOND) is not None, "one of three has granted, or hangs"
    memory = cluster.peer("n1").assembly.node.stats()
    assert memory["node.failed_commits"] > 3
    world.run(9 * SECOND)
    claim = locks.acquire(cluster.peer("n0"), "lock/a")
    assert world.run_until(lambda: claim.state == "held", 3 * SECOND) is not None


# --- the disk itself --------------------------------------------------------------------------------------------------


def batch(number: int, value: bytes) -> Commit:
    return Commit(number, (("t", b"a", value), ("t", b"b", value)))


def note(done: list[tuple[int, str]], number: int, error: str) -> None:
    done.append((number, error))


def test_what_is_acknowledged_stays_and_the_last_batch_is_whole_or_absent() -> None:
    outcomes = set()
    for seed in range(20):
        schedule = Schedule()
        disk = Disk(schedule, seed)
        done: list[tuple[int, str]] = []
        disk.take(batch(1, b"1"), partial(note, done))
        schedule.run_to(SECOND)
        assert done == [(1, "")]
        disk.take(batch(2, b"2"), partial(note, done))
        disk.torn()
        schedule.run_to(2 * SECOND)
        assert done == [(1, "")], "nobody is there to be told"
        rows = disk.open()["t"]
        assert rows[b"a"] == rows[b"b"]
        outcomes.add(rows[b"a"])
    assert outcomes == {b"1", b"2"}


def test_a_disk_serves_whoever_waits_for_it() -> None:
    disk = Disk(Schedule(), 1)
    disk.commit(Commit(1, (("table", b"key", b"value"),)))
    assert disk.row("table", b"key") == b"value"
    disk.full += 1
    with pytest.raises(OSError, match="full"):
        disk.commit(Commit(2, (("table", b"key", b"newer"),)))
    assert (disk.row("table", b"key"), disk.commits, disk.failures) == (b"value", 1, 1)


def test_full_slow_damaged_and_restored_disks() -> None:
    schedule = Schedule()
    disk = Disk(schedule, 1)
    done: list[tuple[int, str]] = []

    def commit(number: int, value: bytes) -> None:
        disk.take(batch(number, value), partial(note, done))

    commit(1, b"1")
    schedule.run_to(SECOND)
    backup = disk.snapshot()
    disk.slower[7] = SECOND
    commit(2, b"2")
    schedule.run_to(1_900 * MS)
    assert len(done) == 1
    schedule.run_to(3 * SECOND)
    disk.full += 1
    commit(3, b"3")
    schedule.run_to(5 * SECOND)
    assert done == [(1, ""), (2, ""), (3, "the disk is full")] and disk.row("t", b"a") == b"2"
    disk.restore(backup)
    assert disk.row("t", b"a") == b"1"
    disk.damaged = True
    assert disk.open() == {} and disk.set_aside == 1
    assert disk.open() == {} and disk.set_aside == 1


def test_plans_with_disks_are_saved() -> None:
    plan: list[Fault] = [SlowDisk(1, 2, "a", 3), Blackout(1, 2, ("a", "b"))]
    plan += [kind(1, 2, "a") for kind in (FullDisk, Torn, Damage, OldDisk)]
    assert load_plan(dump_plan(plan), ["a", "b"]) == plan
