"""Replicas that keep their state on disk, under everything that befalls processes and disks (C10, C15, C26, C27, C30, C31)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crdt.cell import KEY
from crdt.clock import Instant
from mesh.directives import Act, Directive, Persist, Record, Send, Source
from mesh.replication import CELLS, Entrusting, Keeper, RepeatedActorError
from mesh.replication.cut_messages import CutAsk
from mesh.replication.entrusting import Entrust, Entrusted
from mesh.replication.keeping import cell_from
from simulations.checkers import Violation, agree
from simulations.cluster import Cluster
from simulations.faults import Blackout, Crash, Fault, Faults, FullDisk, Isolate, Partition, Pause, WallStep, Weather
from simulations.plans.plans import DISK_KINDS, random_plan
from simulations.scenarios.writing import run_writing
from simulations.world import MS, SECOND, World
from tests.simulated.planted import same_actor, with_parts

NODES = 6
SEEDS = range(8)
KINDS: tuple[type[Fault], ...] = (Crash, Partition, Isolate, Pause, Weather, *DISK_KINDS, *DISK_KINDS)


def campaign(seeds: range, **options: Any) -> dict[str, int]:
    reached: dict[str, int] = {}
    for seed in seeds:
        plan = random_plan(seed, [f"n{number}" for number in range(NODES)], 10, 7 * SECOND, kinds=KINDS)
        done = run_writing(seed, plan, nodes=NODES, encoded=False, durable=True, **options)
        for what, count in done.phases.reached.items():
            reached[what] = reached.get(what, 0) + count
    return reached


def test_everything_kept_is_there_again_and_nothing_acknowledged_is_lost() -> None:
    reached = campaign(SEEDS)
    for what in ("restored", "acknowledged", "looked_up", "batches"):
        assert reached[what] > 20 * len(SEEDS), (what, reached)
    assert {"Blackout", "Torn", "Damage", "FullDisk", "Crash"} <= set(reached)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1_000, 3_000, 100))
def test_many_more_seeds(first: int) -> None:
    campaign(range(first, first + 100))


def test_what_a_word_of_cuts_lets_out_leaves_behind_its_record() -> None:
    """It ends the window, whose writes are pushed. (It recorded nothing, and the next step found later ones without their
    dots: seed 137 of the scenario of primitives.)"""
    cluster = Cluster(World(3), 3, encoded=False, durable=True)
    cluster.form()
    peer = cluster.peer("n0")
    peer.put("k", 1)
    other = cluster.peer("n1")
    source = Source(other.store.actor, other.process.address, "n1", other.assembly.identity.boot, None)
    out = list(peer.assembly.replication.on_message(CutAsk(0), source, peer.process.instant()))
    kept, sent = [[isinstance(each, kind) for each in out].index(True) for kind in (Persist, Send)]
    assert kept < sent
    assert [table for each in out if isinstance(each, Persist) for table, _, _ in each.records].count(CELLS) == 1
    assert not peer.store.is_dirty and not peer.store.pending


# --- broken rules ----------------------------------------------------------------------------------------------------


LATE: dict[int, list[Record]] = {}


def claims_first(self: Keeper, now: Instant) -> tuple[Record, ...]:
    """The claims are recorded at once, and the cells of others with the next batch."""
    records = RECORDS(self, now)
    own = self._store.actor
    later = [each for each in records if each[0] == CELLS and each[2] is not None and cell_from(each[2]).actor != own]
    late, LATE[id(self)] = LATE.get(id(self), []), later
    return (*late, *[each for each in records if each not in later])


RECORDS = Keeper.records


def never(self: Keeper, mono: int) -> bool:
    """What was written here is sent at once."""
    return False


def nothing(self: Keeper, now: Instant) -> None:
    """What is on the disk is not read."""
    self._store.keep()


@pytest.mark.parametrize(
    ("method", "change", "law"),
    [("records", claims_first, "C5|C15|C26|C27"), ("holds_back", never, "C30"), ("read", nothing, "C31")],
)
def test_a_broken_rule_of_keeping_is_found(
    monkeypatch: pytest.MonkeyPatch, method: str, change: Callable[..., Any], law: str
) -> None:
    monkeypatch.setattr(Keeper, method, change)
    with pytest.raises(Violation, match=law):
        campaign(range(20))


class AnswersFromMemory(Entrusting):
    """Whoever is asked answers before its disk has it: an ack that is inferred from what is claimed."""

    def _hold(self, message: Entrust, source: Source, now: Instant, out: list[Directive]) -> None:
        cells = [cell for cell in message.cells if not isinstance(cell, bytes)]
        out.append(Act(self._replication, self._replication.take(cells, source, now)))
        if all(self._replication.store.dots.covers(cell.actor, cell.n) for cell in cells):
            out.append(Send(source.session, Entrusted(message.query, message.part)))


def test_an_ack_that_is_inferred_from_claims_is_found() -> None:
    with pytest.raises(Violation, match="C27"):
        campaign(range(12), make=with_parts(AnswersFromMemory))


# --- one after the other ---------------------------------------------------------------------------------------------


def mesh(seed: int, nodes: int = 2) -> tuple[World, Cluster]:
    world = World(seed)
    cluster = Cluster(world, nodes, durable=True)
    cluster.form()
    return world, cluster


def test_everyone_dies_at_once_and_what_one_has_seen_of_the_other_is_there() -> None:
    world, cluster = mesh(1)
    a, b = cluster.peer("n0"), cluster.peer("n1")
    for n in range(50):
        a.put(f"k/{n}", n, ttl_ms=60_000 if n % 2 else 0)
    cells = a.batch({"x": 1, "y": 2})
    assert world.run_until(lambda: b.store.peek("y") is not None, SECOND, MS // 10) is not None
    Faults(world).set([Blackout(0, 500 * MS, ("n0", "n1"))])
    world.run(SECOND)
    peer = cluster.peer("n0")
    assert peer is not a and peer.process.boot == 2
    assert peer.store.actor != a.store.actor
    assert [peer.store.cell(KEY, cell.key) for cell in cells] == cells
    assert len([*peer.store.scan("k/", 0)]) == 50
    assert peer.assembly.replication.stats()["cells_read"] == 52
    assert world.run_until(lambda: agree(cluster.living()), 5 * SECOND) is not None


@pytest.mark.parametrize("back", [100, 86_400_000])
def test_the_clock_goes_on_above_what_is_kept_though_the_wall_went_back(back: int) -> None:
    """Also by a day: its peers agreed with its clock when that was written, so it is the wall that is wrong."""
    world, cluster = mesh(2, 3)
    a = cluster.peer("n0")
    assert world.run_until(lambda: a.assembly.clock.offset() is not None, 10 * SECOND) is not None
    last = a.put("k", 1)
    world.run(200 * MS)
    Faults(world).set([WallStep(0, 60 * SECOND, "n0", -back), Crash(MS, 100 * MS, "n0")])
    world.run(300 * MS)
    again = cluster.peer("n0")
    assert again.process.boot == 2
    assert again.put("k", 2) > last
    cell = again.store.peek("k")
    assert cell is not None and cell.body == b"\x02"


def test_what_was_written_under_a_clock_that_was_wrong_is_put_again() -> None:
    """Nobody merged it; with the stamps that it had it would drag this node's clock ahead for a day."""
    world, cluster = mesh(3)
    Faults(world).set([WallStep(0, 2 * SECOND, "n0", 86_400_000), Crash(MS, 100 * MS, "n0")])
    world.run(600 * MS)
    ahead = cluster.peer("n0")
    ahead.put("b", "first", ttl_ms=3_600_000)
    ahead.put("a", "second")
    ahead.delete("gone")
    ahead.add("c", 5)
    world.run(500 * MS)
    assert cluster.peer("n1").store.peek("a") is None
    world.kill("n0")
    world.run(2 * SECOND)  # the wall is right again
    world.boot("n0")
    world.run(100 * MS)
    again = cluster.peer("n0")
    wall = again.process.instant().wall << 16
    assert again.assembly.replication.stats()["cells_put_again"] == 3
    a, b = again.store.peek("a"), again.store.peek("b")
    assert a is not None and b is not None
    assert b.order[1] < a.order[1] < wall + (1_000 << 16)  # type: ignore[operator]
    assert 0 < b.order[3] - wall < 3_600_001 << 16  # type: ignore[operator]
    assert (a.actor, again.store.counter("c")) == (again.store.actor, 5)
    assert again.assembly.clock.read(again.process.instant()) < wall + (1_000 << 16)
    assert world.run_until(lambda: cluster.peer("n1").store.peek("a") is not None, 3 * SECOND) is not None
    world.kill("n0")
    world.boot("n0")
    assert cluster.peer("n0").assembly.replication.stats()["cells_put_again"] == 0


def test_with_a_full_disk_it_goes_on_reading_and_telling_and_answers_no_ack() -> None:
    world, cluster = mesh(4)
    a, b = cluster.peer("n0"), cluster.peer("n1")
    Faults(world).set([FullDisk(0, 3 * SECOND, "n1")])
    world.run(MS)
    b.put("mine", 1)
    told: list[object] = []
    a.process.subscribe(told.append)
    a.put("theirs", 1)
    a.entrust(1, ["theirs"], 1)
    world.run(2 * SECOND)
    assert b.assembly.replication.trouble == "the disk is full"
    assert b.store.peek("theirs") is not None
    assert a.store.peek("mine") is not None, "others are the only ones who can keep it"
    assert "Acknowledged" not in [type(event).__name__ for event in told]
    assert b.assembly.node.stats()["memory.held"] < 10
    world.run(6 * SECOND)
    assert "Acknowledged" in [type(event).__name__ for event in told]
    assert b.assembly.replication.trouble == ""
    world.kill("n0")
    world.kill("n1")
    world.boot("n1")
    peer = cluster.peer("n1")
    assert peer.store.peek("mine") is not None and peer.store.peek("theirs") is not None


def test_a_process_whose_entropy_repeats_does_not_start() -> None:
    _, cluster = mesh(5)
    cluster.make = same_actor
    cluster.world.kill("n0")
    cluster.world.boot("n0")
    cluster.world.run(SECOND)
    cluster.world.kill("n0")
    with pytest.raises(RepeatedActorError, match="entropy"):
        cluster.world.boot("n0")
