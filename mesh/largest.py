"""From a class's annotations to a function that says how many bytes a message has at the most, without encoding it.

Numbers count as the largest that their type allows, text as four bytes a character: so most fields are constants, and what is
left costs a small part of encoding. Whoever needs to know exactly encodes."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from mesh.directives import Message
from mesh.schema import Bounds, Codec, Length, hints_of

__all__ = ["Bound", "bound_of"]

Bound = int | Callable[[Any], int]
"""A constant, or a function of the value."""

HEAD = 9
"""Bytes of the head of anything, at the most."""
BIG_HEAD = 11
"""The same of a number that is larger than its head: a tag in front, and the last byte begun."""
MOST_OF_TEXT = 4
SMALL = 64
"""Bytes of a length that is taken for reached."""


def bound_of(kind: type[Message]) -> Bound:
    """Bytes of a message of this class, encoded, at the most. It takes long: ask once for each class."""
    return _of_class(kind, 1)


def _of_int(value: int) -> int:
    return BIG_HEAD + (value.bit_length() >> 3)


def _of_text(value: str) -> int:
    return HEAD + MOST_OF_TEXT * len(value)


def _of_bytes(value: bytes) -> int:
    return HEAD + len(value)


def _of_either(value: int | bytes) -> int:
    return _of_int(value) if type(value) is int else _of_bytes(value)  # type: ignore[arg-type]


def _of(hint: Any) -> Bound:
    plain: dict[Any, Bound] = {int: _of_int, bool: 1, float: HEAD, str: _of_text, bytes: _of_bytes}
    if hint in plain:
        return plain[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of_annotated(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        if set(arguments) == {int, bytes}:
            return _of_either
        return _of_optional(_of(next(argument for argument in arguments if argument is not type(None))))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _of_many(_of(arguments[0]))
        return _of_row([(f"[{index}]", _of(argument)) for index, argument in enumerate(arguments)])
    if isinstance(hint, type) and issubclass(hint, int):
        return HEAD
    assert isinstance(hint, type) and (hasattr(hint, "_fields") or is_dataclass(hint))
    return _of_class(hint, 0)


def _of_annotated(inner: Any, marks: tuple[Any, ...]) -> Bound:
    for mark in marks:
        if isinstance(mark, Codec):
            return lambda value: len(mark.write(value))
        if isinstance(mark, Bounds) and mark.low >= -(1 << 64) and mark.high < 1 << 64:
            return HEAD
        if isinstance(mark, Length) and inner is bytes and mark.high <= SMALL:
            return HEAD + mark.high
    return _of(inner)


def _of_optional(inner: Bound) -> Bound:
    return (lambda value: 1 if value is None else inner(value)) if callable(inner) else inner


def _of_many(inner: Bound) -> Bound:
    if callable(inner):
        return lambda values: HEAD + sum(map(inner, values)) if values else HEAD
    return lambda values: HEAD + inner * len(values)


def _of_class(kind: type, more: int) -> Bound:
    """Of a record, or of a message with `more` numbers in front."""
    return _of_row([(f".{name}", _of(hint)) for name, hint in hints_of(kind).items()], (1 + more) * HEAD)


def _of_row(parts: list[tuple[str, Bound]], constant: int = HEAD) -> Bound:
    scope: dict[str, Any] = {}
    terms = []
    for number, (where, bound) in enumerate(parts):
        if not callable(bound):
            constant += bound
        elif bound is _of_int:
            constant += BIG_HEAD
            terms.append(f"(value{where}.bit_length() >> 3)")
        elif bound is _of_text:
            constant += HEAD
            terms.append(f"{MOST_OF_TEXT} * len(value{where})")
        else:
            scope[f"b{number}"] = bound
            terms.append(f"b{number}(value{where})")
    if not terms:
        return constant
    exec(f"def bound(value):\n    return {' + '.join([str(constant), *terms])}\n", scope)
    made: Callable[[Any], int] = scope["bound"]
    return made
