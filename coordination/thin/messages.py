"""The messages between a thin client and its sponsor (100 to 139), over one sealed stream."""

from __future__ import annotations

from typing import Annotated

from coordination.agreed.roster import RosterValue
from mesh.directives import Boot, Message
from mesh.wire import U32, U64, Length, Name, SessionId, message

__all__ = ["Answer", "Ask", "ClientHello", "ClientWelcome", "Forward", "Happened", "RosterNote", "Unwatch", "Watching"]

ClientId = Annotated[str, Length(1, 40)]


@message(100)
class ClientHello(Message):
    """The first message of a client: its name within the sponsor, by which messages to its holder are addressed."""

    client: ClientId
    session: SessionId


@message(101)
class ClientWelcome(Message):
    sponsor: Name
    boot: Boot
    """The client's own, dated by the sponsor's clock."""
    roster: RosterValue | None


@message(102)
class Ask(Message):
    """One operation; `arguments` is a list, as CBOR."""

    sequence: U64
    operation: Annotated[str, Length(1, 40)]
    arguments: bytes


@message(103)
class Answer(Message):
    """Its outcome: `error` is the name of an exception class of `coordination`, empty if it went well."""

    sequence: U64
    error: str
    result: bytes
    """CBOR: the result, or the sentence of the error."""


@message(104)
class Forward(Message):
    """A message of the client's holder for a member; the sponsor passes it on unread."""

    to: Annotated[str, Length(1, 128)]
    payload: bytes


@message(105)
class RosterNote(Message):
    """The roster has been decided, or learned, since the welcome."""

    roster: RosterValue


@message(106)
class Watching(Message):
    """Follow a key or a prefix."""

    watch: U32
    key: str | None
    prefix: str | None
    snapshot: bool


@message(107)
class Happened(Message):
    """Events of a watch: a list of [kind, key, value, old, stamp, origin, revision], as CBOR."""

    watch: U32
    events: bytes


@message(108)
class Unwatch(Message):
    watch: U32
