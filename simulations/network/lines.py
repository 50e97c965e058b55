"""What waits at the senders of streams for room on a limited link. Each link takes a piece of each stream in turn, as long as
its queue is not half full, so that streams are slow and nothing of them is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from simulations.dice import GOLDEN, mix
from simulations.network.network import Link, Network
from simulations.schedule import Schedule

__all__ = ["HEADERS", "Lines"]

HEADERS = 40
"""Bytes of IP and TCP, which the link carries too."""
SMALLEST_PIECE = 1_448
LARGEST_PIECE = 16 << 10

Stream = TypeVar("Stream")


class Line(Generic[Stream]):
    """Of one link: each stream's items (draw, bytes or the reason of its end)."""

    __slots__ = ("looked_at", "streams")

    def __init__(self) -> None:
        self.streams: dict[Stream, deque[tuple[int, bytes | str]]] = {}
        self.looked_at: int | None = None
        """When it is looked at again."""


class Lines(Generic[Stream]):
    """Parameters
    ----------
    launch: called with (stream, item, draw, ns until it has left) of each piece that the link takes."""

    def __init__(
        self, schedule: Schedule, network: Network, launch: Callable[[Stream, bytes | str, int, int], None]
    ) -> None:  # fmt: skip
        self._schedule = schedule
        self._network = network
        self._launch = launch
        self._lines: dict[Link, Line[Stream]] = {}

    def waits(self, link: Link, stream: Stream) -> bool:
        """Whether what is written to it must stand in line."""
        line = self._lines.get(link)
        return link.limit is not None or (line is not None and stream in line.streams)

    def add(self, link: Link, stream: Stream, item: bytes | str, draw: int) -> None:
        line = self._lines.setdefault(link, Line())
        line.streams.setdefault(stream, deque()).append((draw, item))
        if line.looked_at is None:
            self._feed(link, line)

    def forget(self, link: Link, stream: Stream) -> None:
        """Nothing more of it goes out."""
        if link in self._lines:
            self._lines[link].streams.pop(stream, None)

    def network_changed(self) -> None:
        for link, line in list(self._lines.items()):
            self._feed(link, line)

    def _feed(self, link: Link, line: Line[Stream]) -> None:
        """Let the link have what it has room for. The pieces of one item have draws of their own, made of the item's."""
        now = self._schedule.now
        line.looked_at = None
        if link.version != self._network.version:
            self._network.refresh(link)
        while line.streams:
            at = link.room_at(now)
            if at > now:
                line.looked_at = at
                self._schedule.at(at, self._look, link, line, at)
                return
            stream = next(iter(line.streams))
            items = line.streams.pop(stream)
            draw, item = items.popleft()
            piece = len(item) if link.limit is None else min(max(link.limit.queue_bytes // 4, SMALLEST_PIECE), LARGEST_PIECE)
            if isinstance(item, bytes) and len(item) > piece:
                items.appendleft((mix(draw + GOLDEN), item[piece:]))
                item = item[:piece]
            if items:
                line.streams[stream] = items
            size = len(item) if isinstance(item, bytes) else 0
            self._launch(stream, item, draw, link.append(size + HEADERS, now))
        self._lines.pop(link, None)

    def _look(self, link: Link, line: Line[Stream], at: int) -> None:
        if line.looked_at == at:
            self._feed(link, line)
