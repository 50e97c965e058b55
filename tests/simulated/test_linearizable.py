"""The checker of linearizability: against a brute force, and on histories known to be bad."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.checkers import (
    Counter,
    History,
    Linearizability,
    Linearizable,
    Mutex,
    NotLinearizable,
    Operation,
    Queue,
    Register,
    TooLarge,
    Violation,
    linearize,
)
from simulations.checkers.history import until
from simulations.world import World
from tests.simulated.bad_histories import BAD
from tests.simulated.histories import OBJECTS, brute_force, explains, op, real_history, spoilt

KINDS = pytest.mark.parametrize("kind", OBJECTS)


# --- against a brute force ------------------------------------------------------------------------------------------------


@KINDS
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 50))
def test_what_a_real_object_did_is_accepted_with_an_order_that_explains_it(kind: str, seed: int, size: int) -> None:
    make, model = OBJECTS[kind]
    operations = real_history(make, Random(seed), size)
    verdict = linearize(operations, model, limit=20_000)
    assert not isinstance(verdict, NotLinearizable)
    if isinstance(verdict, Linearizable):
        assert explains(verdict.orders["k"], operations, model)


@KINDS
def test_few_histories_of_25_operations_with_six_at_a_time_are_too_large(kind: str) -> None:
    make, model = OBJECTS[kind]
    verdicts = [linearize(real_history(make, Random(seed), 25, width=3), model, limit=20_000) for seed in range(100)]
    assert sum(isinstance(verdict, Linearizable) for verdict in verdicts) >= 95


@KINDS
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 6))
def test_a_brute_force_over_all_orders_says_the_same_of_spoilt_histories(kind: str, seed: int, size: int) -> None:
    make, model = OBJECTS[kind]
    dice = Random(seed)
    operations = spoilt(real_history(make, dice, size, width=dice.randrange(1, 4), lost=0.15), dice)
    verdict = linearize(operations, model)
    assert isinstance(verdict, Linearizable) == brute_force(operations, model), operations
    if isinstance(verdict, NotLinearizable):
        assert verdict.shortest
        end = verdict.last.returned
        assert end is not None
        assert sorted(verdict.prefix, key=repr) == sorted(until(operations, end), key=repr)
        assert not brute_force(verdict.prefix, model)
        ends = [each.returned for each in operations if each.returned is not None and each.returned < end]
        if ends:
            assert brute_force(until(operations, max(ends)), model), "a shorter prefix is refused too"


@KINDS
def test_spoiling_makes_both_kinds_of_history(kind: str) -> None:
    """Else the comparison with the brute force shows nothing."""
    make, model = OBJECTS[kind]
    verdicts = []
    for seed in range(200):
        dice = Random(seed)
        operations = spoilt(real_history(make, dice, 6, width=dice.randrange(1, 4), lost=0.15), dice)
        verdicts.append(isinstance(linearize(operations, model), Linearizable))
    assert min(verdicts.count(True), verdicts.count(False)) >= 20


# --- known to be bad ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_known_bad_histories_are_refused_by_one_rule(name: str) -> None:
    """The second model lacks the rule, and accepts."""
    model, lax, operations = BAD[name]
    assert isinstance(linearize(operations, model), NotLinearizable)
    assert isinstance(linearize(operations, lax), Linearizable)


# --- what may have happened -----------------------------------------------------------------------------------------------


def test_c3_an_operation_whose_caller_gave_up_happens_or_not_and_as_late_as_it_likes() -> None:
    gave_up = op("a", "add", 5, at=0)
    reads = [(0, 0), (0, 5), (5, 5)]
    for first, second in reads:
        seen = [op("b", "read", at=10, until=20, result=first), op("b", "read", at=100, until=110, result=second)]
        assert isinstance(linearize([gave_up, *seen], Counter()), Linearizable)
    undone = [op("b", "read", at=10, until=20, result=5), op("b", "read", at=100, until=110, result=0)]
    assert isinstance(linearize([gave_up, *undone], Counter()), NotLinearizable)
    twice = [op("b", "read", at=10, until=20, result=10)]
    assert isinstance(linearize([gave_up, *twice], Counter()), NotLinearizable)


def test_c3_it_does_not_happen_before_it_was_invoked() -> None:
    early = [op("b", "read", at=0, until=9, result=5), op("a", "add", 5, at=10)]
    assert isinstance(linearize(early, Counter()), NotLinearizable)


def test_an_operation_that_returned_without_a_result_has_happened() -> None:
    known = [op("a", "write", 1, at=0, until=10), op("b", "read", at=11, until=20, result=None)]
    assert isinstance(linearize(known, Register()), NotLinearizable)


def test_a_lease_may_end_by_itself_from_its_time_on() -> None:
    history = [
        op("a", "acquire", "a", at=0, until=10, result=1),
        op("a", "lapse", "a", at=30),
        op("b", "acquire", "b", at=11, until=31, result=2),
    ]
    assert isinstance(linearize(history, Mutex()), Linearizable)
    held = op("a", "release", "a", at=32, until=40, result=True)
    assert isinstance(linearize([*history, held], Mutex()), NotLinearizable)
    late = op("a", "release", "a", at=32, until=40, result=False)
    assert isinstance(linearize([*history, late], Mutex()), Linearizable)


def test_a_grant_of_which_nobody_heard_has_a_token_too() -> None:
    history = [
        op("a", "acquire", "a", at=0, until=10, result=1),
        op("a", "release", "a", at=11, until=12, result=True),
        op("b", "acquire", "b", at=13),
        op("c", "acquire", "c", at=20, until=30, result=None),  # so b had it: its token is 2 at least
        op("b", "lapse", "b", at=31),
    ]
    for token, verdict in ((2, NotLinearizable), (3, Linearizable)):
        after = op("d", "acquire", "d", at=40, until=50, result=token)
        assert isinstance(linearize([*history, after], Mutex()), verdict)


# --- what it says ---------------------------------------------------------------------------------------------------------


def test_keys_are_objects_of_their_own_and_the_failure_names_the_one() -> None:
    good = [
        op("a", "write", 1, at=0, until=10, result=None, key="good"),
        op("a", "read", at=11, until=12, result=1, key="good"),
    ]
    bad = [op("a", "read", at=0, until=10, result=1, key="bad")]
    verdict = linearize([*good, *bad], Register())
    assert isinstance(verdict, NotLinearizable)
    assert verdict.key == "bad"
    assert "'bad'" in str(verdict)
    assert "a: read() -> 1 [0, 10]" in str(verdict)
    assert isinstance(linearize(good, Register()), Linearizable)


def test_the_shortest_prefix_ends_where_the_fault_is_and_leaves_out_what_came_later() -> None:
    history = [op("a", "write", number, at=10 * number, until=10 * number + 5, result=None) for number in range(500)]
    stale = op("b", "read", at=2_001, until=2_003, result=150)
    after = [op("b", "read", at=9_000, until=9_001, result=499)]
    verdict = linearize([*history, stale, *after], Register())
    assert isinstance(verdict, NotLinearizable)
    assert verdict.last is stale
    assert len(verdict.prefix) == 202
    assert len(str(verdict).splitlines()) < 40


def test_a_prefix_knows_no_result_that_was_told_later() -> None:
    """The first dequeue that returns can be explained, as long as what the other one got is not known."""
    history = [
        op("a", "enqueue", "x", at=0, until=1, result=None),
        op("a", "enqueue", "y", at=2, until=3, result=None),
        op("b", "dequeue", at=4, until=10, result="y"),
        op("c", "dequeue", at=4, until=20, result="y"),
    ]
    after = [op("a", "enqueue", "z", at=time, until=time + 5, result=None) for time in range(30, 100, 10)]
    verdict = linearize([*history, *after], Queue())
    assert isinstance(verdict, NotLinearizable)
    assert verdict.last is history[3]
    assert verdict.prefix == tuple(history)


def crowd(size: int, total: int) -> list[Operation]:
    """Adds that are all concurrent, of powers of two, and a read of what they cannot come to, or can."""
    adds = [op(f"p{number}", "add", 1 << number, at=0, until=100, result=None) for number in range(size)]
    return [*adds, op("r", "read", at=101, until=102, result=total)]


def test_what_is_too_large_is_said_and_does_not_hang() -> None:
    verdict = linearize(crowd(40, -1), Counter(), limit=20_000)
    assert verdict == TooLarge("k", 41, 20_000)
    assert "too large" in str(verdict)
    assert isinstance(linearize(crowd(40, 2**40 - 1), Counter(), limit=20_000), Linearizable)


def test_a_key_that_is_too_large_hides_no_failure_of_another_one() -> None:
    bad = op("z", "read", at=0, until=1, result=9, key="z")
    assert isinstance(linearize([*crowd(40, -1), bad], Counter(), limit=20_000), NotLinearizable)


def test_a_configuration_is_searched_once() -> None:
    """Twelve adds have half a billion orders, and 4,096 sets."""
    assert isinstance(linearize(crowd(12, -1), Counter(), limit=60_000), NotLinearizable)


def test_pending_operations_that_are_alike_cost_no_more_than_their_number() -> None:
    gave_up = [op(f"p{number}", "add", 1, at=number) for number in range(100)]
    assert isinstance(linearize([*gave_up, op("r", "read", at=200, until=210, result=100)], Counter()), Linearizable)
    assert isinstance(linearize([*gave_up, op("r", "read", at=200, until=210, result=101)], Counter()), NotLinearizable)


def test_a_long_history_takes_no_deep_stack() -> None:
    operations = real_history(OBJECTS["register"][0], Random(1), 5_000)
    assert isinstance(linearize(operations, Register()), Linearizable)


def test_histories_are_taken_down_and_what_makes_no_sense_is_refused() -> None:
    history = History()
    first = history.invoke("a", "k", "write", 1, at=0)
    history.invoke("b", "k", "write", 2, at=1)
    never = history.invoke("c", "k", "write", 3, at=2)
    history.returns(first, None, at=5)
    history.fails(never)
    assert list(history) == [op("a", "write", 1, at=0, until=5, result=None), op("b", "write", 2, at=1)]
    assert len(history) == 2
    with pytest.raises(ValueError, match="twice"):
        history.returns(first, None, at=6)
    with pytest.raises(ValueError, match="before it was invoked"):
        op("a", "read", at=5, until=4)
    with pytest.raises(ValueError, match="never returned"):
        op("a", "read", at=5, result=1)
    with pytest.raises(ValueError, match="Register has no operation pop"):
        linearize([op("a", "pop", 1, at=0, until=1)], Register())


def test_the_checker_of_a_world_names_the_law_and_the_seed() -> None:
    checker = Linearizability(World(7), Register(), "L7")
    call = checker.history.invoke("a", "k", "read", at=0)
    checker.check()
    checker.history.returns(call, 1, at=5)
    with pytest.raises(Violation, match=r"(?s)^L7: the history of 'k' cannot be linearized.*seed 7"):
        checker.check()
