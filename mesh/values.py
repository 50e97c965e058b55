"""What users store: plain CBOR (null, bool, int, float, str, bytes, list, dict with text keys), bounded in depth and size.

Values are encoded when they are put and decoded when they are read, with the hardened decoder of the wire: a store never
holds an object that a caller could alter, nor one that another member could make dangerous to decode."""

from __future__ import annotations

import re
from typing import Any

import cbor2

from crdt.cbor import write_bytes, write_float, write_int, write_text
from mesh.schema import MAX_INT_BYTES
from mesh.wire import WireError, load

__all__ = ["MAX_VALUE_BYTES", "MAX_VALUE_DEPTH", "ValueTooLargeError", "ValueTypeError", "decode_value", "encode_value"]

MAX_VALUE_BYTES = 1 << 20
MAX_VALUE_DEPTH = 32
"""Levels of lists and dicts."""


class ValueTypeError(TypeError):
    """Not a plain value; says where in it and what to do."""


class ValueTooLargeError(ValueError):
    """Above the bound of size or depth."""


def encode_value(value: object) -> bytes:
    """The CBOR of a plain value. Tuples become lists.

    Raises
    ------
    ValueTypeError: something in it does not travel.
    ValueTooLargeError: more than 1 MiB encoded, nested more than 32 levels, or an integer of more than 1 KiB.
    """
    kind = type(value)
    if kind is int:
        _check_int(value, "the value")  # type: ignore[arg-type]
        return write_int(value)  # type: ignore[arg-type]
    if kind is str:
        data = write_text(_check_text(value, "the value"))  # type: ignore[arg-type]
    elif kind is bytes:
        data = write_bytes(value)  # type: ignore[arg-type]
    elif kind is float:
        return write_float(value)  # type: ignore[arg-type]
    elif value is None:
        return b"\xf6"
    elif value is True:
        return b"\xf5"
    elif value is False:
        return b"\xf4"
    else:
        data = cbor2.dumps(_plain(value, "the value", 0))
    if len(data) > MAX_VALUE_BYTES:
        raise ValueTooLargeError(
            f"the value is {len(data):,} bytes encoded, above {MAX_VALUE_BYTES:,}: store it elsewhere, and its place here"
        )
    return data


def _plain(value: object, where: str, depth: int) -> object:
    if depth > MAX_VALUE_DEPTH:
        raise ValueTooLargeError(f"the value is nested more than {MAX_VALUE_DEPTH} levels deep: flatten it")
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, str):
        return _check_text(value, where)
    if isinstance(value, int):
        _check_int(value, where)
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueTypeError(f"{where} has the key {key!r}: keys of a dict are text; convert it first")
            _check_text(key, f"a key of {where}")
        return {key: _plain(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    raise ValueTypeError(
        f"{where} is of type {type(value).__name__}, which is no plain CBOR "
        "(null, bool, int, float, str, bytes, list, dict): convert it first"
    )


def _check_int(value: int, where: str) -> None:
    if value.bit_length() > 8 * MAX_INT_BYTES:
        raise ValueTooLargeError(f"{where} is an integer of more than {MAX_INT_BYTES} bytes: store it as bytes")


def _check_text(value: str, where: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueTypeError(f"{where} is text with lone surrogates, which is no UTF-8: store it as bytes") from None
    return value


def decode_value(data: bytes) -> Any:
    """A value from its CBOR: new objects at each call.

    Raises
    ------
    WireError: not a plain value, which only a faulty member could have sent.
    """
    value = load(data, MAX_VALUE_BYTES, MAX_VALUE_DEPTH + 1, immutable=False)
    if _SUSPECT(data):
        _check_decoded(value)
    return value


_SUSPECT = re.compile(rb"[\xa1-\xbb\xc2\xc3\xe0-\xf3\xf7\xf8]").search
"""A byte that may begin a map that is not empty, a large integer or a simple value: only these can be other than plain."""


def _check_decoded(value: Any) -> None:
    kind = type(value)
    if kind is int:
        if value.bit_length() > 8 * MAX_INT_BYTES:
            raise WireError("an integer that is too large")
    elif kind is list:
        for item in value:
            _check_decoded(item)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise WireError("a key that is not text")
            _check_decoded(item)
    elif kind is cbor2.CBORSimpleValue or value is cbor2.undefined:
        raise WireError("a simple value that is not plain")
