"""From a class's annotations to two functions: one that writes its CBOR, one that checks and reads it.

Each function is generated as source, one expression a field, because a loop over fields costs several times as much: a
message of six fields is written in about 2 us and read in 3 us. What is plainly right is taken where it stands; anything else
goes to the field's own reader, which finds it right or says what is wrong. The written form is the shortest of RFC 8949
except that floats are always 64 bits, so equal values are equal bytes."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from crdt.cbor import SHORT, array_head, pack_u64, write_bytes, write_float, write_head, write_int, write_text

__all__ = [
    "MAX_INT_BYTES",
    "Bounds",
    "Codec",
    "Length",
    "SchemaError",
    "compile_class",
    "converts",
    "hints_of",
    "recurring",
]

MAX_INT_BYTES = 1024
"""The largest integer, in bytes."""
MAX_PLAIN = (1 << 64) - 1
"""An integer up to this, either way, needs no look at its length."""

TEXTS = 4096
"""Texts that are kept as they are written, each of so many characters at the most."""
TEXT_CHARACTERS = 64
VALUES = 1024
"""Of a recurring kind that are kept, each with so many bytes in it at the most."""
VALUE_BYTES = 64

Writer = Callable[[Any], bytes]
Reader = Callable[[Any], Any]

NO_ELEMENTS, ONE_ELEMENT = array_head(0), array_head(1)
TRUE, FALSE = b"\xf5", b"\xf4"


class SchemaError(Exception):
    """A decoded value does not fit its field."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """An int from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """Bytes, characters or elements, from `low` to `high`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Codec:
    """A type with functions of its own: `write` gives its bytes, `read` checks what was decoded or raises SchemaError."""

    write: Callable[[Any], bytes]
    read: Callable[[Any], Any]


# --- writing -------------------------------------------------------------------------------------------------------


class Texts(dict[str, bytes]):
    """Texts as they are written. Nearly all are names and keys that have been written before."""

    def __missing__(self, text: str) -> bytes:
        data = write_text(text)
        if len(text) <= TEXT_CHARACTERS:
            if len(self) >= TEXTS:
                self.clear()
            self[text] = data
        return data


def write_number_or_bytes(value: int | bytes) -> bytes:
    return write_int(value) if type(value) is int else write_bytes(value)  # type: ignore[arg-type]


def _write_bool(value: bool) -> bytes:
    return TRUE if value else FALSE


# --- reading -------------------------------------------------------------------------------------------------------


def _read_int(raw: Any) -> int:
    if type(raw) is int and (-(1 << 64) <= raw < 1 << 64 or raw.bit_length() <= 8 * MAX_INT_BYTES):
        return raw
    raise SchemaError("not an integer, or too large")


def _read_number_or_bytes(raw: Any) -> int | bytes:
    return raw if type(raw) is bytes else _read_int(raw)


def _exact(kind: type) -> Callable[[Any], Any]:
    def read(raw: Any) -> Any:
        if type(raw) is kind:
            return raw
        raise SchemaError(f"not {kind.__name__}")

    return read


def _bounded(low: int, high: int) -> Callable[[Any], int]:
    def read(raw: Any) -> int:
        if type(raw) is int and low <= raw <= high:
            return raw
        raise SchemaError(f"not an integer from {low} to {high}")

    return read


def _sized(inner: Callable[[Any], Any], low: int, high: int) -> Callable[[Any], Any]:
    def read(raw: Any) -> Any:
        value = inner(raw)
        if low <= len(value) <= high:
            return value
        raise SchemaError(f"length {len(value)} is not from {low} to {high}")

    return read


T = TypeVar("T", bound=type)


def recurring(kind: T) -> T:
    """Declare a named tuple of which the same few values are written and read again and again: one object stands for all that
    are equal, and their bytes are kept.

    (Every message names processes, what it says is kept, and the collector looks at each object that is kept.)"""
    _RECURRING.add(kind)
    return kind


_RECURRING: set[type] = set()


class Values(dict[tuple[Any, ...], Any]):
    """Those of one kind, by the array that each has been read from."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __missing__(self, raw: tuple[Any, ...]) -> Any:
        value = self._kind(*raw)
        _keep(self, raw, value)
        return value


class Written(dict[tuple[Any, ...], bytes]):
    """Those of one kind as they are written."""

    def __init__(self, write: Writer) -> None:
        self._write = write

    def __missing__(self, value: tuple[Any, ...]) -> bytes:
        data = self._write(value)
        _keep(self, value, data)
        return data


def _keep(kept: dict[tuple[Any, ...], Any], raw: tuple[Any, ...], value: Any) -> None:
    if sum([len(each) for each in raw if type(each) is bytes]) <= VALUE_BYTES:
        if len(kept) >= VALUES:
            kept.clear()
        kept[raw] = value


_PLAIN: dict[Any, tuple[Writer, Reader]] = {
    int: (write_int, _read_int),
    bool: (_write_bool, _exact(bool)),
    float: (write_float, _exact(float)),
    str: (write_text, _exact(str)),
    bytes: (write_bytes, _exact(bytes)),
}


def _codec(hint: Any) -> tuple[Writer, Reader]:
    """The two functions for one annotated type."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        if set(arguments) == {int, bytes}:
            return write_number_or_bytes, _read_number_or_bytes
        others = [argument for argument in arguments if argument is not type(None)]
        if len(others) != 1 or len(arguments) != 2:
            raise TypeError(f"{hint} does not travel: the only unions are with None, and int | bytes")
        return _optional(*_codec(others[0]))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _many(*_codec(arguments[0]))
        return _array([_codec(argument) for argument in arguments])
    if isinstance(hint, type) and issubclass(hint, int) and hint is not bool:
        return _codec_enum(hint)
    if _is_record(hint):
        return _record(hint)
    raise TypeError(f"{hint} does not travel: see mesh.wire for what does")


def _codec_enum(kind: type[int]) -> tuple[Writer, Reader]:
    def read(raw: Any) -> int:
        if type(raw) is int:
            try:
                return kind(raw)
            except ValueError:
                pass
        raise SchemaError(f"not a {kind.__name__}")

    return write_int, read


def _annotated(inner: Any, marks: tuple[Any, ...]) -> tuple[Writer, Reader]:
    for mark in marks:
        if isinstance(mark, Codec):
            return mark.write, mark.read
    write, read = _codec(inner)
    for mark in marks:
        if isinstance(mark, Bounds):
            read = _bounded(mark.low, mark.high)
        elif isinstance(mark, Length):
            read = _sized(read, mark.low, mark.high)
    return write, read


def _plainly(hint: Any) -> str:
    """A condition under which what was decoded is a value of this type as it is; nothing if there is none so simple. It may
    miss values, and never takes a wrong one."""
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        marks = tuple(rest)
    if any(isinstance(mark, Codec) for mark in marks):
        return ""
    bounds = [mark for mark in marks if isinstance(mark, Bounds)] or [Bounds(-MAX_PLAIN, MAX_PLAIN)]
    sizes = [mark for mark in marks if isinstance(mark, Length)]
    if hint is int:
        return " and ".join(["type(it) is int", *[f"{each.low} <= it <= {each.high}" for each in bounds]])
    if hint in (str, bytes):
        return " and ".join([f"type(it) is {hint.__name__}", *[f"{each.low} <= len(it) <= {each.high}" for each in sizes]])
    if hint in (bool, float):
        return f"type(it) is {hint.__name__}"
    if get_origin(hint) is tuple and get_args(hint)[1:] == (Ellipsis,) and not sizes:
        return "it == ()"
    return ""


def _optional(write: Writer, read: Reader) -> tuple[Writer, Reader]:
    return (
        lambda value: b"\xf6" if value is None else write(value),
        lambda raw: None if raw is None else read(raw),
    )


def _many(write: Writer, read: Reader) -> tuple[Writer, Reader]:
    def write_many(values: Any) -> bytes:
        return array_head(len(values)) + b"".join([write(value) for value in values]) if values else NO_ELEMENTS

    def read_many(raw: Any) -> Any:
        if type(raw) is not tuple:
            raise SchemaError("not an array")
        return (read(raw[0]),) if len(raw) == 1 else tuple([read(value) for value in raw])

    return write_many, read_many


def hints_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    if is_dataclass(kind):
        return {field.name: hints[field.name] for field in fields(kind)}
    return {name: hints[name] for name in kind._fields}  # type: ignore[attr-defined]


def converts(hint: Any) -> bool:
    """Whether what is read of this type need not be what was written: a `Codec` is somewhere in it."""
    if get_origin(hint) is Annotated:
        return any(isinstance(mark, Codec) for mark in hint.__metadata__) or converts(get_args(hint)[0])
    if _is_record(hint):
        return any(map(converts, hints_of(hint).values()))
    return any(map(converts, get_args(hint)))


def _array(codecs: list[tuple[Writer, Reader]]) -> tuple[Writer, Reader]:
    count = len(codecs)
    head = write_head(0x80, count)
    writers, readers = [write for write, _ in codecs], [read for _, read in codecs]

    def write(values: Any) -> bytes:
        return head + b"".join([write(value) for write, value in zip(writers, values, strict=True)])

    def read(raw: Any) -> Any:
        if type(raw) is not tuple or len(raw) != count:
            raise SchemaError(f"not an array of {count}")
        return tuple([read(value) for read, value in zip(readers, raw, strict=True)])

    return write, read


_SCOPE = {
    "short": SHORT,
    "pack_u64": pack_u64,
    "write_int": write_int,
    "write_bytes": write_bytes,
    "texts": Texts(),
    "true": TRUE,
    "false": FALSE,
    "none": NO_ELEMENTS,
    "one": ONE_ELEMENT,
    "join": b"".join,
    "new": tuple.__new__,
}
"""What the source of every generated function may name."""


class _Names:
    """What the source of one generated function calls things by."""

    def __init__(self, **fixed: Any) -> None:
        self.scope: dict[str, Any] = dict(fixed)
        self._variables = 0

    def of(self, thing: Any) -> str:
        name = f"t{len(self.scope)}"
        self.scope[name] = thing
        return name

    def variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"


def _generate(kind: type, hints: dict[str, Any], number: int | None) -> tuple[Writer, Reader]:
    """Functions for a class whose fields stand in a row, behind its number if it is a message.

    A later version may append fields that have a default: elements beyond the known fields are ignored, and fields that an
    older version does not send keep their default."""
    first = 0 if number is None else 1
    count = first + len(hints)
    least = count - _defaults(kind)
    head = write_head(0x80, count) + (b"" if number is None else write_head(0, number))
    readers = [_codec(hint)[1] for hint in hints.values()]

    def read_short(raw: Any) -> Any:
        if type(raw) is not tuple or len(raw) < least:
            raise SchemaError(f"not an array of {least}")
        return kind(*[read(value) for read, value in zip(readers, raw[first:], strict=False)])

    names = _Names(**_SCOPE, head=head, kind=kind, read_short=read_short)
    parts = [part for name, hint in hints.items() for part in _writing(hint, f"value.{name}", names)]
    reads = "".join([f"{_reading(hint, f'raw[{first + index}]', names)}, " for index, hint in enumerate(hints.values())])
    made = f"new(kind, ({reads}))" if issubclass(kind, tuple) else f"kind({reads})"  # without a detour over `kind.__new__`
    if kind in _RECURRING:
        names.scope["values"] = Values(kind)
        plainly = [_plainly(hint).replace("it", f"raw[{first + index}]") for index, hint in enumerate(hints.values())]
        assert all(plainly), "its fields need no reader"
        made = f"values[raw] if len(raw) == {count} and {' and '.join(plainly)} else {made}"
    source = (
        f"def write(value):\n    return join((head, {', '.join(parts)}))\n"
        f"def read(raw):\n"
        f"    if type(raw) is not tuple or len(raw) < {count}:\n"
        f"        return read_short(raw)\n"
        f"    return {made}\n"
    )
    exec(source, names.scope)
    return names.scope["write"], names.scope["read"]


@cache
def _record(kind: type) -> tuple[Writer, Reader]:
    write, read = _generate(kind, hints_of(kind), None)
    return (Written(write).__getitem__ if kind in _RECURRING else write), read


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (hasattr(hint, "_fields") or is_dataclass(hint))


def _elements(hint: Any) -> Any:
    """The type of the elements of an array of any length; None for anything else."""
    arguments = get_args(hint)
    return arguments[0] if get_origin(hint) is tuple and arguments[1:] == (Ellipsis,) else None


def _writing(hint: Any, value: str, names: _Names) -> list[str]:
    """The expressions of which the bytes of a value are joined: records within records need no call each."""
    if get_origin(hint) is Annotated and not any(isinstance(mark, Codec) for mark in hint.__metadata__):
        hint = get_args(hint)[0]
    it = names.variable()
    if hint is int:
        large = f"pack_u64(27, {it}) if 0xFFFF_FFFF < {it} <= {MAX_PLAIN} else write_int({it})"
        return [f"short[{it}] if 0 <= ({it} := {value}) < 24 else {large}"]
    if hint is bool:
        return [f"true if {value} else false"]
    if hint is str:
        return [f"texts[{value}]"]
    if hint is bytes:
        return [f"short[64 | len({it})] + {it} if len({it} := {value}) < 24 else write_bytes({it})"]
    if hint in _RECURRING:
        return [f"{names.of(_record(hint)[0])}({value})"]
    if _is_record(hint) and (fields_of := list(hints_of(hint).items())):
        places = [f"({it} := {value})", *[it] * (len(fields_of) - 1)]
        rows = [_writing(each, f"{place}.{name}", names) for place, (name, each) in zip(places, fields_of, strict=True)]
        return [names.of(array_head(len(rows))), *[part for row in rows for part in row]]
    write = names.of(_codec(hint)[0])
    if (element := _elements(hint)) is not None:
        one = names.of(_codec(element)[0])
        return [f"none if not ({it} := {value}) else one + {one}({it}[0]) if len({it}) == 1 else {write}({it})"]
    return [f"{write}({value})"]


def _reading(hint: Any, raw: str, names: _Names) -> str:
    """The expression that reads one field."""
    read, condition = names.of(_codec(hint)[1]), _plainly(hint)
    if not condition:
        return f"{read}({raw})"
    return f"it if {condition.replace('it', f'(it := {raw})', 1)} else {read}(it)"


def _defaults(kind: type) -> int:
    """How many fields have a default: always the last ones."""
    if is_dataclass(kind):
        return sum(each.default is not MISSING for each in fields(kind))
    return len(kind._field_defaults)  # type: ignore[attr-defined]


def compile_class(cls: type, number: int) -> tuple[Writer, Reader]:
    """Writer and reader of a message class: an array of its number and its fields."""
    hints = hints_of(cls)
    try:
        return _generate(cls, hints, number)
    except TypeError as problem:
        raise TypeError(f"{cls.__name__}: {problem}") from None
