"""Transfers slice by slice (C5, C16)."""

from __future__ import annotations

from random import Random

import pytest

from crdt import transfer as transfers
from crdt.cell import KEY, Cell, cell_of, encode_cell
from crdt.dots import DotSet, Summary
from crdt.store import Place, Store
from crdt.transfer import FIRST, INDEXED, WALKED, Slice, Transfer, missing
from mesh.wire import load
from tests.crdt.cells import ACTORS, UNKNOWN

A, B, C = ACTORS
LATE = 1 << 40


def read(part: Slice) -> list[Cell]:
    return [cell_of(load(data, 1 << 22, 4)) for data in part.cells]


def filled(actor: bytes, keys: int, stamp: int = 10, prefix: str = "k") -> Store:
    store = Store(actor)
    for n in range(keys):
        store.put(f"{prefix}{n:05}", b"v%d" % n, stamp + n)
    store.flush()
    return store


def pull(asker: Store, sender: Store, limit: int, transfer: Transfer, masks: dict[bytes, int] | None = None) -> Slice:
    """One slice, as `mesh.replication` does it."""
    snapshot = sender.dots.summary() if transfer.after == FIRST else None
    part = missing(sender, DotSet(transfer.known), masks or {}, transfer.after, limit)
    for cell in read(part):
        asker.apply(cell, LATE)
    if snapshot is not None:
        transfer.begins(snapshot)
    transfer.received(part.last, part.complete)
    return part


def test_slices_hold_what_is_lacking_in_order_of_place_and_bounded() -> None:
    sender = filled(A, 40)
    sender.add("c", 1, 100)
    sender.end_lease("lease", 101)
    sender.apply(Cell(UNKNOWN, "u", (), b"", None, B, 1), 102)
    sender.flush()
    after, places, slices = FIRST, list[Place](), 0
    while True:
        part = missing(sender, DotSet(), {}, after, 300)
        assert len(part.cells) == 1 or sum(map(len, part.cells)) <= 300
        cells = read(part)
        places += [cell[:2] for cell in cells]
        assert part.last == places[-1]
        assert part.complete
        slices += 1
        if part.done:
            break
        after = part.last
    assert places == sorted(places)
    assert places == [cell[:2] for cell in sender.cells()]
    assert slices > 5


def test_a_cell_above_the_limit_travels_alone() -> None:
    sender = Store(A)
    for stamp, key in enumerate("abc", 10):
        sender.put(key, bytes(1_000 if key == "b" else 10), stamp)
    sender.flush()
    after, keys = FIRST, []
    for _ in range(3):
        part = missing(sender, DotSet(), {}, after, 100)
        keys.append([cell.key for cell in read(part)])
        after = part.last
    assert keys == [["a"], ["b"], ["c"]]
    assert part.done


def test_what_is_claimed_is_passed_over() -> None:
    sender = filled(A, 5)
    known = DotSet()
    for n in (1, 2, 4):
        known.claim(A, n)
    part = missing(sender, known, {}, FIRST, 1 << 20)
    assert [cell.n for cell in read(part)] == [3, 5]
    nothing = missing(sender, sender.dots, {}, FIRST, 1)
    assert (nothing.cells, nothing.done, nothing.complete) == ([], True, True)


def test_the_index_and_the_walk_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(3)
    for _ in range(50):
        sender = filled(A, random.randrange(1, 20))
        for actor in (B, C):
            for cell in filled(actor, 20, prefix=random.choice("kx")).cells():
                if random.randrange(2):
                    sender.apply(cell, LATE)
        known = DotSet()
        for actor in ACTORS:
            for n in range(1, 20):
                if random.randrange(3) == 0:
                    known.claim(actor, n)
        after = random.choice((FIRST, (KEY, "k00010"), (KEY, "x00003"), (KEY + 1, "")))
        found = []
        for indexed in (INDEXED, 0):
            monkeypatch.setattr(transfers, "INDEXED", indexed)
            part, slices = missing(sender, known, {}, after, 200), list[bytes]()
            while not part.done:
                slices += part.cells
                part = missing(sender, known, {}, part.last, 200)
            found.append(slices + part.cells)
        assert found[0] == found[1]
        assert found[0] == [
            encode_cell(cell) for cell in sender.cells() if cell[:2] > after and not known.covers(cell.actor, cell.n)
        ]


def test_the_index_gives_up_when_it_would_take_longer_than_told() -> None:
    sender = filled(A, 50)
    found = sender.lacking(DotSet(), 51)
    assert found is not None
    assert len(found) == 50
    assert sender.lacking(DotSet(), 50) is None
    few = sender.lacking(DotSet(Summary(((A, 48),), ())), 5)
    assert few is not None
    assert [cell.n for cell in few] == [49, 50]


def test_a_walk_past_many_cells_pauses_without_sending_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "INDEXED", 1)
    monkeypatch.setattr(transfers, "WALKED", 10)
    sender = filled(A, 25)
    known = DotSet(Summary(((A, 24),), ()))
    first = missing(sender, known, {}, FIRST, 1 << 20)
    assert (first.cells, first.done, first.last) == ([], False, (KEY, "k00009"))
    second = missing(sender, known, {}, first.last, 1 << 20)
    third = missing(sender, known, {}, second.last, 1 << 20)
    assert [cell.key for cell in read(third)] == ["k00024"]
    assert third.done
    assert WALKED > INDEXED


def test_the_snapshot_is_claimed_after_the_last_slice_and_not_before() -> None:
    sender, asker = filled(A, 30), Store(B)
    for n in range(30):
        sender.put(f"k{29 - n:05}", b"again", 100 + n)  # early dots now live only in the cells of late ones
    sender.flush()
    transfer = Transfer(asker.dots.summary())
    while not pull(asker, sender, 200, transfer).done:
        assert asker.dots.last(A) == 0, "each cell claims its own dot, beside the vector"
        assert not asker.dots.covers(A, 1)
    assert asker.dots.last(A) == 0
    assert transfer.finish(asker)
    assert asker.dots.digest() == sender.dots.digest()
    assert list(asker.cells()) == list(sender.cells())


def test_what_the_sender_writes_meanwhile_is_not_claimed_and_not_lost() -> None:
    sender, asker = filled(A, 30), Store(B)
    transfer = Transfer(asker.dots.summary())
    first = pull(asker, sender, 200, transfer)
    sender.put("a", b"before the place", 100)
    sender.put("k00000", b"again", 101)
    sender.put("k00029", b"ahead", 102)
    sender.flush()
    while not pull(asker, sender, 200, transfer).done:
        pass
    assert transfer.finish(asker)
    assert not first.done
    assert asker.dots.last(A) == 30
    assert asker.dots.extras(A) == {33}
    assert asker.peek("k00029") == sender.peek("k00029")
    assert not asker.dots.covers_all(sender.dots.summary())
    again = Transfer(asker.dots.summary())
    part = pull(asker, sender, 1 << 20, again)
    assert [cell.key for cell in read(part)] == ["a", "k00000"]
    assert again.finish(asker)
    assert asker.dots.digest() == sender.dots.digest()


def test_another_sender_that_covers_the_first_snapshot_carries_on_from_the_last_place() -> None:
    sender, asker, other = filled(A, 40), Store(B), Store(C)
    for cell in sender.cells():
        other.apply(cell, LATE)
    for n in range(40):
        other.put(f"k{n:05}", b"newer", LATE + 1 + n)
    other.flush()
    transfer = Transfer(asker.dots.summary())
    first = pull(asker, sender, 200, transfer)
    assert transfer.snapshot is not None
    assert other.dots.covers_all(transfer.snapshot)
    sent = 0
    while True:
        part = pull(asker, other, 200, transfer)
        sent += len(part.cells)
        if part.done:
            break
    assert transfer.finish(asker)
    assert sent == 40 - len(first.cells)
    assert asker.dots.last(A) == 40
    assert [asker.peek(f"k{n:05}") is not None for n in range(40)] == [True] * 40


def test_a_new_beginning_forgets_what_another_sender_left_out() -> None:
    sender, asker = filled(A, 5), Store(B)
    transfer = Transfer(asker.dots.summary())
    transfer.begins(Summary(((A, 99),), ()))
    transfer.received((KEY, "z"), False)
    transfer.begins(sender.dots.summary())
    assert (transfer.after, transfer.clean) == (FIRST, True)
    pull(asker, sender, 1 << 20, transfer)
    assert transfer.finish(asker)
    assert asker.dots.summary() == sender.dots.summary()


def test_masked_cells_are_left_out_and_leave_the_transfer_unclaimed() -> None:
    sender, asker = filled(A, 6), Store(B)
    sender.apply(Cell(KEY, "k00000", (0, 99, C, 0, 0, b""), b"ahead", None, C, 4), LATE)  # replaces (A, 1)
    sender.apply(Cell(KEY, "x", (0, 50, C, 0, 0, b""), b"fine", None, C, 3), LATE)
    transfer = Transfer(asker.dots.summary())
    part = pull(asker, sender, 1 << 20, transfer, masks={C: 4})
    assert (part.done, part.complete) == (True, False)
    assert [cell.key for cell in read(part)] == [*[f"k{n:05}" for n in range(1, 6)], "x"]
    assert not transfer.finish(asker)
    assert not asker.dots.covers(A, 1), "it lives on only in the cell that was left out"
    assert not asker.dots.covers(C, 4)
    assert asker.dots.extras(A) == {2, 3, 4, 5, 6}
    unmasked = Transfer(asker.dots.summary())
    part = pull(asker, sender, 1 << 20, unmasked)
    assert [cell.key for cell in read(part)] == ["k00000"]
    assert unmasked.finish(asker)
    assert asker.dots.digest() == sender.dots.digest()


def test_a_mask_that_hides_nothing_lacking_leaves_the_transfer_whole() -> None:
    sender = filled(A, 6)
    assert missing(sender, DotSet(), {A: 7}, FIRST, 1 << 20).complete
    assert missing(sender, DotSet(Summary(((A, 5),), ())), {A: 7, C: 1}, FIRST, 1 << 20).complete
    assert missing(sender, sender.dots, {A: 1}, FIRST, 1 << 20).complete


def test_a_transfer_without_a_snapshot_claims_nothing() -> None:
    asker = Store(B)
    transfer = Transfer(asker.dots.summary())
    transfer.received((KEY, "z"), True)
    assert not transfer.finish(asker)


def test_a_store_with_an_open_window_serves_nothing() -> None:
    sender = filled(A, 3)
    sender.put("k00001", b"no dot yet", 100)
    with pytest.raises(AssertionError):
        missing(sender, DotSet(), {}, FIRST, 1 << 20)


def test_a_large_join_runs_in_bounded_slices_and_resumes_after_a_break() -> None:
    """C16, at a tenth of its size: no slice is larger than asked for, and a break costs no slice twice."""
    count, limit = 10_000, 64 << 10
    sender, asker = filled(A, count), Store(B)
    transfer = Transfer(asker.dots.summary())
    sent = slices = 0
    while True:
        part = missing(sender, DotSet(transfer.known), {}, transfer.after, limit)
        assert sum(map(len, part.cells)) <= limit
        if slices % 2 == 0:  # lost: nothing of it arrives
            slices += 1
            continue
        part = pull(asker, sender, limit, transfer)
        sent += len(part.cells)
        slices += 1
        if part.done:
            break
    assert sent == len(asker) == count
    assert transfer.finish(asker)
    assert asker.dots.digest() == sender.dots.digest()
