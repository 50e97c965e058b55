"""What followers are told, against a model: any store, any reader, any moment (C13)."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from coordination.errors import BadValue
from coordination.following.feed import RESYNC, SYNCED, Feed, Position, Told
from coordination.following.interest import Interest, disjoint, wants
from coordination.following.journal import JOURNAL_BYTES, JOURNAL_CHANGES, Journal, parse_token, resume, token_of
from crdt.change import Change, ChangeKind
from crdt.store import Store

ACTOR = b"a" * 16
KEYS = [f"{letter}/{number}" for letter in "abc" for number in range(8)]


class Written:
    """A store that is written at random, and its changes so far."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store = Store(ACTOR)
        self.stamp = 1
        self.states: dict[int, dict[str, bytes]] = {0: {}}
        """What readers of the changes know, by revision."""
        self.listeners: list[Callable[[Change], None]] = []
        self.changes: list[Change] = []

    def step(self) -> None:
        dice, store = self.dice, self.store
        self.stamp += dice.randrange(1, 4)
        key, choice = dice.choice(KEYS), dice.random()
        if choice < 0.3:
            store.put(key, None, self.stamp)
        elif choice < 0.5:
            store.put(key, b"%d" % self.stamp, self.stamp, self.stamp + dice.randrange(1, 40))
        elif choice < 0.55:
            store.expire(self.stamp)
        else:
            store.put(key, b"%d" % self.stamp, self.stamp)
        self.tell()

    def tell(self) -> None:
        for change in self.store.take_changes()[0]:
            state = dict(self.states[max(self.states)])
            state.pop(change.key, None)
            if change.kind is ChangeKind.PUT:
                assert change.new.body is not None
                state[change.key] = change.new.body
            self.states[change.revision] = state
            self.changes.append(change)
            for listener in self.listeners:
                listener(change)

    def at(self, revision: int) -> dict[str, bytes]:
        return self.states[max(each for each in self.states if each <= revision)]


class Reader:
    """What one follower knows, checked with each event."""

    def __init__(self, written: Written, feed: Feed, known: dict[str, bytes] | None = None) -> None:
        self.written = written
        self.feed = feed
        self.known = dict(known or {})
        self.revision = feed.base
        self.synced = feed.settled
        self.told: list[Told] = []

    def read(self) -> bool:
        told = self.feed.next(self.written.store, self.written.stamp)
        self.written.tell()
        if told is None:
            return False
        self.told.append(told)
        assert told.revision >= self.revision, "revisions never fall"
        if told.kind == RESYNC:
            self.known.clear()
            self.synced = False
        elif told.kind == SYNCED:
            self.synced = True
            self.same(told.revision)
        else:
            assert told.old == self.known.get(told.key), told
            if told.kind == "put":
                assert told.value is not None
                self.known[told.key] = told.value
            else:
                del self.known[told.key]
            if self.synced:
                assert told.revision > self.revision, "each change has its own"
        self.revision = told.revision
        return True

    def same(self, revision: int) -> None:
        """What is known is what the store had told at that revision."""
        assert self.known == {key: body for key, body in self.written.at(revision).items() if wants(self.feed, key)}

    def drain(self) -> None:
        while self.read():
            pass
        self.same(max(self.written.states))


def run(seed: int, **options: object) -> Reader:
    written = Written(seed)
    for _ in range(30):
        written.step()
    snapshot = bool(options.pop("snapshot", True))
    feed = Feed(("b/3", "c/1"), ("a/", "c"), snapshot=snapshot, **options)  # type: ignore[arg-type]
    feed.begin(written.store, written.stamp)
    written.tell()
    reader = Reader(written, feed, None if snapshot else {k: v for k, v in written.at(feed.base).items() if wants(feed, k)})
    interest: Interest[Feed] = Interest()
    interest.add(feed)
    written.listeners.append(lambda change: interest.tell((change,)))
    slow = written.dice.choice((0.1, 0.5, 2.0))
    for _ in range(200):
        written.step()
        while written.dice.random() < slow / (1 + slow):
            reader.read()
        if reader.synced and not feed.waiting:
            reader.same(max(written.states))
    reader.drain()
    return reader


@pytest.mark.parametrize("snapshot", [True, False])
def test_events_folded_over_the_snapshot_are_the_store(snapshot: bool) -> None:
    for seed in range(50):
        reader = run(seed, snapshot=snapshot)
        assert [told.kind for told in reader.told].count(SYNCED) == int(snapshot)


def test_with_history_every_change_is_told() -> None:
    for seed in range(40):
        reader = run(seed, every=True, snapshot=False)
        wanted = [
            change for change in reader.written.changes if change.revision > reader.feed.base and wants(reader.feed, change.key)
        ]
        assert [told.revision for told in reader.told] == [change.revision for change in wanted]
        assert [told.kind for told in reader.told] == [change.kind for change in wanted]


@pytest.mark.parametrize("every", [True, False])
def test_who_lags_is_told_and_begins_anew(every: bool) -> None:
    lagged = 0
    for seed in range(50):
        reader = run(seed, every=every, limit=6)
        kinds = [told.kind for told in reader.told]
        lagged += RESYNC in kinds
        for index, kind in enumerate(kinds):
            if kind == RESYNC:
                rest = [each for each in kinds[index + 1 :] if each in (SYNCED, RESYNC)]
                assert rest, "a snapshot follows, or another resync"
        assert len(reader.feed) <= 7
    assert lagged > 25


def test_a_reader_that_never_reads_costs_nothing_more() -> None:
    written = Written(1)
    feed = Feed((), ("",), limit=5)
    feed.begin(written.store, written.stamp)
    written.listeners.append(feed.offer)
    for _ in range(500):
        written.step()
    assert len(feed) == 0 and feed.waiting
    reader = Reader(written, feed)
    reader.drain()
    assert reader.told[0].kind == RESYNC


def test_only_the_kinds_that_are_wanted_are_told() -> None:
    for every in (True, False):
        written = Written(2)
        for _ in range(50):
            written.step()
        feed = Feed((), ("",), every=every, kinds=frozenset({"delete"}), snapshot=True)
        feed.begin(written.store, written.stamp)
        written.listeners.append(feed.offer)
        for _ in range(100):
            written.step()
        kinds = []
        while (told := feed.next(written.store, written.stamp)) is not None:
            kinds.append(told.kind)
        assert set(kinds) == {"delete", SYNCED}


def test_a_key_that_never_rests_has_its_turn_and_keeps_nobody_from_theirs() -> None:
    store = Store(ACTOR)
    feed = Feed((), ("",))
    feed.begin(store, 1)
    seen: dict[str, int] = {}
    for number in range(400):
        for key in ("restless", f"k{number % 7}"):
            store.put(key, b"%d" % number, 10 + number)
        for change in store.take_changes()[0]:
            feed.offer(change)
        told = feed.next(store, 0)
        assert told is not None
        seen[told.key] = seen.get(told.key, 0) + 1
    assert len(seen) == 8 and min(seen.values()) > 30, seen


# --- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [True, False])
def test_who_comes_back_with_a_token_misses_nothing_and_is_told_nothing_twice(every: bool) -> None:
    for seed in range(40):
        written = Written(seed)
        journal = Journal()
        journal.begin(0)
        written.listeners.append(lambda change, journal=journal: journal.add((change,)))  # type: ignore[misc]
        known: dict[str, bytes] = {}
        position = Position(0, 0, 0)
        for _ in range(12):
            feed = Feed((), ("a/", "b"), every=every)
            resume(feed, written.store, written.stamp, journal, parse_token(token_of(ACTOR, position)))
            reader = Reader(written, feed, known)
            interest: Interest[Feed] = Interest()
            interest.add(feed)
            written.listeners.append(lambda change, interest=interest: interest.tell((change,)))  # type: ignore[misc]
            for _ in range(written.dice.randrange(20)):
                written.step()
                if written.dice.random() < 0.3:
                    reader.read()
            del written.listeners[1]
            position, known = feed.position, reader.known
            for _ in range(written.dice.randrange(20)):
                written.step()
        feed = Feed((), ("a/", "b"))
        resume(feed, written.store, written.stamp, journal, (ACTOR, position))
        last = Reader(written, feed, known)
        last.drain()
        assert not [told for told in last.told if told.kind == RESYNC]


def test_a_token_that_is_not_known_any_more_begins_anew() -> None:
    store, journal = Store(ACTOR), Journal()
    store.put("k", b"1", 5)
    journal.begin(store.revision)
    for session, revision in ((b"b" * 16, 1), (ACTOR, 0), (ACTOR, 99)):
        feed = Feed((), ("",))
        resume(feed, store, 6, journal, (session, Position(revision, revision, revision)))
        kinds = []
        while (told := feed.next(store, 6)) is not None:
            kinds.append(told.kind)
        assert kinds == [RESYNC, "put", SYNCED]


def test_the_journal_is_bounded() -> None:
    store, journal = Store(ACTOR), Journal()
    journal.add(store.take_changes()[0])
    assert len(journal) == 0 and journal.since(0) is None, "it has not begun"
    journal.begin(0)
    for number in range(JOURNAL_CHANGES + 10):
        store.put("k", b"%d" % number, 5 + number)
        journal.add(store.take_changes()[0])
    assert len(journal) == JOURNAL_CHANGES
    assert journal.since(9) is None
    kept = journal.since(10)
    assert kept is not None and len(list(kept)) == JOURNAL_CHANGES
    store.put("large", bytes(JOURNAL_BYTES), 1 << 40)
    journal.add(store.take_changes()[0])
    assert len(journal) == 0, "what does not fit is not kept: who comes back begins anew"
    assert journal.since(store.revision) is not None


@pytest.mark.parametrize("token", ["", "x", "-", "ab-1-1-1", f"{ACTOR.hex()}-1-1", f"{ACTOR.hex()}-1--1-1", 7, None])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(BadValue, match="no token"):
        parse_token(token)


def test_tokens_name_a_store_and_a_position() -> None:
    assert parse_token(token_of(ACTOR, Position(9, 10, 12))) == (ACTOR, (9, 10, 12))


# --- the index ---------------------------------------------------------------------------------------------------------


def test_nobody_is_told_of_one_change_twice() -> None:
    assert disjoint(["k", "a/1", "k"], ["a/", "a/b", "c", "a/"]) == (("k",), ("a/", "c"))
    assert disjoint(["k"], [""]) == ((), ("",))
    dice = random.Random(3)
    for _ in range(200):
        names = ["".join(dice.choices("ab", k=dice.randrange(4))) for _ in range(6)]
        keys, prefixes = disjoint([name for name in names[:3] if name], names[3:])
        for one, other in pairwise(sorted((*keys, *prefixes))):
            assert one not in prefixes or not other.startswith(one)
        for key in ("a", "ab", "bba"):
            assert (key in keys or key.startswith(prefixes)) == (key in names[:3] or key.startswith(tuple(names[3:])))


# --- planted faults: each is found by the checks above ------------------------------------------------------------------


def test_a_snapshot_that_shows_what_came_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Feed.offer

    def forgets(self: Feed, change: Change) -> None:
        honest(self, change)
        self._held.clear()

    monkeypatch.setattr(Feed, "offer", forgets)
    with pytest.raises(AssertionError):
        test_events_folded_over_the_snapshot_are_the_store(True)


def test_a_line_that_is_read_while_it_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(self: Feed) -> Change | None:
        return self._fresh.pop(next(iter(self._fresh))) if self._fresh else None

    honest = Feed.offer

    def in_place(self: Feed, change: Change) -> None:
        waits = self._fresh.get(change.key)
        if waits is not None and (waits.old is not None or change.kind is ChangeKind.PUT):
            self._fresh[change.key] = change._replace(old=waits.old)
        else:
            honest(self, change)

    monkeypatch.setattr(Feed, "_first", first)
    monkeypatch.setattr(Feed, "offer", in_place)
    with pytest.raises(AssertionError):
        test_events_folded_over_the_snapshot_are_the_store(False)


def test_a_silent_loss_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed, "lag", lambda self: self._fresh.clear())
    with pytest.raises(AssertionError):
        test_who_lags_is_told_and_begins_anew(False)


def test_a_journal_that_forgets_its_floor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Journal.since
    monkeypatch.setattr(Journal, "since", lambda self, revision: iter(list(honest(self, revision) or ())[1:]))
    with pytest.raises(AssertionError):
        test_who_comes_back_with_a_token_misses_nothing_and_is_told_nothing_twice(False)
