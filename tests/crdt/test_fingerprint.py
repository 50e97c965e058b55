"""The fingerprint: the same for the same content, however it came; and what changes without a write is found (C18)."""

from __future__ import annotations

from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from crdt.cell import KEY, Cell, drop
from crdt.fingerprint import BUCKETS, FANOUT, Fingerprint, bucket_of, row_of
from crdt.store import Put, Store
from tests.crdt.cells import ACTORS, any_cells
from tests.crdt.writes import LATE, remote

A, B, C = ACTORS
MANY = 1 << 40


def total(store: Store) -> bytes:
    """As it is now, counted from nothing."""
    fresh = Fingerprint()
    fresh.count(store.walk((-1, "")), MANY)
    return fresh.total()


def kept(store: Store) -> bytes:
    assert store.fingerprint is not None
    return store.fingerprint.total()


@given(st.lists(any_cells(), max_size=30), st.randoms(use_true_random=False))
def test_it_is_of_the_content_and_not_of_the_way_there(cells: list[Cell], random: Random) -> None:
    cells = list({(*cell[:3], cell.actor, cell.n): cell for cell in cells}.values())  # one write has one content
    first, second = Store(A), Store(A)
    first.recount(1)
    second.recount(1)  # both from the first change on
    for cell in cells:
        first.absorb(cell, 1)
    shuffled = [*cells, *cells[:3]]
    random.shuffle(shuffled)
    for cell in shuffled:
        second.absorb(cell, 1)
        if not random.randrange(4):
            second.recount(random.randrange(1, 5))
    assert kept(first) == total(first) == total(second) == kept(second)
    assert bool(cells) == (kept(first) != Fingerprint().total() and any(kept(first)))


@given(st.integers(0, 1 << 30))
def test_every_way_to_change_a_store_changes_it_as_counting_anew_does(seed: int) -> None:
    random, store, stamp, n = Random(seed), Store(A), 10, 0
    store.recount(1)
    for _ in range(60):
        stamp, key = stamp + 1, f"k{random.randrange(12)}"
        match random.randrange(9):
            case 0 | 1:
                store.put(key, b"%d" % stamp, stamp, random.choice((0, stamp + 5)))
            case 2:
                store.put(key, None, stamp)
            case 3:
                store.touch(key, stamp, stamp + 30)
            case 4:
                store.add(key, random.randrange(-5, 5), stamp)
            case 5:
                store.flush()
                store.put_batch([Put("a" + key, b"x"), Put("b" + key, None)], stamp)
            case 6:
                n += 1
                store.apply(remote(B, key, b"theirs", stamp - random.randrange(6), 0, n), stamp)
            case 7:
                store.flush()
                store.remove([cell for cell in store.faded() if cell.n][:2])
            case 8:
                store.flush()
                if not random.randrange(4):
                    store.settle(B)
        store.expire(stamp)
        assert store.recount(random.randrange(1, 9)) == []
        store.flush()
        assert kept(store) == total(store) or not store.fingerprint or not store.fingerprint.known


def test_a_value_that_expired_counts_as_before_dropped_or_not() -> None:
    for body in (b"", b"1", b"x" * 100):
        cell = remote(B, "k", body, 10, expiry=12)
        assert row_of(cell) == row_of(drop(cell))
    rows = [remote(B, "k", body, 10, expiry=12) for body in (b"", b"1", None)]
    assert len({row_of(cell) for cell in rows}) == 3


SHORT, LONG = [Cell(KEY, "", (0, 0, bytes(16), 0, 0, bytes(size)), b"", None, bytes(16), 1, b"") for size in (0, 1)]


@given(any_cells(), any_cells())
@example(SHORT, LONG)
def test_different_cells_have_different_rows(cell: Cell, other: Cell) -> None:
    assert (row_of(cell) == row_of(other)) == (drop_if(cell) == drop_if(other))


def drop_if(cell: Cell) -> Cell:
    return drop(cell) if cell.kind == KEY and cell.order[3] else cell


def test_what_has_no_dot_does_not_count() -> None:
    store = Store(A)
    store.recount(1)
    empty = kept(store)
    store.put("k", b"1", 10)
    assert kept(store) == empty
    store.flush()
    assert kept(store) == total(store) != empty


def test_a_flip_in_memory_is_found_within_one_walk_and_a_write_meanwhile_is_none() -> None:
    store = Store(A)
    for n in range(100):
        store.put(f"k{n:03}", b"%d" % n, 10 + n)
    store.flush()
    store.recount(MANY)
    assert store.recount(MANY) == []
    cell = store.cell(KEY, "k050")
    assert cell is not None
    for flipped in (cell._replace(body=b"51"), cell._replace(order=(0, cell.order[1] ^ 64, *cell.order[2:]))):  # type: ignore[operator]
        store._cells[KEY]["k050"] = flipped
        wrong: list[int] = []
        for n in range(0, 120, 10):  # while writes go on, in front of the walk and behind it
            store.put(f"k{n:03}", b"again", 1000 + n)
            store.put(f"n{n:03}", b"new", 1000 + n)
            store.flush()
            wrong += store.recount(10)
        while not wrong:
            wrong = store.recount(40)
        assert wrong == [bucket_of(KEY, "k050")]
        store.mend(cell, LATE, trusted=True)
        while store.fingerprint and store.fingerprint.cursor[0] >= 0:
            assert store.recount(40) == []
        assert (store.recount(MANY), store.cell(KEY, "k050")) == ([], cell)


def test_the_sums_of_the_parts_lead_to_the_cell() -> None:
    stores = Store(A), Store(A)
    for store in stores:
        for n in range(1000):
            store.put(f"k{n}", b"1", 10 + n)
        store.flush()
    lost = stores[1].cell(KEY, "k500")
    assert lost is not None
    stores[1].remove((lost,))
    for store in stores:
        store.recount(MANY)
    first, second = [store.fingerprint for store in stores]
    assert first is not None and second is not None
    differs = [at for at in range(0, FANOUT * 8, 8) if first.groups()[at : at + 8] != second.groups()[at : at + 8]]
    bucket = bucket_of(KEY, "k500")
    group, place = divmod(bucket, FANOUT)
    assert differs == [group * 8]
    ours, theirs = first.buckets(group), second.buckets(group)
    assert [at for at in range(0, FANOUT * 8, 8) if ours[at : at + 8] != theirs[at : at + 8]] == [place * 8]
    assert len(first.groups()) == FANOUT * 8 and FANOUT * FANOUT == BUCKETS


def test_two_that_differ_under_one_order_and_dot_mend_to_the_same() -> None:
    cell = remote(B, "k", b"right", 10)
    flipped = cell._replace(body=b"wrong")
    ends = []
    for mine, theirs in ((cell, flipped), (flipped, cell)):
        store = Store(A)
        store.apply(mine, 11)
        store.take_changes()
        changed = store.mend(theirs, 12)
        ends.append(store.cell(KEY, "k"))
        assert bool(store.take_changes()[0]) is changed  # readers are told of it
    assert ends[0] == ends[1] in (cell, flipped)
