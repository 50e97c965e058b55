"""Watches of thin clients on virtual time: nothing missed, nothing unbounded."""

from __future__ import annotations

import random

import pytest

import coordination.sponsor.following
from coordination.sponsor.following import BATCH_EVENTS, Following
from coordination.sponsor.messages import WINDOW, Happening, Unwatch
from coordination.sponsor.watches import MAX_WATCHES
from crdt.store import Store
from mesh.values import encode_value
from tests.coordination.thin_pair import Guest, Pair
from tests.crdt.writes import remote


def kinds(events: list[Happening]) -> list[tuple[str, str]]:
    return [(event.kind, event.key) for event in events]


def told(guest: Guest, watch: int) -> list[Happening]:
    return [event for batch in guest.batches(watch) for event in batch]


def test_a_key_and_a_prefix() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("watch", 1, "a/k", None, False)
    guest.do("watch", 2, None, "a/", False)
    guest.do("put", "a/k", encode_value(1), None, None)
    guest.do("put", "a/l", encode_value(2), None, None)
    guest.do("put", "b", encode_value(3), None, None)
    stamp = guest.do("put", "a/k", encode_value(4), None, None)
    guest.do("delete", "a/l")
    assert kinds(told(guest, 1)) == [("put", "a/k")] * 2
    assert kinds(told(guest, 2)) == [("put", "a/k"), ("put", "a/l"), ("put", "a/k"), ("delete", "a/l")][: WINDOW + 1]
    last = told(guest, 1)[-1]
    assert (last.value, last.old, last.stamp, last.origin) == (encode_value(4), encode_value(1), stamp, "n0")
    revisions = [event.revision for event in told(guest, 2)]
    assert revisions == sorted(set(revisions))


def test_bad_watches_are_refused() -> None:
    pair = Pair()
    guest = pair.welcomed()
    assert guest.fails("watch", 1, None, None, False)[0] == "BadKey"
    assert guest.fails("watch", 1, "k", "p", False)[0] == "BadKey"
    assert guest.fails("watch", 1, "", None, False)[0] == "BadKey"
    assert guest.fails("watch", "1", "k", None, False)[0] == "BadConfig"
    for watch in range(MAX_WATCHES):
        guest.do("watch", watch, "k", None, False)
    assert str(MAX_WATCHES) in guest.fails("watch", MAX_WATCHES, "k", None, False)[1]
    guest.say(Unwatch(0))
    guest.do("watch", MAX_WATCHES, "k", None, False)


def test_a_client_that_takes_nothing_costs_its_keys_and_not_the_changes() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("watch", 1, None, "", False)
    writer = pair.welcomed()
    for number in range(500):
        writer.do("put", f"k{number % 10}", encode_value(number), None, None)
    assert len(guest.batches(1)) == WINDOW
    (following,) = next(iter(pair.sponsor.gateway._guests.values())).watches.values()
    assert len(following) == 10
    guest.take(1)
    assert len(guest.batches(1)) == WINDOW + 1
    mirror = {event.key: event.value for event in told(guest, 1)}
    assert mirror == {f"k{number}": encode_value(490 + number) for number in range(10)}
    before: dict[str, bytes | None] = {}
    for event in told(guest, 1):
        assert event.old == before.get(event.key), "old is what this watcher saw"
        before[event.key] = event.value


def test_credit_beyond_the_window_is_not_believed() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("watch", 1, None, "", False)
    guest.take(1, 1_000_000)
    for number in range(50):
        guest.do("put", f"k{number}", encode_value(number), None, None)
    assert len(guest.batches(1)) == WINDOW
    guest.take(9)
    assert len(guest.batches(1)) == WINDOW


def test_what_came_and_went_between_two_looks_is_not_told() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("watch", 1, None, "", False)
    for number in range(WINDOW):
        guest.do("put", f"k{number}", encode_value(number), None, None)
    guest.do("put", "brief", encode_value(1), None, None)
    guest.do("delete", "brief")
    guest.take(1)
    assert "brief" not in {event.key for event in told(guest, 1)}
    guest.do("put", "after", encode_value(1), None, None)
    assert told(guest, 1)[-1].key == "after", "what told nothing cost no credit"


def test_a_snapshot_comes_in_batches_and_is_no_copy() -> None:
    pair = Pair()
    guest = pair.welcomed()
    count = BATCH_EVENTS * (WINDOW + 2)
    guest.do("put_many", [(f"{number:05}", encode_value(number)) for number in range(count)], None)
    guest.do("watch", 1, None, "", True)
    assert len(guest.batches(1)) == WINDOW
    assert all(len(batch) == BATCH_EVENTS for batch in guest.batches(1))
    (following,) = next(iter(pair.sponsor.gateway._guests.values())).watches.values()
    assert len(following) == 0
    guest.do("put", "00000", encode_value("behind"), None, None)
    guest.do("put", f"{count - 1:05}", encode_value("ahead"), None, None)
    guest.do("delete", f"{count - 2:05}")
    assert len(following) == 5, "three changes, and what two keys ahead held at the base"
    for _ in range(WINDOW):
        guest.take(1)
    events = told(guest, 1)
    synced = kinds(events).index(("synced", ""))
    shown = {event.key: event.value for event in events[:synced]}
    assert shown == {f"{number:05}": encode_value(number) for number in range(count)}, "as it was"
    assert {event.revision for event in events[: synced + 1]} == {count}
    assert [(event.revision, event.kind, event.key, event.value, event.old) for event in events[synced + 1 :]] == [
        (count + 1, "put", "00000", encode_value("behind"), encode_value(0)),
        (count + 2, "put", f"{count - 1:05}", encode_value("ahead"), encode_value(count - 1)),
        (count + 3, "delete", f"{count - 2:05}", None, encode_value(count - 2)),
    ]


@pytest.mark.parametrize("key", ["there", "absent"])
def test_a_snapshot_of_one_key(key: str) -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("put", "there", encode_value(1), None, None)
    guest.do("watch", 1, key, None, True)
    assert kinds(told(guest, 1)) == [("put", "there")] * (key == "there") + [("synced", key)]
    guest.do("put", key, encode_value(2), None, None)
    assert told(guest, 1)[-1].old == (encode_value(1) if key == "there" else None)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination.sponsor.following, "BATCH_EVENTS", 16)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("seed", range(10))
def test_events_folded_over_the_snapshot_equal_the_store(seed: int) -> None:
    fold(seed)


def fold(seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair(seed)
    guest, writer = pair.welcomed(), pair.welcomed()
    keys = [f"{number:03}" for number in range(600)]
    for key in rng.sample(keys, 400):
        writer.do("put", key, encode_value(key), rng.choice([None, 1.0]), None)
    guest.do("watch", 1, None, "", True)
    taken = 0
    for number in range(400):
        key = rng.choice(keys)
        if rng.random() < 0.4:
            writer.do("delete", key)
        else:
            writer.do("put", key, encode_value(number), rng.choice([None, 1.5]), None)
        if rng.random() < 0.1:
            pair.advance(rng.randrange(100_000_000))
        if rng.random() < 0.1 and taken < len(guest.batches(1)):
            guest.take(1)
            taken += 1
    pair.advance(2_000_000_000)
    while taken < len(guest.batches(1)):
        guest.take(1)
        taken += 1
    mirror: dict[str, bytes] = {}
    for event in told(guest, 1):
        if event.kind == "put":
            assert event.old == mirror.get(event.key)
            assert event.value is not None
            mirror[event.key] = event.value
        elif event.kind != "synced":
            assert mirror.pop(event.key) == event.old
    store: Store = pair.sponsor.store
    assert mirror == {cell.key: cell.body for cell in store.scan("", pair.sponsor.clock.read(pair.now))}
    assert [event.kind for event in told(guest, 1)].count("synced") == 1


def test_a_client_of_whose_keys_one_falls_begins_anew() -> None:
    """Its sponsor had been cut off, and goes on from a store that has an older write of the key."""
    pair = Pair()
    guest = pair.welcomed()
    store: Store = pair.sponsor.store
    guest.do("watch", 1, None, "a/", False)
    guest.do("watch", 2, None, "b/", False)
    later = guest.do("put", "a/k", encode_value(2), None, None)
    other = Store(b"o" * 16)
    other.absorb(remote(b"w" * 16, "a/k", encode_value(1), later - 1), later)
    store.become(other, later)
    guest.do("put", "b/k", encode_value(3), None, None)
    events = told(guest, 1)
    assert kinds(events) == [("put", "a/k"), ("resync", "a/"), ("put", "a/k"), ("synced", "a/")]
    assert (events[2].value, events[2].old, events[2].stamp) == (encode_value(1), None, later - 1)
    assert kinds(told(guest, 2)) == [("put", "b/k")], "of these none has fallen"


def test_a_watch_that_is_left_or_whose_client_is_gone_costs_nothing() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("watch", 1, None, "", False)
    guest.do("watch", 2, "k", None, False)
    guest.say(Unwatch(1))
    guest.do("put", "k", encode_value(1), None, None)
    assert told(guest, 1) == [] and len(told(guest, 2)) == 1
    assert pair.sponsor.gateway._watches._interest
    pair.cut(guest)
    assert not pair.sponsor.gateway._watches._interest
    assert pair.sponsor.gateway.stats()["watches"] == 0


@pytest.mark.usefixtures("small_batches")
def test_the_fold_finds_a_follower_that_forgets_what_is_behind_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above, with a planted fault."""
    honest = Following.offer
    monkeypatch.setattr(Following, "offer", lambda self, change: honest(self, change) if self.feed.settled else None)
    with pytest.raises((AssertionError, KeyError)):
        for seed in range(10):
            fold(seed)
