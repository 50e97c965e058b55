"""A checker that never fails is a defect: each fails here for a rule that was broken on purpose, and for that rule alone.

The same runs with the untouched node pass in the other tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coordination.agreed.vocabulary.roster import Parameters, RosterValue
from crdt.change import ChangeKind
from crdt.store import Store
from mesh.membership import LAN, MemberChanged, State
from mesh.membership.actions import Actions
from mesh.replication import Replication
from mesh.seal import Seal
from simulations.checkers import Exclusion, Members, Nonces, Sums, Violation, WatchFold, agree
from simulations.cluster import Build, Cluster
from simulations.faults import Crash, Fault, Faults, Isolate, Partition, WallStep
from simulations.locking import Locks
from simulations.plans.plans import KINDS, random_plan
from simulations.scenarios.scenarios import run_locking, run_spreading
from simulations.world import MS, SECOND, World
from tests.coordination.agreed_faults import FAULTS
from tests.simulated.planted import (
    ForgetsPromises,
    NeverCompares,
    NeverWarns,
    RaisesEarly,
    same_actor,
    with_parts,
    with_planted,
    zero_salts,
)
from tests.simulated.test_convergence import partition_and_crash

LAST = 40


def first_violation(run: Callable[[int], Any], seeds: range = range(LAST)) -> str:
    """What the first seed that fails says."""
    for seed in seeds:
        try:
            run(seed)
        except Violation as violation:
            return str(violation)
    return "none"


def locking(make: Build, kinds: Sequence[type[Fault]] = KINDS) -> Callable[[int], Any]:
    """A campaign under faults of these kinds: what a planted fault needs is found sooner where nothing else is about."""

    def run(seed: int) -> Any:
        plan = random_plan(seed, [f"n{number}" for number in range(4)], 25, 20 * SECOND, kinds=kinds)
        return run_locking(seed, make=make, duration=20 * SECOND, plan=plan)

    return run


def spreading(make: Build) -> Callable[[int], Any]:
    return lambda seed: run_spreading(seed, partition_and_crash(seed, 8), nodes=8, make=make)


# --- locks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kinds", "first", "laws"),
    [
        ("the owner takes one answer for a quorum", (Partition, Isolate), 0, ("L1", "L2")),
        ("accepts a value that loses a live identity", (Partition, Isolate), 0, ("L1",)),
        ("token from the clock alone", (Partition, Isolate, WallStep), 0, ("L2",)),
        ("re-accept resets until", (Crash, Isolate), 46, ("L12",)),
    ],
)
def test_campaigns_catch(fault: str, kinds: tuple[type[Fault], ...], first: int, laws: tuple[str, ...]) -> None:
    seeds = range(first, first + LAST)
    assert first_violation(locking(with_planted(FAULTS[fault].changes), kinds), seeds).startswith(laws)


def restart_of_a_quorum(make: Build) -> None:
    """The holder and one voter are cut off, the other two voters start again without memory, and somebody else asks."""
    world = World(1)
    cluster = Cluster(world, 5, expect=3, parameters=Parameters(max_ttl=60 * SECOND), make=make)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    held = locks.acquire(cluster.peers["n3"], "lock/a", ttl=55 * SECOND)
    assert world.run_until(lambda: held.state == "held", SECOND) is not None
    world.run(16 * SECOND)
    Faults(world).set(
        [Isolate(0, 200 * SECOND, "n2"), Isolate(0, 200 * SECOND, "n3"), Crash(MS, 0, "n0"), Crash(2 * MS, 0, "n1")]
    )
    world.run(10 * MS)
    end = world.now + 120 * SECOND
    other = locks.acquire(cluster.peers["n4"], "lock/a", ttl=SECOND)
    while other.state != "held":
        assert world.now < end
        assert held.state in ("held", "ended")
        if other.state == "unavailable":
            other = locks.acquire(cluster.peers["n4"], "lock/a", ttl=SECOND)
        world.run(10 * MS)


def test_l1_catches_an_acceptor_that_forgets_its_promises_and_votes_at_once() -> None:
    with pytest.raises(Violation, match=r"^L1"):
        restart_of_a_quorum(with_parts(ForgetsPromises))


def test_a_quorum_that_starts_again_without_memory_waits_until_nobody_can_hold() -> None:
    restart_of_a_quorum(with_parts())


def test_l1_catches_a_holder_that_believes_for_longer_than_its_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RosterValue, "believed", lambda self, term: term * 13 // 10)
    assert first_violation(locking(with_parts())).startswith(("L1", "L4"))


def test_l4_catches_a_holder_that_does_not_tell_its_body() -> None:
    assert first_violation(locking(with_parts(NeverWarns))).startswith("L4")


def test_l2_catches_tokens_that_follow_a_wall_clock_set_back_over_a_restart_without_memory() -> None:
    world = World(1)
    cluster = Cluster(world, 3, parameters=Parameters(max_ttl=3 * SECOND))
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)

    def take() -> None:
        claim = locks.acquire(cluster.peers["n0"], "lock/a")
        assert world.run_until(lambda: claim.state == "held", 5 * SECOND, MS) is not None
        locks.release(claim)
        world.run(SECOND)

    take()
    take()
    cluster.fresh = True  # which the operator must not say: leases of this mesh were alive
    for name in cluster.names:
        world.kill(name)
        world.machines[name].clocks.step_wall(-60_000)
    for name in cluster.names:
        world.boot(name)
    assert world.run_until(cluster.whole, 20 * SECOND) is not None
    with pytest.raises(Violation, match=r"^L2"):
        take()


# --- replicated state ---------------------------------------------------------------------------------------------------


def test_c15_catches_a_vector_that_is_raised_before_the_last_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replication, "chunk_bytes", 500)
    assert first_violation(spreading(with_parts(RaisesEarly))).startswith(("C5", "C15", "C18"))


def test_small_chunks_alone_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replication, "chunk_bytes", 500)
    assert first_violation(spreading(with_parts()), range(8)) == "none"


def test_c15_catches_nodes_that_never_compare_digests() -> None:
    assert first_violation(spreading(with_parts(NeverCompares))).startswith("C15")


def test_c2_catches_a_restart_that_goes_on_under_its_old_actor() -> None:
    assert first_violation(lambda seed: crashing_adder(seed, same_actor)).startswith(("C2", "C5", "C15"))


def test_c2_catches_an_add_that_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Store.add
    monkeypatch.setattr(Store, "add", lambda self, name, n, stamp: honest(self, name, 2 * n, stamp))
    assert first_violation(spreading(with_parts())).startswith("C2")


def test_crashing_adders_with_new_actors_lose_nothing() -> None:
    assert first_violation(lambda seed: crashing_adder(seed, with_parts()), range(5)) == "none"


def crashing_adder(seed: int, make: Build) -> None:
    """One node adds, is known to all, is killed, starts empty and adds again."""
    world = World(seed)
    cluster = Cluster(world, 4, make=make)
    sums = Sums(cluster)
    cluster.form()
    for _ in range(3):
        for n in range(1 + seed % 3):
            sums.add(cluster.peers["n1"], "hits", 1 + n)
            world.run(200 * MS)
        world.kill("n1")
        world.run(SECOND)
        world.boot("n1")
        if world.run_until(cluster.whole, 40 * SECOND) is None:
            raise Violation("C15: the node does not come back")
    if world.run_until(lambda: agree(cluster.living()), 20 * SECOND) is None:
        raise Violation("C15: the stores do not agree")
    sums.check()
    added = 3 * sum(1 + n for n in range(1 + seed % 3))
    if cluster.peers["n0"].store.counter("hits") != added:
        raise Violation("C2: acknowledged adds were lost")


def test_c13_catches_a_store_that_keeps_an_expiry_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Store.take_changes

    def forgetful(self: Store) -> Any:
        changes, counters = honest(self)
        return tuple([change for change in changes if change.kind is not ChangeKind.EXPIRE]), counters

    monkeypatch.setattr(Store, "take_changes", forgetful)
    assert first_violation(spreading(with_parts())).startswith("C13")


def test_c13_catches_a_change_that_is_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Store.take_changes

    def stammering(self: Store) -> Any:
        changes, counters = honest(self)
        return changes + changes[:1], counters

    monkeypatch.setattr(Store, "take_changes", stammering)
    assert first_violation(spreading(with_parts())).startswith("C13")


# --- membership ---------------------------------------------------------------------------------------------------------


def test_m19_catches_a_suspicion_that_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Actions.emit

    def discreet(self: Actions, event: Any) -> None:
        if not (isinstance(event, MemberChanged) and event.member.state is State.SUSPECT):
            honest(self, event)

    monkeypatch.setattr(Actions, "emit", discreet)
    assert first_violation(lambda seed: run_spreading(seed, [], nodes=8, loss=0.4)).startswith("M19")


def test_m8_catches_nodes_that_never_dial_the_dead_again() -> None:
    world = World(1)
    cluster = Cluster(world, 6, profile=replace(LAN, redial_first=1 << 60, redial_last=1 << 60))
    members = Members(cluster)
    cluster.form()
    for peer in cluster.living():
        peer.assembly.rounds.interval = peer.assembly.rounds._next = 1 << 62  # whose calls would reach the dead, too
    Faults(world).set([Partition(0, 200 * SECOND, ("n0", "n1", "n2"))])
    world.run(300 * SECOND)
    with pytest.raises(Violation, match=r"^M8"):
        members.check()


# --- seal ---------------------------------------------------------------------------------------------------------------


def restarting(make: Build) -> None:
    world = World(1)
    Nonces(world)
    cluster = Cluster(world, 3, make=make)
    cluster.form()
    Faults(world).set([Crash(n * SECOND, 100 * MS, f"n{n % 3}") for n in range(4)])
    world.run(10 * SECOND)


def test_w6_catches_salts_without_entropy() -> None:
    with pytest.raises(Violation, match=r"^W6.*salt"):
        restarting(zero_salts)


def test_w6_catches_a_counter_that_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Seal._close

    def forgetful(self: Seal, *arguments: Any) -> bytes:
        self._counter = 0
        self._entropy = bytes
        return honest(self, *arguments)

    monkeypatch.setattr(Seal, "_close", forgetful)
    with pytest.raises(Violation, match=r"^W6.*nonce"):
        restarting(with_parts())


def test_w6_is_content_with_the_real_ones() -> None:
    restarting(with_parts())


# --- the digest of agreement --------------------------------------------------------------------------------------------


def test_stores_that_differ_do_not_agree() -> None:
    world = World(1)
    cluster = Cluster(world, 3)
    fold = WatchFold(cluster)
    cluster.form()
    assert agree(cluster.living())
    cluster.peers["n0"].put("key", 1)
    assert not agree(cluster.living())
    world.run(SECOND)
    assert agree(cluster.living())
    assert fold.changes == 3
    n1 = cluster.peers["n1"].store
    cell = n1.peek("key")
    assert cell is not None
    n1._keys["key"] = cell._replace(body=b"\x02")  # a bit flipped in memory: equal claims, unequal cells
    with pytest.raises(Violation, match=r"^C5"):
        agree(cluster.living())
