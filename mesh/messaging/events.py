"""What messaging tells the API."""

from __future__ import annotations

from enum import StrEnum

from mesh.directives import Event
from mesh.frozen import frozen

__all__ = ["Arrived", "Fate", "Posted", "Progress"]


class Fate(StrEnum):
    """What a letter came to."""

    TAKEN = "taken"
    """Somebody there has it in hand."""
    NOBODY = "nobody"
    """Nobody there subscribes to the topic."""
    FULL = "full"
    """Who subscribes there does not read."""
    ABSENT = "absent"
    """The member is not there, and nothing was sent to it."""
    UNKNOWN = "unknown"
    """It was sent, and not answered before the process was no more, or for 30 s: it may have been taken."""
    BUSY = "busy"
    """Too many letters to that member wait their turn here."""


@frozen
class Posted(Event):
    """A letter is finished with."""

    ref: int
    fate: Fate


@frozen
class Arrived(Event):
    """Subscriptions have something to read."""

    subscriptions: tuple[int, ...]


@frozen
class Progress(Event):
    """A question has a reply to be read, or is over."""

    ref: int
