"""What a change does to an atomic register, on the state alone: dedupe, forgetting, comparison, bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.agreed.atomics.atomic import (
    ACTORS_KEPT,
    DIFFERS,
    NOT_INTEGER,
    NOTHING,
    TOO_LARGE,
    Op,
    OpKind,
    State,
    encode_ordered,
)
from coordination.agreed.atomics.calls import Call, CallDone
from mesh.directives import Send, Source
from mesh.schema import MAX_INT_BYTES
from mesh.values import decode_value, encode_value
from tests.coordination.one_lock import ready


def actor(number: int) -> bytes:
    return number.to_bytes(16, "little")


def put(value: Any) -> Op:
    return Op(OpKind.SET, encode_ordered(value))


def cas(old: Any, new: Any) -> Op:
    return Op(OpKind.CAS, encode_ordered(new), encode_ordered(old))


def add(n: int) -> Op:
    return Op(OpKind.ADD, n=n)


def value(state: State) -> Any:
    return decode_value(state.value)


def test_operations() -> None:
    state = State()
    assert state.value == NOTHING
    assert state.serve(actor(1), 1, 0, [add(3), add(-1), cas(2, {"b": 1, "a": 2}), add(1)]) == (3, 2, 0, NOT_INTEGER)
    assert value(state) == {"a": 2, "b": 1}
    assert state.serve(actor(1), 2, 1, [cas({"a": 2, "b": 1}, None), cas(0, 1), put(7), add(5)]) == (0, DIFFERS, 0, 12)
    assert state.version == 2


def test_values_are_compared_as_they_are_encoded() -> None:
    for one in (1, 1.0, True):
        for other in (1, 1.0, True):
            state = State()
            assert state.serve(actor(1), 1, 0, [put(one), cas(other, "new")])[1] == (0 if one is other else DIFFERS)  # type: ignore[index]
    assert encode_ordered({"b": [{"d": 1, "c": 2}], "a": 0}) == encode_ordered({"a": 0, "b": ({"c": 2, "d": 1},)})


def test_a_register_that_was_never_set_is_none_and_0() -> None:
    assert State().serve(actor(1), 1, 0, [cas(None, 5)]) == (0,)
    assert State().serve(actor(1), 1, 0, [add(5)]) == (5,)
    assert State().serve(actor(1), 1, 0, [cas(0, 5)]) == (DIFFERS,)


def test_a_sum_that_does_not_travel_is_refused() -> None:
    largest = (1 << 8 * MAX_INT_BYTES) - 1
    state = State()
    assert state.serve(actor(1), 1, 0, [add(largest), add(1), add(-1)]) == (largest, TOO_LARGE, largest - 1)
    assert not add(largest + 1).well_formed()
    assert not Op(OpKind.SET, b"\xc0").well_formed() and not Op(9, NOTHING).well_formed()
    assert not Op(OpKind.SET, encode_value("x" * (64 << 10))).well_formed()


def test_a_retry_gets_the_results_that_were_kept() -> None:
    state = State()
    assert state.serve(actor(1), 7, 0, [add(1), add(1)]) == (1, 2)
    assert state.serve(actor(2), 1, 0, [add(1)]) == (3,)
    assert state.serve(actor(1), 7, 0, [add(1), add(1)]) == (1, 2)
    assert state.serve(actor(1), 6, 0, [add(1)]) is None
    assert (value(state), state.version) == (3, 2)
    assert state.serve(actor(1), 8, 2, [add(1)]) == (4,)


def test_who_is_forgotten_is_served_only_if_it_knows_what_came_since() -> None:
    state = State()
    for number in range(ACTORS_KEPT + 1):
        assert state.serve(actor(number), 1, 0, [add(1)]) == (number + 1,)
    assert (state.floor, len(state.entries)) == (1, ACTORS_KEPT)
    assert state.serve(actor(0), 1, 0, [add(1)]) is None, "applied at version 1, and forgotten"
    assert state.serve(actor(99), 1, 0, [add(1)]) is None, "never applied, but who could know"
    assert state.serve(actor(0), 2, state.version, [add(1)]) == (ACTORS_KEPT + 2,)
    assert value(state) == ACTORS_KEPT + 2


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(-5, 5)), max_size=150))
def test_the_encoded_state_is_the_state(adds: list[tuple[int, int]]) -> None:
    state = State()
    for sequence, (number, n) in enumerate(adds, 1):
        state.serve(actor(number), sequence, state.version, [add(n)])
        copy = State.read(state.encoded())
        assert copy is not None and copy.encoded() == state.encoded()
    assert value(state) == (sum(n for _, n in adds) if adds else None)
    assert len(state.entries) == min(ACTORS_KEPT, len({number for number, _ in adds}))


@given(st.integers(0, 300), st.data())
def test_no_copy_of_a_request_is_applied_twice(others: int, data: st.DataObject) -> None:
    """Whatever comes between, in whatever order copies arrive: with few or many other processes."""
    state, applied = State(), 0
    seen = data.draw(st.integers(0, 70))
    for number in range(seen):
        state.serve(actor(number), 1, state.version, [add(0)])
    for number in range(others):
        if data.draw(st.booleans()):
            before = value(state) or 0
            state.serve(actor(1000), 5, seen, [add(1)])
            applied += (value(state) or 0) - before
        state.serve(actor(number), 2, state.version, [add(0)])
    assert applied <= 1


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\x01", b"\x84\x01\x02\x03\x80", b"\x84\x01\x02\x40\x81\x01", b"\x84\x01\x02\x40\x81\x84\x01\x02\x03\x80"],
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    assert State.read(data) is None


def test_a_request_names_the_version_that_was_read_last_also_if_it_is_a_lower_one() -> None:
    """After a reset of the roster it may have gone back. (A request that names more than was seen may be served twice.)"""
    world = ready()
    node = world.nodes["n0"]
    parts = node.parts
    assert parts is not None
    caller, key, named = parts.caller, "atomic/x", []
    for number, version in enumerate((100, 3, 5), 1):
        sent = caller.call(number, key, None, world.instant(node))
        asked = next(each.message for each in sent if isinstance(each, Send) and isinstance(each.message, Call))
        named.append(asked.seen)
        done = CallDone(key, asked.boot, asked.sequence, version, False, NOTHING, ())
        caller.on_message(done, Source(b"", "", "n1", None, None), world.instant(node))
    assert named == [0, 100, 3]
