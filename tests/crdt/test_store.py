"""One store: writes, reads and what is told of them (C9, C14, C17)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.cell import COUNTER, KEY, Cell, expiry_of, is_dropped
from crdt.change import Change, ChangeKind
from crdt.dots import DotSet, Summary
from crdt.store import Flushed, Store, StoreFencedError
from crdt.transfer import FIRST, missing
from tests.crdt.cells import ACTORS, UNKNOWN, any_cells
from tests.crdt.writes import LATE, remote, shown, told

A, B, C = ACTORS
PUT, DELETE = ChangeKind.PUT, ChangeKind.DELETE


@pytest.fixture
def store() -> Store:
    return Store(A)


# --- reading and writing -------------------------------------------------------------------------------------------


def test_a_write_is_seen_at_once_and_told_with_what_it_replaced(store: Store) -> None:
    first = store.put("k", b"1", 10)
    assert store.get("k", 10) == store.peek("k") == first
    assert told(store) == [(PUT, "k", None, b"1")]
    store.put("k", b"2", 11)
    store.put("k", None, 12)
    assert told(store) == [(PUT, "k", b"1", b"2"), (DELETE, "k", b"2", None)]
    assert (store.get("k", 13), store.peek("k"), shown(store)) == (None, None, {})
    assert told(store) == []


def test_a_change_names_its_writer_its_cells_and_a_rising_revision(store: Store) -> None:
    mine = store.put("k", b"1", 10)
    theirs = remote(B, "k", b"2", 11)
    store.apply(theirs, 12)
    (first, second), counters = store.take_changes()
    assert first == Change(PUT, "k", mine, None, A, 1)
    assert second == Change(PUT, "k", theirs, mine, B, 2)
    assert (store.revision, counters) == (2, ())


def test_a_delete_of_what_is_not_here_is_silent_and_beats_what_is_older(store: Store) -> None:
    store.put("k", None, 10)
    store.apply(remote(B, "k", b"older", 9), 11)
    assert (told(store), shown(store), len(store)) == ([], {}, 1)
    store.apply(remote(B, "k", b"newer", 12, n=2), 13)
    assert told(store) == [(PUT, "k", None, b"newer")]


def test_a_scan_is_by_key_within_its_prefix_and_survives_changes(store: Store) -> None:
    for n in range(300):
        store.put(f"a/{n:03}", b"x", 10 + n)
    for key in ("a", "b/1", "0"):
        store.put(key, b"x", 1_000)
    seen = []
    for cell in store.scan("a/", LATE):
        seen.append(cell.key)
        if cell.key == "a/100":
            store.put("a/1005", b"new", 1_001)
            store.put("a/0005", b"behind", 1_002)
            store.put("a/200", None, 1_003)
            store.put("a/201", b"new", 1_004)
    expected = [f"a/{n:03}" for n in range(300) if n != 200]
    expected.insert(101, "a/1005")
    assert seen == expected
    assert [cell.key for cell in store.scan("", LATE)][:2] == ["0", "a"]
    assert list(store.scan("c", LATE)) == []


def test_a_scan_is_resumed_behind_a_key_that_may_be_gone_or_before_the_prefix(store: Store) -> None:
    for stamp, key in enumerate(("a/1", "b/1", "b/3", "b/4", "c/1"), 10):
        store.put(key, b"x", stamp)
    for after, expected in (
        ("b/1", ["b/3", "b/4"]),
        ("b/2", ["b/3", "b/4"]),
        ("b/4", []),
        ("c", []),
        ("", ["b/1", "b/3", "b/4"]),
        ("a", ["b/1", "b/3", "b/4"]),
    ):
        assert [cell.key for cell in store.scan("b/", LATE, after)] == expected


def test_cells_are_read_whether_visible_or_not(store: Store) -> None:
    store.put("k", None, 10)
    cell = store.cell(KEY, "k")
    assert cell is not None
    assert cell.body is None
    assert store.cell(KEY, "other") is store.cell(UNKNOWN, "k") is None
    assert list(store.cells()) == [cell]


def test_one_name_as_key_counter_and_lease_is_three_cells_that_never_meet(store: Store) -> None:
    store.put("n", b"v", 10)
    store.add("n", 5, 11)
    store.end_lease("n", 12)
    other = Store(B)
    other.add("n", 2, 13)
    for cell, _ in [*store.flush(), *other.flush()]:
        for replica in (store, other):
            replica.apply(cell, 14)
    for replica in (store, other):
        assert (shown(replica), replica.counter("n"), replica.lease_ended("n")) == ({"n": b"v"}, 7, True)
        assert len(replica) == 4
    store.put("n", None, 15)
    assert (store.counter("n"), store.lease_ended("n")) == (7, True)


def test_changed_counters_are_named_once(store: Store) -> None:
    store.add("c", 1, 10)
    store.add("c", 1, 11)
    other = Store(B)
    other.add("d", 1, 12)
    store.apply(other.flush()[0].cell, 13)
    assert store.take_changes() == ((), ("c", "d"))
    assert store.take_changes() == ((), ())


# --- windows and dots ----------------------------------------------------------------------------------------------


def test_each_key_of_a_window_gets_one_dot_in_the_order_of_first_writes(store: Store) -> None:
    for stamp, key in enumerate("bab", 10):
        store.put(key, key.encode(), stamp)
    store.add("c", 1, 20)
    assert (store.pending, store.dots.summary().vector) == (3, ())
    written = store.flush()
    assert [(cell.kind, cell.key[:1], cell.n, previous) for cell, previous in written] == [
        (KEY, "b", 1, 0),
        (KEY, "a", 2, 0),
        (COUNTER, "c", 3, 0),
    ]
    assert written[0].cell.order[1] == 12, "the last of the window"
    assert store.dots.summary() == Summary(((A, 3),), ())
    assert (store.flush(), store.pending) == ([], 0)
    assert [cell.n for cell in store.cells()] == [2, 1, 3]


def test_a_write_names_its_writers_previous_dot_of_the_key(store: Store) -> None:
    store.put("k", b"1", 10)
    store.put("other", b"1", 10)
    store.flush()
    store.put("k", b"2", 11)
    store.put("k", b"3", 12)
    assert [(cell.n, previous) for cell, previous in store.flush()] == [(3, 1)]
    store.apply(remote(B, "k", b"theirs", 13), 14)
    store.put("k", b"4", 15)
    assert [previous for _, previous in store.flush()] == [0], "the cell before was another's"


def test_a_write_that_is_replaced_within_its_window_gets_no_dot(store: Store) -> None:
    store.put("k", b"mine", 10)
    store.apply(remote(B, "k", b"theirs", 11), 12)
    assert (store.flush(), store.dots.last(A), shown(store)) == ([], 0, {"k": b"theirs"})


def test_a_cell_is_joined_once_and_its_dot_claimed_also_if_it_is_lower(store: Store) -> None:
    high, low = remote(B, "k", b"high", 20, n=1), remote(C, "k", b"low", 10, n=4)
    assert store.apply(high, 30)
    assert store.apply(low, 30)
    assert not store.apply(high, 30)
    assert not store.apply(low, 30)
    assert store.dots.summary() == Summary(((B, 1),), ((C, (4,)),))
    assert (store.cell(KEY, "k"), told(store)) == (high, [(PUT, "k", None, b"high")])


def test_a_previous_dot_is_claimed_only_before_its_cell_and_never_of_the_own_actor(store: Store) -> None:
    store.claim_previous(remote(B, "k", b"", 10, n=5), 3)
    assert store.dots.summary().extras == ((B, (3,)),)
    for cell, previous in (
        (remote(B, "k", b"", 10, n=5), 0),
        (remote(B, "k", b"", 10, n=5), 6),
        (remote(A, "k", b"", 10, n=5), 3),
    ):
        store.claim_previous(cell, previous)
    assert store.dots.summary().extras == ((B, (3,)),)


def test_of_the_own_writes_nothing_is_learnt_from_others(store: Store) -> None:
    store.raise_to(Summary(((A, 7), (B, 4)), ((A, (9,)), (C, (2,)))))
    assert store.dots.summary() == Summary(((B, 4),), ((C, (2,)),))
    store.put("k", b"1", 10)
    assert store.flush()[0].cell.n == 1


def test_a_dot_that_somebody_used_under_the_own_actor_is_not_used_again(store: Store) -> None:
    store.apply(remote(A, "k", b"a clone", 10, n=2), 11)
    for stamp, key in enumerate("abc", 12):
        store.put(key, b"mine", stamp)
    assert [cell.n for cell, _ in store.flush()] == [1, 3, 4]
    assert len({cell.n for cell in store.cells()}) == 4


def test_cells_of_unknown_kinds_are_kept_joined_and_handed_on(store: Store) -> None:
    old, new = [Cell(UNKNOWN, "u", (n, b"x"), b"?", None, B, n) for n in (1, 2)]
    assert store.apply(new, 10)
    assert store.apply(old, 10)
    assert (store.cell(UNKNOWN, "u"), told(store)) == (new, [])
    assert len(missing(store, DotSet(), {}, FIRST, 1_000).cells) == 1


# --- fences --------------------------------------------------------------------------------------------------------


def test_a_write_below_the_fence_of_its_key_is_refused_and_writes_nothing(store: Store) -> None:
    store.put("k", b"1", 10, fence=5)
    store.flush()
    for fence in (0, 4):
        with pytest.raises(StoreFencedError) as refused:
            store.put("k", b"2", 20, fence=fence)
        assert (refused.value.key, refused.value.fence) == ("k", 5)
    assert (store.pending, shown(store)) == (0, {"k": b"1"})
    store.put("k", b"2", 21, fence=5)
    store.put("k", None, 22, fence=6)
    with pytest.raises(StoreFencedError):
        store.put("k", b"3", 23, fence=5)


def test_a_higher_fence_wins_over_any_later_stamp(store: Store) -> None:
    store.apply(remote(B, "k", b"new holder", 10, fence=8), 11)
    store.apply(remote(C, "k", b"old holder", 99, fence=7), 100)
    assert shown(store) == {"k": b"new holder"}
    store.apply(remote(C, "k", b"unfenced", 101, n=2), 102)
    assert shown(store) == {"k": b"new holder"}


def test_a_fenced_key_belongs_to_one_lock(store: Store) -> None:
    store.put("k", b"1", 10, fence=5, lock="lock/a")
    (flushed,) = store.flush()
    assert flushed.cell.lock == "lock/a"
    with pytest.raises(StoreFencedError, match="of 'lock/a'") as refused:
        store.put("k", b"2", 20, fence=9, lock="lock/b")
    assert refused.value.lock == "lock/a"
    store.put("k", None, 21, fence=6, lock="lock/a")
    with pytest.raises(StoreFencedError):
        store.put("k", b"3", 22, fence=9, lock="lock/b")
    # A replica that did not know: the higher token wins, whoever's it is.
    store.apply(remote(B, "k", b"other", 5, fence=9)._replace(lock="lock/b"), 30)
    assert shown(store) == {"k": b"other"}
    with pytest.raises(StoreFencedError):
        store.put("k", b"4", 31, fence=12, lock="lock/a")


def test_a_later_write_that_loses_to_a_fence_is_told_to_its_writer_once(store: Store) -> None:
    store.put("k", b"unfenced", 20)
    store.flush()
    told(store)
    winner = remote(B, "k", b"fenced", 10, fence=3)
    store.apply(winner, 21)
    lost, seen = store.take_changes()[0]
    assert (lost.kind, lost.new.body, lost.new.order[1], lost.origin) == (ChangeKind.FENCED, b"unfenced", 20, B)
    assert (seen.kind, seen.new.body, seen.old and seen.old.body) == (PUT, b"fenced", b"unfenced")
    store.apply(remote(C, "k", b"fenced again", 22, fence=4), 23)
    assert [change.kind for change in store.take_changes()[0]] == [PUT], "it lost once"


@pytest.mark.parametrize("stamp", [10, 30])
def test_who_loses_by_time_or_did_not_write_it_is_told_nothing(store: Store, stamp: int) -> None:
    if stamp == 30:
        store.put("k", b"unfenced", 20)
    else:
        store.apply(remote(C, "k", b"another's", 20), 21)
    told(store)
    store.apply(remote(B, "k", b"fenced", stamp, fence=3), 31)
    assert [change.kind for change in store.take_changes()[0]] == [PUT]


# --- anything ------------------------------------------------------------------------------------------------------

few_cells = any_cells(
    names=st.sampled_from(("a", "b", "", "\0")),
    anyone=st.sampled_from(ACTORS),
    dots=st.integers(1, 12),
    u64=st.integers(0, 40) | st.integers(0, 2**64 - 1),
)
local = st.tuples(
    st.sampled_from(("put", "timed", "bound", "delete", "touch", "add", "end", "flush", "pass")),
    st.sampled_from(("a", "b", "")),
)


def do(store: Store, what: str, key: str, stamp: int) -> list[Flushed]:
    try:
        match what:
            case "put" | "delete":
                store.put(key, b"v" if what == "put" else None, stamp)
            case "timed":
                store.put(key, b"t", stamp, expiry=stamp + 5)
            case "bound":
                store.put(key, b"b", stamp, bound=key)
            case "touch":
                store.touch(key, stamp, stamp + 9)
            case "add":
                store.add(key, 3, stamp)
            case "end":
                store.end_lease(key, stamp)
            case "flush":
                return store.flush()
    except StoreFencedError:
        pass
    return []


@given(st.lists(few_cells | local, max_size=40), st.integers(0, 40))
def test_no_cell_that_may_be_received_breaks_a_store(steps: list[Cell | tuple[str, str]], snapshot_at: int) -> None:
    """Also cells that no correct replica writes, of the own actor too; and folding the changes over a snapshot that was
    taken at any moment gives what is visible."""
    store, folded, since = Store(A), dict[str, bytes | None](), 0
    stamp = 0
    for index, step in enumerate(steps):
        stamp += 2
        if isinstance(step, Cell):
            covered = store.dots.covers(step.actor, step.n)
            alone = is_dropped(step) and expiry_of(step) > stamp
            applied = store.apply_touch(step, stamp) if alone else store.apply(step, stamp)
            assert (applied is False) == covered
        else:
            do(store, *step, stamp)
        store.expire(stamp)
        for change in store.take_changes()[0]:
            assert since < change.revision <= store.revision
            since = change.revision
            if change.kind is ChangeKind.FENCED:
                continue
            if index > snapshot_at:
                assert (change.old and change.old.body) == folded.get(change.key)
                folded[change.key] = change.new.body if change.kind is PUT else None
        if index == snapshot_at:
            folded = shown(store, stamp)
        if index >= snapshot_at:
            assert shown(store, stamp) == {key: body for key, body in folded.items() if body is not None}
    store.flush()
    cells = list(store.cells())
    assert sorted((cell.actor, cell.n) for cell in cells) == sorted({(cell.actor, cell.n) for cell in cells})
    assert all(store.dots.covers(cell.actor, cell.n) for cell in cells)
    assert len(missing(store, DotSet(), {}, FIRST, 1 << 30).cells) == len(cells)
