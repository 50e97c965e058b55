"""What a process that restarts with its store knows of the cut that this is at, and of the clock before it (C7, C10, C12)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from coordination.assembly import Assembly, Settings, build
from mesh.replication.keeping import RESERVE
from mesh.replication.standing import Standing
from simulations.cluster import Build, Cluster
from simulations.faults import Crash, Faults, Partition, WallStep
from simulations.scenarios.forgetting import often, standing_of
from simulations.world import MS, SECOND, World


def idle_clock(monkeypatch: pytest.MonkeyPatch, reserve: int) -> int:
    """By how much a process that restarts after a minute without a write, its wall clock a day back, goes behind what the one
    before it had shown (stamps; negative: it does not)."""
    monkeypatch.setattr("mesh.replication.keeping.RESERVE", reserve)
    world = World(4)
    cluster = Cluster(world, 3, durable=True)
    cluster.form()
    a = cluster.peer("n0")
    a.put("k", 1)
    world.run(61_300 * MS)
    shown = a.assembly.clock.read(a.process.instant())
    Faults(world).set([WallStep(0, 60 * SECOND, "n0", -86_400_000), Crash(MS, 100 * MS, "n0")])
    world.run(120 * MS)
    again = cluster.peer("n0")
    assert again.process.boot == 2
    return shown - again.assembly.clock.read(again.process.instant())


def test_a_clock_that_was_only_looked_at_does_not_go_back_either(monkeypatch: pytest.MonkeyPatch) -> None:
    assert idle_clock(monkeypatch, RESERVE) <= 0


def test_fault_without_a_reserve_it_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert idle_clock(monkeypatch, 0) > 0


def brought_back(seed: int, monkeypatch: pytest.MonkeyPatch, make: Build = build) -> bool:
    """Some are cut off together from a mesh that has forgotten actors; one of them restarts there, writes, and all die. Whether
    what it wrote, under an actor that the mesh has never heard of, comes back with the other one's disk."""
    monkeypatch.setattr("crdt.cuts.RETIRED_KEPT", 1)
    world = World(seed)
    cluster = Cluster(world, 5, expect=3, make=partial(often, make, end_after=6 * SECOND), encoded=False, durable=True)
    cluster.form()
    for _ in range(3):  # others come and go: the table of the retired runs over
        world.run(6 * SECOND)
        world.kill("n3")
        world.boot("n3")
        world.run(SECOND)
        cluster.peer("n3").put("here", 1)
    assert world.run_until(lambda: standing_of(cluster.peer("n4")).cut.forgotten > 0, 90 * SECOND) is not None
    monkeypatch.setattr("crdt.cuts.RETIRED_KEPT", 512)
    Faults(world).set([Partition(0, 20 * SECOND, ("n2", "n3", "n4"))])
    world.run(SECOND)
    world.kill("n3", wipe=True)
    world.boot("n3")
    n4 = cluster.peer("n4")

    def written() -> bool:
        return n4.store.peek("alone") is not None

    world.run(3 * SECOND)
    cluster.peer("n3").put("alone", 1)
    assert world.run_until(written, 10 * SECOND) is not None
    world.run(SECOND)  # it is on the disk
    for name in ("n2", "n3", "n4"):
        world.kill(name)
    world.run(20 * SECOND)
    world.boot("n4")
    return world.run_until(lambda: all(peer.store.peek("alone") for peer in cluster.living()), 60 * SECOND) is not None


class KnowsNoCut(Standing):
    @property
    def applied(self) -> int:
        return self.cut.round if self.open else self._since


def without_the_cut(settings: Settings, **sources: Any) -> Assembly:
    assembly = build(settings, **sources)
    standing = assembly.replication.standing
    assert standing is not None
    standing.__class__ = KnowsNoCut
    return assembly


def test_a_store_that_was_read_from_a_disk_knows_its_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert brought_back(1, monkeypatch)


def test_fault_without_its_cut_what_it_wrote_unseen_counts_as_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not brought_back(1, monkeypatch, without_the_cut)
