"""A whole state of a small case: who is where, and what is under way."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COPY", "STRAY", "State", "letter_of"]

STRAY, COPY = 1 << 32, 1 << 33
"""Marks of a letter that need not arrive before time passes, and of one that has been delivered and may come once more."""


def letter_of(each: int) -> int:
    """The number of a letter under way, however it is marked."""
    return ~each if each < 0 else each & (STRAY - 1)


class State(NamedTuple):
    cores: tuple[int, ...]
    flight: tuple[int, ...]
    """Letters under way, sorted; ~letter: one that is late; others with their marks."""
    now: int
    spent: tuple[int, ...]
    """How many faults of each kind there have been."""
    token: int
    """The highest that was granted."""
    rosters: tuple[tuple[str, ...], ...] = ()
    """Voters of each roster that was decided, from epoch 2 on."""
