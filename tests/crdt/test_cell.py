"""Cells: the join's laws (C1, C9), the canonical form, and what is refused."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.cbor import write_int
from crdt.cell import (
    COUNTER,
    KEY,
    LEASE_END,
    MAX_BODY_BYTES,
    MAX_KEY_BYTES,
    Cell,
    CellError,
    above,
    cell_of,
    drop,
    encode_cell,
    fill,
    is_dropped,
    join,
    stamps_of,
)
from mesh.wire import WireError, load
from tests.crdt.cells import ACTORS, UNKNOWN, any_cells, same_place

A, B, C = ACTORS
VALUE = Cell(KEY, "k", (0, 9, A, 0, 0, b""), b"v", None, A, 1)
TIMED = Cell(KEY, "k", (0, 9, A, 50, 0, b""), b"v", None, A, 1)
SLOT = Cell(COUNTER, "c\0" + A.hex(), (0, b"", 3, 1), b"\x00", None, A, 2)
END = Cell(LEASE_END, "lease", (7, A), b"", None, A, 3)
OPAQUE = Cell(UNKNOWN, "u", (1, b"x"), b"?", "lease", A, 4)


# --- the join ------------------------------------------------------------------------------------------------------


@given(same_place)
def test_the_join_is_commutative_associative_and_idempotent(cells: tuple[Cell, Cell, Cell]) -> None:
    one, two, three = cells
    assert join(one, one) == one
    assert join(one, two) == join(two, one)
    assert join(join(one, two), three) == join(one, join(two, three))
    assert join(join(one, two), two) == join(one, two)


@given(same_place)
def test_the_order_is_total(cells: tuple[Cell, Cell, Cell]) -> None:
    one, two, three = cells
    same = (one.order, one.actor, one.n) == (two.order, two.actor, two.n)
    assert [above(one, two), above(two, one), same].count(True) == 1
    if above(one, two) and above(two, three):
        assert above(one, three)
    joined = join(one, two)
    assert not above(one, joined)
    assert not above(two, joined)


def test_a_put_and_a_delete_of_one_stamp_have_one_answer_everywhere() -> None:
    put, delete = VALUE, VALUE._replace(order=(0, 9, B, 0, 0, b""), body=None, actor=B)
    assert join(put, delete) == join(delete, put) == delete
    put = VALUE._replace(order=(0, 9, C, 0, 0, b""), actor=C)
    assert join(put, delete) == join(delete, put) == put


@pytest.mark.parametrize(
    "higher",
    [
        VALUE._replace(order=(1, 2, A, 0, 0, b"")),
        VALUE._replace(order=(0, 10, A, 0, 0, b""), body=None),
        VALUE._replace(order=(0, 9, B, 0, 0, b"")),
        VALUE._replace(order=(0, 9, A, 1, 0, b"")),
        VALUE._replace(order=(0, 9, A, 0, 1, b"")),
        VALUE._replace(n=2),
        VALUE._replace(actor=B),
    ],
    ids=["fence", "stamp", "actor", "expiry", "touch", "dot", "dot's actor"],
)
def test_each_element_of_the_order_decides_when_those_before_are_equal(higher: Cell) -> None:
    assert above(higher, VALUE)
    assert not above(VALUE, higher)
    assert join(VALUE, higher) is higher


def test_a_number_stands_below_bytes_in_an_order_of_an_unknown_kind() -> None:
    number, data = OPAQUE._replace(order=(1, 999)), OPAQUE._replace(order=(1, b""))
    assert join(number, data) == join(data, number) == data


def test_a_joined_cell_has_the_value_of_its_put_if_either_has_it() -> None:
    touch = drop(TIMED._replace(order=(0, 9, A, 80, 20, B), actor=B, n=5))
    assert join(TIMED, touch) == join(touch, TIMED) == touch._replace(body=b"v", hash=b"")
    other_put = TIMED._replace(order=(0, 8, A, 50, 0, b""), body=b"other")
    assert join(other_put, touch) == touch
    tombstone = VALUE._replace(order=(0, 10, A, 0, 0, b""), body=None)
    assert join(tombstone, VALUE) == tombstone


def test_dropping_keeps_order_dot_and_a_hash_of_the_value() -> None:
    dropped = drop(TIMED)
    assert is_dropped(dropped)
    assert dropped[:3] == TIMED[:3]
    assert (dropped.actor, dropped.n) == (TIMED.actor, TIMED.n)
    assert dropped.hash != drop(TIMED._replace(body=b"w")).hash
    assert drop(dropped) == dropped
    assert fill(dropped, TIMED) == TIMED
    tombstone = VALUE._replace(body=None)
    assert drop(tombstone) == tombstone
    assert not is_dropped(tombstone)


def test_the_clock_follows_every_stamp_of_a_write_but_no_expiry() -> None:
    assert set(stamps_of(VALUE._replace(order=(70, 9, A, 50, 20, B)))) == {9, 20}
    assert stamps_of(SLOT._replace(order=(6, B, 3, 1))) == (6,)
    assert stamps_of(END) == (7,)
    assert stamps_of(OPAQUE) == ()


# --- as bytes ------------------------------------------------------------------------------------------------------


def read(data: bytes) -> Cell:
    return cell_of(load(data, 1 << 22, 4))


@given(any_cells())
def test_a_cell_that_is_encoded_and_decoded_is_the_same_and_canonical(cell: Cell) -> None:
    data = encode_cell(cell)
    assert read(data) == cell
    plain = [cell.kind, cell.key, list(cell.order), *cell[3:7]]
    assert data == cbor2.dumps([*plain, cell.hash] if cell.hash else plain, canonical=True)


@pytest.mark.parametrize("cell", [VALUE, TIMED, drop(TIMED), SLOT, END, OPAQUE])
def test_the_cells_that_are_broken_below_are_sound(cell: Cell) -> None:
    assert read(encode_cell(cell)) == cell


HOSTILE: list[tuple[str, Cell, dict[str, Any]]] = [
    ("kind above 16 bits", OPAQUE, {"kind": 1 << 16}),
    ("negative kind", OPAQUE, {"kind": -1}),
    ("kind of another type", OPAQUE, {"kind": True}),
    ("key of bytes", VALUE, {"key": b"k"}),
    ("long key", VALUE, {"key": "k" * (MAX_KEY_BYTES + 1)}),
    ("key that is long in UTF-8", VALUE, {"key": "ü" * (MAX_KEY_BYTES // 2 + 1)}),
    ("short actor", VALUE, {"actor": b"a"}),
    ("actor of text", VALUE, {"actor": "a" * 16}),
    ("no dot", VALUE, {"n": 0}),
    ("dot above 64 bits", VALUE, {"n": 1 << 64}),
    ("dot of a bool", VALUE, {"n": True}),
    ("body of text", VALUE, {"body": "v"}),
    ("long body", VALUE, {"body": bytes(MAX_BODY_BYTES + 1)}),
    ("lease of bytes", VALUE, {"bound": b"l"}),
    ("long lease", VALUE, {"bound": "l" * 513}),
    ("lease and ttl", TIMED, {"bound": "lease"}),
    ("hash beside a value", TIMED, {"hash": bytes(8)}),
    ("short hash", drop(TIMED), {"hash": bytes(7)}),
    ("hash without an expiry", VALUE, {"body": None, "hash": bytes(8)}),
    ("hash of a slot", SLOT, {"body": None, "hash": bytes(8)}),
    ("order of another length", VALUE, {"order": (0, 9, A, 0, 0)}),
    ("order of other types", VALUE, {"order": (0, 9, "a", 0, 0, b"")}),
    ("order with a bool", VALUE, {"order": (0, 9, A, False, 0, b"")}),
    ("order of a list", VALUE, {"order": [0, 9, A, 0, 0, b""]}),
    ("negative stamp", VALUE, {"order": (0, -9, A, 0, 0, b"")}),
    ("huge expiry", VALUE, {"order": (0, 9, A, 1 << 64, 0, b"")}),
    ("huge stamp", VALUE, {"order": (0, 1 << 64, A, 0, 0, b"")}),
    ("huge touch", TIMED, {"order": (0, 9, A, 50, 1 << 64, B)}),
    ("huge fence", VALUE, {"order": (1 << 64, 9, A, 0, 0, b"")}),
    ("lock without a fence", VALUE, {"lock": "lock/l"}),
    ("lock of a slot", SLOT, {"lock": "lock/l"}),
    ("long lock", VALUE, {"order": (1, 9, A, 0, 0, b""), "lock": "l" * 601}),
    ("lock that is no text", VALUE, {"order": (1, 9, A, 0, 0, b""), "lock": b"l"}),
    ("huge epoch", SLOT, {"order": (1 << 64, b"", 3, 1)}),
    ("huge end", END, {"order": (1 << 64, A)}),
    ("huge sum", SLOT, {"order": (0, b"", 1 << 8192, 1)}),
    ("long bytes in an order", OPAQUE, {"order": (bytes(MAX_KEY_BYTES + 1),)}),
    ("long order", OPAQUE, {"order": (0,) * 17}),
    ("text in an unknown order", OPAQUE, {"order": ("x",)}),
    ("no base", SLOT, {"body": None}),
    ("base that is no number", SLOT, {"body": b"\x61a"}),
    ("base that is not canonical", SLOT, {"body": b"\x18\x05"}),
    ("base with something behind it", SLOT, {"body": b"\x00\x00"}),
    ("base with a tag", SLOT, {"body": b"\xd8\x23\x63(a)"}),
    ("base beyond all bounds", SLOT, {"body": write_int(1 << 9000)}),
    ("end with a body", END, {"body": b"x"}),
    ("end without a body", END, {"body": None}),
]


@pytest.mark.parametrize(("cell", "fields"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_what_no_replica_writes_is_refused(cell: Cell, fields: dict[str, Any]) -> None:
    broken = cell._replace(**fields)
    with pytest.raises(CellError):
        cell_of(tuple(broken) if broken.lock else tuple(broken[:8]) if broken.hash else tuple(broken[:7]))


@pytest.mark.parametrize("raw", [None, 7, b"", "cell", {}, [], (), tuple(VALUE[:6]), (*VALUE, 1, 2), list(VALUE[:7])])
def test_another_shape_is_refused(raw: object) -> None:
    with pytest.raises(CellError):
        cell_of(raw)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary(max_size=20) | st.text(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=8).map(tuple),
    max_leaves=20,
)


@given(any_cells(), st.integers(0, 7), plain)
def test_any_field_may_be_anything_and_what_passes_is_still_a_cell(cell: Cell, index: int, value: object) -> None:
    raw: list[object] = list(cell)
    raw[index] = value
    try:
        passed = cell_of(tuple(raw))
    except CellError:
        return
    assert read(encode_cell(passed)) == passed


@given(any_cells(), st.data())
def test_damaged_bytes_raise_nothing_but_the_two_errors(cell: Cell, data: st.DataObject) -> None:
    damaged = bytearray(encode_cell(cell))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        passed = read(bytes(damaged))
    except (CellError, WireError):
        return
    assert read(encode_cell(passed)) == passed
