"""Laws of what is built on counters and leases, tried by Hypothesis: it looks for the smallest case that breaks one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.arguments.checks import gauge_prefix
from coordination.counting.purse import Entry, Ledger, read_ledger
from coordination.following.feed import Feed
from coordination.following.interest import Interest, disjoint, wants
from coordination.following.tallies import Tally, contributions, shown
from crdt.change import Change
from crdt.store import Store
from mesh.values import encode_value
from tests.coordination.test_feed import Reader, Written
from tests.coordination.test_purse import LIMIT, Paper

dice = st.randoms(use_true_random=False)
names = st.text("ab/.", max_size=4)
counts = st.integers(0, 1 << 70)


@settings(max_examples=50, deadline=None)
@given(dice, st.sampled_from((None, 0, 3)), st.booleans())
def test_a_budget_is_never_overspent(dice: random.Random, chunk: int | None, crashes: bool) -> None:
    paper = Paper(0, chunk=chunk, crashes=crashes)
    paper.dice = dice
    for _ in range(60):
        paper.step()
    ledger = paper.settle()
    assert 0 <= paper.taken <= LIMIT - ledger.free


@settings(max_examples=100, deadline=None)
@given(dice, st.booleans(), st.booleans(), st.sampled_from((5, 1_000)))
def test_events_folded_over_the_snapshot_are_the_store(dice: random.Random, every: bool, snapshot: bool, limit: int) -> None:
    written = Written(0)
    written.dice = dice
    for _ in range(10):
        written.step()
    feed = Feed(("b/3",), ("a/", "c"), snapshot=snapshot, every=every, limit=limit)
    feed.begin(written.store, written.stamp)
    written.tell()
    known = {} if snapshot else {key: value for key, value in written.at(feed.base).items() if wants(feed, key)}
    reader = Reader(written, feed, known)
    interest: Interest[Feed] = Interest()
    interest.add(feed)
    written.listeners.append(lambda change: interest.tell((change,)))
    for _ in range(40):
        written.step()
        if dice.random() < 0.4:
            reader.read()
    reader.drain()


@given(st.lists(st.tuples(names, st.integers(-9, 9) | st.text(max_size=1) | st.booleans(), st.booleans()), max_size=12), names)
def test_a_gauge_is_the_sum_of_what_its_holders_hold(entries: list[tuple[str, object, bool]], other: str) -> None:
    prefix = gauge_prefix("g")
    cells = [(f"{prefix}{name}.session.{index}", value, bound) for index, (name, value, bound) in enumerate(entries)]
    found = contributions(prefix, cells)
    held = [(name, value) for name, value, bound in entries if bound and type(value) is int and "/" not in name]
    assert sum(found.values()) == sum(value for _, value in held)
    assert set(found) == {name for name, _ in held}
    assert contributions(prefix, [(f"{prefix}{other}", 5, True)]) in ({}, {other.rpartition(".")[0].rpartition(".")[0]: 5})


@settings(deadline=None)
@given(dice)
def test_a_tally_of_a_gauge_is_the_sum_of_what_is_there(dice: random.Random) -> None:
    """Puts bound to a lease or to nothing, of numbers and other things, under names that are and are not shares; deletes; and
    ends of leases, seen before and after what is bound to them."""
    store, stamp = Store(bytes(16)), 1_000
    prefix = gauge_prefix("g")
    names = [prefix + rest for rest in ("a.s.1", "a.s.2", "b.s.1", "b", "x/y.s.1", "c.s.")] + ["gauge/gg/a.s.1"]
    leases = ["one", "two", "three"]
    tally: Tally | None = None
    for step in range(40):
        stamp += dice.randrange(1, 50)
        match dice.randrange(6):
            case 0:
                store.put(dice.choice(names), None, stamp)
            case 1 if step > 10:
                store.end_lease(dice.choice(leases), stamp)
            case _:
                bound = dice.choice((None, *leases))
                store.put(dice.choice(names), encode_value(dice.choice((1, 5, -3, 1 << 70, "text", True))), stamp, bound=bound)
        if tally is None and dice.random() < 0.2:
            store.take_changes()
            tally = Tally(prefix, store.scan(prefix, stamp))
        changes = store.take_changes()[0]
        if tally is not None:
            for change in changes:
                if change.key.startswith(prefix):
                    tally.offer(change)
            assert tally.total == sum(contributions(prefix, [shown(cell) for cell in store.scan(prefix, stamp)]).values())


def test_a_tally_that_counts_the_dead_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tally.offer
    monkeypatch.setattr(Tally, "offer", lambda self, change: change.kind == "lease_ended" or honest(self, change))
    with pytest.raises(AssertionError):
        test_a_tally_of_a_gauge_is_the_sum_of_what_is_there()


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.builds(Entry, st.text(max_size=3), counts, counts), max_size=4),
    counts,
    counts,
)
def test_a_ledger_is_read_as_it_was_written(holders: dict[str, Entry], settled: int, spare: int) -> None:
    limit = settled + spare + sum(entry.rights for entry in holders.values())
    ledger = Ledger(3, limit, settled, holders)
    assert read_ledger(ledger.plain()) == ledger and ledger.free == spare
    assert read_ledger(Ledger(3, limit - spare - 1, settled, holders).plain()) is None


@given(st.lists(names.filter(bool), max_size=5), st.lists(names, max_size=5), st.lists(names.filter(bool), max_size=8))
def test_each_follower_is_told_once_of_what_it_wants_and_of_nothing_else(
    keys: list[str], prefixes: list[str], changed: list[str]
) -> None:
    class Follower:
        def __init__(self) -> None:
            self.keys, self.prefixes = disjoint(keys, prefixes)
            self.told: list[str] = []

        def offer(self, change: Change) -> None:
            self.told.append(change.key)

    written = Written(0)
    for number, key in enumerate(changed):
        written.store.put(key, b"%d" % number, 10 + number)
    changes = written.store.take_changes()[0]
    follower, interest = Follower(), Interest[Follower]()
    interest.add(follower)
    interest.tell(changes)
    assert follower.told == [key for key in changed if key in keys or key.startswith(tuple(prefixes))]
    interest.remove(follower)
    assert not interest
