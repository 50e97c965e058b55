"""From annotations to bytes and back: every type that travels, its bounds, and canonical form."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mesh.schema
from crdt.cbor import write_head, write_int
from mesh.directives import Message
from mesh.schema import MAX_INT_BYTES, Bounds, Length, SchemaError, compile_class
from mesh.wire import WireError, decode, encode, load
from tests.mesh.toys import Colour, Everything, Pair, Point
from tests.mesh.wire_values import values

EXAMPLE = Everything(
    -1, 2, -3, True, 0.5, "héllo", b"1234", None, b"x", (1, 2), ("a",), (1, "b"), Pair(1, "r"), Point(3, 0.25), Colour.BLUE,
    ((Point(1, 1.0),), ()),
)  # fmt: skip
RAW = (60_004, *cbor2.loads(encode(EXAMPLE))[1:])


@given(values(Everything))
def test_every_type_that_travels_comes_back(value: Everything) -> None:
    assert decode(encode(value)) == value


@given(values(Everything))
def test_equal_values_are_equal_bytes_and_plain_cbor(value: Everything) -> None:
    data = encode(value)
    assert encode(decode(data)) == data
    raw = cbor2.loads(data, max_depth=10)
    assert raw[0] == 60_004 and len(raw) == 17


@given(st.integers(-(1 << 200), 1 << 200))
def test_integers_are_as_the_reference_encoder_writes_them(n: int) -> None:
    assert write_int(n) == cbor2.dumps(n)


@given(st.integers(0, (1 << 64) - 1), st.sampled_from([0x00, 0x20, 0x40, 0x80]))
def test_heads_are_of_the_shortest_form(n: int, major: int) -> None:
    head = write_head(major, n)
    assert head[0] & 0xE0 == major
    assert len(head) == 1 + (n >= 24) + (n >= 1 << 8) + 2 * (n >= 1 << 16) + 4 * (n >= 1 << 32)
    assert int.from_bytes(head[1:] or bytes([head[0] & 0x1F]), "big") == n


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("whole", True), ("whole", 1.0), ("whole", "1"), ("whole", None), ("whole", 1 << (8 * MAX_INT_BYTES)),
        ("small", -1), ("small", 1 << 16), ("digit", -4), ("digit", 10), ("truth", 1), ("truth", None), ("real", 1),
        ("text", ""), ("text", "123456789"), ("text", b"x"), ("data", b"1"), ("data", b"12345"), ("data", "12"),
        ("maybe", "x"), ("either", "x"), ("either", None), ("many", 3), ("many", [1, "2"]), ("many", {1: 2}), ("few", []),
        ("few", ["a"] * 4), ("two", [1]), ("two", [1, "b", 3]), ("two", ["b", 1]), ("pair", [1]), ("pair", ["l", "r"]),
        ("point", [1]), ("point", 7), ("colour", 2), ("colour", "RED"), ("nested", [[[1, 1.0], []]]), ("nested", [3]),
    ],
)  # fmt: skip
def test_a_field_of_another_type_or_out_of_bounds_is_refused(field: str, wrong: Any) -> None:
    index = 1 + list(Everything.__dataclass_fields__).index(field)
    assert decode(cbor2.dumps([*RAW])) == EXAMPLE
    with pytest.raises(WireError):
        decode(cbor2.dumps([*RAW[:index], wrong, *RAW[index + 1 :]]))


ELEMENT = st.one_of(
    st.integers(-4, 10), st.integers(-(1 << 66), 1 << 66), st.sampled_from([1 << 16, (1 << 16) - 1]), st.booleans(), st.none(),
    st.floats(allow_nan=False), st.text(max_size=9), st.binary(max_size=5), st.just(()),
    st.tuples(st.integers(), st.text(max_size=2)), st.tuples(st.integers(), st.floats(allow_nan=False)),
    st.lists(st.integers(), max_size=3).map(tuple), st.dictionaries(st.integers(), st.integers(), max_size=1),
)  # fmt: skip


@given(st.dictionaries(st.integers(1, 16), ELEMENT, max_size=3), st.integers(0, 18))
def test_what_is_taken_where_it_stands_is_what_the_fields_own_reader_takes(changed: dict[int, Any], length: int) -> None:
    """The reader with every shortcut, and one without any, on fields of any kind: the same value, or both refuse."""
    raw = load(encode(EXAMPLE), 1 << 20, 10)
    raw = tuple([changed.get(index, item) for index, item in enumerate(raw)])[:length] + (() if length < 17 else (7,))

    def outcome(read: Any) -> Any:
        try:
            value = read(raw)
        except SchemaError:
            return SchemaError
        return [(type(each), each) for each in (getattr(value, name) for name in Everything.__dataclass_fields__)]

    assert outcome(QUICK) == outcome(SLOW)


QUICK = compile_class(Everything, 60_004)[1]
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh.schema, "_plainly", lambda hint: "")
    SLOW = compile_class(Everything, 60_004)[1]


def test_bounds_are_inclusive() -> None:
    write, read = compile_class(Bounded, 1)
    for digit, text in ((-3, ""), (9, "abcd")):
        assert read(cbor2.loads(write(Bounded(digit, text)), immutable=True)) == Bounded(digit, text)


@dataclass(frozen=True)
class Bounded(Message):
    digit: Annotated[int, Bounds(-3, 9)]
    text: Annotated[str, Length(0, 4)]


class Old(NamedTuple):
    first: int


class New(NamedTuple):
    first: int
    second: int = 5
    third: tuple[int, ...] = ()


@dataclass(frozen=True)
class OldMessage(Message):
    item: Old


@dataclass(frozen=True)
class NewMessage(Message):
    item: New
    extra: str = "none"


def test_appended_fields_are_ignored_by_the_older_and_have_their_default_with_the_newer() -> None:
    write_old, read_old = compile_class(OldMessage, 9)
    write_new, read_new = compile_class(NewMessage, 9)

    def raw(data: bytes) -> Any:
        return cbor2.loads(data, immutable=True)

    assert read_new(raw(write_old(OldMessage(Old(3))))) == NewMessage(New(3, 5, ()), "none")
    assert read_old(raw(write_new(NewMessage(New(3, 6, (1,)), "x")))) == OldMessage(Old(3))
    assert read_new(raw(write_new(NewMessage(New(3, 6, (1,)), "x")))) == NewMessage(New(3, 6, (1,)), "x")
    assert read_new((9, (3, 8))) == NewMessage(New(3, 8))
    for short in ((9,), (9, ()), (9, (3, "x"))):
        with pytest.raises(SchemaError):
            read_new(short)


def test_a_type_that_does_not_travel_is_named() -> None:
    @dataclass(frozen=True)
    class Bad(Message):
        table: dict[str, int]

    with pytest.raises(TypeError, match=r"Bad: dict\[str, int\] does not travel"):
        compile_class(Bad, 1)

    @dataclass(frozen=True)
    class Ambiguous(Message):
        either: int | str

    with pytest.raises(TypeError, match="the only unions"):
        compile_class(Ambiguous, 1)


@mesh.schema.recurring
class Often(NamedTuple):
    stamp: int
    session: bytes


@dataclass(frozen=True)
class Says(Message):
    who: Often


def test_of_what_recurs_one_object_stands_for_all_that_are_equal_and_none_for_what_does_not_fit() -> None:
    write, read = compile_class(Says, 9)

    def raw(value: Any) -> Any:
        return cbor2.loads(cbor2.dumps([9, value]), immutable=True)

    first = read(cbor2.loads(write(Says(Often(1, b"x"))), immutable=True)).who
    assert first == Often(1, b"x") and type(first) is Often
    assert read(raw([1, b"x"])).who is first
    assert read(raw([1, b"x", "of a newer version"])).who == first
    for wrong in ([True, b"x"], [1.0, b"x"], [1, "x"], [1], 1):
        with pytest.raises(SchemaError):
            read(raw(wrong))
    for stamp in range(3 * mesh.schema.VALUES):
        assert read(raw([stamp, b"y"])).who == Often(stamp, b"y")
    kept = [each for each in gc.get_objects() if isinstance(each, mesh.schema.Values) and each._kind is Often]
    assert len(kept) == 1 and len(kept[0]) <= mesh.schema.VALUES
    long = bytes(mesh.schema.VALUE_BYTES + 1)
    assert read(raw([1, long])).who == Often(1, long) and (1, long) not in kept[0], "a member could have megabytes kept"
    assert (1, long[1:]) not in kept[0] and read(raw([1, long[1:]])).who == Often(1, long[1:]) and (1, long[1:]) in kept[0]


def test_what_recurs_is_written_once_and_as_anything_else_and_is_not_kept_for_ever() -> None:
    write, _ = compile_class(Says, 9)

    def of(value: Often) -> bytes:
        return cbor2.dumps([9, [value.stamp, value.session]])

    for stamp in (1, 23, 24, 1 << 20, 1 << 40, 1):
        assert write(Says(Often(stamp, b"x"))) == of(Often(stamp, b"x"))
    [kept] = [each for each in gc.get_objects() if isinstance(each, mesh.schema.Written) and Often(1 << 40, b"x") in each]
    assert kept[Often(1, b"x")] is kept[Often(1, b"x")]
    for stamp in range(3 * mesh.schema.VALUES):
        assert write(Says(Often(stamp, b"y"))) == of(Often(stamp, b"y"))
        assert len(kept) <= mesh.schema.VALUES
    long = Often(1, bytes(mesh.schema.VALUE_BYTES + 1))
    assert write(Says(long)) == of(long) and long not in kept, "a member could have megabytes kept"
