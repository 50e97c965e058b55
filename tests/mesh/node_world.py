"""Whole nodes with toy parts on an instant network in memory, on which every datagram and stream byte is recorded.

Nothing is lost or delayed but by `hold`. Restarting a process gives it a new session and empty parts at the same address."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial

from crdt.clock import Instant
from mesh.directives import (
    Address,
    Boot,
    ChannelDown,
    ChannelUp,
    Directive,
    Directives,
    Event,
    Forget,
    Know,
    Message,
    Part,
    Send,
    Source,
)
from mesh.keyring import Keyring
from mesh.node import Node
from mesh.outputs import Connect, Halt, Output, Publish, StreamClose, StreamWrite, Transmit
from mesh.packing import LAN_DATAGRAM_BYTES
from mesh.wire import encode
from tests.mesh.sources import entropy, ring, session
from tests.mesh.toys import Ask, Note, Reply

__all__ = ["HEAD", "MS", "SECOND", "Conversation", "Datagram", "Net", "News", "Process", "Toy", "downs", "met", "note", "ups"]

MS = 1_000_000
SECOND = 1_000 * MS

HEAD = len(encode(Note(0, bytes(300)))) - 300
"""Bytes of a note around a body of 256 bytes to 64 KiB."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One that was sent."""

    source: Address
    target: Address
    data: bytes


@dataclass(slots=True)
class Conversation:
    """Everything that was said on one stream."""

    dialler: Process
    acceptor: Process
    dialled: int
    accepted: int = 0
    forth: list[bytes] = field(default_factory=list)
    back: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Identity:
    name: str
    boot: Boot
    address: Address


class Toy:
    """Records everything that it is told, and answers `Ask`."""

    name = "toy"
    messages: tuple[type[Message], ...] = (Note, Ask, Reply)

    def __init__(self) -> None:
        self.heard: list[tuple[Message, Source]] = []
        self.events: list[Event] = []
        self.rung: list[Hashable] = []
        self.react: Callable[[Event | Message], Directives] = lambda occasion: ()
        """More directives, for the tests that want them."""

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        self.heard.append((message, source))
        answer: Directives = ()
        if isinstance(message, Ask):
            answer = (Send(source.name or source.session, Reply(message.number, bytes(message.size))),)
        return (*answer, *self.react(message))

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        self.rung.append(timer)
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        self.events.append(event)
        return self.react(event)

    def stats(self) -> dict[str, int]:
        return {"heard": len(self.heard)}

    def numbers(self, kind: type[Message] = Note) -> list[int]:
        """The numbers of what was heard of one class, in order."""
        return [message.number for message, _ in self.heard if isinstance(message, kind)]  # type: ignore[attr-defined]


class News(Toy):
    """A part with news for whatever room a datagram leaves: each item once."""

    messages = ()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.queue: deque[bytes] = deque()
        self.budgets: list[int] = []

    def eager(self, to: str) -> bool:
        return True

    def piggyback(self, to: str, budget: int) -> Sequence[bytes]:
        self.budgets.append(budget)
        told = []
        while self.queue and len(self.queue[0]) <= budget:
            budget -= len(self.queue[0])
            told.append(self.queue.popleft())
        return told


class Process:
    """One running process."""

    def __init__(
        self,
        net: Net,
        name: str,
        address: Address,
        boot: Boot,
        parts: Sequence[Part],
        keyring: Keyring,
        random: Callable[[int], bytes],
        datagram_bytes: int,
    ) -> None:
        self.net = net
        self.name = name
        self.address = address
        self.boot = boot
        self.ring = keyring
        self.toy = Toy()
        self.node = Node(Identity(name, boot, address), keyring, random, [self.toy, *parts], datagram_bytes)
        self.published: list[Event] = []
        self.halted: Exception | None = None
        self.lines: dict[int, tuple[Conversation, bool]] = {}
        """Streams that are open, and whether this end dialled."""

    def command(self, *directives: Directive) -> None:
        self.node.command(self.toy, directives, self.net.instant())
        self.net.settle()

    def send(self, to: str | bytes, message: Message, *, stream: bool = False) -> None:
        self.command(Send(to, message, stream))

    def know(self, *others: Process) -> None:
        self.command(*[Know(other.name, other.boot, other.address) for other in others])

    def forget(self, other: Process) -> None:
        self.command(Forget(other.boot.session))

    def state(self) -> object:
        """All that a replay must not change: what parts heard, who is known, and what is open."""
        node = self.node
        contacts = [(key, c.name, c.boot, c.address, c.heard, c.unproven) for key, c in node._contacts.by_session.items()]
        names = {name: contact.session for name, contact in node._contacts.by_name.items()}
        strangers = list(node._contacts._strangers)
        windows = {key: (peer.window.highest, peer.window._seen) for key, peer in node._seal._peers.items()}
        forgotten = dict(node._seal._forgotten)
        streams = node._streams.open(), list(node._carriage.courier._routes)
        heard, events = len(self.toy.heard), len(self.toy.events)
        return contacts, names, strangers, windows, forgotten, streams, heard, events, dict(node._introductions._greets)

    def feed(self, data: bytes, source: Address) -> list[Output]:
        """Hand it a datagram; its outputs go nowhere but to the caller."""
        self.node.on_datagram(data, source, self.net.instant())
        return self.node.take()


class Net:
    """The network, its clock and its record."""

    def __init__(self, seed: object = 0) -> None:
        self.seed = seed
        self.now = SECOND
        self.at: dict[Address, Process] = {}
        self.datagrams: list[Datagram] = []
        self.conversations: list[Conversation] = []
        self.hold: Callable[[Datagram], bool] = lambda datagram: False
        """Datagrams that are recorded but not delivered."""
        self._queue: deque[Callable[[], None]] = deque()
        self._starts = 0
        self._settling = False

    def instant(self) -> Instant:
        return Instant(self.now, self.now, 1_700_000_000_000 + self.now // MS)

    def process(
        self,
        name: str,
        *parts: Part,
        address: Address | None = None,
        keyring: Keyring | None = None,
        random: Callable[[int], bytes] | None = None,
        datagram_bytes: int = LAN_DATAGRAM_BYTES,
        boot: Boot | None = None,
    ) -> Process:
        """Start one; it takes the place of whichever was at its address."""
        self._starts += 1
        run = f"{name} {self._starts} {self.seed}"
        place = address or f"10.0.0.{sum(name.encode()) % 250 + 1}:7946"
        self.crash(place)
        process = self.at[place] = Process(
            self,
            name,
            place,
            boot or Boot(self._starts, session(run)),
            parts,
            keyring or ring(),
            random or entropy(run),
            datagram_bytes,
        )
        process.node.start(self.instant())
        self.settle()
        return process

    def crash(self, address: Address) -> None:
        """Gone at once; the far ends of its streams see a reset."""
        process = self.at.pop(address, None)
        for conversation, dialled in [] if process is None else list(process.lines.values()):
            self._end(conversation, dialled, "reset")

    def run(self, duration: int) -> None:
        """Let time pass, timer by timer."""
        end = self.now + duration
        while True:
            due = min((due for each in self.at.values() if (due := each.node.due()) is not None), default=end)
            if due >= end:
                break
            self.now = max(self.now, due)
            self._fire()
        self.now = end
        self._fire()

    def _fire(self) -> None:
        for process in list(self.at.values()):
            due = process.node.due()
            if due is not None and due <= self.now:
                process.node.on_due(self.instant())
        self.settle()

    def settle(self) -> None:
        """Until nothing is under way."""
        if self._settling:
            return
        self._settling = True
        try:
            while True:
                for process in list(self.at.values()):
                    for output in process.node.take():
                        self._perform(process, output)
                if not self._queue:
                    return
                self._queue.popleft()()
        finally:
            self._settling = False

    def _perform(self, process: Process, output: Output) -> None:
        match output:
            case Transmit(address, data):
                datagram = Datagram(process.address, address, data)
                self.datagrams.append(datagram)
                if not self.hold(datagram):
                    self._queue.append(partial(self.deliver, datagram))
            case Connect(stream, address):
                self._queue.append(partial(self._connect, process, stream, address))
            case StreamWrite(stream, data):
                if stream in process.lines:
                    conversation, dialled = process.lines[stream]
                    (conversation.forth if dialled else conversation.back).append(data)
                    self._queue.append(partial(self._hear, conversation, dialled, data))
            case StreamClose(stream):
                if stream in process.lines:
                    self._queue.append(partial(self._end, *process.lines.pop(stream), "closed"))
            case Publish(event):
                process.published.append(event)
            case Halt(error):
                process.halted = error

    def deliver(self, datagram: Datagram) -> None:
        process = self.at.get(datagram.target)
        if process is not None:
            process.node.on_datagram(datagram.data, datagram.source, self.instant())

    def _connect(self, process: Process, stream: int, address: Address) -> None:
        far = self.at.get(address)
        if far is None:
            process.node.on_stream_end(stream, "refused", self.instant())
            return
        conversation = Conversation(process, far, stream)
        self.conversations.append(conversation)
        host = process.address.rpartition(":")[0]
        conversation.accepted = far.node.on_accept(f"{host}:{50_000 + len(self.conversations)}", self.instant())
        process.lines[stream] = conversation, True
        far.lines[conversation.accepted] = conversation, False
        process.node.on_connected(stream, self.instant())

    def _far(self, conversation: Conversation, dialled: bool) -> tuple[Process, int]:
        """The other end than the one that dialled, or was dialled."""
        if dialled:
            return conversation.acceptor, conversation.accepted
        return conversation.dialler, conversation.dialled

    def _hear(self, conversation: Conversation, dialled: bool, data: bytes) -> None:
        process, stream = self._far(conversation, dialled)
        if stream in process.lines:
            process.node.on_stream(stream, data, self.instant())

    def _end(self, conversation: Conversation, dialled: bool, reason: str) -> None:
        process, stream = self._far(conversation, dialled)
        if process.lines.pop(stream, None) is not None:
            process.node.on_stream_end(stream, reason, self.instant())


def met(net: Net, *names: str, datagram_bytes: int = LAN_DATAGRAM_BYTES) -> list[Process]:
    """Processes that all know each other."""
    processes = [net.process(name, datagram_bytes=datagram_bytes) for name in names]
    for process in processes:
        process.know(*[other for other in processes if other is not process])
    return processes


def note(size: int) -> Note:
    """One whose encoding has that many bytes."""
    made = Note(0, bytes(size - HEAD))
    assert len(encode(made)) == size
    return made


def ups(process: Process) -> list[ChannelUp]:
    return [event for event in process.toy.events if isinstance(event, ChannelUp)]


def downs(process: Process) -> list[ChannelDown]:
    return [event for event in process.toy.events if isinstance(event, ChannelDown)]
