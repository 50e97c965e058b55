"""The messages of replication (40 to 59)."""

from __future__ import annotations

from typing import NamedTuple

from crdt.cell import Cell
from crdt.dots import Summary
from mesh.directives import Message
from mesh.wire import U64, SessionId, message

__all__ = ["Chunk", "Digest", "Masked", "Pull", "Push", "Vector", "VectorAsk"]


class Masked(NamedTuple):
    """Of this actor, nothing from `n` on is wanted for now: its stamps are too far in the future."""

    actor: SessionId
    n: U64


@message(40)
class Push(Message):
    """News: each cell claims its own dot."""

    cells: tuple[Cell, ...]


@message(41)
class Digest(Message):
    """What the sender claims, in 16 bytes. Equal ones end the matter; `answer` keeps two from answering for ever."""

    digest: bytes
    answer: bool


@message(42)
class Pull(Message):
    """Send all cells with a dot that is not in `have`, in key order, those behind `after`."""

    pull: U64
    have: Summary
    masked: tuple[Masked, ...]
    after: tuple[int, str] | None


@message(43)
class Chunk(Message):
    """A part of the answer. `snapshot` is what the sender claimed when the pull began: it is claimed after the last part."""

    pull: U64
    snapshot: Summary
    cells: tuple[Cell, ...]
    last: tuple[int, str] | None
    """Where the next part begins, None after the last."""


@message(44)
class VectorAsk(Message):
    query: U64


@message(45)
class Vector(Message):
    """All that the sender claims."""

    query: U64
    summary: Summary
