"""A thin client's only part: its line to the sponsor, and the holder that speaks over it.

The holder is the same as a member's, with the client's own clock and its own belief; here its messages are put on the line,
and what the sponsor relays is handed to it. Nothing else is decided here: dialling one address after another, waiting and
giving up are the caller's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from coordination.agreed.holding.holder import Holder
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.sponsor.messages import (
    Answer,
    ClientHello,
    ClientRefused,
    ClientWelcome,
    Forward,
    Happened,
    Voters,
)
from crdt.clock import Instant
from mesh.directives import (
    Address,
    Boot,
    ChannelDown,
    ChannelUp,
    Close,
    Dial,
    Directive,
    Directives,
    Emit,
    Event,
    Message,
    Send,
    Source,
    Write,
)
from mesh.relay import Relayed
from mesh.wire import WireError, decode, encode

__all__ = ["ClientIdentity", "Heard", "Line", "Parted", "Welcomed"]


@dataclass(slots=True)
class ClientIdentity:
    """Who the client is: until it is welcomed, its session alone."""

    name: str
    boot: Boot
    address: Address = ""


@dataclass(frozen=True, slots=True)
class Welcomed(Event):
    """A node sponsors this client."""

    attempt: int
    sponsor: str


@dataclass(frozen=True, slots=True)
class Parted(Event):
    """The stream of an attempt has ended, or has not come up."""

    attempt: int
    reason: str
    """A word as in `ChannelDown.reason`, or the sentence of a refusal."""


@dataclass(frozen=True, slots=True)
class Heard(Event):
    """What the sponsor said to the API."""

    message: Answer | Happened


class Mesh:
    """What the sponsor tells of the voters: the holder's view, and its roster."""

    __slots__ = ("roster", "silent")

    def __init__(self) -> None:
        self.roster: RosterValue | None = None
        self.silent: tuple[str, ...] = ()

    def is_alive(self, name: str) -> bool:
        return name not in self.silent

    def boot(self, name: str) -> Boot | None:
        """The holder learns boots by its grants."""
        return None

    def names_alive(self) -> Sequence[str]:
        voters = self.roster.voters if self.roster is not None else ()
        return [name for name in voters if name not in self.silent]

    def abstaining_until(self, now: Instant) -> int | None:
        return None


class Line:
    name = "line"
    messages: tuple[type[Message], ...] = (ClientWelcome, ClientRefused, Answer, Happened, Voters, Relayed)

    def __init__(self, session: bytes) -> None:
        self.identity = ClientIdentity("", Boot(0, session))
        self.mesh = Mesh()
        self.holder = Holder(self.identity, self.mesh, self.mesh)
        self._attempt = 0
        self._channel: int | None = None
        self._refusal = ""
        self._counts: Counter[str] = Counter()

    # --- commands ----------------------------------------------------------------------------------------------------

    def dial(self, address: Address) -> tuple[int, Directives]:
        """Try a node, instead of any before; the attempt's number. `Welcomed` or `Parted` follows."""
        out: list[Directive] = []
        if self._channel is not None:
            out.append(Close(self._channel))
        self._attempt += 1
        self._channel = None
        self._refusal = ""
        out.append(Dial(address, self._attempt))
        return self._attempt, out

    @property
    def up(self) -> bool:
        return self._channel is not None

    def say(self, message: Message) -> Directives:
        """A message to the sponsor; lost if the stream has ended."""
        return (Write(self._channel, message),) if self._channel is not None else ()

    def outward(self, directives: Directives) -> Directives:
        """What the holder answered, with its messages put on the line."""
        if not any(isinstance(directive, Send) for directive in directives):
            return directives
        out: list[Directive] = []
        for directive in directives:
            if not isinstance(directive, Send):
                out.append(directive)
            elif self._channel is not None and isinstance(directive.to, str):
                out.append(Write(self._channel, Forward(directive.to, encode(directive.message))))
            else:
                self._counts["unsent"] += 1
        return out

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return self.outward(self.holder.start(now))

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if source.channel is None or source.channel != self._channel:
            self._counts["strangers"] += 1
            return ()
        match message:
            case ClientWelcome(name, sponsor, boot):
                self.identity.name, self.identity.boot = name, boot
                return (Emit(Welcomed(self._attempt, sponsor)),)
            case ClientRefused(reason):
                self._refusal = reason
            case Voters(roster, silent):
                known, self.mesh.roster, self.mesh.silent = self.mesh.roster, roster, silent
                if roster is not None and roster != known:
                    return self.outward(self.holder.on_event(RosterDecided(roster), now))
            case Answer() | Happened():
                return (Emit(Heard(message)),)
            case Relayed(_, payload):
                return self._relayed(payload, source, now)
        return ()

    def _relayed(self, payload: bytes, source: Source, now: Instant) -> Directives:
        try:
            message = decode(payload)
        except WireError:
            message = None
        if message is None or not isinstance(message, self.holder.messages):
            self._counts["unknown_relayed"] += 1
            return ()
        return self.outward(self.holder.on_message(message, source, now))

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return self.outward(self.holder.on_timer(timer, now))

    def on_event(self, event: Event, now: Instant) -> Directives:
        match event:
            case ChannelUp(channel, tag=tag):
                if tag != self._attempt:
                    return (Close(channel),)
                self._channel = channel
                return (Write(channel, ClientHello()),)
            case ChannelDown(tag=tag, reason=reason):
                if tag != self._attempt:
                    return ()
                self._channel = None
                return (Emit(Parted(self._attempt, self._refusal or reason)),)
            case _:
                return self.outward(self.holder.on_event(event, now))

    def stats(self) -> dict[str, int]:
        return {**self.holder.stats(), **self._counts}
