"""Cuts (C4, C7, C15, C18): everything mixed, and the same with one rule left out, which must be found."""

from __future__ import annotations

import pytest

from crdt.cell import COUNTER, FOLD, KEY, LEASE_END, Cell, Mark, cell_of, encode_cell
from crdt.clock import COUNTER_BITS, Stamp
from crdt.counter import slot_key
from crdt.cuts import (
    NO_CUT,
    Brought,
    Cut,
    End,
    Opening,
    Report,
    Retired,
    is_told,
    make_cut,
    may_go_on,
)
from crdt.dots import NOBODY, Summary
from crdt.forgetting import apply_cut
from crdt.returning import bring_back, put_again, tell_for_others
from crdt.store import Store
from mesh.wire import load
from tests.crdt.cut_faults import FAULTS, WITHIN, found
from tests.crdt.cut_world import run

SEEDS = 120
A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))
STAMP = 1_000 << COUNTER_BITS


@pytest.mark.parametrize("block", range(2))
def test_everything_mixed_loses_nothing_and_undoes_nothing(block: int) -> None:
    cuts = brought = voids = folds = joins = 0
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        world = run(seed)
        cut = world.register.cut
        cuts += world.cuts
        brought += len(world.brought)
        voids += sum(bool(row.void) for row in cut.retired)
        folds += sum(bool(row.folded) for row in cut.retired)
        joins += sum(member.first > 1 for member in world.members.values())
    assert cuts > 10 * SEEDS
    assert min(brought, voids, folds, joins) >= 5, "none of them is rare"


FOUND = (
    20,
    32,
    81,
    87,
    129,
    182,
    231,
    233,
    274,
    734,
    777,
    796,
    873,
    899,
    954,
    1030,
    1036,
    1475,
    1503,
    1970,
    6766,
    8729,
    8808,
    9358,
    12766,
    12903,
    15164,
    17775,
    23800,
    23960,
    27738,
    28316,
    41662,
    42857,
    44020,
    45058,
    46319,
    46342,
    46800,
    60053,
)
"""Seeds that failed while the rules were being found."""


@pytest.mark.parametrize("seed", FOUND)
def test_what_failed_once(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", [200_889, 304_414])
def test_what_failed_once_in_a_longer_run(seed: int) -> None:
    run(seed, steps=1_200)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_many_seeds(block: int) -> None:
    for seed in range(10_000 + block * 1_000, 10_000 + (block + 1) * 1_000):
        run(seed, steps=(400, 400, 400, 1_200)[seed % 4])


# --- rules left out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_that_is_left_out_is_found(name: str) -> None:
    seeds, _ = found(name)
    assert seeds <= WITHIN


# --- single rules ----------------------------------------------------------------------------------------------------


def report(actor: bytes, n: int, *claims: tuple[bytes, int], stamp: Stamp = STAMP, **more: object) -> Report:
    return Report(actor, Summary(tuple(sorted(claims)), ()), n, stamp, **more)  # type: ignore[arg-type]


def cut_of(previous: Cut, *reports: Report, ends: tuple[End, ...] = (), members: tuple[bytes, ...] = ()) -> Cut:
    opening = Opening(previous.round + 1, 1, ends, members)
    cut = make_cut(previous, opening, {each.actor: each for each in reports})
    assert cut is not None
    return cut


def test_a_cut_waits_for_everyone_it_has_to_count() -> None:
    opening = Opening(1, 1, (), (A, B))
    assert make_cut(NO_CUT, opening, {A: report(A, 1, (A, 1))}) is None
    named = {A: report(A, 1, (A, 1), joiners=(C,)), B: report(B, 0, (A, 1))}
    assert make_cut(NO_CUT, opening, named) is None
    cut = make_cut(NO_CUT, opening, named | {C: report(C, 0)})
    assert cut is not None and cut.counted == (A, B, C) and cut.least == () and cut.written == ((A, 1),)


def test_what_is_ended_is_skipped_and_retired() -> None:
    first = cut_of(NO_CUT, report(A, 0), report(B, 3, (B, 3)), members=(A, B))
    claims = Summary(((B, 1),), ((B, (4,)),))
    second = cut_of(first, Report(A, claims, 0, STAMP), ends=(End(B, True),))
    (row,) = second.retired
    assert (row.last, row.void, row.round) == (4, (2, 3), 2) and not second.ended
    assert not may_go_on(second, B, 1, b"") and may_go_on(second, A, 1, b"")
    assert may_go_on(second, C, 3, A) and not may_go_on(second, C, 2, A) and not may_go_on(second, C, 3, B)


def test_what_is_brought_back_is_told_when_all_have_it() -> None:
    row = Retired(C, 2, (1,), 1, STAMP, True)
    told = Brought(C, 5, (1, 4))
    cut = cut_of(NO_CUT._replace(retired=(row,)), report(A, 1, (A, 1), brought=(told,)), report(B, 0), members=(A, B))
    assert not is_told(cut, told)
    late = cut_of(cut, report(A, 1, (A, 1)), report(B, 0))
    assert not is_told(late, told), "the other one does not have it yet"
    last = cut_of(late, report(A, 1, (A, 1)), report(B, 0, (A, 1)))
    assert is_told(last, told) and (last.retired[0].last, last.retired[0].void) == (5, (1, 4))


def test_what_died_with_whom_brought_it_is_not_told() -> None:
    told = Brought(C, 5, ())
    cut = cut_of(
        NO_CUT._replace(retired=(Retired(C, 2, (), 1, STAMP, True),)),
        report(A, 1, (A, 1), brought=(told,)), report(B, 0), members=(A, B),
    )  # fmt: skip
    cut = cut_of(cut, report(B, 0), ends=(End(A, True),))
    cut = cut_of(cut, report(B, 0))
    assert not is_told(cut, told)


def test_writes_of_whom_nobody_has_anything_are_not_waited_for() -> None:
    first = cut_of(NO_CUT, report(A, 1, (A, 1)), report(B, 0, (C, 1)), members=(A, B))
    assert first.waiting.written == ((A, 1), (C, 1))
    second = cut_of(first, report(A, 1, (A, 1)), ends=(End(B, True),))
    assert second.purge.round == 1, "all that was known of C went with B: no deletion would ever be forgotten"


def test_what_is_held_and_void_is_put_again_and_told() -> None:
    store, other = Store(A), Store(B)
    for key in ("first", "second", "third", "fourth"):
        other.put(key, b"v", STAMP)
    cells = [cell for cell, _ in other.flush()]
    store.apply(cells[0], STAMP)
    told = report(A, 0, (B, 1))
    for cell in cells[1:3]:
        store.apply(cell, STAMP)  # after the report, from somebody who is not counted
    ends = (End(B, True),)
    cut = cut_of(NO_CUT, told, ends=ends, members=(A,))
    assert cut.retired[0].last == 1
    (brought,) = put_again(store, cut, STAMP)
    assert brought == Brought(B, 3, ())
    apply_cut(store, cut, STAMP, 0)
    assert [(cell.key, cell.order) for cell, _ in store.flush()] == [(cell.key, cell.order) for cell in cells[1:3]]
    assert store.cell(KEY, "first") == cells[0], "which everyone has"
    assert not put_again(store, cut, STAMP) and not store.pending

    holder = Store(A)
    holder.apply(cells[1], STAMP)
    claims = Summary((), ((B, (4,)),))
    cut = cut_of(NO_CUT, Report(A, Summary((), ()), 0, STAMP), Report(C, claims, 0, STAMP), ends=ends, members=(A, C))
    assert cut.void == ((B, (1, 2, 3)),)
    assert put_again(holder, cut, STAMP) == [], "it has not retired yet"
    apply_cut(holder, cut, STAMP, 0)
    assert [cell.key for cell, _ in holder.flush()] == ["second"]
    full = Summary(((B, 4),), ())
    cut = cut_of(cut, Report(A, full, 1, STAMP), Report(C, full, 0, STAMP), ends=ends)
    assert put_again(holder, cut, STAMP) == [Brought(B, 2, (1,))]


def test_what_the_dead_had_put_again_is_told_by_who_has_it() -> None:
    old, bringer, other = Store(B), Store(A), Store(C)
    for key in ("first", "second"):
        old.put(key, b"v", STAMP)
    old.flush()
    retired = Retired(B, 1, (), 1, STAMP, True)
    cut = NO_CUT._replace(round=2, counted=(A, C), retired=(retired,))
    for each in (bringer, other):
        apply_cut(each, cut, STAMP, 0)
    assert bring_back(bringer, old, cut, 0, STAMP) == [Brought(B, 2, ())]
    (put,) = bringer.flush()
    assert put.cell.batch == Mark(2, 1, 0) and cell_of(load(encode_cell(put.cell), 1 << 20, 4)) == put.cell
    assert other.apply(put.cell, STAMP)
    assert tell_for_others(other, cut) == [], "it tells that itself"
    cut = cut._replace(round=3, counted=(C,), retired=(retired, Retired(A, 1, (), 3, STAMP, True)))
    assert tell_for_others(other, cut) == [Brought(B, 2, ())] and tell_for_others(other, cut) == []

    told = cut._replace(round=4, counted=(C,), retired=(retired._replace(last=2), cut.retired[1]._replace(last=0)))
    third = Store(C)
    assert bring_back(third, bringer, told, 3, STAMP) is not None and not third.pending, "of A unseen, and as B's told"
    assert not tell_for_others(other, told) and not other.origins


def test_what_was_skipped_is_not_told_as_brought() -> None:
    """Else who does hold it would not bring it back."""
    old, other = Store(A), Store(B)
    for key in ("first", "second"):
        other.put(key, b"v", STAMP)
    old.apply(other.flush()[1].cell, STAMP)
    cut = cut_of(NO_CUT, Report(A, old.dots.summary(), 0, STAMP), report(C, 0), ends=(End(B, True),), members=(A, C))
    assert cut.void == ((B, (1,)),)
    apply_cut(old, cut, STAMP, 0)
    cut = cut_of(cut, report(C, 0, (B, 1)), ends=(End(A, True), End(B, True)))
    fresh = Store(C)
    apply_cut(fresh, cut, STAMP, 0)
    brought = bring_back(fresh, old, cut, 1, STAMP)
    assert brought is not None and Brought(B, 2, (1,)) in brought
    assert [cell.key for cell, _ in fresh.flush()] == ["second"]


def test_the_end_of_a_lease_goes_after_what_it_hides() -> None:
    store = Store(A)
    store.put("k", b"v", STAMP, bound="lease")
    store.end_lease("lease", STAMP + 1)
    store.flush()
    slack = 10 << COUNTER_BITS
    cut = NO_CUT
    for number in range(1, 6):
        stamp = STAMP + (number << COUNTER_BITS + 4)
        cut = cut_of(cut, report(A, 2, (A, 2), stamp=stamp), members=(A,))
        apply_cut(store, cut, stamp, slack)
        assert not store.peek("k")
        assert store.cell(LEASE_END, "lease") is not None or store.cell(KEY, "k") is None
        if number == 2:
            assert store.cell(KEY, "k") is None and store.cell(LEASE_END, "lease") is not None
    assert len(store) == 0


@pytest.mark.parametrize("flushed", [True, False])
def test_a_report_is_of_a_window_that_has_been_flushed(flushed: bool) -> None:
    """Otherwise what was bound to a lease, and has no number yet, outlasts the lease's end, and is seen again."""
    store, other = Store(A), Store(B)
    store.put("k", b"v", STAMP, bound="lease")
    other.end_lease("lease", STAMP + 1)
    (end,) = other.flush()
    store.apply(end.cell, STAMP + 2)
    assert store.peek("k") is None
    cut = NO_CUT
    for number in range(1, 7):
        stamp = STAMP + (number << COUNTER_BITS + 4)
        if flushed:
            for cell, _ in store.flush():
                other.apply(cell, stamp)
        reports = [
            Report(each.actor, each.dots.summary(), each.dots.last(each.actor), stamp) for each in (store, other)
        ]  # fmt: skip
        cut = cut_of(cut, *reports, members=(A, B))
        for each in (store, other):
            apply_cut(each, cut, stamp, 10 << COUNTER_BITS)
    assert store.cell(LEASE_END, "lease") is None
    assert (store.peek("k") is None) is flushed


def test_slots_of_the_dead_are_one_cell_and_the_value_stays() -> None:
    store = Store(A)
    store.add("n", 5, STAMP)
    store.flush()
    for actor, amount in ((B, 7), (C, -2)):
        other = Store(actor)
        other.add("n", amount, STAMP)
        (flushed,) = other.flush()
        store.apply(flushed.cell, STAMP)
    cut = cut_of(NO_CUT, report(A, 1, (A, 1), (B, 1), (C, 1)), ends=(End(B, False), End(C, False)), members=(A,))
    for _ in range(6):
        apply_cut(store, cut, STAMP, 0)
        assert store.counter("n") == 10
        cut = cut_of(cut, report(A, 1, (A, 1)))
    assert [cell.kind for cell in store.cells()] == [COUNTER, FOLD]
    assert store.cell(COUNTER, slot_key("n", A)) is not None
    fold = next(iter(store.of_kind(FOLD)))
    assert fold.actor == NOBODY and fold.order[3:] == (7, 2)


def test_an_actor_that_leaves_the_table_leaves_nothing_in_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdt.cuts.RETIRED_KEPT", 1)
    store = Store(A)
    for actor, key in ((B, "b"), (C, "c")):
        other = Store(actor)
        other.put(key, b"v", STAMP)
        store.apply(other.flush()[0].cell, STAMP)
    ends = (End(B, False), End(C, False))
    cut = cut_of(NO_CUT, report(A, 0, (B, 1), (C, 1)), ends=ends, members=(A,))
    for _ in range(8):
        apply_cut(store, cut, STAMP, 0)
        cut = cut_of(cut, report(A, 0))
    assert len(cut.retired) == 1 and cut.forgotten == 1
    apply_cut(store, cut, STAMP, 0)
    assert store.peek("b") is not None and store.peek("c") is not None
    assert store.dots.summary() == Summary((), ())
    assert {cell.actor for cell in store.cells()} == {NOBODY, cut.retired[0].actor}
    late = Cell(KEY, "b", store.peek("b").order, b"v", None, NOBODY, 1)  # type: ignore[union-attr]
    assert not store.apply(late, STAMP)
