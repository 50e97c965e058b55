"""Datagrams that carry the messages themselves: a world without encoding, for campaigns of very many seeds.

Nothing that decides can tell the difference. A parcel is refused where a sealed datagram would be (another process's, one
that was taken before), and it is as large: sizes are exact wherever they matter. Mostly they are not asked for: what can
not be larger than a datagram (`mesh.largest`) fits without being encoded, unless there is gossip for the room that is left.

Streams carry the bytes that they do on a network, under keys of which there is no secret: each frame is as long, and what was
changed on its way, or sealed for another stream or under another secret, is refused as it would be.

Messages are frozen, so they can be shared. What is lost is the proof that each can be written and read: campaigns with every
byte sealed give it. Introductions (hello, cookie, proof) are sealed bytes here, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any
from zlib import crc32

from cryptography.exceptions import InvalidTag

from crdt.cell import Cell, cell_of
from mesh.channel import PROOF_BYTES, TAG_BYTES
from mesh.directives import Message
from mesh.envelope import Encoded, packed
from mesh.keyring import Keyring
from mesh.largest import Bound, bound_of
from mesh.replication.messages import Chunk, Push, Pushed
from mesh.schema import converts
from mesh.seal import DATAGRAM_OVERHEAD, Kind, Opened, Refusal, Seal
from mesh.wire import MAX_DEPTH, MAX_FRAME_BYTES, PROTOCOL, Frame, decode, encode, load, unpack

__all__ = ["OpenKeys", "Parcel", "Parcels", "forget"]

GOSSIP = 16_384
"""Pieces of gossip that are remembered: they come encoded, and are told again and again."""
CELLS = 16_384
"""Cells, too."""


class Piece:
    """One message on its way into a parcel."""

    __slots__ = ("_encoded", "_read", "message", "most")

    def __init__(self, message: Message) -> None:
        kind = type(message)
        known = _kinds.get(kind)
        if known is None:
            known = _kinds[kind] = bound_of(kind), converts(kind)
        bound, converted = known
        self.message = message
        self.most = bound if isinstance(bound, int) else bound(message)
        self._encoded = b""
        self._read = None if converted else message

    def read(self) -> Message:
        """What its receiver gets."""
        if self._read is None:
            read = _READERS.get(type(self.message))
            self._read = _told(bytes(self)) if read is None else read(self.message)
        return self._read

    def __bytes__(self) -> bytes:
        if not self._encoded:
            kind = type(self.message)
            known = _encoded.get(kind)
            if known is None:
                known = _encoded[kind] = b"" if fields(kind) else encode(self.message)  # type: ignore[arg-type]
            self._encoded = known or encode(self.message)
        return self._encoded

    def __len__(self) -> int:
        return len(bytes(self))


def _pushed(message: Any) -> Push:
    return Push(tuple([Pushed(_cell(cell), previous) for cell, previous in message.news]))


def _chunk(message: Any) -> Chunk:
    return replace(message, cells=tuple(map(_cell, message.cells)))  # type: ignore[no-any-return]


_READERS: dict[type[Message], Callable[[Any], Message]] = {Push: _pushed, Chunk: _chunk}
"""Of messages that carry cells, which are written as bytes sometimes and read as cells always: nearly all that converts."""


def _cell(cell: Cell | bytes) -> Cell:
    return _held(cell) if type(cell) is bytes else cell  # type: ignore[return-value]


@lru_cache(maxsize=CELLS)
def _held(encoded: bytes) -> Cell:
    """Each is sent to everyone, and by some of them again."""
    return cell_of(load(encoded, MAX_FRAME_BYTES, MAX_DEPTH))


_kinds: dict[type[Message], tuple[Bound, bool]] = {}
"""Of each class of messages: how large they are at the most, and whether they may be read as other than was written."""

_encoded: dict[type[Message], bytes] = {}
"""Of messages without fields: their bytes, which are always the same. Of others: nothing."""


class Parcel:
    """One datagram: from whom, for whom, its number, and what is in it."""

    __slots__ = ("_batch", "counter", "frame", "key", "sender", "text", "to")

    def __init__(self, sender: bytes, to: bytes, key: bytes, counter: int, batch: Sequence[Encoded], frame: Frame) -> None:
        self.sender = sender
        self.to = to
        self.key = key
        self.counter = counter
        self.frame = frame
        messages = frame.messages
        self.text = type(messages[0]).__name__ if len(messages) == 1 else _text_of(tuple(map(type, messages)))
        """What the trace tells of it."""
        self._batch = batch

    def __len__(self) -> int:
        return len(packed(self._batch, self.frame.cut)) + DATAGRAM_OVERHEAD

    def __bytes__(self) -> bytes:
        """What a wire would show of it that spoils it: bytes that nobody opens."""
        return bytes(len(self))

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=16_384)
def _text_of(kinds: tuple[type[Message], ...]) -> str:
    return "+".join([kind.__name__ for kind in kinds])


_told = lru_cache(maxsize=GOSSIP)(decode)


def forget() -> None:
    """A world is over, and what was told in it is told in no other."""
    _told.cache_clear()
    _held.cache_clear()


PAIR = Kind.PAIR
_made = tuple.__new__
"""Of a named tuple's class, without the call in between."""


class OpenKeys:
    """Sums in place of seals, begun with one of all that the keys would be made of. Each of the few bits that a link changes
    counts, and so do the place of a frame and its direction."""

    __slots__ = ("_sum",)

    def __init__(self, keyring: Keyring, identifier: bytes, context: bytes) -> None:
        self._sum = crc32(context, crc32(identifier))

    def header(self, number: int, length: int) -> bytes:
        encoded = length.to_bytes(4, "big")
        return encoded + crc32(encoded, self._sum + number & 0xFFFF_FFFF).to_bytes(PROOF_BYTES, "big")

    def seal(self, number: int, plaintext: bytes) -> bytes:
        return plaintext + crc32(plaintext, self._sum - number & 0xFFFF_FFFF).to_bytes(TAG_BYTES, "big")

    def open(self, number: int, ciphertext: bytes) -> bytes:
        plaintext = ciphertext[:-TAG_BYTES]
        if self.seal(number, plaintext) != ciphertext:
            raise InvalidTag
        return plaintext


class Parcels:
    """The envelope of a node in such a world (`mesh.envelope.Envelope`)."""

    __slots__ = ("_seal",)

    encode = Piece
    keys = OpenKeys

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    @staticmethod
    def most(encoded: Encoded) -> int:
        return encoded.most if type(encoded) is Piece else len(encoded)

    def seal(self, batch: Sequence[Encoded], cut: int, to: bytes) -> bytes:
        seal = self._seal
        messages = [
            (piece._read or piece.read()) if type(piece) is Piece else _told(bytes(piece))  # (no message is false)
            for piece in batch
        ]
        frame = _made(Frame, (PROTOCOL, cut, messages, 0, 0))
        # (To the node it is bytes, and it does not look inside.)
        return Parcel(seal.session, to, seal.keyring.key_to(to), seal.count(), batch, frame)  # type: ignore[return-value]

    def open(self, data: bytes) -> Opened:
        if not isinstance(data, Parcel):
            return self._seal.open(data)
        seal, sender, key = self._seal, data.sender, data.key
        if sender == seal.session:
            raise Refusal("own")
        if key not in seal.keyring:
            raise Refusal("unknown_key")
        if data.to != seal.session:
            raise Refusal("unauthentic")
        known = seal.admit(sender, data.counter)
        seal.keyring.showed(sender, key)
        return _made(Opened, (PAIR, sender, data, known, data.counter))

    @staticmethod
    def read(plaintext: bytes) -> Frame:
        return plaintext.frame if isinstance(plaintext, Parcel) else unpack(plaintext)
