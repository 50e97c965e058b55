"""To whom news is pushed, and for how long it is passed on.

A writer pushes what it wrote to `FANOUT` members at random; whoever finds a cell new pushes it on, once, to as many, with
the next window. With a fan-out of 4 a cell reaches all but a few of N members in about log4 N windows; the few are seen to by
gaps and digests. In a mesh of no more than `FANOUT` + 1 the writer reaches everyone, and nobody passes anything on.

The window grows with the load: writes of one window share frames, and a key written often is sent once."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from crdt.cell import Cell

__all__ = ["FANOUT", "PUSH_BYTES", "Window", "choose", "packets", "size_of"]

FANOUT = 4
PUSH_BYTES = 1_000
"""About how many bytes of cells share one message: it fits a datagram with its envelope."""

SHORTEST = 1_000_000
LONGEST = 16_000_000
BUSY = 256
"""Cells a window above which the next is twice as long."""

CELL_BYTES = 96
"""An estimate of a cell's order, dot and framing."""


class Window:
    """How long writes wait for their fellows (ns)."""

    __slots__ = ("_opened", "length")

    def __init__(self) -> None:
        self.length = SHORTEST
        self._opened = -LONGEST

    def due(self, now: int) -> int:
        """When a write of now leaves: at once, unless a window has just ended."""
        return max(now, self._opened + self.length)

    def ended(self, now: int, cells: int) -> None:
        self._opened = now
        self.length = min(LONGEST, self.length * 2) if cells > BUSY else max(SHORTEST, self.length // 2)


def choose(names: Sequence[str], random: Random, but: str | None = None) -> list[str]:
    """Up to `FANOUT` of the names, at random, without one."""
    others = [name for name in names if name != but]
    return others if len(others) <= FANOUT else random.sample(others, FANOUT)


def size_of(cell: Cell) -> int:
    return CELL_BYTES + len(cell.key) + len(cell.body or b"") + len(cell.bound or "")


def packets(cells: Sequence[Cell], limit: int = PUSH_BYTES) -> list[tuple[Cell, ...]]:
    """The cells in order, in groups of about `limit` bytes; a larger cell travels alone."""
    groups: list[tuple[Cell, ...]] = []
    group: list[Cell] = []
    room = limit
    for cell in cells:
        size = size_of(cell)
        if group and size > room:
            groups.append(tuple(group))
            group, room = [], limit
        group.append(cell)
        room -= size
    if group:
        groups.append(tuple(group))
    return groups
