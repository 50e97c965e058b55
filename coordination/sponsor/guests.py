"""What a sponsor knows of one thin client."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordination.errors import BadConfig
from coordination.sponsor.following import Following, SumFollowing
from coordination.sponsor.messages import OUTSTANDING, Answer
from mesh.directives import Boot

__all__ = ["Guest", "check_room"]


@dataclass(slots=True)
class Guest:
    """One client."""

    channel: int
    id: str
    name: str
    boot: Boot
    answers: dict[int, Answer] = field(default_factory=dict)
    """To its last writes, by sequence."""
    forgotten: int = 0
    """The highest sequence of a write whose answer is not remembered any more."""
    pending: dict[int, int] = field(default_factory=dict)
    """Queries that run for it, by the sequence of the asking; 0 for one that waits for the join."""
    calls: dict[int, int] = field(default_factory=dict)
    """Calls of atomic registers, by the sequence of the asking."""
    watches: dict[int, Following | SumFollowing] = field(default_factory=dict)


def check_room(guest: Guest, letters: int = 0) -> None:
    if len(guest.pending) + len(guest.calls) + letters >= OUTSTANDING:
        raise BadConfig(f"{OUTSTANDING} questions of this client are open: wait for their answers")
