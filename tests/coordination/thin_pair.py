"""One sponsor and its thin clients on virtual time, joined by streams in memory: every byte is sealed for real."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cbor2

from coordination.agreed.vocabulary.events import Granted
from coordination.assembly import Assembly, Settings, build
from coordination.sponsor.messages import Answer, Ask, Happened, Happening, Taken
from coordination.thin.line import Heard, Line, Parted, Welcomed
from crdt.clock import Instant
from mesh.directives import Directives, Event, Message
from mesh.keyring import Keyring
from mesh.membership import LOCAL
from mesh.node import Node
from mesh.outputs import Connect, Publish, StreamClose, StreamWrite
from mesh.wire import MAX_FRAME_BYTES, load

__all__ = ["MS", "SECOND", "Guest", "Pair"]

MS = 1_000_000
SECOND = 1_000 * MS
WALL = 1_700_000_000_000


@dataclass
class Guest:
    """A client, as the test sees it."""

    pair: Pair
    node: Node
    line: Line
    events: list[Event] = field(default_factory=list)
    sequence: int = 0

    def command(self, directives: Directives) -> None:
        self.node.command(self.line, directives, self.pair.now)
        self.pair.pump()

    def say(self, message: Message) -> None:
        self.command(self.line.say(message))

    def ask(self, operation: str, *arguments: Any, sequence: int | None = None) -> Answer | None:
        """The answer to one operation, if it came at once."""
        if sequence is None:
            sequence = self.sequence + 1
        self.sequence = max(self.sequence, sequence)
        seen = len(self.events)
        self.say(Ask(sequence, operation, cbor2.dumps(arguments)))
        for event in self.events[seen:]:
            if isinstance(event, Heard) and isinstance(event.message, Answer) and event.message.sequence == sequence:
                return event.message
        return None

    def do(self, operation: str, *arguments: Any) -> Any:
        """The result of an operation that goes well."""
        answer = self.ask(operation, *arguments)
        assert answer is not None
        assert answer.error == "", answer
        return load(answer.result, MAX_FRAME_BYTES, 6)

    def fails(self, operation: str, *arguments: Any) -> tuple[str, str]:
        """Class and sentence of the error of an operation."""
        answer = self.ask(operation, *arguments)
        assert answer is not None and answer.error
        return answer.error, load(answer.result, MAX_FRAME_BYTES, 6)[0]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def batches(self, watch: int) -> list[tuple[Happening, ...]]:
        heard = [event.message for event in self.of(Heard)]
        return [message.events for message in heard if isinstance(message, Happened) and message.watch == watch]

    def take(self, watch: int, batches: int = 1) -> None:
        self.say(Taken(watch, batches))

    def acquire(self, key: str, *, ttl: int = 2 * SECOND, wait: bool = True, renew: bool = False) -> int:
        holder = self.line.holder
        request = holder.next_request()
        asked = holder.acquire(request, key, kind="lock", ttl=ttl, wait=wait, renew=renew, now=self.pair.now)
        self.command(self.line.outward(asked))
        return request

    def granted(self, request: int) -> bool:
        return any(event.request == request for event in self.of(Granted))


class Pair:
    """A mesh of one, and whoever dials it."""

    def __init__(self, seed: int = 0, **more: Any) -> None:
        self.random = random.Random(seed)
        self.mono = SECOND
        self.sponsor: Assembly = build(
            Settings("n0", "127.0.0.1:1", networked=False, profile=LOCAL, **more),
            session=self.random.randbytes(16),
            entropy=self.random.randbytes,
            random=self.random,
            now=self.now,
        )
        self.guests: list[Guest] = []
        self._links: dict[tuple[int, int], tuple[int, int]] = {}
        """From (party, stream) to the other end; the sponsor is party -1."""
        self.sponsor.node.start(self.now)
        self.pump()

    @property
    def now(self) -> Instant:
        return Instant(self.mono, self.mono, WALL + self.mono // MS)

    def guest(self, session: bytes | None = None) -> Guest:
        """A client that has dialled, and most likely been welcomed."""
        line = Line(session or self.random.randbytes(16))
        node = Node(line.identity, Keyring.without_secret(), self.random.randbytes, [line])
        guest = Guest(self, node, line)
        self.guests.append(guest)
        node.start(self.now)
        guest.command(line.dial("127.0.0.1:1")[1])
        return guest

    def welcomed(self) -> Guest:
        guest = self.guest()
        assert guest.of(Welcomed) and not guest.of(Parted)
        return guest

    def cut(self, guest: Guest) -> None:
        """Its process is gone: the sponsor sees the end of the stream, and the client sees nothing any more."""
        party = self.guests.index(guest)
        for (owner, stream), (other, far) in list(self._links.items()):
            if owner == party:
                del self._links[owner, stream], self._links[other, far]
                self._node(other).on_stream_end(far, "reset", self.now)
        self.pump()

    def advance(self, ns: int) -> None:
        """Let time pass, timer by timer."""
        end = self.mono + ns
        while True:
            due = [node.due() for node in self._nodes()]
            soonest = min((each for each in due if each is not None), default=end + 1)
            if soonest > end:
                break
            self.mono = max(self.mono, soonest)
            for node in self._nodes():
                node.on_due(self.now)
            self.pump()
        self.mono = end

    def pump(self) -> None:
        """Perform outputs until there are none."""
        busy = True
        while busy:
            busy = False
            for party in range(-1, len(self.guests)):
                for output in self._node(party).take():
                    busy = True
                    self._perform(party, output)

    def _nodes(self) -> Iterable[Node]:
        return [self.sponsor.node, *[guest.node for guest in self.guests]]

    def _node(self, party: int) -> Node:
        return self.sponsor.node if party < 0 else self.guests[party].node

    def _perform(self, party: int, output: object) -> None:
        match output:
            case Connect(stream):
                far = self.sponsor.node.on_accept("127.0.0.1:9", self.now)
                self._links[party, stream] = (-1, far)
                self._links[-1, far] = (party, stream)
                self._node(party).on_connected(stream, self.now)
            case StreamWrite(stream, data):
                if (party, stream) in self._links:
                    other, far = self._links[party, stream]
                    self._node(other).on_stream(far, data, self.now)
            case StreamClose(stream):
                if (party, stream) in self._links:
                    other, far = self._links.pop((party, stream))
                    del self._links[other, far]
                    self._node(other).on_stream_end(far, "closed", self.now)
            case Publish(event) if party >= 0:
                self.guests[party].events.append(event)
