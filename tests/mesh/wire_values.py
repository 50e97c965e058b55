"""Values of every message class, made from the types of its fields: random ones for Hypothesis, and fixed examples.

Whatever an annotation allows is made, its bounds included. A field with functions of its own (`Codec`) needs an entry in
`CODED`; without one the tests fail and say so."""

from __future__ import annotations

import types
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from zlib import crc32

from hypothesis import strategies as st

import coordination
import mesh
from crdt.cell import COUNTER, KEY, LEASE_END, MAX_BATCH_KEYS, Cell, Mark
from mesh.directives import Message
from mesh.schema import Bounds, Codec, Length
from mesh.wire import registered

__all__ = ["bare", "full", "product_messages", "values"]


def declare_all() -> None:
    """Import every module of the product that declares a message, wherever it stands."""
    for package in (mesh, coordination):
        root = Path(package.__path__[0])
        for file in sorted(root.rglob("*.py")):
            if "\n@message(" in file.read_text():
                import_module(".".join((package.__name__, *file.relative_to(root).with_suffix("").parts)))


def product_messages() -> list[tuple[int, type[Message]]]:
    """Every message class of the product by number, without those of tests."""
    declare_all()
    return [(number, cls) for number, cls in registered().items() if not cls.__module__.startswith("tests.")]


def hints_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields  # type: ignore[attr-defined]
    return {name: hints[name] for name in names}


# --- random values -------------------------------------------------------------------------------------------------

_ACTORS = st.binary(min_size=16, max_size=16)
_STAMPS = st.integers(0, (1 << 64) - 1)
_KEYS = st.text(st.characters(codec="utf-8"), max_size=60)
_BIG = st.one_of(st.integers(0, 100), st.integers(0, 1 << 70))


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Cells of the known kinds, whole, deleted, bound or dropped, and of a kind that is not known."""
    kind = draw(st.sampled_from([KEY, COUNTER, LEASE_END, 7, (1 << 16) - 1]))
    body: bytes | None = draw(st.binary(max_size=80))
    bound, hash_ = None, b""
    order: tuple[int | bytes, ...]
    if kind == KEY:
        expiry = draw(st.sampled_from([0, 5 << 16]))
        order = (draw(_STAMPS), draw(_STAMPS), draw(_ACTORS), expiry, draw(_STAMPS), draw(_ACTORS))
        if draw(st.booleans()):
            body = None
            hash_ = draw(st.sampled_from([b"", b"8 bytes."])) if expiry else b""
        if not expiry:
            bound = draw(st.one_of(st.none(), _KEYS))
    elif kind == COUNTER:
        order, body = (draw(_STAMPS), draw(_ACTORS), draw(_BIG), draw(_BIG)), b"\x18\x64"
    elif kind == LEASE_END:
        order, body = (draw(_STAMPS), draw(_ACTORS)), b""
    else:
        order = tuple(draw(st.lists(st.one_of(_BIG, _ACTORS), max_size=5)))
    actor, n, batch = draw(_ACTORS), draw(st.integers(1, (1 << 64) - 1)), None
    if kind == KEY and draw(st.booleans()):
        size = draw(st.integers(1 + (actor == order[2]), MAX_BATCH_KEYS))
        batch = Mark(draw(st.integers(1, 1 << 60)), size, draw(st.integers(0, size - 1)))
        if actor == order[2]:
            n = batch.first + batch.place
    return Cell(kind, draw(_KEYS), order, body, bound, actor, n, hash_, "", batch)


_CELL = Cell(KEY, "config/limit", (0, 9 << 16, b"actor, 16 bytes.", 0, 9 << 16, b"actor, 16 bytes."), b"\x0a", None,
             b"actor, 16 bytes.", 3, b"", "", Mark(3, 2, 0))  # fmt: skip

CODED: dict[Any, tuple[st.SearchStrategy[Any], Any]] = {Cell | bytes: (cells(), _CELL)}
"""By the type under the codec: any value, and the example."""

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.one_of(st.integers(-300, 300), st.integers(-(1 << 70), 1 << 70), st.sampled_from([23, 24, 255, 256, 65535, 65536])),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(codec="utf-8"), max_size=40),
    bytes: st.binary(max_size=60),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of this type, or a message class, can hold."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _marked(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if each is type(None) else values(each) for each in arguments])
    if origin is tuple:
        if arguments[1:] == (Ellipsis,):
            return st.lists(values(arguments[0]), max_size=4).map(tuple)
        return st.tuples(*[values(each) for each in arguments])
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return st.builds(hint, **{name: values(each) for name, each in hints_of(hint).items()})


def _marked(inner: Any, marks: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    for mark in marks:
        if isinstance(mark, Codec):
            return _coded(inner)[0]
        if isinstance(mark, Bounds):
            ends = st.sampled_from([mark.low, mark.high])
            return st.one_of(ends, st.integers(mark.low, mark.high))
        if isinstance(mark, Length):
            if inner is bytes:
                return st.binary(min_size=mark.low, max_size=min(mark.high, mark.low + 40))
            if inner is str:
                return st.text(st.characters(codec="utf-8"), min_size=mark.low, max_size=min(mark.high, mark.low + 40))
            return st.lists(values(get_args(inner)[0]), min_size=mark.low, max_size=min(mark.high, mark.low + 4)).map(tuple)
    return values(inner)


def _coded(inner: Any) -> tuple[st.SearchStrategy[Any], Any]:
    assert inner in CODED, f"{inner} has a codec of its own: give tests.mesh.wire_values.CODED values of it"
    return CODED[inner]


# --- fixed examples ------------------------------------------------------------------------------------------------


def full(hint: Any, *, large: int = 0) -> Any:
    """The example in which everything optional is there; the numbers come from the fields' names, unbounded ones are higher
    by `large`."""
    return _Example(True, large).of(hint, "")


def bare(hint: Any) -> Any:
    """The example in which everything is as little as allowed."""
    return _Example(False, 0).of(hint, "")


@dataclass(frozen=True)
class _Example:
    much: bool
    large: int

    def of(self, hint: Any, name: str) -> Any:
        much, number = self.much, crc32(name.encode())
        if hint in _PLAIN:
            rich = {int: number + self.large, bool: True, float: number / 8, str: name, bytes: name.encode()}
            return rich[hint] if much else hint()
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._marked(arguments[0], arguments[1:], name)
        if origin in (Union, types.UnionType):
            return None if not much and type(None) in arguments else self.of(arguments[0], name)
        if origin is tuple:
            if arguments[1:] == (Ellipsis,):
                return self._many(arguments[0], 2 * much, name)
            return tuple(self.of(each, f"{name}.{index}") for index, each in enumerate(arguments))
        if issubclass(hint, IntEnum):
            return list(hint)[-1 if much else 0]
        return hint(**{each: self.of(kind, f"{name}.{each}") for each, kind in hints_of(hint).items()})

    def _many(self, hint: Any, size: int, name: str) -> tuple[Any, ...]:
        return tuple(self.of(hint, f"{name}.{index}") for index in range(size))

    def _marked(self, inner: Any, marks: tuple[Any, ...], name: str) -> Any:
        for mark in marks:
            if isinstance(mark, Codec):
                return _coded(inner)[1]
            if isinstance(mark, Bounds):
                return mark.low + crc32(name.encode()) % (mark.high - mark.low + 1) if self.much else mark.low
            if isinstance(mark, Length):
                if inner not in (str, bytes):
                    return self._many(get_args(inner)[0], min(mark.high, max(mark.low, 2 * self.much)), name)
                size = min(mark.high, max(mark.low, 16 * self.much))
                text = (name * 16)[len(name) * 16 - size :].rjust(size, ".")
                return text if inner is str else text.encode()
        return self.of(inner, name)
