"""What users store: every plain value comes back as a new object, everything else is refused with what to do."""

from __future__ import annotations

import enum
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.values import (
    MAX_VALUE_BYTES,
    MAX_VALUE_DEPTH,
    ValueTooLargeError,
    ValueTypeError,
    decode_value,
    encode_value,
)
from mesh.wire import WireError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 80), 1 << 80), st.floats(allow_nan=False), TEXT, st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)), max_leaves=15
)


def nested(depth: int, leaf: Any) -> Any:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@given(VALUES)
def test_every_plain_value_comes_back(value: Any) -> None:
    data = encode_value(value)
    decoded = decode_value(data)
    assert decoded == value and type(decoded) is type(value)
    assert encode_value(decoded) == data


def test_what_comes_back_is_new_each_time() -> None:
    original = {"list": [1]}
    data = encode_value(original)
    original["list"].append(2)
    one, two = decode_value(data), decode_value(data)
    one["list"].append(3)
    assert two == {"list": [1]}


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    HIGH = 9


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2,)), [1, [2]]), (Shade.DARK, "dark"), ([Shade.DARK], ["dark"]), ({Shade.DARK: Level.HIGH}, {"dark": 9}),
        (Level.HIGH, 9), (Text("t"), "t"), ([True, 1, 1.0], [True, 1, 1.0]), (float("inf"), float("inf")), ({}, {}), ([], []),
    ],
)  # fmt: skip
def test_what_is_as_good_as_plain_becomes_plain(value: Any, plain: Any) -> None:
    decoded = decode_value(encode_value(value))
    assert decoded == plain
    assert repr(decoded) == repr(plain), "no subclass travels"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "the value is of type object.*convert it first"), ({1: 2}, "has the key 1: keys of a dict are text"),
        ([1, {"a": {1, 2}}], r"the value\[1\]\['a'\] is of type set"), (bytearray(b"x"), "bytearray"), (1j, "complex"),
        ("\ud800", "lone surrogates"), (["\udfff"], r"the value\[0\] is text with lone surrogates"),
        ({"\ud800": 1}, "a key of the value is text with lone surrogates"), ({b"k": 1}, "has the key b'k'"),
    ],
)  # fmt: skip
def test_what_does_not_travel_is_named(value: Any, says: str) -> None:
    with pytest.raises(ValueTypeError, match=says):
        encode_value(value)


@pytest.mark.parametrize(("kind", "head"), [(b"x", 5), ("x", 5)])
def test_the_bound_of_size_is_inclusive(kind: Any, head: int) -> None:
    largest = kind * (MAX_VALUE_BYTES - head)
    assert decode_value(encode_value(largest)) == largest
    for value in (kind * (MAX_VALUE_BYTES - head + 1), [largest]):
        with pytest.raises(ValueTooLargeError, match=r"1,048,57\d bytes encoded, above 1,048,576"):
            encode_value(value)


@pytest.mark.parametrize("leaf", [1, "x", [], {}, {"k": 1}])
def test_the_bound_of_depth_is_the_same_on_both_sides(leaf: Any) -> None:
    inside = 1 if leaf == {"k": 1} else 0
    deepest = nested(MAX_VALUE_DEPTH - inside, leaf)
    assert decode_value(encode_value(deepest)) == deepest
    with pytest.raises(ValueTooLargeError, match="nested more than 32 levels"):
        encode_value([deepest])
    with pytest.raises(WireError):
        decode_value(b"\x81" * 40 + b"\x01")


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    with pytest.raises(ValueTooLargeError, match="nested"):
        encode_value(loop)


def test_the_bound_of_integers_is_inclusive() -> None:
    largest = (1 << 8 * 1_024) - 1
    for value in (largest, -largest, [largest]):
        assert decode_value(encode_value(value)) == value
    for value in (largest + 1, -largest - 1, [largest + 1]):
        with pytest.raises(ValueTooLargeError, match="store it as bytes"):
            encode_value(value)


HOSTILE = {
    "undefined": b"\xf7",
    "undefined in a list": b"\x81\xf7",
    "a simple value": b"\xe5",
    "a simple value in a map": b"\xa1\x61k\xf8\x20",
    "a key of bytes": b"\xa1\x41k\x01",
    "a key of bytes, deep": b"\x81\x81\xa1\x41k\x01",
    "a number as key": b"\xa1\x01\x02",
    "a large map head": b"\xb8\x01\x41k\x01",
    "a date": b"\xc1\x1a\x00\x00\x00\x01",
    "a regular expression": b"\xd8\x23\x61a",
    "a shared reference": b"\xd8\x1c\x81\xd8\x1d\x00",
    "an integer of 2 KiB": b"\x81\xc2\x59\x08\x00" + b"\xff" * 2_048,
    "a negative integer of 2 KiB": b"\xc3\x59\x08\x00" + b"\xff" * 2_048,
    "trailing bytes": b"\x01\x01",
    "nothing": b"",
    "an indefinite list": b"\x9f\xff",
    "twice the same key": b"\xa2\x61k\x01\x61k\x02",
    "more than is stored": cbor2.dumps(bytes(MAX_VALUE_BYTES)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_a_faulty_member_stored_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_value(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_plain_value_or_refused(data: bytes) -> None:
    try:
        value = decode_value(data)
    except WireError:
        return
    assert repr(decode_value(encode_value(value))) == repr(value), "what is read can be put again"
