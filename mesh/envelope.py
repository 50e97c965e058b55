"""What goes into a datagram, and how it comes out again: the seam between messages and bytes.

A node encodes each message, puts some of them into one datagram for one session, and reads what it opens. To the node a
datagram is bytes, of which it knows the length alone; between `seal` and `read` nothing looks inside. On a network that is
`Sealed`, always: CBOR in AES-256-GCM. A simulated world may hand over the messages themselves (`simulations.parcels`); streams
are bytes there too, under keys that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mesh.channel import Keys, SealedKeys
from mesh.directives import Message
from mesh.hello import COOKIE_BYTES
from mesh.keyring import Keyring
from mesh.seal import Opened, Seal
from mesh.wire import Frame, encode, pack, unpack

__all__ = ["Encoded", "Envelope", "Sealed", "packed"]


class Encoded(Protocol):
    """One message, encoded or as good as that."""

    def __len__(self) -> int:
        """How many bytes it is."""

    def __bytes__(self) -> bytes: ...


class Envelope(Protocol):
    def most(self, encoded: Encoded, /) -> int:
        """The bytes of an encoded message at the most: its length, unless a bound is found sooner."""

    def encode(self, message: Message, /) -> Encoded: ...

    def seal(self, batch: Sequence[Encoded], cut: int, to: bytes) -> bytes:
        """A datagram with these messages for the process of a session."""

    def open(self, data: bytes, /) -> Opened:
        """Authenticate a datagram, then refuse it if it was taken before.

        Raises
        ------
        Refusal
        """

    def read(self, plaintext: bytes, /) -> Frame:
        """The messages in what was opened, or came on a stream.

        Raises
        ------
        WireError
        """

    def keys(self, keyring: Keyring, identifier: bytes, context: bytes, /) -> Keys:
        """Of one direction of a stream (`mesh.channel`)."""


class Sealed:
    """Bytes, sealed."""

    __slots__ = ("_seal", "open")

    most = staticmethod(len)
    encode = staticmethod(encode)
    read = staticmethod(unpack)
    keys = SealedKeys

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self.open = seal.open

    def seal(self, batch: Sequence[Encoded], cut: int, to: bytes) -> bytes:
        return self._seal.seal(packed(batch, cut), to)


def packed(batch: Sequence[Encoded], cut: int) -> bytes:
    """A frame of a datagram: to one that has forgotten this process it must be worth a cookie."""
    return pack([*map(bytes, batch)], cut, COOKIE_BYTES)
