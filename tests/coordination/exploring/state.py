"""A whole state of a small case: who is where, and what is under way."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["State"]


class State(NamedTuple):
    cores: tuple[int, ...]
    flight: tuple[int, ...]
    """Letters under way, sorted; ~letter: one that is late."""
    now: int
    spent: tuple[int, ...]
    """How many faults of each kind there have been."""
    token: int
    """The highest that was granted."""
    rosters: tuple[tuple[str, ...], ...] = ()
    """Voters of each roster that was decided, from epoch 2 on."""
