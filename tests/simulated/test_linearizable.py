"""The checker of linearizability: against a brute force, on histories known to be bad, and on the locks of a whole mesh."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.assembly import build
from simulations.checkers import (
    UNKNOWN,
    Counter,
    History,
    Linearizability,
    Linearizable,
    Model,
    Mutex,
    NotLinearizable,
    Operation,
    Queue,
    RecordedLocks,
    Register,
    TooLarge,
    Violation,
    linearize,
)
from simulations.checkers.history import until
from simulations.cluster import Build, Cluster
from simulations.faults import Fault, Faults, Pause, Suspend, WallStep
from simulations.locking import Locks, LockUser
from simulations.plans.plans import random_plan
from simulations.scenarios.scenarios import SHORT_TERMS
from simulations.world import SECOND, World
from tests.coordination.agreed_faults import FAULTS
from tests.simulated.histories import OBJECTS, brute_force, explains, op, real_history, spoilt
from tests.simulated.planted import with_planted

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


class AnyRead(Register):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "read" else result)


class AnyCas(Register):
    """Compares nothing: it sets, whatever it says."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return arguments[1] if name == "cas" else super().step(state, name, arguments, result)


class NoExclusion(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        return super().step((None, state[1]) if name == "acquire" else state, name, arguments, result)


class AnyToken(Mutex):
    def _rises(self, highest: int, token: Hashable) -> bool:
        return True


class AnyRefusal(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return state if name == "acquire" and result is None else super().step(state, name, arguments, result)


class AnyRelease(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "release" else result)


class ForgetfulCounter(Counter):
    """An add is not always in the sum."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "read" else result)


class AnySum(Counter):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "add" else result)


class Bag(Queue):
    """Keeps no order."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        if name == "dequeue" and result in state:
            place = state.index(result)
            state = (result, *state[:place], *state[place + 1 :])
        return super().step(state, name, arguments, result)


class Copies(Queue):
    """What was taken stays."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        after = super().step(state, name, arguments, result)
        return state if name == "dequeue" and isinstance(after, tuple) else after


class AnyEmpty(Queue):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return state if name == "dequeue" and result is None else super().step(state, name, arguments, result)


BAD: dict[str, tuple[Model, Model, list[Operation]]] = {
    "stale read": (
        Register(),
        AnyRead(),
        [op("a", "write", 1, at=0, until=10, result=None), op("b", "read", at=11, until=20, result=None)],
    ),
    "the new value, then the old one again": (
        Register(0),
        AnyRead(0),
        [
            op("a", "write", 1, at=0, until=50, result=None),
            op("b", "read", at=5, until=10, result=1),
            op("c", "read", at=11, until=20, result=0),
        ],
    ),
    "lost update": (
        Register(0),
        AnyCas(0),
        [
            op("a", "cas", 0, 1, at=0, until=10, result=True),
            op("b", "cas", 0, 2, at=0, until=10, result=True),
        ],
    ),
    "double grant": (
        Mutex(),
        NoExclusion(),
        [op("a", "acquire", "a", at=0, until=10, result=1), op("b", "acquire", "b", at=0, until=11, result=2)],
    ),
    "granted before the lease can have ended": (
        Mutex(),
        NoExclusion(),
        [
            op("a", "acquire", "a", at=0, until=10, result=1),
            op("a", "lapse", "a", at=30),
            op("b", "acquire", "b", at=11, until=29, result=2),
        ],
    ),
    "a token that falls": (
        Mutex(),
        AnyToken(),
        [
            op("a", "acquire", "a", at=0, until=10, result=7),
            op("a", "release", "a", at=11, until=12, result=True),
            op("b", "acquire", "b", at=13, until=20, result=6),
        ],
    ),
    "a token that comes twice": (
        Mutex(),
        AnyToken(),
        [
            op("a", "acquire", "a", at=0, until=10, result=7),
            op("a", "lapse", "a", at=11),
            op("b", "acquire", "b", at=0, until=20, result=7),
        ],
    ),
    "refused though nobody holds it": (Mutex(), AnyRefusal(), [op("a", "acquire", "a", at=0, until=10, result=None)]),
    "a release of what another one holds": (
        Mutex(),
        AnyRelease(),
        [op("a", "acquire", "a", at=0, until=10, result=1), op("b", "release", "b", at=11, until=12, result=True)],
    ),
    "lost increment": (
        Counter(),
        ForgetfulCounter(),
        [
            op("a", "add", 1, at=0, until=10, result=None),
            op("b", "add", 1, at=0, until=10, result=None),
            op("a", "read", at=11, until=20, result=1),
        ],
    ),
    "one sum told to two": (
        Counter(),
        AnySum(),
        [op("a", "add", 1, at=0, until=10, result=1), op("b", "add", 1, at=0, until=10, result=1)],
    ),
    "dequeue twice": (
        Queue(),
        Copies(),
        [
            op("a", "enqueue", "x", at=0, until=10, result=None),
            op("b", "dequeue", at=11, until=20, result="x"),
            op("c", "dequeue", at=11, until=20, result="x"),
        ],
    ),
    "out of order": (
        Queue(),
        Bag(),
        [
            op("a", "enqueue", "x", at=0, until=10, result=None),
            op("a", "enqueue", "y", at=11, until=20, result=None),
            op("b", "dequeue", at=21, until=30, result="y"),
        ],
    ),
    "empty though something is in it": (
        Queue(),
        AnyEmpty(),
        [op("a", "enqueue", "x", at=0, until=10, result=None), op("b", "dequeue", at=11, until=20, result=None)],
    ),
}


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


# --- the locks of a mesh --------------------------------------------------------------------------------------------------


def recorded(seed: int, make: Build = build, plan: Sequence[Fault] | None = None) -> RecordedLocks:
    """Eight users of one or two locks, under faults of every kind or of this plan."""
    world = World(seed)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS, make=make)
    cluster.form()
    locks = Locks(cluster)
    history = RecordedLocks(locks)
    for name in cluster.names:
        for number in range(2):
            LockUser(locks, name, ["lock/a", "lock/b"][: 1 + seed % 2], number, world.now + 20 * SECOND)
    injector = Faults(world)
    injector.set(random_plan(seed, cluster.names, 25, 20 * SECOND) if plan is None else plan)
    world.run(20 * SECOND)
    return history


CLOCKS_APART: list[Fault] = [
    *[WallStep(0, 20 * SECOND, name, ms) for name, ms in (("n0", 240), ("n1", -240), ("n2", -240))],
    *[Pause((2 + 3 * turn) * SECOND // 2, SECOND * 6 // 10, f"n{turn % 3}") for turn in range(12)],
]
"""Wall clocks that are as far apart as is allowed, and owners that give way to each other within less than that."""


def test_l1_l2_the_locks_of_a_mesh_are_those_of_a_mutex_with_rising_tokens() -> None:
    operations = []
    for seed in range(8):
        history = recorded(seed)
        history.check()
        operations += list(history)
        recorded(seed, plan=CLOCKS_APART).check()
    names = [each.name for each in operations]
    assert names.count("acquire") > 200
    assert names.count("release") > 50
    assert names.count("lapse") > 50


def test_a_belief_that_ran_out_while_its_machine_slept_ended_in_its_time_not_when_that_woke() -> None:
    """Found by seed 203: the next holder was called a second one."""
    world = World(1)
    cluster = Cluster(world, 4, expect=3, parameters=SHORT_TERMS)
    cluster.form()
    locks = Locks(cluster)
    history = RecordedLocks(locks)
    first = locks.acquire(cluster.peers["n3"], "lock/a", ttl=SECOND, renew=False)
    assert world.run_until(lambda: first.state == "held", SECOND) is not None
    Faults(world).set([Suspend(SECOND // 5, 20 * SECOND, "n3")])
    world.run(SECOND // 2)
    second = locks.acquire(cluster.peers["n0"], "lock/a")
    assert world.run_until(lambda: second.state == "held", 2 * SECOND) is not None
    world.run(25 * SECOND)
    assert first.state == "ended"
    history.check()
    _, lapse, acquire, _ = history
    assert (lapse.name, acquire.name) == ("lapse", "acquire")
    assert acquire.returned is not None
    assert acquire.returned - SECOND // 20 < lapse.invoked < acquire.returned


@pytest.mark.parametrize(
    "fault",
    ["accepts a value that loses a live identity", "the owner takes one answer for a quorum", "token from the clock alone"],
)
def test_l1_l2_catch_a_mesh_in_which_a_rule_is_broken(fault: str) -> None:
    plan = CLOCKS_APART if "clock" in fault else None
    for seed in range(16):
        history = recorded(seed, with_planted(FAULTS[fault].changes), plan)
        try:
            history.check()
        except Violation as violation:
            assert str(violation).startswith("L1/L2: the history of 'lock/")
            assert "cannot be linearized" in str(violation)
            return
    pytest.fail("not caught")
