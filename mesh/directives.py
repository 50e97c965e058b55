"""What a part of the node is told, and what it answers.

Everything that decides is a *part*: a plain object that is handed a decoded message, a due timer, an event or a local
command, each with the `Instant` at which it happened, changes its own state, and answers with *directives*. A part never
sends, sleeps, reads a clock or draws entropy. The node (`mesh.node`) performs the directives of its parts: it names timers,
packs messages into sealed frames, and hands *outputs* to the driver, which alone touches sockets or the heap of a world.

Two rules:
  - directives are performed in the order given, after the part has returned: a part is never re-entered. Those behind a
    `Persist` wait until the disk has it, and the directives of other lists do not wait for them;
  - a message is an immutable value: the same object may be sent to many members and is encoded once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol

from crdt.clock import Instant
from mesh.frozen import frozen
from mesh.schema import recurring

__all__ = [
    "Act",
    "Address",
    "Arm",
    "Boot",
    "Bye",
    "ChannelDown",
    "ChannelUp",
    "Close",
    "Dial",
    "Directive",
    "Directives",
    "Disarm",
    "Emit",
    "Event",
    "Forget",
    "Greet",
    "Greeted",
    "Instant",
    "Know",
    "Mark",
    "Marked",
    "Message",
    "OtherSecret",
    "Part",
    "Persist",
    "Record",
    "Refused",
    "Send",
    "Source",
    "Stop",
    "StoreFailing",
    "StoreRestored",
    "Write",
]

Address = str
"""`host:port` with a numeric host; IPv6 in brackets. Host names are resolved by the driver before a core sees them."""

NANOSECONDS = 1_000_000_000
"""Cores count durations in integer nanoseconds; the API speaks float seconds."""


@recurring
class Boot(NamedTuple):
    """One running process of a name: a newer boot supersedes every older one, whatever their incarnations."""

    stamp: int
    """Hybrid logical time at which the process started."""
    session: bytes
    """128 random bits drawn from the operating system at start; also the actor of its writes."""


class Message:
    """Base of every wire message; see `mesh.wire.message` for how one is declared."""

    __slots__ = ()


class Event:
    """Base of what parts tell each other and the API; never sent on the wire."""

    __slots__ = ()


class Source(NamedTuple):
    """Who sent a message. The session is authenticated; the name is what membership knows of it, or None."""

    session: bytes
    address: Address
    """Where the frame came from: a datagram's sender, or the far end of the stream."""
    name: str | None
    boot: Boot | None
    channel: int | None
    """The stream that it came on, or None for a datagram."""
    mark: int = 0
    """What its frame says of the sender's standing: see `mesh.replication.standing`."""


# --- what parts answer ---------------------------------------------------------------------------------------------


@frozen
class Send:
    """A message to a member by name (its newest boot), by session, or both.

    It travels in the next datagram to that member, or over a stream if it is too large for one; `stream=True` forces the
    stream. Unreliable either way. A name that is not known is counted as `unroutable` and dropped: every protocol here
    retries. The name may be a thin client's, `ID@SPONSOR`: it is then wrapped and relayed by the sponsor. A message to
    the node's own name is delivered to itself, after the current step, without touching the network."""

    to: str | bytes
    """A member's name, or a 16-byte session that the node knows."""
    message: Message
    stream: bool = False


@frozen
class Arm:
    """Wake the part with `timer` at `at` (monotonic ns). Arming an armed timer moves it; a stale one never fires."""

    timer: Hashable
    at: int


@frozen
class Disarm:
    timer: Hashable


@frozen
class Emit:
    """Tell every other part (`Part.on_event`) and the API. Delivered after the current step, in order."""

    event: Event


@frozen
class Dial:
    """Open a stream to an address. Answered by a `ChannelUp` or `ChannelDown` event with the same tag, to every part."""

    address: Address
    tag: Hashable


@frozen
class Write:
    """A message on one open channel, in order. Dropped and counted if the channel has gone."""

    channel: int
    message: Message


@frozen
class Close:
    """Close a channel once what was written has been flushed."""

    channel: int


@frozen
class Greet:
    """Send a padded `hello` datagram to an address whose session is not known (a seed, a dead member's address)."""

    address: Address


@frozen
class Know:
    """From membership only: this session belongs to this member at this address; datagrams may pass both ways."""

    name: str
    boot: Boot
    address: Address


@frozen
class Forget:
    """From membership only: the session is no member's any more. Its replay window is remembered, bounded."""

    session: bytes


@frozen
class Stop:
    """The node must not go on (its name is taken by a newer boot, its pid has changed). The driver raises the reason."""

    error: Exception


@frozen
class Mark:
    """From replication only: every frame from now on says this of this node's standing."""

    mark: int


@frozen
class Act:
    """What a command of another part answered, performed as that part's own (its timers stay its)."""

    part: Part
    directives: Directives


Record = tuple[str, bytes, bytes | None]
"""Table, key and value of what a node remembers; the value None deletes the key."""


@frozen
class Persist:
    """Remember these records, all or none of them. What the part answers behind this, in the same list, is performed once
    they are durable, and so are all records before them; only its timers are set at once, for they tell nobody anything.

    Without records it is a barrier: what follows rests on what this node has recorded before. A node without a store
    performs at once. See `mesh.memory`."""

    records: tuple[Record, ...] = ()


Directive = Act | Send | Arm | Disarm | Emit | Dial | Write | Close | Greet | Know | Forget | Mark | Stop | Persist
Directives = Sequence["Directive"]

# --- events that the node itself emits -----------------------------------------------------------------------------


@frozen
class ChannelUp(Event):
    """A stream finished its handshake: the far end holds the secret and its session is proven."""

    channel: int
    session: bytes
    address: Address
    tag: Hashable
    """The tag of the `Dial`; None for an accepted stream."""


@frozen
class ChannelDown(Event):
    """A stream ended, or never came up (`session` is None then)."""

    channel: int
    session: bytes | None
    address: Address
    tag: Hashable
    reason: str
    """`refused`, `silent`, `unanswered` (no valid handshake: the secret?), `itself`, `closed`, `reset`, `bye`, `idle`."""


@frozen
class Refused(Event):
    """The operating system refused a datagram to this address: evidence that its process has died, never a verdict."""

    address: Address


@frozen
class Marked(Event):
    """A frame bore a higher mark than any before it."""

    session: bytes
    mark: int


@frozen
class Greeted(Event):
    """A `Greet` was answered: a process that holds the secret lives at that address, under that session."""

    session: bytes
    address: Address


@frozen
class OtherSecret(Event):
    """A datagram or a stream was dropped that is sealed with a secret which is not in the ring: by whomever. The API is told
    once a minute at most, and no part, for it is proof of nothing."""

    address: Address


@frozen
class StoreFailing(Event):
    """The store does not take what is to be remembered: whatever has to be durable before it is answered is not answered."""

    error: str


@frozen
class StoreRestored(Event):
    """The store has taken everything again."""


@frozen
class Bye(Event):
    """The node is stopping gracefully: parts answer with the last directives that they want performed."""


class Part(Protocol):
    """One deciding part of a node. Mesh's own parts and coordination's extensions have the same shape.

    A part that hears few events may say which in a class attribute `hears`, a tuple of event classes; the others are then not
    handed to it."""

    @property
    def name(self) -> str:
        """Short and unique within the node: the owner of its timers, and the prefix of its counts in `stats`."""

    @property
    def messages(self) -> tuple[type[Message], ...]:
        """The wire messages that it handles."""

    def start(self, now: Instant) -> Directives: ...
    def on_message(self, message: Message, source: Source, now: Instant) -> Directives: ...
    def on_timer(self, timer: Hashable, now: Instant) -> Directives: ...
    def on_event(self, event: Event, now: Instant) -> Directives: ...
    def stats(self) -> dict[str, int]: ...
