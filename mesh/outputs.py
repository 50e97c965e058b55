"""What a node asks of its driver: the only way out of the cores.

The driver takes the outputs after each input and performs them in order. None of them answers at once; what comes of them
returns as an input of its own (`on_connected`, `on_stream`, `on_stream_end`, `on_refused`, `on_committed`)."""

from __future__ import annotations

from mesh.directives import Address, Event, Record
from mesh.frozen import frozen

__all__ = ["Commit", "Connect", "Halt", "Output", "Publish", "StreamClose", "StreamWrite", "Transmit"]


@frozen
class Transmit:
    """One datagram, sealed. May be lost in silence, as datagrams are."""

    address: Address
    data: bytes


@frozen
class Connect:
    """Open a stream; answered by `on_connected` or `on_stream_end`."""

    stream: int
    address: Address


@frozen
class StreamWrite:
    """Bytes for a stream, in order."""

    stream: int
    data: bytes


@frozen
class StreamClose:
    """Close a stream after what was written has left, within a bound. The node wants no more input from it."""

    stream: int


@frozen
class Commit:
    """Make these records durable, all of them or none. Answered by `on_committed` or `on_commit_failed` with its number; the
    next one comes after that."""

    number: int
    records: tuple[Record, ...]


@frozen
class Publish:
    """An event for whoever embeds the node."""

    event: Event


@frozen
class Halt:
    """The node must not go on; the driver raises the reason to whoever embeds it."""

    error: Exception


Output = Transmit | Connect | StreamWrite | StreamClose | Publish | Commit | Halt
