"""How values end: by time, later than thought, and with their lease (C12)."""

from __future__ import annotations

import pytest

from crdt.cell import KEY, LEASE_END, drop, is_dropped
from crdt.change import ChangeKind
from crdt.dots import DotSet
from crdt.store import Put, Store
from tests.crdt.cells import ACTORS
from tests.crdt.writes import lease_end, remote, shown, told, touched

A, B, C = ACTORS
PUT, EXPIRE, LEASE_ENDED = ChangeKind.PUT, ChangeKind.EXPIRE, ChangeKind.LEASE_ENDED


@pytest.fixture
def store() -> Store:
    return Store(A)


# --- ttl -----------------------------------------------------------------------------------------------------------


def test_a_value_expires_at_its_stamp_and_is_told_once(store: Store) -> None:
    store.put("k", b"1", 10, expiry=20)
    assert store.next_expiry() == 20
    assert store.get("k", 19) is not None
    assert store.get("k", 20) is None
    assert shown(store, 20) == {}
    told(store)
    store.expire(19)
    assert told(store) == []
    store.expire(20)
    store.expire(21)
    assert told(store) == [(EXPIRE, "k", b"1", None)]
    cell = store.cell(KEY, "k")
    assert cell is not None
    assert is_dropped(cell)
    assert store.next_expiry() is None


@pytest.mark.parametrize("step", ["put", "delete", "batch", "apply", "late touch", "touch alone"])
def test_whatever_happens_to_a_key_its_expiry_is_told_first(store: Store, step: str) -> None:
    cell = store.put("k", b"1", 10, expiry=20)
    store.put("other", b"2", 10, expiry=20)
    store.flush()
    told(store)
    later = touched(cell, B, 15, 99, 1)
    match step:
        case "put":
            store.put("k", b"3", 30)
        case "delete":
            store.put("k", None, 30)
        case "batch":
            store.put_batch([Put("k", b"3"), Put("l", b"3")], 30)
        case "apply":
            store.apply(remote(B, "k", b"3", 30, expiry=90), 30)
        case "late touch":
            store.apply(later, 30)
        case "touch alone":
            assert store.apply_touch(drop(later), 30) is None, "its value is dropped here: it must be fetched"
    assert told(store)[0] == (EXPIRE, "k", b"1", None)
    assert store.get("other", 30) is None, "not dropped yet, and not shown"
    store.expire(30)
    assert told(store) == [(EXPIRE, "other", b"2", None)]


def test_many_that_expire_at_once_are_dropped_in_parts_and_not_shown_meanwhile(store: Store) -> None:
    for n in range(10):
        store.put(f"k{n}", b"1", 10, expiry=20 + n % 2)
    told(store)
    store.expire(21, 4)
    assert [key for _, key, _, _ in told(store)] == ["k0", "k2", "k4", "k6"]
    assert (shown(store, 21), store.next_expiry()) == ({}, 20)
    store.expire(21, 4)
    assert [key for _, key, _, _ in told(store)] == ["k8", "k1", "k3", "k5"]
    store.expire(21, 4)
    assert [key for _, key, _, _ in told(store)] == ["k7", "k9"]
    assert store.next_expiry() is None


def test_a_value_that_arrives_expired_is_never_shown_and_ends_what_was(store: Store) -> None:
    store.apply(remote(B, "k", b"late", 10, expiry=20), 20)
    assert (told(store), shown(store, 20)) == ([], {})
    store.put("j", b"mine", 21)
    store.apply(remote(B, "j", b"late", 22, expiry=25, n=2), 30)
    assert told(store) == [(PUT, "j", None, b"mine"), (EXPIRE, "j", b"mine", None)]


def test_a_put_takes_the_expiry_of_the_one_before_away(store: Store) -> None:
    store.put("k", b"1", 10, expiry=20)
    store.put("k", b"2", 11)
    store.put("j", b"1", 10, expiry=50)
    store.put("j", b"2", 11, expiry=20)
    told(store)
    store.expire(30)
    assert told(store) == [(EXPIRE, "j", b"2", None)]
    assert shown(store) == {"k": b"2"}


def test_a_put_after_the_expiry_is_an_ordinary_put(store: Store) -> None:
    store.put("k", b"1", 10, expiry=20)
    store.put("k", b"2", 30, expiry=40)
    assert told(store) == [(PUT, "k", None, b"1"), (EXPIRE, "k", b"1", None), (PUT, "k", None, b"2")]


# --- touch ---------------------------------------------------------------------------------------------------------


def test_a_touch_extends_a_life_and_is_seen_by_nobody(store: Store) -> None:
    put = store.put("k", b"1", 10, expiry=20)
    told(store)
    cell = store.touch("k", 15, 40)
    assert cell == put._replace(order=(0, 10, A, 40, 15, A))
    store.expire(39)
    assert (told(store), shown(store, 39)) == ([], {"k": b"1"})
    store.expire(40)
    assert told(store) == [(EXPIRE, "k", b"1", None)]


def test_a_touch_never_shortens_and_needs_a_visible_value_with_a_ttl(store: Store) -> None:
    put = store.put("k", b"1", 10, expiry=30)
    assert store.touch("k", 11, 30) == store.touch("k", 12, 20) == put
    plain = store.put("plain", b"1", 13)
    assert store.touch("plain", 14, 90) == plain
    assert store.touch("none", 15, 90) is None
    assert store.touch("k", 30, 90) is None
    store.put("k", None, 31)
    assert store.touch("k", 32, 90) is None
    assert [cell.key for cell, _ in store.flush()] == ["k", "plain"]


def test_of_two_touches_the_later_expiry_wins_wherever_it_comes_from() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    short, long = touched(put, C, 16, 50, 1), touched(put, A, 15, 90, 1)
    for order in ((put, short, long), (long, put, short), (short, long, put)):
        replica = Store(bytes(16))
        for cell in order:
            replica.apply(cell, 19)
        assert replica.cell(KEY, "k") == long
        assert told(replica) == [(PUT, "k", None, b"1")]


def test_a_touch_that_arrives_after_the_expiry_shows_the_value_again_and_says_so() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    replica = Store(A)
    replica.apply(put, 11)
    replica.expire(25)
    assert told(replica)[1:] == [(EXPIRE, "k", b"1", None)]
    assert not replica.apply(put, 26), "a late copy is no touch"
    assert replica.apply(put._replace(actor=C, n=9), 26), "nor is one with another dot"
    assert (told(replica), shown(replica, 26)) == ([], {})
    replica.apply(touched(put, C, 19, 60, 1), 27)
    assert told(replica) == [(PUT, "k", None, b"1")]
    assert shown(replica, 27) == {"k": b"1"}
    replica.expire(60)
    assert told(replica) == [(EXPIRE, "k", b"1", None)]


def test_a_touch_that_travels_alone_needs_its_put() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    touch = drop(touched(put, B, 15, 60, 2))
    other_put = remote(C, "k", b"0", 9, expiry=20)
    for held in ((), (other_put,)):
        replica = Store(A)
        for cell in held:
            replica.apply(cell, 16)
        assert replica.apply_touch(touch, 16) is None
        assert not replica.dots.covers(B, 2), "nothing is claimed"
    replica.apply(put, 16)
    assert replica.apply_touch(touch, 16) is True
    assert replica.cell(KEY, "k") == touched(put, B, 15, 60, 2)
    assert replica.apply_touch(touch, 16) is False
    assert shown(replica, 59) == {"k": b"1"}


def test_a_touch_alone_of_a_value_that_was_dropped_here_must_be_fetched_whole() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    touch = touched(put, B, 15, 60, 2)
    replica = Store(A)
    replica.apply(put, 11)
    replica.expire(21)
    assert replica.apply_touch(drop(touch), 22) is None
    assert not replica.dots.covers(B, 2)
    assert replica.apply(touch, 23)
    assert shown(replica, 23) == {"k": b"1"}


def test_a_touch_alone_of_what_is_higher_here_is_claimed() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    replica = Store(A)
    replica.apply(remote(C, "k", b"2", 12), 13)
    assert replica.apply_touch(drop(touched(put, B, 15, 60, 2)), 16) is True
    assert replica.dots.covers(B, 2)
    assert shown(replica) == {"k": b"2"}


def test_a_touched_cell_that_lost_its_value_elsewhere_keeps_the_value_that_is_here() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    replica = Store(A)
    replica.apply(put, 11)
    replica.apply(drop(touched(put, C, 15, 60, 1)), 16)
    assert replica.cell(KEY, "k") == touched(put, C, 15, 60, 1)
    assert told(replica) == [(PUT, "k", None, b"1")]


def test_a_touch_without_its_value_takes_it_from_the_put_that_comes_later() -> None:
    put = remote(B, "k", b"1", 10, expiry=20)
    replica = Store(A)
    replica.apply(drop(touched(put, C, 15, 60, 1)), 16)
    assert (told(replica), shown(replica, 16)) == ([], {})
    replica.apply(put, 17)
    assert told(replica) == [(PUT, "k", None, b"1")]
    cell = replica.cell(KEY, "k")
    assert cell == touched(put, C, 15, 60, 1)
    assert replica.lacking(DotSet(), 100) == [cell]
    replica.expire(60)
    assert told(replica) == [(EXPIRE, "k", b"1", None)]


# --- leases --------------------------------------------------------------------------------------------------------


def test_the_end_of_a_lease_hides_what_is_bound_to_it_at_once(store: Store) -> None:
    for key in ("a", "b"):
        store.put(key, b"v", 10, bound="lease")
    store.put("c", b"v", 10, bound="another")
    told(store)
    assert store.end_lease("lease", 20)
    assert not store.end_lease("lease", 21)
    assert told(store) == [(LEASE_ENDED, "a", b"v", None), (LEASE_ENDED, "b", b"v", None)]
    assert shown(store) == {"c": b"v"}
    assert (store.peek("a"), store.get("b", 22)) == (None, None)
    assert len(store.flush()) == 4


def test_what_is_bound_to_an_ended_lease_is_hidden_also_if_it_arrives_later() -> None:
    bound = remote(B, "k", b"v", 10)._replace(bound="lease")
    replica = Store(A)
    replica.apply(lease_end(C, "lease", 20), 21)
    assert replica.lease_ended("lease")
    replica.apply(bound, 22)
    assert (told(replica), shown(replica)) == ([], {})
    replica.put("j", b"w", 23, bound="lease")
    assert (told(replica), shown(replica)) == ([], {})
    replica.put("k", b"free", 24)
    assert told(replica) == [(PUT, "k", None, b"free")]


def test_a_bound_put_after_the_end_ends_what_was_visible(store: Store) -> None:
    store.put("k", b"free", 10)
    store.apply(lease_end(C, "lease", 20), 21)
    told(store)
    store.apply(remote(B, "k", b"v", 22)._replace(bound="lease"), 23)
    assert told(store) == [(LEASE_ENDED, "k", b"free", None)]
    store.put("k", None, 24)
    assert told(store) == []


def test_a_key_that_was_bound_anew_does_not_end_with_its_first_lease(store: Store) -> None:
    store.put("k", b"1", 10, bound="first")
    store.put("k", b"2", 11, bound="second")
    store.put("j", b"1", 12, bound="first")
    store.put("j", b"2", 13)
    told(store)
    store.end_lease("first", 14)
    assert (told(store), shown(store)) == ([], {"j": b"2", "k": b"2"})
    store.end_lease("second", 15)
    assert told(store) == [(LEASE_ENDED, "k", b"2", None)]


def test_a_deleted_bound_key_has_no_second_end(store: Store) -> None:
    store.put("k", b"1", 10, bound="lease")
    store.put("k", None, 11)
    told(store)
    store.end_lease("lease", 12)
    assert told(store) == []


def test_the_end_names_who_stated_it_and_two_ends_are_one(store: Store) -> None:
    store.put("k", b"1", 10, bound="lease")
    store.take_changes()
    store.apply(lease_end(B, "lease", 20), 21)
    store.apply(lease_end(C, "lease", 20), 21)
    (change,), _ = store.take_changes()
    assert (change.kind, change.origin) == (LEASE_ENDED, B)
    assert store.cell(LEASE_END, "lease") == lease_end(C, "lease", 20)


def test_leases_that_something_is_bound_to_are_named_until_they_end(store: Store) -> None:
    for key, lease in (("a", "one"), ("b", "one"), ("c", "two"), ("d", "three")):
        store.put(key, b"v", 10, bound=lease)
    assert sorted(store.visible_leases()) == ["one", "three", "two"]
    store.put("a", None, 11)
    store.put("d", b"free", 12)
    assert sorted(store.visible_leases()) == ["one", "two"]
    store.put("b", b"v", 13, bound="two")
    store.end_lease("two", 14)
    assert store.visible_leases() == []
