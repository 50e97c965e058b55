"""Batches on stores: seen in whole or not at all, whatever arrives, in whatever order, and broken rules that are found."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from crdt.batches import Batches, batch_of
from crdt.cell import KEY, Cell, CellError, Mark, above, cell_of, encode_cell, expiry_of, is_dropped, put_of
from crdt.clock import COUNTER_BITS, Stamp
from crdt.dots import DotSet, Summary
from crdt.store import Put, Store, StoreFencedError
from crdt.transfer import Transfer
from mesh.wire import load
from tests.crdt.cells import ACTORS
from tests.crdt.replicas import EVERYTHING, FENCED, KEYS, Broken, Push, Replica, World, require, step

A, B, C = ACTORS
STEPS = 200
SEEDS = 30


class BatchWorld(World):
    """Writes batches, too, and looks after each step whether any replica shows a part of one."""

    def __init__(self, replicas: int = 3, store: type[Store] = Store) -> None:
        super().__init__(replicas, store=store)
        self.batches: list[list[Cell]] = []
        self.waited = 0

    def put_batch(self, at: int, bodies: dict[str, bytes | None], ttl_ms: int = 0, lost: bool = False) -> None:
        self.flush(at, lost=lost)
        replica = self.replicas[at]
        stamp = self.tick(replica)
        expiry = stamp + (ttl_ms << COUNTER_BITS) if ttl_ms else 0
        try:
            written = replica.store.put_batch([Put(key, body, expiry if body else 0) for key, body in bodies.items()], stamp)
        except StoreFencedError:
            require(not replica.store.pending, "a batch that was refused has written something")
            return
        self.batches.append([cell for cell, _ in written])
        for cell, previous in written:
            require((cell.actor, cell.n) not in self.log, "one dot for two cells:", cell)
            self.log[cell.actor, cell.n] = cell
            if cell.key == FENCED:
                self.fenced.append(put_of(cell))
            if not lost:
                self.bag += [Push(to, cell, previous) for to in range(len(self.replicas)) if to != at]

    def new_transfer(self, store: Store) -> Transfer:
        store.forget_waiting()
        return super().new_transfer(store)

    def deliver(self, index: int, keep: bool = False) -> None:
        """With a cell of a batch comes what else is under way of it, as long as that is whole; or nothing comes of it."""
        push = self.bag[index]
        batch = batch_of(push.cell)
        if batch is None or is_dropped(push.cell):
            super().deliver(index, keep)
            return
        store = self.replicas[push.to].store
        run = [each for each in self.bag if each.to == push.to and batch_of(each.cell) == batch and not is_dropped(each.cell)]
        fresh = {(each.cell.actor, each.cell.n): each for each in run if not store.dots.covers(each.cell.actor, each.cell.n)}
        if not keep:
            self.bag = [each for each in self.bag if each not in run]
        stamps = [self.admit(self.replicas[push.to], each.cell) for each in fresh.values()]
        if stamps and store.apply_together([each.cell for each in fresh.values()], stamps[-1]):
            for each in fresh.values():
                store.claim_previous(each.cell, each.previous)

    def check(self) -> None:
        super().check()
        for replica in self.replicas:
            self.waited += replica.store.waiting
            for cells in self.batches:
                self.check_whole(replica, cells)

    def check_whole(self, replica: Replica, cells: list[Cell]) -> None:
        owns = [replica.store.cell(KEY, cell.key) for cell in cells]
        if any(own is not None and put_of(own) == put_of(cell) for cell, own in zip(cells, owns, strict=True)):
            for cell, own in zip(cells, owns, strict=True):
                require(own is not None and put_of(own) >= put_of(cell), "a part of a batch is seen, but not", cell)


def batch_step(world: BatchWorld, random: Random) -> None:
    if random.randrange(8):
        step(world, random)
        return
    keys = random.sample(KEYS, random.randint(1, 4))
    bodies = {key: random.randbytes(2) if random.randrange(5) else None for key in keys}
    ttl = random.choice((0, 0, 1_000))
    world.put_batch(random.randrange(len(world.replicas)), bodies, ttl, lost=random.randrange(3) == 0)
    world.check()


def campaign(world: BatchWorld, seed: int) -> None:
    random = Random(seed)
    try:
        for _ in range(STEPS):
            batch_step(world, random)
        world.settle()
        world.check()
        for replica in world.replicas:
            require(not replica.store.waiting, "something waits after everything was exchanged")
    except Broken as problem:
        raise Broken(f"seed {seed}: {problem}") from problem


@pytest.mark.parametrize("block", range(2))
def test_random_steps_show_no_part_of_a_batch_and_everything_converges(block: int) -> None:
    waited = 0
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        world = BatchWorld(3 + seed % 2)
        campaign(world, seed)
        waited += world.waited
    assert waited > 500


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_many_more_random_steps(block: int) -> None:
    for seed in range(10_000 + block * 500, 10_500 + block * 500):
        campaign(BatchWorld(3 + seed % 2), seed)


# --- one after the other ---------------------------------------------------------------------------------------------


def written_of(*puts: Put, fence: int = 0, stamp: int = 10) -> tuple[Store, list[Cell]]:
    writer = Store(A)
    return writer, [cell for cell, _ in writer.put_batch(puts, stamp, fence)]


def keys_of(store: Store) -> dict[str, bytes | None]:
    return {cell.key: cell.body for cell in store.scan("", 1 << 40)}


def test_it_has_one_stamp_dots_in_a_row_and_its_writer_sees_it_at_once() -> None:
    writer = Store(A)
    writer.put("before", b"1", 9)
    writer.flush()
    (one, _), (two, previous) = writer.put_batch([Put("x", b"1"), Put("before", None)], 10)
    assert (one.n, two.n, previous) == (2, 3, 1)
    assert (one.batch, two.batch) == (Mark(2, 2, 0), Mark(2, 2, 1))
    assert put_of(one) == put_of(two) == (0, 10, A)
    assert keys_of(writer) == {"x": b"1"}
    assert [change.key for change in writer.take_changes()[0]] == ["before", "x", "before"]


def test_nothing_of_it_is_seen_or_claimed_until_all_of_it_is_here() -> None:
    _, (one, two, three) = written_of(Put("x", b"1"), Put("y", b"2"), Put("z", None))
    reader = Store(B)
    assert reader.apply(two, 20) is None
    assert reader.apply(two, 20) is None, "twice the same"
    assert reader.apply(one, 21) is None
    assert (keys_of(reader), reader.take_changes(), reader.dots.summary(), reader.waiting) == (
        {},
        ((), ()),
        DotSet().summary(),
        2,
    )
    assert reader.apply(three, 22)
    assert keys_of(reader) == {"x": b"1", "y": b"2"}
    assert (reader.dots.last(A), reader.waiting) == (3, 0)
    assert reader.apply(one, 23) is False


def test_a_key_that_was_replaced_counts_once_the_transfer_has_ended() -> None:
    writer, (_, two) = written_of(Put("x", b"1"), Put("y", b"2"))
    writer.put("x", b"newer", 11)
    ((newer, _),) = writer.flush()
    reader = Store(B)
    assert reader.apply(newer, 20)
    assert reader.apply(two, 20) is None
    assert keys_of(reader) == {"x": b"newer"}
    assert reader.raise_to(writer.dots.summary())
    assert keys_of(reader) == {"x": b"newer", "y": b"2"}
    assert (reader.waiting, reader.dots.covers(A, two.n)) == (0, True)


def test_what_was_written_while_the_transfer_ran_keeps_its_snapshot_from_being_claimed() -> None:
    """A part of it has replaced what the snapshot covers."""
    writer = Store(A)
    writer.put("x", b"old", 9)
    writer.flush()
    snapshot = writer.dots.summary()
    (one, _), _ = writer.put_batch([Put("x", b"1"), Put("y", b"2")], 10)
    reader = Store(B)
    assert reader.apply(one, 20) is None
    assert not reader.raise_to(snapshot)
    assert (reader.dots.last(A), reader.waiting) == (0, 1)
    reader.forget_waiting()
    assert reader.waiting == 0


def test_what_waits_is_joined_all_at_once_or_not_at_all() -> None:
    """The snapshot covers the first batch; one of its keys was replaced by a part of the second, which it does not cover."""
    writer = Store(A)
    writer.put_batch([Put("x", b"1"), Put("y", b"1")], 10)
    snapshot = writer.dots.summary()
    writer.put_batch([Put("x", b"2"), Put("z", b"2")], 11)
    reader = Store(B)
    for key in "xy":
        part = writer.cell(KEY, key)
        assert part is not None and reader.apply(part, 20) is None
    assert not reader.raise_to(snapshot)
    assert keys_of(reader) == {}, "y alone would show the first batch without its x"
    last = writer.cell(KEY, "z")
    assert last is not None and reader.apply(last, 20)
    assert keys_of(reader) == {"x": b"2", "z": b"2"}
    assert reader.raise_to(snapshot)
    assert keys_of(reader) == {"x": b"2", "y": b"1", "z": b"2"}


def test_a_push_brings_all_of_it_or_nothing() -> None:
    _, cells = written_of(Put("x", b"1"), Put("y", b"2"), Put("z", b"3"))
    reader = Store(B)
    assert not reader.apply_together(cells[:2], 20)
    assert (keys_of(reader), reader.waiting, reader.dots.last(A)) == ({}, 0, 0)
    assert reader.apply_together(cells, 20)
    assert keys_of(reader) == {"x": b"1", "y": b"2", "z": b"3"}


def test_a_touched_key_shows_nothing_before_the_rest_either() -> None:
    writer, (_, two) = written_of(Put("x", b"1", 1_000), Put("y", b"2"))
    other = Store(C)
    for cell in writer.cells():
        other.apply(cell, 20)
    other.touch("x", 30, 2_000)
    ((touched, _),) = other.flush()
    reader = Store(B)
    assert reader.apply(touched, 40) is None
    assert keys_of(reader) == {}
    assert reader.apply(two, 40)
    assert {cell.key for cell in reader.scan("", 50)} == {"x", "y"}
    shown = reader.cell(KEY, "x")
    assert shown is not None and expiry_of(shown) == 2_000


def stands_for_what_it_touched(reader: Store) -> bool:
    """Who joins a touched key with its batch claims the write that was touched: it comes from nobody any more."""
    writer, (one, two) = written_of(Put("x", b"1", 1_000), Put("y", b"2"))
    other = Store(C)
    for cell in writer.cells():
        other.apply(cell, 20)
    other.touch("x", 30, 2_000)
    ((touched, _),) = other.flush()
    reader.apply(touched, 40)
    reader.apply(two, 40)
    return reader.dots.covers(one.actor, one.n)


def test_a_touched_key_stands_for_what_it_touched() -> None:
    assert stands_for_what_it_touched(Store(B))
    assert not stands_for_what_it_touched(StandsForNothing(B)), "it proves nothing"


def test_one_of_a_single_key_is_a_put_and_a_fenced_key_refuses_all_of_it() -> None:
    writer, (cell,) = written_of(Put("x", b"1"))
    assert cell.batch is None
    writer.put("y", b"fenced", 11, fence=7, lock="lock/l")
    writer.flush()
    with pytest.raises(StoreFencedError):
        writer.put_batch([Put("x", b"2"), Put("y", b"2")], 12)
    assert keys_of(writer) == {"x": b"1", "y": b"fenced"}
    assert len(writer.put_batch([Put("x", b"2"), Put("y", b"2")], 13, 8, "lock/l")) == 2


def test_where_a_clone_has_taken_dots_nothing_is_marked() -> None:
    writer = Store(A)
    writer.dots.claim(A, 2)
    one, two = [cell for cell, _ in writer.put_batch([Put("x", b"1"), Put("y", b"2")], 10)]
    assert (one.n, two.n, one.batch) == (1, 3, None)


def test_a_mark_travels_and_is_checked() -> None:
    _, (one, _) = written_of(Put("x", b"1"), Put("y", b"2"))
    raw: Any = load(encode_cell(one), EVERYTHING, 4)
    assert cell_of(raw) == one
    for mark in ((1, 1, 0), (1, 2, 2), (1, 5_000, 0), (0, 2, 0), (1 << 64, 2, 0), (1, 2, 1), (1, 2), 7, (1, 2, b"")):
        with pytest.raises(CellError):
            cell_of((*raw[:9], mark))
    with pytest.raises(CellError):
        cell_of((2, *raw[1:2], (1, A), b"", None, A, 1, b"", "", (1, 2, 0)))


# --- broken rules ----------------------------------------------------------------------------------------------------


class JoinsParts(Store):
    """Each cell is joined as it comes."""

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        if self.dots.covers(cell.actor, cell.n):
            return False
        self._join(cell, stamp)
        return True


class ClaimsFirst(Store):
    """The snapshot is claimed before what waits is joined."""

    def raise_to(self, snapshot: Summary) -> bool:
        self.dots.raise_to(snapshot)
        self.forget_waiting()
        return True


class ClaimsWithoutALook(Store):
    """The snapshot is claimed though something waits that is newer; it waits on."""

    def raise_to(self, snapshot: Summary) -> bool:
        if not super().raise_to(snapshot):
            self.dots.raise_to(snapshot)
        return True


class StandsForNothing(Store):
    """A touched cell that was joined with its batch leaves unclaimed what it touched."""

    def _join(self, cell: Cell, stamp: Stamp) -> None:
        super()._join(cell._replace(batch=None), stamp)


class UnmarksTouched(Store):
    """Who touches a key takes it out of its batch."""

    def touch(self, key: str, stamp: Stamp, expiry: Stamp) -> Cell | None:
        before = self.cell(KEY, key)
        cell = super().touch(key, stamp, expiry)
        if cell is not None and cell is not before and not cell.n:
            self._keys[key] = cell = cell._replace(batch=None)
        return cell


class ClaimsWhatWaits(Store):
    """A cell that waits is claimed already."""

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        done = super().apply(cell, stamp)
        if done is None:
            self.dots.claim(cell.actor, cell.n)
        return done


FAULTS: dict[str, tuple[Callable[[], BatchWorld], str]] = {
    "parts joined": (lambda: BatchWorld(store=JoinsParts), "a part of a batch is seen"),
    "claimed first": (lambda: BatchWorld(store=ClaimsFirst), "a dot is claimed"),
    "claimed without a look": (lambda: BatchWorld(store=ClaimsWithoutALook), "a dot is claimed"),
    "touched without its mark": (lambda: BatchWorld(store=UnmarksTouched), "a part of a batch is seen"),
    "claimed while it waits": (lambda: BatchWorld(store=ClaimsWhatWaits), "a dot is claimed"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_rule_is_found(name: str) -> None:
    make, message = FAULTS[name]
    with pytest.raises(Broken, match=message):
        for seed in range(200):
            campaign(make(), seed)


def test_a_batch_of_thousands_that_never_comes_costs_little() -> None:
    """Whoever invents marks costs what his cells cost."""
    batches = Batches()
    for n in range(1, 200):
        cell = Cell(KEY, "k", (0, 9, A, 0, 0, b""), b"", None, B, n, b"", "", Mark(n * 10_000, 4_096, 7))
        assert batches.add(cell, DotSet().covers) == []
    assert len(batches) == 199
    assert max(batch.missing.bit_length() for batch in batches._batches.values()) == 4_096


def test_what_is_above_another_is_told_without_a_look_at_the_mark() -> None:
    _, (one, _) = written_of(Put("x", b"1"), Put("y", b"2"))
    assert not above(one, one._replace(batch=None)) and not above(one._replace(batch=None), one)
