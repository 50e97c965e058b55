"""Sealed datagrams: AES-256-GCM, always.

    0        version    1 byte
    1        kind       1 byte: PAIR, PROOF, HELLO or COOKIE
    2        key        4 bytes, which secret
    6        session    16 bytes, the sender's
    22       counter    8 bytes, big-endian
    30       random     4 bytes
    34       ciphertext and 16-byte tag

The header is authenticated. The nonce is the counter and the random bytes: a cloned machine, which repeats its counter,
repeats no nonce. The key is derived from the secret and *both* sessions, in this direction: what was recorded can be opened
by nobody else, nor by a later process of the same name. A `hello` alone, whose receiver is not known, has a key of the
sender's session; it changes no state.

One window a sender refuses what was taken before. The highest counter of a sender that is forgotten is remembered, bounded.
Once one had to be dropped, any unknown sender may be that one: it is known again only by a proof that is made now
(`mesh.hello`), for its old datagrams may be recordings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.keyring import KEY_ID_BYTES, Keyring
from mesh.replay import ReplayWindow

__all__ = ["DATAGRAM_OVERHEAD", "HEADER_BYTES", "Kind", "Opened", "Refusal", "Seal", "SESSION_BYTES"]

VERSION = 1
SESSION_BYTES = 16
HEADER_BYTES = 2 + KEY_ID_BYTES + SESSION_BYTES + 12
TAG_BYTES = 16
DATAGRAM_OVERHEAD = HEADER_BYTES + TAG_BYTES
FORGOTTEN = 4096
"""Forgotten senders whose highest counter is remembered."""

_SESSION = slice(2 + KEY_ID_BYTES, 2 + KEY_ID_BYTES + SESSION_BYTES)
_NONCE = slice(HEADER_BYTES - 12, HEADER_BYTES)
_COUNTER = slice(HEADER_BYTES - 12, HEADER_BYTES - 4)


class Kind:
    """What a datagram is. Only `PAIR` among those who know each other."""

    PAIR = 1
    PROOF = 2
    """`PAIR`, behind a cookie that the receiver gave to this address."""
    HELLO = 3
    COOKIE = 4


class Refusal(Exception):
    """A datagram that is dropped; `reason` is what it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Opened(NamedTuple):
    kind: int
    sender: bytes
    """The session that sealed it."""
    plaintext: bytes
    known: bool
    """Whether the sender's session was known; of one that was not, nothing may be delivered."""
    counter: int


class Peer:
    """The keys to and from one session, by secret, and its window."""

    __slots__ = ("inbound", "outbound", "window")

    def __init__(self, highest: int = 0) -> None:
        self.inbound: dict[bytes, AESGCM] = {}
        self.outbound: dict[bytes, AESGCM] = {}
        self.window = ReplayWindow(highest)


class Seal:
    """Seals and opens this process's datagrams.

    Parameters
    ----------
    keyring: the secrets; read at each use, so that it may change.
    session: this process's 16 random bytes.
    entropy: random bytes.
    """

    __slots__ = ("_counter", "_dropped", "_entropy", "_forgotten", "_peers", "keyring", "session")

    def __init__(self, keyring: Keyring, session: bytes, entropy: Callable[[int], bytes]) -> None:
        assert len(session) == SESSION_BYTES
        self.keyring = keyring
        self.session = session
        self._entropy = entropy
        self._counter = 0
        self._peers: dict[bytes, Peer] = {}
        self._forgotten: OrderedDict[bytes, int] = OrderedDict()
        self._dropped = False
        """A forgotten sender's counter is remembered no more."""

    def knows(self, session: bytes) -> bool:
        return session in self._peers

    def know(self, session: bytes, taken: int = 0, *, fresh: bool = False) -> None:
        """Take this session's datagrams from now on: those above the counter `taken`, and above any that were taken before.

        `fresh` says that the datagram of that counter was made now, and is no recording. If the session is known already,
        what was sealed before it is taken no more: it may carry again what an older one carried."""
        peer = self._peers.get(session)
        if peer is not None and fresh:
            peer.window.close(taken)
        if peer is not None or session == self.session:
            return
        if self._dropped and not fresh and session not in self._forgotten:
            return
        self._peers[session] = Peer(max(self._forgotten.pop(session, 0), taken))

    def forget(self, session: bytes) -> None:
        """Take nothing more of it, until it is known again; its counter stays remembered."""
        peer = self._peers.pop(session, None)
        if peer is not None and peer.window.highest:
            self._forgotten[session] = peer.window.highest
            if len(self._forgotten) > FORGOTTEN:
                self._forgotten.popitem(last=False)
                self._dropped = True

    def seal(self, plaintext: bytes, to: bytes, kind: int = Kind.PAIR) -> bytes:
        """One datagram for one session, known or not."""
        primary = self.keyring.key_to(to)
        peer = self._peers.get(to)
        if peer is None:
            key = self._key(primary, b"udp", self.session + to)
        else:
            found = peer.outbound.get(primary)
            if found is None:
                found = peer.outbound[primary] = self._key(primary, b"udp", self.session + to)
            key = found
        return self._close(kind, primary, key, plaintext)

    def seal_hello(self, plaintext: bytes) -> bytes:
        """A datagram for whoever holds the secret at an address."""
        primary = self.keyring.next_key()
        return self._close(Kind.HELLO, primary, self._key(primary, b"hello", self.session), plaintext)

    def count(self) -> int:
        """The number of the next datagram."""
        self._counter += 1
        return self._counter

    def _close(self, kind: int, primary: bytes, key: AESGCM, plaintext: bytes) -> bytes:
        nonce = self.count().to_bytes(8, "big") + self._entropy(4)  # drawn each time: a stock of them would be cloned too
        header = bytes((VERSION, kind)) + primary + self.session + nonce
        return header + key.encrypt(nonce, plaintext, header)

    def open(self, data: bytes) -> Opened:
        """Authenticate a datagram, then refuse it if it was taken before.

        Raises
        ------
        Refusal: `malformed`, `version`, `own`, `unknown_key`, `unauthentic` or `replayed`.
        """
        if len(data) < DATAGRAM_OVERHEAD:
            raise Refusal("malformed")
        if data[0] != VERSION:
            raise Refusal("version")
        kind = data[1]
        header = data[:HEADER_BYTES]
        identifier = data[2 : 2 + KEY_ID_BYTES]
        sender = data[_SESSION]
        if sender == self.session:
            raise Refusal("own")
        if identifier not in self.keyring:
            raise Refusal("unknown_key")
        peer = self._peers.get(sender)
        if kind == Kind.HELLO:
            key = self._key(identifier, b"hello", sender)
        elif peer is None:
            key = self._key(identifier, b"udp", sender + self.session)
        else:
            found = peer.inbound.get(identifier)
            if found is None:
                found = peer.inbound[identifier] = self._key(identifier, b"udp", sender + self.session)
            key = found
        try:
            plaintext = key.decrypt(data[_NONCE], data[HEADER_BYTES:], header)
        except InvalidTag:
            raise Refusal("unauthentic") from None
        counter = int.from_bytes(data[_COUNTER], "big")
        known = peer is not None if kind == Kind.HELLO else self.admit(sender, counter)
        self.keyring.showed(sender, identifier)
        return Opened(kind, sender, plaintext, known, counter)

    def admit(self, sender: bytes, counter: int) -> bool:
        """Whether the sender of a datagram that is authentic is known.

        Raises
        ------
        Refusal: `replayed`, if it was taken before.
        """
        peer = self._peers.get(sender)
        if not (counter > self._forgotten.get(sender, 0) if peer is None else peer.window.take(counter)):
            raise Refusal("replayed")
        return peer is not None

    def _key(self, identifier: bytes, purpose: bytes, context: bytes) -> AESGCM:
        return AESGCM(self.keyring.derive(identifier, purpose, context))
