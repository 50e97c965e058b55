"""The messages between a thin client and its sponsor (100 to 119), over one sealed stream.

    client                                          sponsor
    ClientHello                             ->
                                            <-      ClientWelcome       or ClientRefused, and the stream is closed
    Ask(sequence, operation, arguments)     ->
                                            <-      Answer(sequence, error, result)
    Forward(to, a holder's message)         ->      which goes on to that voter
                                            <-      Relayed(what a voter says to this client's holder)
                                            <-      Voters: the roster, and who of it is silent, whenever that changes
    Ask("watch", …)                         ->
                                            <-      Answer, then Happened ... Happened, as many as are granted
    Taken(watch, batches)                   ->      grants so many more
    Unwatch(watch), Unasked(sequence)       ->

Fields whose contents depend on the operation are CBOR inside of bytes; users' values stay encoded on the sponsor."""

from __future__ import annotations

from typing import Annotated

from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Boot, Message
from mesh.wire import U32, U64, Length, Name, message, record

__all__ = [
    "ASK_BYTES",
    "KEY_WRITES",
    "OUTSTANDING",
    "WINDOW",
    "WRITES",
    "Answer",
    "Ask",
    "ClientHello",
    "ClientRefused",
    "ClientWelcome",
    "Forward",
    "Happened",
    "Happening",
    "Taken",
    "Unasked",
    "Unwatch",
    "Voters",
]

OUTSTANDING = 64
"""Operations of one client that wait for their answer; the sponsor remembers the answers to so many writes."""

WINDOW = 4
"""Batches of one watch that the client has not taken yet."""

ASK_BYTES = 3 << 20
"""Arguments of one operation: the largest value, its key, and room."""

KEY_WRITES = frozenset({"batch", "clear", "delete", "delete_fenced", "put", "put_fenced", "put_many", "touch"})
"""Operations on keys that others may have to acknowledge."""

WRITES = KEY_WRITES | {"acked", "add", "atomic_add", "atomic_cas", "atomic_set", "broadcast", "counter_set", "send"}
"""Operations that must not happen twice."""


@message(100)
class ClientHello(Message):
    """The first message of a client. Who it is, its session on this stream has proven."""


@message(101)
class ClientWelcome(Message):
    name: str
    """`ID@SPONSOR`: under this name the voters know the client's holder."""
    sponsor: Name
    boot: Boot
    """The client's, dated by the sponsor's clock."""


@message(102)
class ClientRefused(Message):
    reason: str


@message(103)
class Ask(Message):
    """One operation. Sequences rise; the same one again is the same operation, and is answered, not done, again."""

    sequence: U64
    operation: Annotated[str, Length(1, 40)]
    arguments: bytes
    """An array, as CBOR."""


@message(104)
class Answer(Message):
    sequence: U64
    error: str
    """The class of an exception of `coordination.errors`; empty if it went well."""
    result: bytes
    """CBOR: the result, or the sentence and the attributes of the error."""


@message(105)
class Unasked(Message):
    """Nobody waits for this answer any more."""

    sequence: U64


@message(106)
class Forward(Message):
    """What the client's holder says to a voter."""

    to: Annotated[str, Length(1, 64)]
    payload: bytes


@message(107)
class Voters(Message):
    """What a holder needs of the mesh to know whom to ask. Sent with the welcome, and after each change."""

    roster: RosterValue | None
    silent: tuple[str, ...]
    """The voters that the sponsor does not see alive: a matter of speed only."""


@record
class Happening:
    """A `coordination.watch.WatchEvent`, its values as they are stored."""

    kind: str
    key: str
    value: bytes | None
    old: bytes | None
    stamp: U64
    origin: str | None
    revision: U64


@message(108)
class Happened(Message):
    watch: U32
    events: tuple[Happening, ...]


@message(109)
class Taken(Message):
    """The client has room for so many more batches."""

    watch: U32
    batches: U32


@message(110)
class Unwatch(Message):
    watch: U32
