"""To whom news is pushed, how much of it shares a message, and how long writes wait for their fellows.

A writer pushes what it wrote to `FANOUT` members at random; whoever finds a cell new pushes it on, once, to as many, with
the next window. With a fan-out of 4 a cell reaches all but a few of N members in about log4 N windows; the few are seen to by
gaps and digests. In a mesh of no more than `FANOUT` + 1 the writer reaches everyone, and nobody passes anything on.

What does not fit a datagram is announced by its dot instead, and pulled once. So is what is more than a burst: a window pushes
up to `WINDOW_BYTES`, and of the rest announces the last. Pulled it comes over a stream, a slice at a time as the receiver asks
for them, so that a writer that is faster than the mesh fills no queue: what the others lack yet stands in the store alone, once
for each key. The next window's few writes are pushed at once, beside all that. (Pushed whole, a burst of a hundred thousand
keys lost what the sockets did not hold, and kept what came after it waiting.)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from crdt.batches import batch_of
from crdt.cell import Cell, encode_cell, is_dropped
from mesh.directives import Message
from mesh.replication.messages import Announce, Dot, Push, Pushed

__all__ = ["FANOUT", "PUSH_BYTES", "Window", "choose", "news_of", "runs_of"]

FANOUT = 4
PUSH_BYTES = 1_000
"""Encoded bytes of cells that share one message at the most: it fits a datagram with its envelope."""

WINDOW_BYTES = 64 << 10
"""Of the cells that one window pushes to each receiver: what a socket surely holds."""

SHORTEST = 1_000_000
LONGEST = 16_000_000
BUSY = 256
"""Cells a window above which the next is twice as long."""

PREVIOUS_BYTES = 10


class Window:
    """How long writes wait for their fellows (ns): those of one window share frames, and a key written often is sent once."""

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


def choose(names: Sequence[str], random: Random, but: str | None = None) -> Sequence[str]:
    """Up to `FANOUT` of the names, at random, without one."""
    others = names if but is None else [name for name in names if name != but]
    return others if len(others) <= FANOUT else random.sample(others, FANOUT)


def news_of(cells: Iterable[tuple[Cell, int]], budget: int = WINDOW_BYTES) -> list[Message]:
    """The messages that carry these cells (each with its writer's previous dot), in order, as far as the budget goes; of the
    rest the last one is announced."""
    messages: list[Message] = []
    group: list[Pushed] = []
    large: list[Dot] = []
    room = PUSH_BYTES
    rest: Cell | None = None
    for run in runs_of(cells):
        if budget <= 0:
            rest = run[-1][0]
            continue
        pushed = [Pushed(encode_cell(cell), previous) for cell, previous in run]
        size = sum([len(each.cell) + PREVIOUS_BYTES for each in pushed])
        if size > PUSH_BYTES:
            last = run[-1][0]  # of a batch any will do: it is not here in whole without this one
            large.append(Dot(last.actor, last.n))
            continue
        if size > room:
            messages.append(Push(tuple(group)))
            group, room = [], PUSH_BYTES
        group += pushed
        room -= size
        budget -= size
    if group:
        messages.append(Push(tuple(group)))
    if rest is not None:
        large.append(Dot(rest.actor, rest.n))
    for first in range(0, len(large), ANNOUNCED):
        messages.append(Announce(tuple(large[first : first + ANNOUNCED])))
    return messages


def runs_of(news: Iterable[tuple[Cell, int]]) -> list[list[tuple[Cell, int]]]:
    """What has to share a message, and be joined at once: the cells of one batch, each other cell alone."""
    runs: list[list[tuple[Cell, int]]] = []
    last = None
    for cell, previous in news:
        batch = None if is_dropped(cell) else batch_of(cell)  # a touch that travels alone is no part of what was put
        if batch is not None and batch == last:
            runs[-1].append((cell, previous))
        else:
            runs.append([(cell, previous)])
        last = batch
    return runs


ANNOUNCED = 32
"""Dots in one announcement: it fits a datagram."""
