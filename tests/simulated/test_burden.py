"""While no cut is made nothing is forgotten: that is told, at last what adds to it is refused, and a cut ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest

from coordination.assembly import Assembly, Settings, build
from crdt.cell import KEY, Cell, expiry_of
from crdt.store import Store
from mesh.directives import Event
from mesh.replication import Relieved, StoreFullError, Unforgotten
from mesh.replication.burden import STILL, Burden, lasts
from mesh.values import decode_value
from simulations.cluster import DELETED, Cluster, SimPeer
from simulations.faults import Partition
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.scenarios.forgetting import often
from simulations.world import SECOND, World

S = SECOND


class Told(Observer):
    def __init__(self, world: World) -> None:
        self.told: list[Unforgotten] = []
        self.relieved: list[Relieved] = []
        world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Unforgotten):
            self.told.append(event)
        elif isinstance(event, Relieved):
            self.relieved.append(event)


def test_it_is_told_once_and_again_when_it_has_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.replication.burden.MANY", 10)
    burden = Burden(1_000)
    assert burden.look(900, 7, 0) is None, "the last cut is not long ago"
    assert burden.look(9, 7, STILL) is None
    assert burden.look(10, 7, STILL + S) == Unforgotten(10, STILL // S + 1, 1_000)
    assert burden.look(19, 7, STILL + 2 * S) is None
    assert burden.look(20, 7, STILL + 3 * S) == Unforgotten(20, STILL // S + 3, 1_000)
    assert burden.look(900, 8, STILL + 4 * S) is None, "a cut"
    assert burden.look(400, 8, 2 * STILL + 3 * S) is None
    assert burden.look(12, 8, 2 * STILL + 4 * S) == Unforgotten(12, STILL // S, 1_000)


def test_a_node_that_has_just_begun_does_not_count_from_when_its_machine_did() -> None:
    burden = Burden()
    assert burden.still(80_000 * S) == 0
    assert burden.look(0, 0, 80_000 * S) is None
    assert burden.still(80_179 * S) == 0 and burden.still(80_180 * S) == 180 * S


def test_from_half_of_the_limit_on_it_is_told_early_and_at_the_limit_once() -> None:
    burden = Burden(1_000)
    assert burden.look(0, 7, 0) is None
    assert burden.look(600, 7, 179 * S) is None
    assert not burden.counts(7), "nothing is refused that was not told"
    assert burden.look(499, 7, 180 * S) is None
    assert burden.look(600, 7, 181 * S) == Unforgotten(600, 181, 1_000)
    assert burden.counts(7) and not burden.counts(8)
    burden.check(400, 181 * S)
    with pytest.raises(StoreFullError, match="600 keys wait to be forgotten, of 1000, and no cut was made for 181 s"):
        burden.check(401, 181 * S)
    burden.take(400)
    with pytest.raises(StoreFullError):
        burden.check(1, 181 * S)
    burden.check(0, 181 * S)
    told = burden.look(1_000, 7, 182 * S)
    assert told == Unforgotten(1_000, 182, 1_000) and isinstance(told, Unforgotten) and told.full
    assert burden.look(1_001, 7, 183 * S) is None
    with pytest.raises(StoreFullError):
        burden.check(1, 183 * S)
    assert burden.look(1_001, 8, 184 * S) == Relieved(1)
    assert burden.look(1_001, 8, 185 * S) is None and not burden.counts(8)


class Guard:
    """A store of which no local write lets one more key fade: what `Writing` does, without the rest."""

    def __init__(self, remains: Callable[[Cell | None], bool]) -> None:
        self.store = Store(bytes(16))
        self.remains = remains
        self.stamp = 1

    def mortal(self) -> int:
        """Keys that wait for a cut, or will once their time is over."""
        cells = [*self.store.of_kind(KEY)]
        return sum([cell.body is None or bool(expiry_of(cell)) or cell.bound is not None for cell in cells])

    def write(self, dice: Random, full: bool) -> bool:
        """One put, delete or touch; whether it was taken."""
        self.stamp += dice.randrange(1, 20)
        key, kind = f"k{dice.randrange(8)}", dice.randrange(6)
        body = None if kind < 2 else b"1"
        expiry = self.stamp + dice.randrange(1, 60) if kind == 2 else 0
        bound = "lease" if kind == 3 else None
        if kind == 5:
            self.store.touch(key, self.stamp, self.stamp + 50)
            return True
        fades = body is None or bool(expiry) or bound is not None
        if full and fades and self.remains(self.store.cell(KEY, key)):
            return False
        self.store.put(key, body, self.stamp, expiry, bound)
        return True


def worst(remains: Callable[[Cell | None], bool]) -> tuple[int, int]:
    """Over 100 seeds: by how many keys a full store grew at most, and how many writes were taken."""
    most = taken = 0
    for seed in range(100):
        dice, guard = Random(seed), Guard(remains)
        for _ in range(12):
            guard.write(dice, full=False)
        before = guard.mortal()
        for _ in range(60):
            taken += guard.write(dice, full=True)
            most = max(most, guard.mortal() - before)
    return most, taken


def test_no_write_that_is_taken_lets_one_more_key_fade() -> None:
    most, taken = worst(lasts)
    assert most == 0 and taken > 3_000


@pytest.mark.parametrize(
    "remains",
    [
        lambda cell: cell is None,  # a delete of what would stay
        lambda cell: cell is not None and lasts(cell),  # a delete, or a put with a ttl, of what was never there
    ],
)
def test_a_guard_with_a_hole_is_found(remains: Callable[[Cell | None], bool]) -> None:
    assert worst(remains)[0] > 0


def test_a_guard_that_refuses_too_much_is_found() -> None:
    assert worst(lambda cell: True)[1] < worst(lasts)[1]


# --- in the world -------------------------------------------------------------------------------------------------------


def limited(make: Any, limits: dict[str, int], settings: Settings, **more: Any) -> Assembly:
    return often(build, replace(settings, max_fading=limits.get(settings.name, 1_000)), end_after=10_000 * S, **more)


def cluster_of(world: World, limits: dict[str, int]) -> Cluster:
    cluster = Cluster(world, 3, expect=3, make=partial(limited, build, limits), encoded=False, durable=True)
    cluster.form()
    return cluster


def fill(peer: SimPeer, prefix: str, count: int) -> None:
    for number in range(count):
        peer.put(f"{prefix}{number}", number)
        peer.delete(f"{prefix}{number}")


def value(peer: SimPeer, key: str) -> object:
    cell = peer.store.peek(key)
    return None if cell is None or cell.body is None else decode_value(cell.body)


def refuses(write: Callable[[], object]) -> bool:
    try:
        write()
    except StoreFullError:
        return True
    return False


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts stand still after a minute. (Rounds are three seconds apart here.)"""
    monkeypatch.setattr("mesh.replication.burden.PAUSE", 60 * S)


def test_who_is_cut_off_is_full_in_the_end_and_takes_everything_when_it_is_back(soon: None) -> None:
    world = World(1)
    told = Told(world)
    cluster = cluster_of(world, {"n2": 50})
    n0, n2 = cluster.peer("n0"), cluster.peer("n2")
    for key in ("stays", "a", "b", "c"):
        n2.put(key, 0)
    n2.put("mortal", 0, ttl_ms=400_000)
    cut = Partition(0, 0, ("n2",)).rules(cluster.names)
    world.network.add(*cut)
    fill(n2, "early/", 60)
    world.run(30 * S)
    assert n2.store.fading() == 60 and not told.told, "above the limit, but cuts do not stand still yet"
    world.run(60 * S)
    (first,) = told.told
    assert (first.keys, first.limit, first.full) == (60, 50, True)
    why = n2.assembly.rounds.stillness()
    assert why.names == ("n0", "n1") and "voters n0, n1 are not there" in why.why
    assert "nothing is forgotten: the voters n0, n1" in n2.assembly.forgets(n2.process.instant())

    assert refuses(lambda: n2.delete("stays")) and refuses(lambda: n2.delete("never there"))
    assert refuses(lambda: n2.put("new", 1, ttl_ms=5_000)) and refuses(lambda: n2.put("stays", 1, ttl_ms=5_000))
    assert refuses(lambda: n2.batch({"early/0": 1, "new": DELETED}))
    assert value(n2, "early/0") is None and value(n2, "stays") == 0, "nothing of it"
    n2.put("new", 1)
    n2.put("stays", 1)
    n2.put("early/1", 1, ttl_ms=300_000)
    n2.touch("mortal", 500_000)
    n2.put("mortal", 2, ttl_ms=1_000)
    n2.delete("mortal")
    n2.delete("early/1")
    n2.batch({"early/2": 1, "stays": 2})
    n2.add("counter", 1)
    assert n2.assembly.node.stats()["replication.writes_refused_full"] == 5

    fill(n0, "theirs/", 40)  # the others are not full, and have no reason to be told
    world.network.remove(*cut)
    world.run(60 * S)
    assert len(told.told) == 1 and [event.refused for event in told.relieved] == [5]
    n2.delete("stays")
    n2.put("new/2", 1, ttl_ms=2_000)
    world.run(60 * S)
    for peer in cluster.living():
        assert peer.store.fading() == 0 and not peer.assembly.forgets(peer.process.instant())
        assert (value(peer, "stays"), value(peer, "new"), value(peer, "early/2")) == (None, 1, 1)


def test_a_dead_member_is_named_and_what_others_delete_is_merged_all_the_same(soon: None) -> None:
    world = World(2)
    told = Told(world)
    cluster = cluster_of(world, {"n2": 50})
    n0, n2 = cluster.peer("n0"), cluster.peer("n2")
    for number in range(60):
        n0.put(f"k{number}", number)
    world.run(10 * S)
    world.kill("n1")
    fill(n2, "own/", 30)
    world.run(75 * S)
    assert [(event.keys, event.full) for event in told.told] == [(30, False)], "half of it is told before anything is refused"
    fill(n2, "more/", 20)
    assert refuses(lambda: n2.delete("k0"))
    for number in range(60):
        n0.delete(f"k{number}")
    world.run(5 * S)
    assert n2.store.fading() == 110 and value(n2, "k0") is None
    for peer in (n0, n2):
        why = peer.assembly.rounds.stillness()
        assert why.names == ("n1",) and "mesh end" in why.why, "the leader and the other one"
    rounds = n0.assembly.rounds
    n0.perform(rounds, rounds.give_up("n1", n0.process.instant()))
    world.run(20 * S)
    assert n2.store.fading() == 0
    assert not refuses(lambda: n2.put("new", 1, ttl_ms=1_000)), "it does not end with the cut"
    assert len(told.relieved) == 1


def test_what_the_mesh_needs_to_write_itself_is_never_refused(soon: None) -> None:
    """The end of a lease hides keys, and is written by the full one; counters go on."""
    world = World(3)
    cluster = cluster_of(world, {"n2": 50})
    n2 = cluster.peer("n2")
    n2.assembly.replication.put("bound", b"\x01", n2.process.instant(), bound="a lease")
    cluster.world.run(5 * S)
    world.kill("n1")
    world.kill("n0")
    fill(n2, "own/", 50)
    world.run(75 * S)
    assert refuses(lambda: n2.assembly.replication.put("b", b"\x01", n2.process.instant(), bound="another"))
    n2.perform(n2.assembly.replication, n2.assembly.replication.end_lease("a lease", n2.process.instant()))
    n2.add("counter", 3)
    n2.assembly.replication.put("bound", b"\x01", n2.process.instant(), bound="another")
    assert n2.store.lease_ended("a lease") and n2.store.counter("counter") == 3
    assert value(n2, "bound") == 1


def never_over(burden: Burden, keys: int, round: int, mono: int) -> object:
    return Burden.look_rightly(burden, keys, 0, mono)  # type: ignore[attr-defined]


def test_a_limit_that_does_not_end_with_a_cut_is_found(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Burden, "look_rightly", Burden.look, raising=False)
    monkeypatch.setattr(Burden, "look", never_over)
    monkeypatch.setattr(Burden, "counts", lambda self, round: self._stands)
    with pytest.raises(AssertionError, match="it does not end with the cut"):
        test_a_dead_member_is_named_and_what_others_delete_is_merged_all_the_same(soon)
