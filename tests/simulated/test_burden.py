"""While no cut is made nothing is forgotten: that is told, and it ends when a majority is there again."""

from __future__ import annotations

from functools import partial

import pytest

from coordination.assembly import build
from mesh.directives import Event
from mesh.replication import Unforgotten
from mesh.replication.burden import STILL, Burden
from simulations.cluster import Cluster
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.scenarios.forgetting import often
from simulations.world import SECOND, World

S = SECOND


class Told(Observer):
    def __init__(self, world: World) -> None:
        self.told: list[Unforgotten] = []
        world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Unforgotten):
            self.told.append(event)


def test_it_is_told_once_and_again_when_it_has_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.replication.burden.MANY", 10)
    burden = Burden()
    assert burden.look(1_000, 7, 0) is None, "the last cut is not long ago"
    assert burden.look(9, 7, STILL) is None
    assert burden.look(10, 7, STILL + S) == Unforgotten(10, STILL // S + 1)
    assert burden.look(19, 7, STILL + 2 * S) is None
    assert burden.look(20, 7, STILL + 3 * S) == Unforgotten(20, STILL // S + 3)
    assert burden.look(1_000, 8, STILL + 4 * S) is None, "a cut"
    assert burden.look(1_000, 8, 2 * STILL + 3 * S) is None
    assert burden.look(12, 8, 2 * STILL + 4 * S) == Unforgotten(12, STILL // S)


def test_a_mesh_without_its_majority_tells_and_forgets_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.replication.burden.MANY", 30)
    monkeypatch.setattr("mesh.replication.burden.STILL", 60 * S)
    world = World(1)
    told = Told(world)
    cluster = Cluster(world, 3, expect=3, make=partial(often, build), encoded=False, durable=True)
    cluster.form()
    n0 = cluster.peer("n0")

    def write(prefix: str, count: int) -> None:
        for number in range(count):
            n0.put(f"{prefix}{number}", number)
            n0.delete(f"{prefix}{number}")

    write("early", 40)
    world.run(90 * S)
    assert not told.told and n0.store.fading() == 0
    for name in ("n1", "n2"):
        world.kill(name)
    write("late", 40)
    world.run(90 * S)
    assert [event.keys for event in told.told] == [40] and n0.store.fading() == 40
    for name in ("n1", "n2"):
        world.boot(name)
    world.run(90 * S)
    assert n0.store.fading() == 0 and len(told.told) == 1
