"""Messages as bytes: CBOR arrays, encoded and checked by functions that are compiled once for each class.

    message     [number, field, …]
    frame       [PROTOCOL, cut, [message, …]], elements behind are ignored

A class annotated with `@message(number)` becomes a frozen, slotted dataclass (`mesh.frozen`) whose field types say how it
travels: `int`, `bool`, `float`, `str`, `bytes`, `T | None`, `tuple[T, ...]`, `tuple[A, B]`, named tuples and `@record` classes
as arrays, each optionally bounded by `Annotated[…, Bounds(…)]` or `Annotated[…, Length(…)]`. A later version may append fields
that have a default; every version reads the messages of every other.

Decoding trusts nothing: cbor2 would by default take semantic tags (dates, regular expressions, shared references), 400
levels and trailing bytes. All of it is off; then each field is checked against its type. A message of an unknown number is
counted and skipped (a newer version may send it), and so is one whose fields are wrong: its fellows in the frame are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Annotated, Any, NamedTuple, TypeVar, dataclass_transform

import cbor2

from crdt.cbor import write_bytes, write_head
from mesh.directives import Message
from mesh.frozen import frozen
from mesh.schema import Bounds, Length, SchemaError, compile_class

__all__ = [
    "FRAME_OVERHEAD",
    "MAX_FRAME_BYTES",
    "PROTOCOL",
    "AddressText",
    "Bounds",
    "Frame",
    "Length",
    "Name",
    "SessionId",
    "StampInt",
    "U16",
    "U32",
    "U64",
    "WireError",
    "decode",
    "encode",
    "message",
    "pack",
    "record",
    "registered",
    "unpack",
]

PROTOCOL = 1
"""The version of the messages. A higher one is read as far as it is understood."""

MAX_FRAME_BYTES = 4 << 20
"""The largest frame, on streams; above any value and its envelope."""

MAX_DEPTH = 11
"""Frame, messages, message, seven levels inside one, and the tag of a large integer, which counts as a level."""

REASON_CHARACTERS = 200
"""Of what the decoder says."""

FRAME_OVERHEAD = 16
"""Bytes of the frame around its messages, at the most: the array, the version, the cut number, the inner array."""

MAX_NUMBER = (1 << 64) - 1

U16 = Annotated[int, Bounds(0, (1 << 16) - 1)]
U32 = Annotated[int, Bounds(0, (1 << 32) - 1)]
U64 = Annotated[int, Bounds(0, MAX_NUMBER)]
StampInt = U64
Name = Annotated[str, Length(1, 64)]
SessionId = Annotated[bytes, Length(16, 16)]
AddressText = Annotated[str, Length(3, 300)]

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class WireError(Exception):
    """Bytes that are no frame, or no message; says what was wrong."""


class Frame(NamedTuple):
    version: int
    cut: int
    messages: list[Message]
    unknown: int
    """Messages of a number that this version does not know."""
    invalid: int
    """Messages whose fields do not fit their type."""


_decoders: dict[int, Callable[[Any], Message]] = {}
_encoders: dict[type[Message], Callable[[Any], bytes]] = {}
_numbers: dict[int, type[Message]] = {}


def registered() -> Mapping[int, type[Message]]:
    """Every message class by its number."""
    return dict(sorted(_numbers.items()))


@dataclass_transform(frozen_default=True)
def message(number: int) -> Callable[[type[M]], type[M]]:
    """Declare a message under its number on the wire.

    The fields' types are resolved at the first use, so that they may be named before they are defined."""

    def declare(cls: type[M]) -> type[M]:
        if number in _numbers:
            raise ValueError(f"message number {number} is taken by {_numbers[number].__name__}")
        made = frozen(cls)
        _numbers[number] = made

        def first_encode(value: Any) -> bytes:
            _compile(number, made)
            return _encoders[made](value)

        def first_decode(raw: Any) -> Message:
            _compile(number, made)
            return _decoders[number](raw)

        _encoders[made] = first_encode
        _decoders[number] = first_decode
        return made

    return declare


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Declare a value that travels inside messages, as an array of its fields."""
    return frozen(cls)


def _compile(number: int, cls: type[Message]) -> None:
    _encoders[cls], _decoders[number] = compile_class(cls, number)


def encode(value: Message) -> bytes:
    """The bytes of one message.

    Raises
    ------
    KeyError: the class was not declared with `@message`.
    """
    return _encoders[type(value)](value)


def pack(encoded: Sequence[bytes], cut: int, least: int = 0) -> bytes:
    """A frame of messages that are encoded already, of at least so many bytes: padding is one more element, never read."""
    frame = b"".join((_FRAME_HEAD, write_head(0, cut), write_head(0x80, len(encoded)), *encoded))
    if len(frame) >= least:
        return frame
    return _PADDED_HEAD + frame[1:] + write_bytes(bytes(max(0, least - len(frame) - 1)))


_FRAME_HEAD = b"\x83" + write_head(0, PROTOCOL)
_PADDED_HEAD = b"\x84"


def unpack(data: bytes) -> Frame:
    """Read a frame.

    Raises
    ------
    WireError: it is none: not CBOR, too deep, too long, trailing bytes, or another shape.
    """
    raw = load(data, MAX_FRAME_BYTES, MAX_DEPTH)
    if type(raw) is not tuple or len(raw) < 3:
        raise WireError("a frame is an array of version, cut and messages")
    version, cut, items = raw[0], raw[1], raw[2]
    if type(version) is not int or type(cut) is not int or type(items) is not tuple:
        raise WireError("a frame begins with two whole numbers and an array")
    if not (0 < version <= MAX_NUMBER and 0 <= cut <= MAX_NUMBER):
        raise WireError("a frame's numbers are of 64 bits at the most")
    messages: list[Message] = []
    unknown = invalid = 0
    for item in items:
        decoder = _decoders.get(item[0]) if type(item) is tuple and item and type(item[0]) is int else None
        if decoder is None:
            unknown += 1
            continue
        try:
            messages.append(decoder(item))
        except SchemaError:
            invalid += 1
    return Frame(version, cut, messages, unknown, invalid)


def decode(data: bytes) -> Message:
    """One message from its own bytes.

    Raises
    ------
    WireError: it is none that this version knows.
    """
    raw = load(data, MAX_FRAME_BYTES, MAX_DEPTH)
    decoder = _decoders.get(raw[0]) if type(raw) is tuple and raw and type(raw[0]) is int else None
    if decoder is None:
        raise WireError("an unknown message")
    try:
        return decoder(raw)
    except SchemaError as problem:
        raise WireError(str(problem)) from None


def _refuse_tag(*_: object) -> Any:
    raise cbor2.CBORDecodeError("a semantic tag")


SEMANTIC_TAGS = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799)
"""Every tag that cbor2 decodes of itself, but the two for large integers."""

_REFUSED = dict.fromkeys(SEMANTIC_TAGS, _refuse_tag)


def load(data: bytes, limit: int, depth: int, immutable: bool = True) -> Any:
    """Plain CBOR, all of it: no tag but large integers, no indefinite lengths, no duplicate keys, no trailing bytes.

    Raises
    ------
    WireError: anything else.
    """
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes, above the limit of {limit}")
    source = BytesIO(data)
    try:
        raw = cbor2.load(
            source,
            max_depth=depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            immutable=immutable,
            semantic_decoders=_REFUSED,
            tag_hook=_refuse_tag,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, MemoryError, RecursionError, UnicodeDecodeError) as problem:
        raise WireError(f"not plain CBOR: {str(problem)[:REASON_CHARACTERS]}") from None  # it may quote what was sent
    if source.tell() != len(data):
        raise WireError("trailing bytes")
    return raw
