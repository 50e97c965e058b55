"""Counters: nothing is lost, nothing counts twice (C1, C2)."""

from __future__ import annotations

from itertools import pairwise, permutations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

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
    assert store.add("c", 0, STAMP) == 0
    assert (store.pending, len(store), store.take_changes()) == (0, 0, ((), ()))
    assert store.add("c", 4, STAMP) == 4
    assert store.add("c", 0, STAMP) == 4
