"""Counters: nothing is lost, nothing counts twice (C1, C2)."""

from __future__ import annotations

from itertools import pairwise, permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crdt.cbor import write_int
from crdt.cell import COUNTER, Cell, join
from crdt.counter import added_slot, counter_of, slot_key, value
from crdt.store import Flushed, Store
from tests.crdt.cells import ACTORS

A, B, C = ACTORS
STAMP = 1_000
amounts = st.integers(-(2**70), 2**70)


def slot(actor: bytes, added: int, subtracted: int, epoch: tuple[int, bytes] = (0, b""), base: int = 0) -> Cell:
    return Cell(COUNTER, slot_key("c", actor), (*epoch, added, subtracted), write_int(base), None, actor, 1)


@given(st.lists(st.tuples(st.sampled_from(ACTORS), amounts), max_size=30))
def test_the_value_is_the_sum_of_all_that_was_added(adds: list[tuple[bytes, int]]) -> None:
    slots: dict[bytes, Cell] = {}
    for actor, amount in adds:
        slots[actor] = added_slot("c", actor, amount, slots.get(actor), slots.values())
    assert value(slots.values()) == sum(amount for _, amount in adds)


@given(st.lists(amounts, max_size=20))
def test_a_slot_only_rises_so_that_late_copies_lose(adds: list[int]) -> None:
    states, own = [slot(A, 0, 0)], slot(A, 0, 0)
    for amount in adds:
        own = added_slot("c", A, amount, own, [own])
        states.append(own)
    for before, after in pairwise(states):
        assert after.order >= before.order
        assert join(before, after).order == after.order


def test_the_value_is_the_base_of_the_highest_epoch_and_what_its_slots_added() -> None:
    old, new = (5, A), (9, B)
    assert value([]) == 0
    assert value([slot(A, 7, 2), slot(B, 1, 0)]) == 6
    assert value([slot(A, 7, 2), slot(B, 1, 4, old, 100)]) == 97
    assert value([slot(A, 7, 2, old, 100), slot(B, 0, 0, new, -3), slot(C, 5, 0, new, -3)]) == 2
    assert value([slot(A, 1, 0, (5, A), 10), slot(B, 2, 0, (5, B), 20)]) == 22, "at one stamp the higher actor's"


def test_an_add_counts_in_the_highest_epoch_that_is_known() -> None:
    own, other = slot(A, 7, 2), slot(B, 0, 0, (9, B), 100)
    mine = added_slot("c", A, -4, own, [own, other])
    assert mine.order == (9, B, 0, 4)
    assert value([mine, other]) == value([mine]) == 96
    assert added_slot("c", A, 3, mine, [mine, other]).order == (9, B, 3, 4)


def test_names_and_slots() -> None:
    assert slot_key("c", A) != slot_key("c", B)
    assert counter_of(slot_key("a/b", A)) == "a/b"
    assert counter_of(slot_key("", A)) == ""


def test_slots_that_arrive_in_any_order_and_twice_make_one_value() -> None:
    cells: list[Flushed] = []
    for actor in ACTORS:
        store = Store(actor)
        for amount in (5, -2, 9):
            store.add("c", amount, STAMP)
            cells += store.flush()
    for order in permutations(ACTORS):
        replica = Store(bytes(16))
        for actor in order:
            for cell, _ in reversed([*cells, *cells]):
                if cell.actor == actor:
                    replica.apply(cell, STAMP)
        assert replica.counter("c") == 36
        assert replica.counter("other") == 0


def test_restarts_with_lost_memory_swallow_no_increment() -> None:
    """Each restart writes as a new actor, whatever of its predecessor's slot it has seen by then (scylla#2169)."""
    random = Random(7)
    other, acknowledged = Store(bytes(16)), 0
    for restart in range(20):
        process = Store(bytes((restart + 1,)) * 16)
        arrived = list(other.cells())
        for cell in random.sample(arrived, random.randrange(len(arrived) + 1)):
            process.apply(cell, STAMP)
        for _ in range(random.randrange(1, 6)):
            amount = random.randrange(-9, 10)
            process.add("c", amount, STAMP)
            acknowledged += amount
            for cell, previous in process.flush():
                other.apply(cell, STAMP)
                other.claim_previous(cell, previous)
    assert other.counter("c") == acknowledged


def test_adding_nothing_writes_nothing() -> None:
    store = Store(A)
    store.add("c", 0, STAMP)
    assert (store.pending, len(store), store.take_changes()) == (0, 0, ((), ()))
    store.add("c", 4, STAMP)
    store.add("c", 0, STAMP)
    assert store.counter("c") == 4


def test_what_is_added_within_a_window_is_one_write_and_told_with_its_end() -> None:
    store = Store(A)
    assert not store.add_more("c", 1), "there is no window yet"
    store.add("c", 1, STAMP)
    assert store.take_changes() == ((), ("c",))
    for n in (5, -9, 1 << 80):
        assert store.add_more("c", n)
    assert store.counter("c") == (1 << 80) - 3
    (flushed,) = store.flush()
    assert (flushed.cell.order, flushed.cell.n) == ((0, b"", (1 << 80) + 6, 9), 1)
    assert store.take_changes() == ((), ("c",))
    assert not store.add_more("c", 1), "the window is over"
    assert store.counter("c") == (1 << 80) - 3


def test_an_add_counts_in_an_epoch_that_arrived_within_its_window() -> None:
    store, other = Store(A), Store(B)
    store.add("c", 5, STAMP)
    other.set_counter("c", 100, STAMP + 1)
    (news,) = other.flush()
    store.apply(news.cell, STAMP + 2)
    assert store.counter("c") == 100, "what was added without knowing of it is lost"
    assert not store.add_more("c", 1), "the own slot is of an epoch that is over"
    store.add("c", 1, STAMP + 3)
    assert store.add_more("c", 1)
    assert store.counter("c") == 102


def test_set_begins_an_epoch_and_the_later_one_counts() -> None:
    a, b = Store(A), Store(B)
    a.add("c", 7, STAMP)
    a.set_counter("c", -50, STAMP + 1)
    assert a.counter("c") == -50
    assert not a.add_more("c", 1)
    a.add("c", 2, STAMP + 2)
    b.set_counter("c", 1, STAMP + 5)
    b.add("c", -1, STAMP + 6)
    for store, news in ((b, a.flush()), (a, b.flush())):
        for cell, _ in news:
            store.apply(cell, STAMP + 9)
    assert a.counter("c") == b.counter("c") == 0


class TwoWriters(RuleBasedStateMachine):
    """Adds and sets on two replicas that exchange their cells now and then: each knows the base of the highest epoch that it
    has seen, and every add that was made in it and has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = [Store(A), Store(B)]
        self.clock = 0
        self.epochs: dict[int, int] = {0: 0}
        """The base of each epoch, by the moment at which it began."""
        self.adds: list[list[tuple[int, int]]] = [[], []]
        """(epoch, amount) by writer."""
        self.epoch = [0, 0]
        self.told = [0, 0]
        """How many of the other's adds have arrived here."""

    @rule(who=st.integers(0, 1), amount=amounts)
    def add(self, who: int, amount: int) -> None:
        self.clock += 1
        store = self.stores[who]
        if not store.add_more("c", amount):
            store.add("c", amount, self.clock)
        self.adds[who].append((self.epoch[who], amount))

    @rule(who=st.integers(0, 1), base=amounts)
    def set(self, who: int, base: int) -> None:
        self.clock += 1
        self.stores[who].set_counter("c", base, self.clock)
        self.epochs[self.clock] = base
        self.epoch[who] = self.clock

    @rule(who=st.integers(0, 1))
    def flush(self, who: int) -> None:
        self.stores[who].flush()

    @rule(who=st.integers(0, 1))
    def send(self, who: int) -> None:
        other = 1 - who
        self.clock += 1
        self.stores[who].flush()
        for cell in list(self.stores[who].cells()):
            self.stores[other].apply(cell, self.clock)
        self.epoch[other] = max(self.epoch)
        self.told[other] = len(self.adds[who])

    @invariant()
    def values(self) -> None:
        for who, store in enumerate(self.stores):
            epoch = self.epoch[who]
            known = self.adds[who] + self.adds[1 - who][: self.told[who]]
            assert store.counter("c") == self.epochs[epoch] + sum(n for at, n in known if at == epoch)


TestTwoWriters = TwoWriters.TestCase
TestTwoWriters.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
