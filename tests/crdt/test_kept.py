"""What a store says has changed, for whoever keeps it: also what is forgotten."""

from __future__ import annotations

from crdt.cell import COUNTER, KEY
from crdt.dots import NOTHING
from crdt.store import Put, Store
from tests.crdt.cells import ACTORS
from tests.crdt.writes import remote

A, B, C = ACTORS


def test_what_is_kept_is_the_store_whatever_happens_to_it() -> None:
    store, disk = Store(A), dict[tuple[int, str], object]()
    store.keep()

    def commit() -> None:
        store.flush()
        for place in store.take_dirty():
            cell = store.cell(*place)
            if cell is None:
                del disk[place]
            else:
                disk[place] = cell
        assert disk == {(cell.kind, cell.key): cell for cell in store.cells()}

    store.put("a", b"1", 10, expiry=40)
    store.put("b", b"1", 11)
    store.add("c", 5, 12)
    store.put("d", b"1", 13)
    store.add("c", 1, 14)
    store.put("a", b"1", 15, expiry=40)
    store.put("b", b"1", 16)
    commit()
    assert not store.is_dirty
    store.apply(remote(B, "b", b"2", 20), 20)
    store.touch("a", 21, 60)
    commit()
    store.put_batch([Put("x", b"1"), Put("y", None)], 30)
    store.expire(70)
    commit()
    store.remove([cell for cell in store.cells() if cell.key == "y"])
    store.settle(B)
    commit()
    assert (KEY, "y") not in disk and any(kind == COUNTER for kind, _ in disk)


def test_whoever_reads_back_a_part_of_a_batch_has_held_it_in_whole() -> None:
    """The dots of its replaced keys may be told by nobody any more."""
    store = Store(A)
    store.put_batch([Put("x", b"1"), Put("y", b"1"), Put("z", b"1")], 10)
    store.put("x", b"2", 11)
    store.flush()
    again = Store(B)
    again.restore([cell for cell in store.cells() if cell.key != "x"], NOTHING, 20)
    assert [again.dots.covers(A, n) for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_claims_are_stated_briefly() -> None:
    store = Store(A)
    for n in (1, 2, 5, 7):
        store.dots.claim(B, n)
    store.dots.claim(C, 9)
    assert store.dots.brief(10).extras == ((B, (5, 7)), (C, (9,)))
    assert store.dots.brief(2).extras == ((B, (5, 7)),)
    assert store.dots.brief(1).extras == ()
    assert store.dots.brief(0).vector == ((B, 2),)
