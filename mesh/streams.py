"""The streams of a node: which are open, who is at the far end, and whether the handshake is done.

A stream has four moments: it is dialled or accepted; the driver has connected it; both ends have proven that they hold the
secret (it is *up*: a channel); it has ended. `ended` answers exactly once for each, whatever the order of a local close, an
error in a frame and the driver's news, so that every part hears one `ChannelUp` at most and one `ChannelDown`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

from mesh.channel import Channel, ChannelError, MakeKeys, SealedKeys
from mesh.directives import Address, ChannelDown, ChannelUp
from mesh.keyring import Keyring

__all__ = ["HANDSHAKE", "Received", "Streams"]

HANDSHAKE = 5_000_000_000
"""Nanoseconds that the handshake may take before the stream is given up."""


@dataclass(slots=True)
class Line:
    channel: Channel
    address: Address
    tag: Hashable
    connected: bool
    up: bool = False


class Received(NamedTuple):
    """What came of some bytes of a stream."""

    reply: bytes
    """Bytes of the handshake to write back."""
    up: ChannelUp | None
    """The handshake was completed by these bytes."""
    plaintexts: list[bytes]
    error: str | None
    """Why the stream is of no more use, after the plaintexts."""


class Streams:
    __slots__ = ("_entropy", "_keyring", "_last", "_lines", "_make", "_session")

    def __init__(
        self, keyring: Keyring, session: bytes, entropy: Callable[[int], bytes], make: MakeKeys = SealedKeys
    ) -> None:  # fmt: skip
        self._keyring = keyring
        self._make = make
        self._session = session
        self._entropy = entropy
        self._lines: dict[int, Line] = {}
        self._last = 0

    def dial(self, address: Address, tag: Hashable, key: bytes = b"") -> int:
        """`key`: which secret to greet with; without it each of the ring in turn."""
        key = key or self._keyring.next_key()
        return self._add(Line(self._channel(True, key), address, tag, False))

    def accept(self, address: Address) -> int:
        return self._add(Line(self._channel(False, b""), address, None, True))

    def _channel(self, initiator: bool, key: bytes) -> Channel:
        return Channel(self._keyring, self._session, self._entropy, initiator=initiator, key=key, make=self._make)

    def _add(self, line: Line) -> int:
        self._last += 1
        self._lines[self._last] = line
        return self._last

    def connected(self, stream: int) -> bytes:
        """The driver has connected a dialled stream: the first bytes of the handshake, empty if it is not wanted any more."""
        line = self._lines.get(stream)
        if line is None:
            return b""
        line.connected = True
        return line.channel.opening()

    def received(self, stream: int, data: bytes) -> Received | None:
        """Bytes from the far end; None for a stream that has been closed here."""
        line = self._lines.get(stream)
        if line is None:
            return None
        plaintexts: list[bytes] = []
        error = None
        try:
            plaintexts = line.channel.receive(data)
        except ChannelError as problem:
            plaintexts, error = problem.plaintexts, problem.reason
        up = None
        if line.channel.ready and not line.up:
            line.up = True
            up = ChannelUp(stream, line.channel.session, line.address, line.tag)
        return Received(line.channel.take(), up, plaintexts, error)

    def seal(self, stream: int, plaintext: bytes) -> bytes | None:
        """The bytes of one frame, or None if the stream is not up (any more)."""
        line = self._lines.get(stream)
        if line is None or not line.up:
            return None
        return line.channel.seal(plaintext)

    def far(self, stream: int) -> tuple[bytes, Address]:
        """Session and address at the far end of a stream that is up."""
        line = self._lines[stream]
        return line.channel.session, line.address

    def address(self, stream: int) -> Address:
        """The far end's, of a stream that has not ended."""
        return self._lines[stream].address

    def is_up(self, stream: int) -> bool:
        line = self._lines.get(stream)
        return line is not None and line.up

    def ended(self, stream: int, reason: str) -> ChannelDown | None:
        """The stream is over, for a reason of the driver's, the node's or the handshake's; None if that was known."""
        line = self._lines.pop(stream, None)
        if line is None:
            return None
        if not line.up and line.connected and reason in ("closed", "reset", "unauthentic", "unknown_key", "version"):
            reason = "unanswered"
        return ChannelDown(stream, line.channel.session if line.up else None, line.address, line.tag, reason)

    def open(self) -> list[int]:
        """Every stream that has not ended, oldest first."""
        return list(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
