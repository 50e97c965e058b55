"""One step of a node: what came in is handed to parts, what they answer is performed, and what they sent leaves.

  - Directives are performed in order: timers are named, events delivered, a member's name is resolved to its address and
    session.
  - What one step sends to one member is packed into as few datagrams as possible (`mesh.packing`) and sealed, and what no
    datagram holds moves to a stream (`mesh.courier`).

One input is one step: `_settle` runs until nothing is left to deliver, then what was sent leaves, then the driver takes the
outputs. (Datagrams that were read together are a step each, and what they sent leaves after the last of them. A driver may have
the node hold what several steps send, and let it leave together.) A part is never re-entered: what it sends to the own name,
and each event, waits in a queue behind the current call."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from crdt.clock import Instant
from mesh.carriage import Carriage
from mesh.contacts import Contacts
from mesh.directives import (
    Act,
    Address,
    Arm,
    Boot,
    Close,
    Dial,
    Directive,
    Directives,
    Disarm,
    Emit,
    Event,
    Forget,
    Greet,
    Know,
    Mark,
    Marked,
    Message,
    Part,
    Persist,
    Send,
    Source,
    Stop,
    Write,
)
from mesh.envelope import Encoded, Envelope, Sealed
from mesh.introductions import Introductions
from mesh.keyring import Keyring
from mesh.memory import Memory
from mesh.outputs import Halt, Output, Publish, Transmit
from mesh.packing import LAN_DATAGRAM_BYTES, Packer, gossiping
from mesh.relay import Relayed
from mesh.seal import DATAGRAM_OVERHEAD, Seal
from mesh.streams import Streams
from mesh.timers import Timers
from mesh.wire import FRAME_OVERHEAD, WireError, encode

__all__ = ["NODE", "Identity", "Stepper"]

_new = tuple.__new__

NOTHING: tuple[Message | None, Encoded] = (None, b"")

NODE = -1
"""The owner of the node's own timers."""


class Identity(Protocol):
    """Who this process is; membership may raise the boot's stamp once, when it joins."""

    name: str
    boot: Boot
    address: Address


class Stepper:
    """The lower layer of `Node`."""

    def __init__(
        self,
        identity: Identity,
        keyring: Keyring,
        entropy: Callable[[int], bytes],
        parts: Sequence[Part],
        datagram_bytes: int = LAN_DATAGRAM_BYTES,
        memory: Memory | None = None,
        envelope: Callable[[Seal], Envelope] = Sealed,
    ) -> None:
        self.identity = identity
        self.parts = tuple(parts)
        self.mark = 0
        """What every frame says of this node's standing."""
        self.holds = False
        """What is sent in a step is kept until the driver calls `flush`."""
        self._heard = 0
        self._own = Source(b"", "", None, None, None)
        """Of what this node sends to itself."""
        self._session = identity.boot.session
        self._seal = Seal(keyring, self._session, entropy)
        self._envelope = envelope(self._seal)
        cookies = entropy(32)
        self._streams = Streams(keyring, self._session, entropy, self._envelope.keys)
        self._memory = memory
        self._timers = Timers()
        self.due: Callable[[], int | None] = self._timers.due
        """Monotonic ns of the next timer, or None. A driver asks after each step, so it is the timers' own."""
        room = datagram_bytes - DATAGRAM_OVERHEAD - FRAME_OVERHEAD
        self._packer = Packer(room, gossiping(parts), self._envelope.most)
        self._contacts = Contacts(self._seal)
        self._introductions = Introductions(self._seal, self._contacts, cookies)
        self._index = {id(part): index for index, part in enumerate(self.parts)}
        self._handlers: dict[type[Message], tuple[int, Part]] = {}
        for owner in enumerate(self.parts):
            part = owner[1]
            for message in part.messages:
                if message in self._handlers:
                    raise ValueError(f"{message.__name__} is handled by two parts: {part.name} and another")
                self._handlers[message] = owner
        self._listeners: dict[type[Event], list[tuple[int, Part]]] = {}
        self._now = Instant(0, 0, 0)
        self._queue: deque[tuple[int, Event] | Message] = deque()
        self._encoded = NOTHING
        """The last message that was sent in this step, and its bytes: what goes to many is encoded once."""
        self._outputs: list[Output] = []
        self._halted = False
        self._counts: Counter[str] = Counter()
        self._datagrams = self._messages = 0
        """That were sent."""
        self._carriage = Carriage(
            self._streams,
            self._seal,
            self._contacts,
            self._counts,
            output=self._output,
            event=lambda event: self._queue.append((NODE, event)),
            arm=lambda timer, at: self._timers.arm(NODE, timer, at),
            disarm=lambda timer: self._timers.disarm(NODE, timer),
        )

    # --- the step --------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._queue:
            self._settle()
        if self.holds:
            return
        if self._packer.outgoing or self._memory is not None:
            self.flush()
        else:
            self._encoded = NOTHING

    def flush(self) -> None:
        """Let what has been sent leave, and what has been recorded go to the disk."""
        if self._packer.outgoing:
            seal, outputs = self._envelope.seal, self._outputs
            for contact, batch in self._packer.take():
                if not contact.heard:
                    contact.unproven = batch
                outputs.append(Transmit(contact.address, seal(batch, self.mark, contact.session)))
                self._datagrams += 1
                self._messages += len(batch)
        self._encoded = NOTHING
        if self._memory is not None and (commit := self._memory.begin(self._now.mono)) is not None:
            self._outputs.append(commit)

    def _settle(self) -> None:
        """Deliver events and messages to oneself until none is left."""
        queue = self._queue
        while queue:
            item = queue.popleft()
            if isinstance(item, Message):
                self._deliver(item, self._own_source())
                continue
            origin, event = item
            self._outputs.append(Publish(event))
            listeners = self._listeners.get(type(event))
            if listeners is None:
                listeners = self._find_listeners(type(event))
            for index, part in listeners:
                directives = part.on_event(event, self._now) if index != origin else ()
                if directives:
                    self._perform(index, directives)

    def _find_listeners(self, kind: type[Event]) -> list[tuple[int, Part]]:
        """The parts that hear events of a class: those that declare it, and those that declare nothing."""
        listeners = self._listeners[kind] = [
            (index, part) for index, part in enumerate(self.parts) if kind in getattr(part, "hears", (kind,))
        ]
        return listeners

    def _frame(self, plaintext: bytes, source: Source) -> None:
        try:
            frame = self._envelope.read(plaintext)
        except WireError:
            self._counts["malformed_frames"] += 1
            return
        if frame.unknown or frame.invalid:
            self._counts["unknown_messages"] += frame.unknown
            self._counts["invalid_messages"] += frame.invalid
        if frame.cut:
            source = _new(Source, (*source[:-1], frame.cut))
            if frame.cut > self._heard:
                self._heard = frame.cut
                self._queue.append((NODE, Marked(source.session, frame.cut)))
        for message in frame.messages:
            self._deliver(message, source)
        if self._queue:
            self._settle()

    def _deliver(self, message: Message, source: Source) -> None:
        handler = self._handlers.get(type(message))
        if handler is None:
            self._counts["unhandled_messages"] += 1
            return
        index, part = handler
        directives = part.on_message(message, source, self._now)
        if directives:
            self._perform(index, directives)

    def _perform(self, owner: int, directives: Directives) -> None:
        following = iter(directives)
        for directive in following:
            kind = type(directive)  # of them nobody makes classes, and to ask so takes half as long
            if kind is Send:
                self._send(directive)  # type: ignore[arg-type]
            elif kind is Arm:
                self._timers.arm(owner, directive.timer, directive.at)  # type: ignore[union-attr]
            elif isinstance(directive, Disarm):
                self._timers.disarm(owner, directive.timer)
            elif isinstance(directive, Emit):
                self._queue.append((owner, directive.event))
            elif isinstance(directive, Persist):
                if self._memory is not None:
                    self._persist(self._memory, owner, directive, following)
            else:
                self._perform_rare(directive)

    def _persist(self, memory: Memory, owner: int, persist: Persist, following: Iterator[Directive]) -> None:
        """Record, and keep what follows until that is durable, but for the timers."""
        memory.record(persist.records)
        if memory.pending and (held := memory.waiting(self.parts[owner], following, self._set)):
            memory.hold(owner, held)

    def _set(self, part: Part, timer: Arm | Disarm) -> None:
        owner = self._index[id(part)]
        if isinstance(timer, Arm):
            self._timers.arm(owner, timer.timer, timer.at)
        else:
            self._timers.disarm(owner, timer.timer)

    def _perform_rare(self, directive: Directive) -> None:
        match directive:
            case Act(part, directives):
                self._perform(self._index[id(part)], directives)
            case Write(channel, message):
                self._carriage.write(channel, encode(message), self.mark)
            case Know(name, boot, address):
                self._contacts.know(name, boot, address)
            case Mark(mark):
                self.mark = mark
            case Forget(session):
                self._contacts.forget(session)
            case Dial(address, tag):
                self._carriage.dial(address, tag, self._now.mono)
            case Close(channel):
                self._carriage.close(channel, "closed")
            case Greet(address):
                self._outputs.append(self._introductions.greet(address))
            case Stop(error):
                self._halted = True
                self._outputs.append(Halt(error))
            case _:
                raise TypeError(f"{directive!r} is no directive")

    # --- sending ---------------------------------------------------------------------------------------------------

    def _send(self, directive: Send) -> None:
        to, message = directive.to, directive.message
        if isinstance(to, str):
            if to == self.identity.name:
                self._queue.append(message)
                return
            contact = self._contacts.by_name.get(to)
        else:
            if to == self._session:
                self._queue.append(message)
                return
            contact = self._contacts.by_session.get(to)
        if contact is None:
            self._send_astray(directive)
            return
        last, encoded = self._encoded
        if message is not last:
            encoded = self._envelope.encode(message)
            self._encoded = (message, encoded)
        if directive.stream or not self._packer.add(contact, encoded):
            self._carriage.carry(contact, bytes(encoded), self.mark, self._now.mono)

    def _send_astray(self, directive: Send) -> None:
        """To nobody that is known: to a thin client over its sponsor, `ID@SPONSOR`, or nowhere."""
        if isinstance(directive.to, str):
            client, _, sponsor = directive.to.partition("@")
            if sponsor and "@" not in sponsor:
                self._send(Send(sponsor, Relayed(client, encode(directive.message)), directive.stream))
                return
        self._counts["unroutable"] += 1

    def _own_source(self) -> Source:
        own, identity = self._own, self.identity
        if own.boot is not identity.boot or own.address is not identity.address:  # it may be raised, once
            self._own = own = Source(self._session, identity.address, identity.name, identity.boot, None)
        return own

    # --- outputs -------------------------------------------------------------------------------------------------

    def _output(self, output: Output) -> None:
        self._outputs.append(output)  # another list after each `take`

    def _publish(self, event: Event | None) -> None:
        """To users alone."""
        if event is not None:
            self._outputs.append(Publish(event))
