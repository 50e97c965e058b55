"""`mesh end NAME`: an operator's word that a dead member will not come back (DESIGN, section 5: counted and ended)."""

from __future__ import annotations

from functools import partial

import pytest

from coordination.assembly import build
from coordination.errors import BadConfig
from simulations.checkers import agree
from simulations.cluster import Cluster, SimPeer
from simulations.faults import Faults, Partition
from simulations.scenarios.forgetting import often, standing_of
from simulations.world import SECOND, World


def formed(seed: int) -> tuple[World, Cluster]:
    world = World(seed)
    cluster = Cluster(world, 5, expect=3, make=partial(often, build, end_after=600 * SECOND), encoded=False, durable=True)
    cluster.form()
    world.run(10 * SECOND)
    return world, cluster


def give_up(peer: SimPeer, name: str) -> None:
    rounds = peer.assembly.rounds
    peer.perform(rounds, rounds.give_up(name, peer.process.instant()))


@pytest.mark.parametrize("asked", ["n0", "n1", "n2", "n3"])
def test_whoever_is_asked_the_next_cut_ends_it_and_deletions_are_forgotten(asked: str) -> None:
    world, cluster = formed(1)
    n0, n4 = cluster.peer("n0"), cluster.peer("n4")
    n0.put("k", 1)
    world.run(SECOND)
    Faults(world).set([Partition(0, 2 * SECOND, ("n4",))])
    n4.put("alone", 1)
    world.run(SECOND)  # it is on its disk, and nowhere else
    world.kill("n4")
    n0.delete("k")
    world.run(30 * SECOND)
    actor = standing_of(n4).actor
    assert standing_of(n0).cut.counts(actor) and n0.store.faded(), "without a word it is waited for"
    give_up(cluster.peer(asked), "n4")

    def ended() -> bool:
        return all(not standing_of(peer).cut.counts(actor) and not peer.store.faded() for peer in cluster.living())

    assert world.run_until(ended, 20 * SECOND) is not None
    world.boot("n4")  # all the same
    world.run(20 * SECOND)
    assert agree(cluster.living()) and len(cluster.living()) == 5
    assert n0.store.peek("alone") is not None and n0.store.peek("k") is None


def test_the_living_and_strangers_are_not_given_up() -> None:
    world, cluster = formed(2)
    peer = cluster.peer("n1")
    for name, why in (("n4", "is alive: stop it first"), ("n1", "is alive"), ("n9", "no member 'n9'")):
        with pytest.raises(BadConfig, match=why):
            give_up(peer, name)
    rounds = peer.assembly.rounds
    world.run(5 * SECOND)
    assert not rounds.attendance.given_up(peer.process.instant())
    assert all(standing_of(cluster.peer("n0")).cut.counts(standing_of(each).actor) for each in cluster.living())
