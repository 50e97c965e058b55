"""What befalls clocks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClockFault", "Rate", "WallDrift", "WallStep"]


@dataclass(frozen=True, slots=True)
class Rate:
    """The monotonic clock gains so many parts per million."""

    at: int
    lasts: int
    whom: str
    ppm: int


@dataclass(frozen=True, slots=True)
class WallStep:
    """The wall clock is set forward by `ms` (back, if negative), and set right again after `lasts` ns."""

    at: int
    lasts: int
    whom: str
    ms: int


@dataclass(frozen=True, slots=True)
class WallDrift:
    """The wall clock gains so many parts per million; what it gained stays."""

    at: int
    lasts: int
    whom: str
    ppm: int


ClockFault = Rate | WallStep | WallDrift
