"""What services say to each other through the mesh: wire messages 94 to 97 and 170 to 172.

    sender                                          receiver
    Letter(number, least, topic, body)      ->      to one member, repeated until it is answered
    Question(number, least, topic, …)       ->
                                            <-      Receipt(number, outcome)
                                            <-      Reply(number, least, question, …), a letter the other way
    Receipt                                 ->

    Broadcast(items)                        ->      to a few, who pass on what is new to them
    Recent(a hash of each half second)      ->      now and then, while there is anything recent
                                            <-      Known(names) of each half second that differs
    Broadcast(those that it has not)        ->
    Wanted(those that this node has not)    ->
                                            <-      Broadcast(items)

Bodies are users' values, encoded; nothing here looks into them."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from mesh.directives import Message
from mesh.values import MAX_VALUE_BYTES
from mesh.wire import U32, U64, Length, Name, SessionId, message, record

__all__ = [
    "HASH_BYTES",
    "ITEMS",
    "MAX_KNOWN",
    "MAX_TOPIC_BYTES",
    "NAMES",
    "SLICES",
    "WHY_CHARACTERS",
    "Broadcast",
    "Item",
    "ItemName",
    "Known",
    "Letter",
    "Outcome",
    "Question",
    "Receipt",
    "Recent",
    "Reply",
    "SliceHash",
    "Wanted",
]

MAX_TOPIC_BYTES = 256
WHY_CHARACTERS = 200
"""Of the sentence with which a question is refused."""

ITEMS = 64
"""Broadcasts in one message; what counts is that it fits a datagram."""
NAMES = 40
"""Names of broadcasts that are asked for at once: they fit a datagram."""
SLICES = 64
"""Half seconds that are compared at once; their hashes fit a datagram."""
HASH_BYTES = 6
MAX_KNOWN = 8_192
"""Broadcasts that are remembered."""

Topic = Annotated[str, Length(1, MAX_TOPIC_BYTES)]
Body = Annotated[bytes, Length(0, MAX_VALUE_BYTES)]


class Outcome(IntEnum):
    """What a receiver did with a letter. None but `FULL` is ever taken back."""

    TAKEN = 0
    """Somebody there has it in hand."""
    NOBODY = 1
    """Nobody there subscribes to the topic; nobody waits for such a reply any more."""
    FULL = 2
    """Whoever subscribes has not read what came before; or waits for replies, and has not read those before. A reply is then
    repeated, a letter is not."""


@message(94)
class Letter(Message):
    number: U64
    """Of the sender's letters to this process; rising by one."""
    least: U64
    """The lowest number that the sender has not finished with: what is below may be forgotten."""
    topic: Topic
    body: Body


@message(95)
class Question(Message):
    """A letter that wants replies. They name it by its number."""

    number: U64
    least: U64
    topic: Topic
    body: Body
    patience_ms: U32
    """For how long replies are waited for."""


@message(96)
class Reply(Message):
    number: U64
    """A letter's, of the replier to the asker."""
    least: U64
    question: U64
    last: bool
    """No more follow from this member."""
    why: Annotated[str, Length(0, WHY_CHARACTERS)]
    """It is no answer, but a refusal, and this is its sentence; empty for an answer."""
    body: Body


@message(97)
class Receipt(Message):
    number: U64
    outcome: Outcome


@record
class ItemName:
    """Which broadcast: no process gives two the same stamp."""

    stamp: U64
    origin: SessionId


@record
class Item:
    which: ItemName
    sender: Name
    topic: Topic
    body: Annotated[bytes, Length(0, 2048)]


@message(170)
class Broadcast(Message):
    items: Annotated[tuple[Item, ...], Length(0, ITEMS)]


@record
class SliceHash:
    """What is known of one half second."""

    slice: U64
    """Half seconds of hybrid time."""
    hash: Annotated[bytes, Length(HASH_BYTES, HASH_BYTES)]
    """Exclusive or of its names' hashes."""


@message(171)
class Recent(Message):
    """This I have heard of late."""

    since: U64
    """The first half second that is compared: what is before is not for this process, or will soon be forgotten."""
    slices: Annotated[tuple[SliceHash, ...], Length(0, SLICES)]


@message(172)
class Wanted(Message):
    """Answered by `Broadcast`."""

    names: Annotated[tuple[ItemName, ...], Length(0, NAMES)]


@message(173)
class Known(Message):
    """All that I have heard of one half second. Answered by `Broadcast` and `Wanted`."""

    slice: U64
    names: Annotated[tuple[ItemName, ...], Length(0, MAX_KNOWN)]
