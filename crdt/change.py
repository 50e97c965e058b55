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
