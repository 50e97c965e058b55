"""Stories of whole nodes, one fault each: what a user would see."""

from __future__ import annotations

import pytest

from coordination.agreed.vocabulary.events import Unavailable
from coordination.agreed.vocabulary.roster import Parameters
from mesh.directives import Event
from mesh.membership import State
from simulations.checkers import Exclusion, Members, Nonces, Sums, WatchFold, agree
from simulations.cluster import Cluster
from simulations.faults import Crash, Faults, Isolate, OneWay, Partition, Pause
from simulations.locking import Claim, Locks
from simulations.network.network import Conditions
from simulations.world import MS, SECOND, World

HOUR = 3_600 * SECOND
SHORT_TERMS = Parameters(max_ttl=3 * SECOND)


def held(world: World, claim: Claim, within: int) -> int:
    """The ns until it was granted."""
    took = world.run_until(lambda: claim.state != "asking", within, MS)
    assert claim.state == "held", (claim, claim.state)
    assert took is not None
    return took


@pytest.mark.parametrize("seed", range(5))
def test_m3_a_restart_under_the_same_name_is_seen_by_all_sooner_than_the_longest_suspicion(seed: int) -> None:
    world = World(seed)
    cluster = Cluster(world, 8)
    members = Members(cluster)
    cluster.form()
    longest = cluster.profile.suspicion(8)[1]
    old = cluster.peers["n3"].assembly.identity.boot
    world.kill("n3", wipe=True)
    away = seed % 2 * 20 * SECOND  # known dead to everyone, or not even noticed
    world.run(away + MS)
    if away:
        assert all(p.assembly.membership.get("n3").state is State.DEAD for p in cluster.living())  # type: ignore[union-attr]
    world.boot("n3")
    took = world.run_until(cluster.whole, longest)
    assert took is not None, cluster.unseen()
    assert cluster.peers["n3"].assembly.identity.boot > old
    assert took < longest / 2
    world.run(longest)  # and it stays so: nothing old revives
    members.check()


def test_m3_who_probes_a_restarted_process_meets_it_at_once_though_it_knows_nobody_here() -> None:
    """Found by the world: n0 and n1 start again while n2 and n3 are cut off, and their seeds do not name n4. It dialled
    both, was answered by processes that it did not know, and left it at that: they met after 43 s."""
    world = World(1)
    cluster = Cluster(world, 5, expect=3)
    cluster.form()
    world.run(16 * SECOND)
    Faults(world).set(
        [Isolate(0, 200 * SECOND, "n2"), Isolate(0, 200 * SECOND, "n3"), Crash(MS, 0, "n0"), Crash(2 * MS, 0, "n1")]
    )
    world.run(10 * MS)

    def met() -> bool:
        known = cluster.peers["n4"].assembly.membership
        boots = [(known.get(name), cluster.peers[name].assembly.identity.boot) for name in ("n0", "n1")]
        return all(member is not None and member.boot == boot for member, boot in boots)

    took = world.run_until(met, cluster.profile.suspicion(5)[1])
    assert took is not None


def test_m8_a_partition_of_an_hour_heals_by_itself_also_if_both_sides_restarted() -> None:
    world = World(11)
    cluster = Cluster(world, 6, expect=3)
    members, sums, fold = Members(cluster), Sums(cluster), WatchFold(cluster)
    cluster.form()
    faults = Faults(world)
    faults.set(
        [Partition(0, HOUR, ("n1", "n2", "n4")), Crash(1_800 * SECOND, SECOND, "n4"), Crash(1_800 * SECOND, SECOND, "n5")]
    )
    cluster.peers["n4"].put("before", 1)
    sums.add(cluster.peers["n4"], "hits", 3)
    world.run(HOUR // 2 + 60 * SECOND)
    assert cluster.unseen()
    cluster.peers["n0"].put("majority's", 2)
    cluster.peers["n2"].put("minority's", 3)
    cluster.peers["n2"].delete("before")
    for name in cluster.names:
        sums.add(cluster.peers[name], "hits", 1)
    world.run(HOUR // 2 - 61 * SECOND)
    assert not agree(cluster.living())
    world.run(2 * SECOND)
    took = world.run_until(lambda: cluster.whole() and agree(cluster.living()), 30 * SECOND)
    assert took is not None, cluster.unseen()
    members.check()
    # Half of them had been ended: they join anew, and two rounds of cuts later what only they knew is everyone's again.
    assert world.run_until(lambda: all(peer.store.counter("hits") == 9 for peer in cluster.living()), 200 * SECOND) is not None
    sums.check()
    fold.check()
    for peer in cluster.living():
        assert peer.store.counter("hits") == 9
        assert {cell.key for cell in peer.store.cells() if cell.kind == 0 and cell.body} == {"majority's", "minority's"}


def test_a_paused_node_reads_what_its_buffers_held_accuses_nobody_and_catches_up() -> None:
    world = World(3)
    cluster = Cluster(world, 6, expect=3)
    members, sums, fold = Members(cluster), Sums(cluster), WatchFold(cluster)
    cluster.form()
    paused = cluster.peers["n5"]
    Faults(world).set([Pause(0, 20 * SECOND, "n5")])
    for n in range(3_000):
        world.after(n * 2 * MS, cluster.peers[f"n{n % 5}"].put, f"key/{n % 500}", "x" * 300)
        world.after(n * 2 * MS, sums.add, cluster.peers[f"n{n % 5}"], "hits", 1)
    world.run(10 * SECOND)
    assert paused.process.stats()["world.udp_full"] > 100
    assert paused.process.datagrams.held > 400_000
    assert paused.store.counter("hits") < 3_000
    world.run(10 * SECOND)
    took = world.run_until(lambda: cluster.whole() and agree(cluster.living()), 20 * SECOND)
    assert took is not None, cluster.unseen()
    assert paused.store.counter("hits") == 3_000
    assert not [death for death in members.deaths if death[1] == "n5"]
    members.check()
    sums.check()
    fold.check()


@pytest.mark.parametrize("seed", range(3))
def test_with_two_of_three_voters_stopped_the_third_says_so_and_works_again_at_their_return(seed: int) -> None:
    world = World(seed)
    cluster = Cluster(world, 3)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    first = locks.acquire(cluster.peers["n0"], "lock/a")
    held(world, first, SECOND)
    locks.release(first)
    world.run(SECOND)
    Faults(world).set([Pause(0, 10 * SECOND, "n1"), Pause(0, 10 * SECOND, "n2")])
    world.run(500 * MS)
    told: list[Unavailable] = []

    def listen(claim: Claim, event: Event) -> None:
        if isinstance(event, Unavailable):
            told.append(event)

    locks.listen(listen)
    for key in ("lock/a", "lock/b", "lock/c"):
        claim = locks.acquire(cluster.peers["n0"], key)
        took = world.run_until(lambda claim=claim: claim.state == "unavailable", 3 * SECOND, MS)  # type: ignore[misc]
        assert took is not None, claim
        assert took < 2_500 * MS
        assert set(told[-1].missing) == {"n1", "n2"}
    world.run_to(world.now + 10 * SECOND)  # they are back meanwhile, and had been called dead
    claim = locks.acquire(cluster.peers["n0"], "lock/a")
    assert held(world, claim, 2 * SECOND) < 2 * SECOND


def test_who_waits_when_the_voters_return_is_served_within_two_seconds() -> None:
    world = World(5)
    cluster = Cluster(world, 3)
    cluster.form()
    locks = Locks(cluster)
    faults = Faults(world)
    faults.set([Pause(0, 60 * SECOND, "n1"), Pause(0, 60 * SECOND, "n2")])
    world.run(10 * SECOND)
    faults.heal()
    claim = locks.acquire(cluster.peers["n0"], "lock/a")
    assert held(world, claim, 2 * SECOND) < 2 * SECOND


@pytest.mark.parametrize("seed", range(3))
def test_l12_the_lock_of_a_killed_holder_is_free_within_its_ttl_and_a_moment(seed: int) -> None:
    world = World(seed)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    ttl = 2 * SECOND
    holder = locks.acquire(cluster.peers["n3"], "lock/a", ttl=ttl)
    held(world, holder, SECOND)
    world.run(5 * SECOND + seed * 217 * MS)
    assert holder.state == "held"
    waiter = locks.acquire(cluster.peers["n0"], "lock/a", ttl=ttl)
    world.run(SECOND)
    world.kill("n3")
    assert held(world, waiter, ttl + 300 * MS) > 0
    assert waiter.token > holder.token


def test_l9_a_minority_says_so_and_the_majority_goes_on() -> None:
    world = World(9)
    cluster = Cluster(world, 5, parameters=SHORT_TERMS)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    Faults(world).set([Partition(0, 30 * SECOND, ("n0", "n1"))])
    world.run(MS)
    small = locks.acquire(cluster.peers["n0"], "lock/a")
    great = locks.acquire(cluster.peers["n2"], "lock/a")
    held(world, great, 2 * SECOND)
    assert world.run_until(lambda: small.state == "unavailable", 2_500 * MS) is not None
    world.run(30 * SECOND)
    locks.release(great)
    held(world, locks.acquire(cluster.peers["n0"], "lock/a"), 2 * SECOND)


def test_m9_a_one_way_link_makes_nobody_dead_while_others_reach_him() -> None:
    world = World(2, conditions=Conditions((MS, 3 * MS)))
    cluster = Cluster(world, 6)
    members = Members(cluster)
    cluster.form()
    Faults(world).set([OneWay(0, 120 * SECOND, ("n1",), ("n2",))])
    world.run(120 * SECOND)
    assert not members.deaths


def test_w6_no_nonce_is_used_twice_through_restarts_and_isolation() -> None:
    world = World(6)
    nonces = Nonces(world)
    cluster = Cluster(world, 5)
    cluster.form()
    Faults(world).set(
        [Crash(n * SECOND, 200 * MS, f"n{n % 5}", wipe=n % 2 == 0) for n in range(15)] + [Isolate(16 * SECOND, SECOND, "n1")]
    )
    world.run(30 * SECOND)
    assert len(nonces.datagrams) == world.datagrams.sent > 300
    assert len(nonces.greetings) > 50
