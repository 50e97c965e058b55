"""The messages of replication (40 to 59)."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from crdt.cell import Cell, CellError, cell_of, encode_cell
from crdt.dots import Summary
from crdt.store import Place
from mesh.directives import Message
from mesh.schema import Codec, SchemaError
from mesh.wire import U64, Length, SessionId, message

__all__ = ["Announce", "Chunk", "Digest", "Dot", "Masked", "Pull", "Push", "Pushed", "Vector", "VectorAsk"]

MAX_DOTS = 4_096


def _write_cell(cell: Cell | bytes) -> bytes:
    return cell if type(cell) is bytes else encode_cell(cell)  # type: ignore[arg-type]


def _read_cell(raw: Any) -> Cell:
    try:
        return cell_of(raw)
    except CellError as problem:
        raise SchemaError(str(problem)) from None


AnyCell = Annotated[Cell | bytes, Codec(_write_cell, _read_cell)]
"""A cell, or one that is encoded already; what is read is always a `Cell`, checked in full."""


class Dot(NamedTuple):
    """One write."""

    actor: SessionId
    n: U64


class Masked(NamedTuple):
    """Of this actor, nothing from `n` on is wanted for now: its stamps are too far in the future."""

    actor: SessionId
    n: U64


class Pushed(NamedTuple):
    cell: AnyCell
    previous: U64
    """The writer's dot before this one under the same key, which the cell claims too; 0 for none."""


@message(40)
class Push(Message):
    """News: each cell claims its own dot, and its writer's previous one under that key.

    A cell whose value was dropped while its expiry lies ahead is a touch that travels alone."""

    news: tuple[Pushed, ...]


@message(41)
class Digest(Message):
    """What the sender claims, in 16 bytes. Equal ones end the matter; `answer` keeps two from answering for ever."""

    digest: bytes
    answer: bool
    fingerprint: bytes = b""
    """Of what it holds, in 8 (see `crdt.fingerprint`): compared with the own one if the claims and the cuts are equal."""


@message(42)
class Pull(Message):
    """Send all cells with a dot that is not in `have`, in order of place, those behind `after`."""

    pull: U64
    have: Summary
    masked: tuple[Masked, ...]
    after: Place
    everything: bool = False
    """The asker's store is empty, and wants every cell whatever its dot: it joins."""


@message(43)
class Chunk(Message):
    """A part of the answer to a `Pull` with the same `after`."""

    pull: U64
    after: Place
    snapshot: Summary | None
    """What the sender claimed when it began, with the first part only: it is claimed after the last one."""
    cells: tuple[AnyCell, ...]
    last: Place
    """Everything up to here has been sent or passed over."""
    done: bool
    complete: bool
    """Nothing was left out because the asker masks its actor."""


@message(44)
class VectorAsk(Message):
    query: U64


@message(45)
class Vector(Message):
    """All that the sender claims."""

    query: U64
    summary: Summary


@message(46)
class Announce(Message):
    """Cells that the sender holds and that are too large to be pushed: who lacks one pulls it, once."""

    dots: Annotated[tuple[Dot, ...], Length(0, MAX_DOTS)]
