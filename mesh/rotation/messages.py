"""How the keyring of the mesh is told: wire messages 174 and 175.

    RingNews    ->      rides in datagrams to whoever may not know it, and is answered if it says so
    Wrapped     ->      secrets that the receiver lacks, each sealed once more under one that it has

No secret ever stands in a message as it is: also what is decrypted and written down somewhere shows none."""

from __future__ import annotations

from typing import Annotated

from mesh.directives import Message
from mesh.keyring import KEY_ID_BYTES, MAX_SECRET_BYTES
from mesh.wire import Length, StampInt, message, record

__all__ = ["MAX_KEYS", "RING_DIGEST_BYTES", "KeyEntry", "KeyId", "RingNews", "Wrapped", "WrappedKey"]

MAX_KEYS = 32
"""Secrets that a mesh remembers, the removed included."""

RING_DIGEST_BYTES = 8

KeyId = Annotated[bytes, Length(KEY_ID_BYTES, KEY_ID_BYTES)]
RingDigest = Annotated[bytes, Length(0, RING_DIGEST_BYTES)]


@record
class KeyEntry:
    """What was last said of a secret."""

    key: KeyId
    stamp: StampInt
    present: bool
    """It was added; else removed."""


@message(174)
class RingNews(Message):
    entries: Annotated[tuple[KeyEntry, ...], Length(0, MAX_KEYS)]
    use_stamp: StampInt
    """When it was last said which secret seals; 0: never."""
    use: KeyId
    """Which one that was."""
    holds: Annotated[tuple[KeyId, ...], Length(1, MAX_KEYS)]
    """What the sender accepts, the one first that it seals with."""
    heard: RingDigest
    """Of the last news that the sender has had of the receiver's ring; empty: none."""
    want: bool
    """The sender does not know yet that the receiver has heard of its ring: answer."""


@record
class WrappedKey:
    key: KeyId
    under: KeyId
    sealed: Annotated[bytes, Length(16, MAX_SECRET_BYTES + 16)]


@message(175)
class Wrapped(Message):
    keys: Annotated[tuple[WrappedKey, ...], Length(0, MAX_KEYS)]
