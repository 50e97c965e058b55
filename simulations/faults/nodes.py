"""What befalls processes and their machines."""

from __future__ import annotations

from dataclasses import dataclass

from simulations.machine.slowness import Service

__all__ = ["Blackout", "Crash", "NodeFault", "Pause", "Slow", "Suspend"]


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
class Blackout:
    """All of these machines lose their power at once, and start again together after `lasts` ns."""

    at: int
    lasts: int
    side: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Slow:
    """Each input costs the machine's process `step` ns of its processor, and some of them, with the chance `stalls`, `stall` ns
    more: the others wait in the buffers of its sockets, and its timers are late. The latest one counts."""

    at: int
    lasts: int
    whom: str
    step: int
    stall: int = 0
    stalls: float = 0.0

    @property
    def service(self) -> Service:
        return Service(self.step, self.stall, self.stalls)


NodeFault = Crash | Blackout | Pause | Suspend | Slow
