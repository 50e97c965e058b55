"""Keys that fall back to an older write, as the store becomes another one or has forgotten what was later (C13): between two
resyncs the stamps that a follower is told of a key rise, and nothing is told twice."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from coordination.following.feed import RESYNC, SYNCED, Feed, Told
from coordination.following.interest import Interest
from coordination.following.journal import Journal, resume
from crdt.cell import KEY, Cell, above
from crdt.change import Change
from crdt.content import Content
from crdt.store import Store
from tests.crdt.writes import remote, shown, touched

KEYS = [f"{letter}{number}" for letter in "ab" for number in range(3)]
TICK = 1_000
"""Between two stamps given here; what is written elsewhere stands between them, so that no stamp is given twice."""


class Reader:
    """What one follower was told, checked with each event."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.known: dict[str, bytes] = {}
        self.last: dict[str, Told] = {}
        self.resyncs = 0

    def read(self, store: Store, stamp: int) -> bool:
        told = self.feed.next(store, stamp)
        if told is None:
            return False
        if told.kind == RESYNC:
            self.known.clear()
            self.last.clear()
            self.resyncs += 1
        elif told.kind != SYNCED:
            assert told.old == self.known.pop(told.key, None), told
            if told.value is not None:
                self.known[told.key] = told.value
            last = self.last.get(told.key)
            if last is not None:
                again = told.stamp == last.stamp and (told.kind == "expire" or last.kind == "expire")  # a touch came late
                assert told.stamp > last.stamp or again, f"{told} after {last}"
            self.last[told.key] = told
        return True


class Life:
    """A store that is written here and elsewhere, that forgets, and that becomes another one."""

    def __init__(self, seed: int, *, falls: bool = True) -> None:
        self.dice = random.Random(seed)
        self.falls = falls
        self.store = Store(b"me" * 8)
        self.stamp = 100 * TICK
        self.dots = self.lives = 0
        self.old: list[Cell] = []
        self.journal = Journal()
        self.journal.begin(0)
        self.interest: Interest[Feed] = Interest()
        self.readers = [self.reader(*options) for options in ((("",), False), (("a",), True), (("b",), False))]

    def reader(self, prefixes: tuple[str, ...], every: bool) -> Reader:
        feed = Feed((), prefixes, snapshot=True, every=every)
        feed.begin(self.store, self.stamp)
        self.interest.add(feed)
        return Reader(feed)

    def elsewhere(self) -> Cell:
        """A write that may have been long under way."""
        self.dots += 1
        dice, stamp = self.dice, self.stamp - self.dice.choice((1, 1, 2, 9, 30)) * TICK + self.dots
        expiry = dice.choice((0, 0, self.stamp + dice.randrange(1, 40) * TICK))
        actor = b"%16d" % self.dots
        return remote(actor, dice.choice(KEYS), dice.choice((None, b"%d" % self.dots)), stamp, expiry)

    def step(self) -> None:
        dice, store = self.dice, self.store
        self.stamp += TICK
        choice = dice.randrange(20)
        if choice < 6:
            store.put(dice.choice(KEYS), dice.choice((None, b"%d" % self.stamp)), self.stamp)
        elif choice < 12:
            store.apply(self.elsewhere(), self.stamp)
        elif choice == 12:
            store.expire(self.stamp)
        elif choice == 13:
            cell = store.get(dice.choice(KEYS), self.stamp)
            if cell is not None and 0 < cell.order[3] < self.stamp + 50 * TICK:  # type: ignore[operator]
                self.dots += 1
                store.apply(touched(cell, b"%16d" % self.dots, self.stamp, self.stamp + 50 * TICK, 1), self.stamp)
        elif choice == 14 and self.falls:
            store.flush()
            store.remove([cell for cell in store.faded() if dice.random() < 0.7])
        elif choice == 15 and self.falls and self.old:
            cell = self.old.pop(dice.randrange(len(self.old)))
            here = store.cell(KEY, cell.key)
            if here is None or above(cell._replace(actor=b"", n=0), here._replace(actor=b"", n=0)):
                store.rewrite(cell, self.stamp)
        elif choice == 16 and self.falls and dice.random() < 0.3:
            self.become()
        changes, _ = store.take_changes()
        self.journal.add(changes)
        self.interest.tell(changes)
        for reader in self.readers:
            while dice.random() < 0.6 and reader.read(store, self.stamp):
                pass
            if dice.random() < 0.02 and reader.feed.settled:
                self.leave(reader)

    def become(self) -> None:
        self.lives += 1
        store = self.store
        store.flush()
        other = Store(b"%16d" % -self.lives)
        for cell in [cell for cell in store.cells() if self.dice.random() < 0.6] + [self.elsewhere() for _ in range(2)]:
            other.absorb(cell, self.stamp)
        self.old += store.become(other, self.stamp).cells()

    def leave(self, reader: Reader) -> None:
        """And come back after a while, with a token."""
        position = reader.feed.position
        self.interest.remove(reader.feed)
        session, feed = self.store.actor, Feed((), reader.feed.prefixes, every=reader.feed._every)
        waiting, self.readers = self.readers, []
        for _ in range(self.dice.randrange(6)):
            self.step()
        self.readers = waiting
        resume(feed, self.store, self.stamp, self.journal, (session, position))
        self.interest.add(feed)
        reader.feed = feed

    def end(self) -> int:
        """How many resyncs there were."""
        for reader in self.readers:
            while reader.read(self.store, self.stamp):
                pass
            prefixes = tuple(reader.feed.prefixes)
            assert reader.known == {key: body for key, body in shown(self.store, 0).items() if key.startswith(prefixes)}
        return sum(reader.resyncs for reader in self.readers)


def live(seed: int, *, falls: bool = True) -> int:
    life = Life(seed, falls=falls)
    for _ in range(120):
        life.step()
    return life.end()


def test_stamps_rise_between_two_resyncs() -> None:
    assert sum(live(seed) for seed in range(200)) > 600


def test_without_a_fall_nobody_is_resynced() -> None:
    assert not any(live(seed, falls=False) for seed in range(30))


def found(within: int = 40) -> bool:
    for seed in range(within):
        try:
            live(seed)
        except AssertionError:
            return True
    return False


def test_a_fall_that_is_told_as_any_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Callable[[Feed, Change], None] = Feed.offer
    monkeypatch.setattr(Feed, "offer", lambda self, change: honest(self, change._replace(fell=False)))
    assert found()


def test_a_fall_behind_the_back_of_who_resumes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Journal.since

    def blind(self: Journal, revision: int) -> object:
        changes = honest(self, revision)
        return None if changes is None else iter([change._replace(fell=False) for change in changes])

    monkeypatch.setattr(Journal, "since", blind)
    assert found(100)


def test_a_store_that_does_not_remember_how_late_it_has_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Content, "_lose", lambda self, cell: None)
    assert found()


def test_what_only_rises_is_no_fall_though_the_store_becomes_another_one() -> None:
    """A newcomer's, or of one that was away and has written nothing."""
    store, other = Store(b"a" * 16), Store(b"b" * 16)
    for each in (store, other):
        each.apply(remote(b"c" * 16, "same", b"1", 5), 9)
    store.apply(remote(b"d" * 16, "later", b"1", 5), 9)
    other.apply(remote(b"d" * 16, "later", b"2", 6, n=2), 9)
    store.apply(remote(b"e" * 16, "gone", b"1", 5), 9)
    other.apply(remote(b"e" * 16, "gone", None, 6, n=2), 9)
    other.apply(remote(b"f" * 16, "new", b"1", 4), 9)
    store.take_changes()
    store.become(other, 10)
    assert [(change.key, change.fell) for change in store.take_changes()[0]] == [
        ("gone", False),
        ("later", False),
        ("new", False),
    ]


def test_a_value_that_was_damaged_and_is_mended_is_a_fall() -> None:
    store = Store(b"a" * 16)
    true = remote(b"c" * 16, "k", b"2", 5)
    store.apply(true._replace(body=b"1"), 9)
    store.take_changes()
    assert store.mend(true, 9, trusted=True)
    ((kind, key, *_, fell),) = store.take_changes()[0]
    assert (kind, key, fell) == ("put", "k", True)
