"""Who was cut off for longer than `end_after`: how soon it sees again what it wrote there (C14)."""

from __future__ import annotations

from functools import partial

import pytest

from coordination.assembly import build
from coordination.rounds import INTERVAL, Rounds
from simulations.cluster import Build, Cluster, SimPeer
from simulations.faults import Faults, Partition
from simulations.scenarios.forgetting import SHORT, often
from simulations.world import SECOND, World
from tests.simulated.planted import with_parts

SIDE = ("n3", "n4")
CUT_OFF = 200 * SECOND
BACK = 6 * SECOND
"""From the join into the mesh to the second cut: at the usual pace it is two minutes."""


class NeverHurries(Rounds):
    def _hurry(self) -> None:
        return


def shows(peer: SimPeer, key: str) -> bool:
    return peer.store.peek(key) is not None


def away(seed: int, make: Build = build) -> tuple[int, int]:
    """For how long two of five, cut off for minutes, do not see what they wrote there; and how long until everyone does."""
    world = World(seed)
    cluster = Cluster(
        world, 5, expect=5, parameters=SHORT, make=partial(often, make, interval=INTERVAL, end_after=30 * SECOND), encoded=False
    )
    cluster.form()
    world.run(2 * INTERVAL)
    Faults(world).set([Partition(0, CUT_OFF, SIDE)])
    world.run(CUT_OFF - SECOND)
    for name in SIDE:
        cluster.peers[name].put(f"of/{name}", 1)
    world.run(SECOND)
    healed, unseen = world.now, 0
    while world.now < healed + 3 * INTERVAL:
        world.run(SECOND // 4)
        seen = [shows(cluster.peers[name], f"of/{name}") for name in SIDE]
        unseen += SECOND // 4 if not all(seen) else 0
        if all(shows(peer, f"of/{name}") for name in SIDE for peer in cluster.living()):
            lives = sum([peer.assembly.node.stats().get("replication.lives", 0) for peer in cluster.living()])
            assert lives >= 2, "nobody was ended: the world did not do what this is about"
            return unseen, world.now - healed
    raise AssertionError("not seen again")


@pytest.mark.parametrize("seed", [1, 2])
def test_it_sees_its_own_writes_again_within_seconds(seed: int) -> None:
    unseen, everyone = away(seed)
    assert unseen <= BACK, unseen / SECOND
    assert everyone <= BACK + 10 * SECOND, everyone / SECOND


def test_fault_at_the_usual_pace_it_takes_two_rounds() -> None:
    unseen, _ = away(1, make=with_parts(NeverHurries))
    assert unseen > INTERVAL // 2
