"""First contact as the node lives it: what a datagram beside the ordinary (`mesh.hello`) makes it answer, and whom it tells.

It keeps who was greeted, and what is sealed with a secret that this node does not accept. Rules:
  - a cookie is returned only to whom this node has greeted, or has written to; the proof goes where the greeting or the frame
    went, not where the cookie says that it comes from;
  - what was written before the far end knew this process travels once more with the proof, and not a second time;
  - another secret is told of after several datagrams, and seldom: one alone may be a bit that was flipped on its way."""

from __future__ import annotations

from typing import NamedTuple

from mesh.contacts import Contacts
from mesh.directives import Address, Greeted, OtherSecret
from mesh.envelope import packed
from mesh.hello import COOKIE_BYTES, Greeter
from mesh.outputs import Transmit
from mesh.seal import Kind, Opened, Seal
from mesh.wire import pack

__all__ = ["GREETS", "Introductions", "Met"]

GREETS = 4_096
"""Addresses that were greeted and have not answered yet; the oldest is forgotten first."""

UNKNOWN_KEYS = 16
"""Datagrams that are sealed with another secret, before anybody is told of them."""

OTHER_SECRET = 60_000_000_000
"""ns between two events about what is sealed with another secret."""


class Met(NamedTuple):
    """What has come of a datagram of a stranger."""

    counted: str = ""
    """What it counts as, if it is worth counting."""
    answer: Transmit | None = None
    frame: bytes | None = None
    """The plaintext of a sender that has proven itself."""
    greeted: Greeted | None = None


class Introductions:
    __slots__ = ("_contacts", "_greeter", "_greets", "_other_secret", "_seal", "_unknown_keys")

    def __init__(self, seal: Seal, contacts: Contacts, key: bytes) -> None:
        self._seal = seal
        self._contacts = contacts
        self._greeter = Greeter(seal, key)
        self._greets: dict[Address, None] = {}
        self._unknown_keys = 0
        self._other_secret = 0
        """When another secret is told of again."""

    def greet(self, address: Address) -> Transmit:
        """Say hello to whoever is there."""
        self._greets[address] = None
        if len(self._greets) > GREETS:
            del self._greets[next(iter(self._greets))]
        return Transmit(address, self._greeter.hello())

    def receive(self, opened: Opened, address: Address, size: int, mark: int, mono: int) -> Met:
        """A datagram beside the ordinary, of so many bytes: of a sender that is not known yet, or to one that does not know
        us. `mark` is what the frames of this node say of its standing."""
        match opened.kind:
            case Kind.COOKIE:
                return self._prove(opened, address, mark)
            case Kind.PROOF:
                frame = self._greeter.accept(opened, address, mono)
                if frame is None:
                    return Met("refused_cookie")
                self._seal.know(opened.sender, opened.counter, fresh=True)
                self._contacts.greeted(opened.sender)
                return Met(frame=frame)
            case Kind.HELLO | Kind.PAIR:
                cookie = self._greeter.answer(opened, address, size, mono)
                return Met("strangers", None if cookie is None else Transmit(address, cookie))
            case _:
                return Met("refused_kind")

    def _prove(self, opened: Opened, address: Address, mark: int) -> Met:
        """Return a cookie, with the frame that was not delivered; one that answers a greeting is told to the parts."""
        if len(opened.plaintext) != COOKIE_BYTES:
            return Met("refused_cookie")
        contact = self._contacts.by_session.get(opened.sender)
        if contact is None:
            if address not in self._greets:  # nobody asked: a recording, and its address may be a third party's
                return Met("refused_cookie")
            del self._greets[address]
        frame, to = pack((), mark), address
        if contact is not None:
            to = contact.address
            if contact.unproven:
                frame = packed(contact.unproven, mark)
                contact.unproven = ()  # once: a second cookie must not deliver it twice
        proof = self._greeter.prove(opened.plaintext, opened.sender, frame)
        if not opened.known:
            self._seal.know(opened.sender, opened.counter)
            self._contacts.greeted(opened.sender)
        return Met(answer=Transmit(to, proof), greeted=Greeted(opened.sender, address) if contact is None else None)

    def unknown_key(self, address: Address, mono: int) -> OtherSecret | None:
        """A datagram came that is sealed with another secret; an event, if that is to be told."""
        self._unknown_keys += 1
        return self.other_secret(address, mono) if self._unknown_keys % UNKNOWN_KEYS == 0 else None

    def other_secret(self, address: Address, mono: int) -> OtherSecret | None:
        """Somebody there surely has another secret; an event, if that was not told lately."""
        if mono < self._other_secret:
            return None
        self._other_secret = mono + OTHER_SECRET
        return OtherSecret(address)
