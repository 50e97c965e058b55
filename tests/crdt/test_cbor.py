"""The hand-written CBOR is what a canonical encoder writes."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crdt.cbor import array_head, read_int, write_bytes, write_int, write_text

HEADS = [n + step for n in (0, 23, 0xFF, 0xFFFF, 0xFFFF_FFFF, 2**64 - 1, 2**72) for step in (0, 1)]


@pytest.mark.parametrize("number", [*HEADS, *[-n for n in HEADS]])
def test_numbers_at_the_bounds_of_heads(number: int) -> None:
    assert write_int(number) == cbor2.dumps(number, canonical=True)
    assert read_int(write_int(number)) == number


@given(st.integers() | st.integers(-(2**8192), 2**8192))
def test_numbers_are_canonical_and_read_back(number: int) -> None:
    assert write_int(number) == cbor2.dumps(number, canonical=True)
    assert read_int(write_int(number)) == number


@given(st.binary(max_size=12))
@example(b"")
@example(b"\xc2")
@example(b"\xc3\x40")
@example(b"\x18\x05")
@example(b"\xc2\x41\x05")
@example(b"\xd8\x23\x61a")
@example(b"\x01\x01")
@example(b"\x1f")
@example(b"\xc2\x5f\x41\x01\xff")
def test_only_a_canonical_number_is_read(data: bytes) -> None:
    number = read_int(data)
    assert number is None or write_int(number) == data


@given(st.text(), st.binary(max_size=300), st.integers(0, 70_000))
def test_text_bytes_and_arrays(text: str, data: bytes, length: int) -> None:
    assert write_text(text) == cbor2.dumps(text)
    assert write_bytes(data) == cbor2.dumps(data)
    assert array_head(length) == cbor2.dumps([0] * length)[: -length or None]
