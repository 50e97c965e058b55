"""What is too large for a datagram: carried over a stream that the node keeps to the receiver's process.

One stream a receiver, dialled at the first large message, closed after it has been idle for `IDLE`. What waits for the
handshake is bounded; beyond the bound the oldest is dropped and counted, for every protocol here retries. A stream that
turns out to reach another process than the one that was meant delivers nothing: the messages are dropped and counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["IDLE", "WAITING_BYTES", "Courier", "Route"]

IDLE = 30_000_000_000
"""Nanoseconds after which a stream that carried nothing is closed."""

WAITING_BYTES = 8 << 20
"""Encoded bytes that may wait for one receiver's handshake: eight of the largest values."""


@dataclass(slots=True)
class Route:
    """The stream to one process."""

    channel: int
    up: bool = False
    used: int = 0
    """Monotonic ns of the last message."""
    waiting: deque[bytes] = field(default_factory=deque)
    waiting_bytes: int = 0


class Courier:
    """Which stream leads to which process, and what waits for it. The node dials, writes and closes."""

    __slots__ = ("_by_channel", "_routes", "dropped")

    def __init__(self) -> None:
        self._routes: dict[bytes, Route] = {}
        self._by_channel: dict[int, bytes] = {}
        self.dropped = 0

    def route(self, session: bytes) -> Route | None:
        return self._routes.get(session)

    def begin(self, session: bytes, channel: int) -> Route:
        """A stream is being dialled for this process."""
        route = self._routes[session] = Route(channel)
        self._by_channel[channel] = session
        return route

    def hold(self, route: Route, encoded: bytes) -> None:
        """Keep a message until the handshake is done."""
        route.waiting.append(encoded)
        route.waiting_bytes += len(encoded)
        while route.waiting_bytes > WAITING_BYTES:
            route.waiting_bytes -= len(route.waiting.popleft())
            self.dropped += 1

    def established(self, channel: int, session: bytes) -> list[bytes] | None:
        """The stream is up: what waited for it, or None if it reached another process and is of no use."""
        meant = self._by_channel.get(channel)
        if meant is None:
            return []
        route = self._routes[meant]
        if meant != session:
            self.ended(channel)
            return None
        route.up = True
        waited = list(route.waiting)
        route.waiting.clear()
        route.waiting_bytes = 0
        return waited

    def ended(self, channel: int) -> None:
        session = self._by_channel.pop(channel, None)
        if session is not None:
            self.dropped += len(self._routes.pop(session).waiting)

    def idle(self, now: int) -> list[int]:
        """The streams that carried nothing for `IDLE`."""
        return [route.channel for route in self._routes.values() if route.up and now - route.used >= IDLE]

    def __len__(self) -> int:
        return len(self._routes)
