"""What members say to each other: wire messages 20 to 39.

Probes and rumours travel in datagrams. The exchange of tables runs over a stream, in four moments:

    dialler                                         answerer
    Join(own entry, admitted)       ->              verifies, if a newcomer asks for a name that another holds
                                    <-              Table ... Table, Welcome(known)     or Refuse(reason)
    Table ... Table, closes         ->              merges

A newcomer raises its boot between Welcome and its own tables, so these introduce it with its final boot. Members say what their
table hashes to when they join, and of equal ones none is sent: in a mesh at rest an exchange costs the same for any size."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from mesh.directives import Boot, Message
from mesh.membership.identity import MAX_STAMP, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS, is_reachable, valid_name, valid_tags
from mesh.membership.member import RANK, STATES, Member
from mesh.wire import U32, U64, AddressText, Bounds, Length, Name, SessionId, StampInt, message, record

__all__ = [
    "TABLE_DIGEST_BYTES",
    "TABLE_ENTRIES",
    "Ack",
    "Confirmed",
    "Entry",
    "Goodbye",
    "Gossip",
    "Join",
    "Lifeline",
    "Nack",
    "News",
    "Ping",
    "PingRequest",
    "Refuse",
    "Table",
    "Welcome",
    "WireBoot",
    "entry_of",
]

TABLE_ENTRIES = 256
"""Entries in one `Table`: at most 256 x 1 KiB, far below the largest frame."""

RECENT = 8_192
"""Entries whose members are remembered: as many as a table holds."""

TABLE_DIGEST_BYTES = 16

Tag = tuple[Annotated[str, Length(1, MAX_TAG_KEY)], Annotated[str, Length(0, MAX_TAG_VALUE)]]
Rank = Annotated[int, Bounds(0, len(STATES) - 1)]


@record
class WireBoot:
    stamp: StampInt
    session: SessionId


@record
class Entry:
    """One member as the sender knows it."""

    name: Name
    boot: WireBoot
    incarnation: U64
    rank: Rank
    address: AddressText
    tags: Annotated[tuple[Tag, ...], Length(0, MAX_TAGS)]

    def member(self) -> Member | None:
        """The member, or None if its name, boot, address or tags are such as no member may have."""
        return _member_of(self)


@lru_cache(maxsize=RECENT)
def _member_of(entry: Entry) -> Member | None:
    """Everyone is told the same several times over."""
    if not (entry.boot.stamp < MAX_STAMP and valid_name(entry.name) and is_reachable(entry.address) and valid_tags(entry.tags)):
        return None
    boot = Boot(entry.boot.stamp, entry.boot.session)
    return Member(entry.name, boot, entry.incarnation, STATES[entry.rank], entry.address, entry.tags)


def entry_of(member: Member) -> Entry:
    boot = WireBoot(member.boot.stamp, member.boot.session)
    return Entry(member.name, boot, member.incarnation, RANK[member.state], member.address, member.tags)


@message(20)
class Ping(Message):
    """Answered by `Ack`, by that process only."""

    sequence: U32
    target: SessionId


@message(21)
class Ack(Message):
    sequence: U32
    wall: U64
    """The answerer's raw wall clock in ms: each node learns its own offset to its peers."""


@message(22)
class PingRequest(Message):
    """Probe this process in my stead. Answered by `Confirmed`, or by `Nack` from a helper that is well itself."""

    sequence: U32
    target: SessionId


@message(23)
class Nack(Message):
    """The target has not answered the helper so far."""

    sequence: U32
    refused: bool
    """The helper's operating system says that nothing listens there."""


@message(24)
class Confirmed(Message):
    """The target answered the helper."""

    sequence: U32
    target: SessionId


@message(25)
class News(Message):
    """A rumour, or a subject's own word."""

    subject: Entry
    accuser: Name | None
    """Who suspects the subject of its own observation; None for all other news."""


@message(26)
class Join(Message):
    subject: Entry
    """The dialler itself; its boot is provisional unless it is admitted."""
    admitted: bool
    digest: Annotated[bytes, Length(0, TABLE_DIGEST_BYTES)] = b""
    """Of the dialler's table; empty if it wants to be told, whatever it knows."""


@message(27)
class Welcome(Message):
    sponsor: Name
    known: WireBoot | None
    """The highest boot of the dialler's name that another process had."""
    same: bool = False
    """The dialler's digest is that of the answerer's table: neither is sent."""


@message(28)
class Refuse(Message):
    reason: Annotated[int, Bounds(0, 255)]
    detail: Annotated[str, Length(0, 300)]

    NAME_TAKEN = 1  # the detail is the holder's address
    BAD_ADDRESS = 2
    FULL = 3


@message(29)
class Table(Message):
    entries: Annotated[tuple[Entry, ...], Length(0, TABLE_ENTRIES)]


@message(30)
class Gossip(Message):
    """Nothing: an occasion for rumours to ride along."""


@message(31)
class Lifeline(Message):
    """First and last on a stream that is kept idle, so that its end tells of a death."""


@message(32)
class Goodbye(Message):
    """The stream that it comes on is about to be ended on purpose."""
