"""A sealed stream, without I/O: handshake, then frames.

    both       "TMS2"  4 bytes, version and purpose
               key     4 bytes, which secret (the initiator's choice)
               session 16 bytes
               salt    32 bytes, fresh
    then       frames: length 4 bytes (big-endian), its proof 4 bytes, ciphertext and tag

Each direction has a key of its own, derived from the secret, both salts and both sessions, so no key is ever used twice and
nothing recorded opens again. The nonce is the number of the frame. The first frame each way is empty: it proves that its
sender holds the secret, and only then is the channel *ready*. A length is believed once it is proven, under a key of its own
and the number of its frame: one that was changed on its way would keep this end waiting for bytes that never come, and
swallow every frame behind it meanwhile. It may be `MAX_FRAME` at most, and nothing is allocated by it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.keyring import KEY_ID_BYTES, Keyring
from mesh.seal import SESSION_BYTES

__all__ = ["MAX_FRAME", "PROOF_BYTES", "TAG_BYTES", "Channel", "ChannelError", "Keys", "MakeKeys", "SealedKeys"]

MAGIC = b"TMS2"
SALT_BYTES = 32
GREETING_BYTES = len(MAGIC) + KEY_ID_BYTES + SESSION_BYTES + SALT_BYTES
MAX_FRAME = 4 << 20
TAG_BYTES = 16
LENGTH_BYTES = 4
PROOF_BYTES = 4
"""A wrong one ends the stream, and its keys with it: nobody has a second guess."""
HEADER_BYTES = LENGTH_BYTES + PROOF_BYTES


class ChannelError(Exception):
    """The stream is of no more use; `reason` is what it is counted under.

    `malformed`, `unknown_key`, `unauthentic`, `too_large` or `itself`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.plaintexts: list[bytes] = []
        """What the same bytes had completed before: how a stream is cut into pieces makes no difference."""


class Keys(Protocol):
    """Of one direction."""

    def header(self, number: int, length: int, /) -> bytes:
        """The length of a frame, and its proof."""

    def seal(self, number: int, plaintext: bytes, /) -> bytes:
        """`TAG_BYTES` longer."""

    def open(self, number: int, ciphertext: bytes, /) -> bytes:
        """Raises InvalidTag."""


MakeKeys = Callable[[Keyring, bytes, bytes], Keys]
"""Of a ring, which secret of it, and what else they are made of."""


class SealedKeys:
    """The keys of a network, always."""

    __slots__ = ("_frames", "_lengths")

    def __init__(self, keyring: Keyring, identifier: bytes, context: bytes) -> None:
        self._frames = AESGCM(keyring.derive(identifier, b"stream", context))
        self._lengths = keyring.derive(identifier, b"length", context)

    def header(self, number: int, length: int) -> bytes:
        encoded = length.to_bytes(LENGTH_BYTES, "big")
        return encoded + blake2b(number.to_bytes(8, "big") + encoded, key=self._lengths, digest_size=PROOF_BYTES).digest()

    def seal(self, number: int, plaintext: bytes) -> bytes:
        return self._frames.encrypt(number.to_bytes(12, "big"), plaintext, None)

    def open(self, number: int, ciphertext: bytes) -> bytes:
        return self._frames.decrypt(number.to_bytes(12, "big"), ciphertext, None)


class Channel:
    """One end of a stream.

    Parameters
    ----------
    keyring, session, entropy: as for `mesh.seal.Seal`.
    initiator: whether this end dialled; it greets first, and chooses the secret.
    key: which one; without it the primary.
    make: the keys of each direction.
    """

    __slots__ = (
        "_buffer",
        "_entropy",
        "_identifier",
        "_inbound",
        "_initiator",
        "_keyring",
        "_make",
        "_outbound",
        "_output",
        "_own",
        "_received",
        "_salt",
        "_sent",
        "ready",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        keyring: Keyring,
        session: bytes,
        entropy: Callable[[int], bytes],
        *,
        initiator: bool,
        key: bytes = b"",
        make: MakeKeys = SealedKeys,
    ) -> None:
        self.ready = False
        """Whether the far end has proven that it holds the secret."""
        self.session = b""
        """The far end's session, once `ready`."""
        self._keyring = keyring
        self._make = make
        self._own = session
        self._entropy = entropy
        self._initiator = initiator
        self._identifier = key
        self._salt = b""
        self._buffer = bytearray()
        self._output = bytearray()
        self._inbound: Keys | None = None
        self._outbound: Keys | None = None
        self._received = 0
        self._sent = 0

    def opening(self) -> bytes:
        """The initiator's first bytes."""
        assert self._initiator and not self._salt
        key = self._identifier
        return self._greeting(key if key in self._keyring else self._keyring.primary)

    def _greeting(self, identifier: bytes) -> bytes:
        self._salt = self._entropy(SALT_BYTES)
        return MAGIC + identifier + self._own + self._salt

    def take(self) -> bytes:
        """Bytes of the handshake to be written."""
        if not self._output:
            return b""
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes) -> list[bytes]:
        """The plaintexts that these bytes complete.

        Raises
        ------
        ChannelError: nothing more can be read.
        """
        buffer = self._buffer
        buffer += data
        if self._inbound is None:
            if not MAGIC.startswith(bytes(buffer[: len(MAGIC)])):
                raise ChannelError("malformed")
            if len(buffer) < GREETING_BYTES:
                return []
            self._inbound = self._greet(bytes(buffer[:GREETING_BYTES]))
            del buffer[:GREETING_BYTES]
        plaintexts: list[bytes] = []
        start = 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
                body = start + HEADER_BYTES
                if not compare_digest(self._inbound.header(self._received, length), bytes(buffer[start:body])):
                    raise ChannelError("unauthentic")
                if not TAG_BYTES <= length <= MAX_FRAME + TAG_BYTES:
                    raise ChannelError("too_large" if self.ready else "malformed")
                if not self.ready and length != TAG_BYTES:
                    raise ChannelError("unauthentic")
                end = body + length
                if len(buffer) < end:
                    break
                plaintext = self._open(self._inbound, bytes(buffer[body:end]))
                start = end
                if self.ready:
                    plaintexts.append(plaintext)
                else:
                    self._proven()
        except ChannelError as problem:
            problem.plaintexts = plaintexts
            raise
        finally:
            del buffer[:start]
        return plaintexts

    def _greet(self, greeting: bytes) -> Keys:
        """The keys of what comes; those of what goes are set."""
        position = len(MAGIC) + KEY_ID_BYTES
        identifier, far = greeting[len(MAGIC) : position], greeting[position : position + SESSION_BYTES]
        salt = greeting[position + SESSION_BYTES :]
        if identifier not in self._keyring:
            raise ChannelError("unknown_key")
        self._identifier = identifier
        if far == self._own:
            raise ChannelError("itself")
        if not self._initiator:
            self._output += self._greeting(identifier)
        mine, theirs = (self._own + self._salt, far + salt)
        ends = mine + theirs if self._initiator else theirs + mine
        there, back = [self._make(self._keyring, identifier, way + ends) for way in (b">", b"<")]
        self._outbound, inbound = (there, back) if self._initiator else (back, there)
        self.session = far
        if self._initiator:
            self._output += self._frame(b"")
        return inbound

    def _proven(self) -> None:
        self.ready = True
        self._keyring.showed(self.session, self._identifier)
        if not self._initiator:
            self._output += self._frame(b"")

    def _open(self, keys: Keys, ciphertext: bytes) -> bytes:
        try:
            plaintext = keys.open(self._received, ciphertext)
        except InvalidTag:
            raise ChannelError("unauthentic") from None
        self._received += 1
        return plaintext

    def _frame(self, plaintext: bytes) -> bytes:
        assert self._outbound is not None
        ciphertext = self._outbound.seal(self._sent, plaintext)
        header = self._outbound.header(self._sent, len(ciphertext))
        self._sent += 1
        return header + ciphertext

    def seal(self, plaintext: bytes) -> bytes:
        """The bytes of one frame, on a channel that is ready.

        Raises
        ------
        ValueError: the plaintext is larger than `MAX_FRAME`.
        """
        if len(plaintext) > MAX_FRAME:
            raise ValueError(f"a frame of {len(plaintext)} bytes is above the limit of {MAX_FRAME}")
        assert self.ready
        return self._frame(plaintext)
