"""Laws of what is built on counters and leases, tried by Hypothesis: it looks for the smallest case that breaks one."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.counting.gauges import contributions, gauge_prefix
from coordination.counting.purse import Entry, Ledger, read_ledger
from coordination.following.feed import Feed
from coordination.following.interest import Interest, disjoint, wants
from crdt.change import Change
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
