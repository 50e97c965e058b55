"""What befalls processes and their machines."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Crash", "NodeFault", "Pause", "Suspend"]


@dataclass(frozen=True, slots=True)
class Crash:
    """The process is killed and started again after `lasts` ns (0: at once)."""

    at: int
    lasts: int
    whom: str
    power: bool = False
    """The machine loses its power: nobody is told by it."""
    wipe: bool = False
    """It comes back with an empty disk."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The process is stopped for a while (SIGSTOP)."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """The machine sleeps: as a pause, and its monotonic clock stands still meanwhile; its boot-time clock does not. A crash
    meanwhile ends it: a sleeping machine starts nothing."""

    at: int
    lasts: int
    whom: str


NodeFault = Crash | Pause | Suspend
