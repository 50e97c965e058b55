"""Who datagrams may be exchanged with: members, and strangers that have proven their address.

Members are known by session and by name, from membership's word alone; of two processes of one name the newer boot has it.
A process that has proven itself without being a member (by cookie, or on a stream) is a stranger: what it seals is opened,
nothing is sent to it by name, and the oldest of too many is forgotten first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.directives import Address, Boot, Source
from mesh.envelope import Encoded
from mesh.seal import Seal

__all__ = ["STRANGERS", "Contact", "Contacts"]

STRANGERS = 4_096
"""Sessions known without being members."""


@dataclass(slots=True)
class Contact:
    """A process that datagrams may be sent to."""

    session: bytes
    name: str
    boot: Boot
    address: Address
    source: Source
    """Of a datagram from its address."""
    heard: bool = False
    """A datagram of this process has been opened: it knows this one."""
    unproven: Sequence[Encoded] = ()
    """What the last datagram before it was heard held: it travels once more with the proof that it may ask for."""


class Contacts:
    """The tables; what they hold is known to the seal, and what leaves them is forgotten by it."""

    __slots__ = ("_seal", "_strangers", "by_name", "by_session")

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._strangers: dict[bytes, None] = {}
        self.by_session: dict[bytes, Contact] = {}
        self.by_name: dict[str, Contact] = {}

    def know(self, name: str, boot: Boot, address: Address) -> None:
        """This session belongs to this member at this address."""
        session = boot.session
        source = Source(session, address, name, boot, None)
        contact = self.by_session.get(session)
        if contact is None:
            self._seal.know(session)
            self._strangers.pop(session, None)
            contact = self.by_session[session] = Contact(session, name, boot, address, source)
        else:
            if contact.name != name and self.by_name.get(contact.name) is contact:
                del self.by_name[contact.name]
            contact.name, contact.boot, contact.address, contact.source = name, boot, address, source
        newest = self.by_name.get(name)
        if newest is None or newest.boot <= boot:
            self.by_name[name] = contact

    def forget(self, session: bytes) -> None:
        """It is no member's any more, and no stranger either."""
        self._strangers.pop(session, None)
        self._seal.forget(session)
        contact = self.by_session.pop(session, None)
        if contact is not None and self.by_name.get(contact.name) is contact:
            del self.by_name[contact.name]

    def greeted(self, session: bytes) -> None:
        """It has proven itself: unless it is a member, it is known for a while."""
        if session in self.by_session:
            return
        self._strangers.pop(session, None)
        self._strangers[session] = None
        if len(self._strangers) > STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self._seal.forget(oldest)

    def source(self, session: bytes, address: Address, channel: int | None) -> Source:
        """Who sent what came from there."""
        contact = self.by_session.get(session)
        if contact is None:
            return Source(session, address, None, None, channel)
        if channel is None and address == contact.address:
            return contact.source
        return Source(session, address, contact.name, contact.boot, channel)

    def __len__(self) -> int:
        return len(self.by_session)
