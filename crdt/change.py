"""What a batch of writes or merges changed in what readers see."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from crdt.cell import Cell

__all__ = ["Change", "ChangeKind"]


class ChangeKind(StrEnum):
    PUT = "put"
    """A value appeared or was replaced; also one that was said to have expired, when an earlier touch arrives."""
    DELETE = "delete"
    EXPIRE = "expire"
    LEASE_ENDED = "lease_ended"
    FENCED = "fenced"
    """A write of this replica has lost to a fence that it did not know, though it is the later one. What readers see is told by
    another change; this one's `new` and `old` are the write that lost, and its origin who wrote what won."""


class Change(NamedTuple):
    """One key as readers see it, before and after. A touch alone changes nothing that is seen."""

    kind: ChangeKind
    key: str
    new: Cell
    """The value is in `new.body` for a put; for an end, new may have none, and `old.body` is the value that ended."""
    old: Cell | None
    """What was visible before; None if nothing was."""
    origin: bytes
    """The actor of the write, of the touch, or of the lease's end."""
    revision: int
    """Local, strictly increasing."""
    fell: bool = False
    """Whether this replica has known a later write of the key, or this very one: what it went on from does not have that, or it
    is forgotten. Of all other changes of a key the puts rise."""
