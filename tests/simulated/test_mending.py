"""Stores that claim the same and hold something else: found, told of, and made equal, with few bytes (C18)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordination.assembly import build
from crdt.cell import KEY, Cell
from crdt.clock import Instant
from crdt.fingerprint import STEPS
from mesh.directives import Event, Source
from mesh.replication import Alarm, Mending, Replication
from mesh.replication.replication import COUNTED
from simulations.checkers import Violation, agree, cells
from simulations.cluster import Build, Cluster, SimPeer
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.scenarios.forgetting import run_forgetting
from simulations.world import SECOND, World
from tests.simulated.planted import with_parts

KEYS = 600
FOUND = 8 * SECOND
"""Within which two of five compare digests that are equal, and the repair has gone both ways; with 30 % loss, too."""
WALK = (KEYS // COUNTED + STEPS + 2) * SECOND

Plant = Callable[[SimPeer, Cell], None]


class Told(Observer):
    def __init__(self, world: World) -> None:
        self.alarms: list[tuple[str, str]] = []
        world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Alarm):
            self.alarms.append((process.machine, event.name))


def loses(peer: SimPeer, cell: Cell) -> None:
    """What a wrong claim does: the dot is claimed, the cell is not there."""
    peer.store.remove((cell,))


def flips_a_value(peer: SimPeer, cell: Cell) -> None:
    assert cell.body is not None
    peer.store._cells[KEY][cell.key] = cell._replace(body=bytes([cell.body[0] ^ 1]) + cell.body[1:])


def flips_a_stamp(peer: SimPeer, cell: Cell) -> None:
    """It would win everywhere."""
    order = (cell.order[0], cell.order[1] ^ 1 << 15, *cell.order[2:])  # type: ignore[operator]
    peer.store._cells[KEY][cell.key] = cell._replace(order=order)


def flips_a_key(peer: SimPeer, cell: Cell) -> None:
    """One is lost, and one is there that nobody ever wrote."""
    peer.store.remove((cell,))
    peer.store.replace(cell._replace(key=cell.key[:-1] + "~"))


def filled(seed: int, loss: float = 0.0, nodes: int = 5, make: Build = build) -> tuple[World, Cluster, Told]:
    world = World(seed)
    told = Told(world)
    cluster = Cluster(world, nodes, make=make, encoded=False)
    cluster.form()
    for number in range(KEYS):
        cluster.peers[f"n{number % nodes}"].put(f"key/{number:04}", number + 1_000)
    world.run(15 * SECOND)
    cluster.set_loss(loss)
    assert agree(cluster.living()) and not told.alarms
    return world, cluster, told


def equal(cluster: Cluster) -> bool:
    first, *others = [cells(peer.store) for peer in cluster.living()]
    return all(each == first for each in others)


def counted(cluster: Cluster, name: str) -> int:
    return sum([peer.assembly.node.stats().get(f"mending.{name}", 0) for peer in cluster.living()])


@pytest.mark.parametrize(("plant", "loss"), [(loses, 0.0), (loses, 0.3), (flips_a_value, 0.0), (flips_a_stamp, 0.3)])
def test_one_cell_that_differs_is_found_and_put_right_on_everyone(plant: Plant, loss: float) -> None:
    world, cluster, told = filled(7, loss)
    peer = cluster.peers["n2"]
    right = cells(peer.store)
    cell = peer.store.cell(KEY, "key/0123")
    assert cell is not None
    plant(peer, cell)
    assert world.run_until(lambda: bool(told.alarms), WALK + FOUND) is not None
    limit = WALK + FOUND + (20 * SECOND if loss else 0)
    assert world.run_until(lambda: all(cells(each.store) == right for each in cluster.living()), limit) is not None
    world.run(70 * SECOND)
    assert all(cells(each.store) == right for each in cluster.living())
    assert len(told.alarms) <= 9  # each of the others, and it them, once, and itself: not once a second
    assert 1 <= counted(cluster, "cells_mended") <= 4
    assert counted(cluster, "cells_given") <= 12
    told.alarms.clear()
    world.run(70 * SECOND)
    assert not told.alarms


def test_a_cell_too_many_and_one_too_few_are_both_on_everyone_if_nobody_doubts_its_own() -> None:
    world, cluster, told = filled(8)
    peer = cluster.peers["n1"]
    cell = peer.store.cell(KEY, "key/0200")
    assert cell is not None
    flips_a_key(peer, cell)
    assert world.run_until(lambda: bool(told.alarms) and equal(cluster), FOUND) is not None
    assert all(each.store.cell(KEY, "key/0200") == cell for each in cluster.living())


def test_a_key_that_changed_in_memory_is_dropped() -> None:
    world, cluster, told = filled(9)
    peer = cluster.peers["n1"]
    right = cells(peer.store)
    cell = peer.store.cell(KEY, "key/0200")
    assert cell is not None
    prints = peer.store.fingerprint
    peer.store.fingerprint = None  # memory changes without a word
    flips_a_key(peer, cell)
    peer.store.fingerprint = prints
    assert world.run_until(lambda: bool(told.alarms), WALK + FOUND) is not None
    assert world.run_until(lambda: cells(peer.store) == right, WALK + FOUND) is not None
    world.run(30 * SECOND)
    assert all(cells(each.store) == right for each in cluster.living())


def test_writes_that_go_on_raise_no_alarm_and_do_not_keep_a_repair_from_ending() -> None:
    world, cluster, told = filled(10)
    for number in range(400):
        world.after(number * SECOND // 20, cluster.peers[f"n{number % 5}"].put, f"key/{number % 50:04}", number)
    world.run(10 * SECOND)
    assert not told.alarms
    peer = cluster.peers["n4"]
    cell = peer.store.cell(KEY, "key/0300")
    assert cell is not None
    loses(peer, cell)
    assert world.run_until(lambda: peer.store.cell(KEY, "key/0300") == cell, 30 * SECOND) is not None
    world.run(20 * SECOND)
    assert agree(cluster.living())


def test_many_cells_are_mended_in_several_repairs() -> None:
    world, cluster, _ = filled(11, nodes=3)
    peer = cluster.peers["n0"]
    right = cells(peer.store)
    peer.store.remove([cell for cell in peer.store.cells() if cell.kind == KEY and cell.key < "key/0400"])
    assert world.run_until(lambda: cells(peer.store) == right, 90 * SECOND) is not None


# --- planted faults ----------------------------------------------------------------------------------------------------


class NeverDoubts(Mending):
    """What changed in memory counts as written."""

    def _doubts(self, bucket: int, now: Instant) -> bool:
        return False


class ComparesUnderAnyCut(Replication):
    def _same_cut(self, source: Source) -> bool:
        return True


def test_fault_a_flipped_stamp_wins_everywhere_if_nobody_doubts_its_own_memory() -> None:
    world, cluster, told = filled(7, make=with_parts(NeverDoubts))
    peer = cluster.peers["n2"]
    cell = peer.store.cell(KEY, "key/0123")
    assert cell is not None
    right = cells(peer.store)
    flips_a_stamp(peer, cell._replace(order=(cell.order[0], cell.order[1] & ~(1 << 15), *cell.order[2:])))  # type: ignore[operator]
    assert world.run_until(lambda: bool(told.alarms) and equal(cluster), WALK + FOUND) is not None
    assert cells(peer.store) != right


def test_fault_comparing_under_unequal_cuts_is_a_false_alarm() -> None:
    with pytest.raises(Violation, match="C18"):
        for seed in range(12):
            run_forgetting(seed, make=with_parts(ComparesUnderAnyCut))
