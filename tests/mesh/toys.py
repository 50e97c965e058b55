"""Messages of tests, under numbers that the product does not use."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from mesh.directives import Message
from mesh.wire import U16, Bounds, Length, message, record

__all__ = ["Ask", "Colour", "Everything", "Note", "Pair", "Point", "Reply"]


class Colour(IntEnum):
    RED = 1
    BLUE = 7


class Pair(NamedTuple):
    left: int
    right: str


@record
class Point:
    x: int
    y: float


@message(60_001)
class Note(Message):
    """Something to be received; the body makes it as large as wanted."""

    number: int
    body: bytes


@message(60_002)
class Ask(Message):
    """Answered by a `Reply` with a body of that many bytes."""

    number: int
    size: int


@message(60_003)
class Reply(Message):
    number: int
    body: bytes


@message(60_004)
class Everything(Message):
    """One field of each type that travels."""

    whole: int
    small: U16
    digit: Annotated[int, Bounds(-3, 9)]
    truth: bool
    real: float
    text: Annotated[str, Length(1, 8)]
    data: Annotated[bytes, Length(2, 4)]
    maybe: int | None
    either: int | bytes
    many: tuple[int, ...]
    few: Annotated[tuple[str, ...], Length(1, 3)]
    two: tuple[int, str]
    pair: Pair
    point: Point
    colour: Colour
    nested: tuple[tuple[Point, ...], ...]
