"""Proof of address: how two processes that do not know each other's session begin, without state on either side.

    A -> B   hello, padded                    A knows B's address alone
    B -> A   cookie                           sealed for A's session; B keeps nothing
    A -> B   proof: cookie + frame            B checks the cookie, and knows A

The cookie is a keyed hash of the asker's session, its address and the time, under a key that B drew at start. It shows that
A receives at that address *now*: a recording shows nothing, and nobody can make B send to a third party more than was sent
to B. A frame from a session that B does not know (A has heard of B by gossip, B not yet of A) starts at the second line.

A hello and a proof that is not accepted change no state. Nothing unauthenticated is answered; no answer is larger than
what it answers; to one address at most one cookie goes out each `COOKIE_INTERVAL`."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from mesh.seal import DATAGRAM_OVERHEAD, Kind, Opened, Seal

__all__ = ["COOKIE_BYTES", "COOKIE_INTERVAL", "Greeter"]

COOKIE_BYTES = 16
COOKIE_LIFE = 10_000_000_000
"""ns: a cookie is accepted in the bucket of time in which it was made and in the next."""
COOKIE_INTERVAL = 200_000_000
"""ns between two cookies to one address."""
ADDRESSES = 1024
"""Addresses whose last cookie is remembered; beyond it the oldest is forgotten."""
PADDED_BYTES = 128
"""A hello's plaintext: its datagram is larger than a cookie's."""


class Greeter:
    __slots__ = ("_key", "_seal", "_sent")

    def __init__(self, seal: Seal, key: bytes) -> None:
        self._seal = seal
        self._key = key
        self._sent: OrderedDict[str, int] = OrderedDict()

    def hello(self) -> bytes:
        """A datagram to an address of which nothing else is known."""
        return self._seal.seal_hello(bytes(PADDED_BYTES))

    def answer(self, opened: Opened, address: str, size: int, mono: int) -> bytes | None:
        """A cookie for an authenticated datagram of `size` bytes from a session that is not known; None if it gets none."""
        if size < DATAGRAM_OVERHEAD + COOKIE_BYTES:
            return None
        last = self._sent.get(address)
        if last is not None and mono - last < COOKIE_INTERVAL:
            return None
        self._sent[address] = mono
        self._sent.move_to_end(address)
        if len(self._sent) > ADDRESSES:
            self._sent.popitem(last=False)
        return self._seal.seal(self._cookie(opened.sender, address, mono // COOKIE_LIFE), opened.sender, Kind.COOKIE)

    def prove(self, cookie: bytes, to: bytes, frame: bytes) -> bytes:
        """The datagram that returns a cookie, with a frame behind it."""
        return self._seal.seal(cookie + frame, to, Kind.PROOF)

    def accept(self, opened: Opened, address: str, mono: int) -> bytes | None:
        """The frame behind a proof; None if the cookie is not one of this process for that session, address and time."""
        bucket = mono // COOKIE_LIFE
        cookie = opened.plaintext[:COOKIE_BYTES]
        if cookie not in (self._cookie(opened.sender, address, b) for b in (bucket, bucket - 1)):
            return None
        return opened.plaintext[COOKIE_BYTES:]

    def _cookie(self, session: bytes, address: str, bucket: int) -> bytes:
        content = session + bucket.to_bytes(8, "big", signed=True) + address.encode()
        return blake2b(content, key=self._key, digest_size=COOKIE_BYTES).digest()
