"""A large store comes to a joiner in many parts, and whoever sends them dies in the middle (C16)."""

from __future__ import annotations

from functools import partial

import pytest

from mesh.replication import Replication
from mesh.replication.joining import Joining, Kept
from simulations.checkers import cells
from simulations.cluster import Cluster, SimPeer
from simulations.scenarios.forgetting import often, standing_of
from simulations.world import MS, SECOND, World
from tests.simulated.planted import with_parts

KEYS = 1_000


class SmallParts(Replication):
    chunk_bytes = 1_000
    """A 150th of the store."""


def counted(cluster: Cluster, dead: list[SimPeer], name: str) -> int:
    peers = [*cluster.living(), *dead]
    return sum([peer.assembly.node.stats().get(f"replication.{name}", 0) for peer in peers])


def join(seed: int, deaths: int) -> tuple[int, int]:
    """Cells sent for the join of one of six nodes whose sponsor is killed `deaths` times, and how often one went on."""
    world = World(seed)
    cluster = Cluster(world, 6, expect=5, make=partial(often, with_parts(SmallParts)), encoded=False, durable=True)
    cluster.form()
    for number in range(KEYS):
        cluster.peers[f"n{number % 5}"].put(f"key/{number:05}", number)
    world.run(12 * SECOND)
    world.kill("n5", wipe=True)
    world.run(2 * SECOND)
    before = counted(cluster, [], "cells_served")
    world.boot("n5")
    joiner = cluster.peers["n5"]
    dead: list[SimPeer] = []
    for death in range(deaths):

        def part(least: int = KEYS * (death + 1) // (deaths + 1)) -> bool:
            joining = standing_of(joiner)._joining
            return joining is not None and len(joining.store) >= least

        assert world.run_until(part, 60 * SECOND, step=MS) is not None
        joining = standing_of(joiner)._joining
        assert joining is not None
        dead.append(cluster.peers[joining.sponsor])
        world.kill(joining.sponsor)
    assert world.run_until(lambda: standing_of(joiner).open and len(joiner.store) >= KEYS, 60 * SECOND) is not None
    sent, resumed = counted(cluster, dead, "cells_served") - before, counted(cluster, dead, "joins_resumed")
    for peer in dead:
        world.boot(peer.name)
    world.run(30 * SECOND)
    first = cells(joiner.store)
    assert len(first) >= KEYS and all(cells(peer.store) == first for peer in cluster.living())
    return sent, resumed


@pytest.mark.parametrize(("seed", "deaths"), [(1, 1), (2, 2)])
def test_only_the_rest_is_sent_by_the_next_sponsor(seed: int, deaths: int) -> None:
    sent, resumed = join(seed, deaths)
    assert resumed == deaths
    assert KEYS <= sent <= KEYS * 11 // 10, sent


def test_fault_if_each_sponsor_begins_anew_much_is_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(joining: Joining) -> Kept | None:
        return None

    monkeypatch.setattr(Joining, "kept", nothing)
    sent, resumed = join(2, 2)
    assert resumed == 0
    assert sent > KEYS * 17 // 10, sent
