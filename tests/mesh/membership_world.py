"""A small world for membership parts alone: one heap of events, no node, no sealing; messages are encoded for real.

It delays, loses and blocks datagrams and streams, kills, pauses and restarts processes, and checks after every step what must
always hold (`membership_laws`). The whole node is simulated elsewhere; here a failure points at membership."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from crdt.clock import HybridClock, Instant, make_stamp
from mesh.directives import (
    Arm,
    Boot,
    Bye,
    ChannelDown,
    ChannelUp,
    Close,
    Dial,
    Directives,
    Disarm,
    Emit,
    Event,
    Forget,
    Know,
    Message,
    Refused,
    Send,
    Source,
    Stop,
    Write,
)
from mesh.membership import LAN, Identity, MemberChanged, Membership, Profile, State
from mesh.membership.messages import Entry, Join, News, Ping, Table, entry_of
from mesh.wire import decode, encode
from tests.mesh.membership_laws import Laws, Observer

MS = 1_000_000
SECOND = 1_000 * MS
WALL = 1_700_000_000_000
DATAGRAM = 1_150
CONNECT = 5 * SECOND


@dataclass
class Stream:
    """One end of a stream."""

    far: Process = field(repr=False)  # or that of a process would be one of the whole mesh, over every path
    far_channel: int
    tag: Hashable = None
    """Of who dialled."""
    open: bool = True


@dataclass
class Process:
    """One running process."""

    name: str
    address: str
    part: Membership
    random: Random
    observer: Observer
    wall_offset: int = 0
    alive: bool = True
    paused: bool = False
    started: bool = False
    timers: dict[Hashable, tuple[int, int]] = field(default_factory=dict)
    contacts: dict[bytes, str] = field(default_factory=dict)
    names: dict[str, bytes] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)
    buffer: list[Callable[[], None]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    error: Exception | None = None

    @property
    def session(self) -> bytes:
        return self.part.identity.boot.session

    def states(self) -> dict[str, str]:
        return {member.name: str(member.state) for member in self.part.members()}


class World:
    def __init__(
        self,
        seed: int = 0,
        *,
        loss: float = 0.0,
        delay: tuple[int, int] = (1 * MS, 10 * MS),
        profile: Profile = LAN,
        part: type[Membership] = Membership,
    ) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.delay = delay
        self.profile = profile
        self.part = part
        self.now = 0
        self.processes: list[Process] = []
        self.at: dict[str, Process] = {}
        self.blocked: Callable[[Process, Process], bool] = lambda one, other: False
        self.muted: Callable[[Process, Process], bool] = lambda sender, receiver: False
        """Datagrams only."""
        self.muffled: Callable[[Process, Process], bool] = lambda sender, receiver: False
        """What is written to streams only."""
        self.refusing: Callable[[Process, Process], bool] = lambda sender, receiver: False
        """A firewall refuses datagrams and dials between these two."""
        self.tap: Callable[[Process, bytes, Message], None] = lambda sender, session, message: None
        """Sees every message that is sent by datagram, before the network has its way with it."""
        self.dials: Counter[tuple[str, str]] = Counter()
        """How often each process has dialled each address."""
        self.dark: set[str] = set()
        """Addresses of machines without power."""
        self.failing: dict[str, str] = {}
        """Addresses that no stream reaches, and the reason that the driver or the handshake gives."""
        self.false_deaths: list[tuple[int, str, str]] = []
        self.laws = Laws(lambda: self.profile, self._incarnation)
        self.datagrams = 0
        self.sessions: dict[bytes, Process] = {}
        self.pings: dict[tuple[str, str], list[int]] = {}
        """When each process began to probe each other by itself."""
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._channel = 0

    # --- running ---------------------------------------------------------------------------------------------------

    def later(self, after: int, action: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._heap, (self.now + after, self._count, action))

    def run(self, duration: int) -> None:
        end = self.now + duration
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heappop(self._heap)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: int, step: int = 20 * MS) -> int:
        """The time that it took, ns; fails if it takes longer."""
        begun = self.now
        while not condition():
            if self.now - begun > within:
                lines = [f"{p.name}: {p.states()}" for p in self.living()]
                raise AssertionError("not within the bound:\n" + "\n".join(lines))
            self.run(step)
        return self.now - begun

    def instant(self, process: Process) -> Instant:
        return Instant(self.now, self.now, WALL + self.now // MS + process.wall_offset)

    # --- processes -------------------------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        seeds: list[str] | None = None,
        *,
        address: str | None = None,
        wall_offset: int = 0,
        after: int = 0,
        tags: tuple[tuple[str, str], ...] = (),
    ) -> Process:
        address = address or f"10.0.0.{len(self.processes) + 1}:7000"
        random = Random(self.random.getrandbits(64))
        boot = Boot(make_stamp(WALL + self.now // MS + after // MS + wall_offset), random.randbytes(16))
        clock = HybridClock()
        part = self.part(Identity(name, boot, address, tags), seeds or [], random, clock, self.profile)
        process = Process(name, address, part, random, Observer(part), wall_offset)
        self.processes.append(process)
        self.sessions[process.session] = process

        def begin() -> None:
            self.at[address] = process
            process.started = True
            self._perform(process, part.start(self.instant(process)))

        self.later(after, begin)
        return process

    def mesh(self, count: int) -> list[Process]:
        """So many processes that have found each other; everyone has the same list of two seeds."""
        seeds = [f"10.0.0.{i + 1}:7000" for i in range(2)]
        made = [self.start(f"n{i:02}", seeds, after=i * 10 * MS) for i in range(count)]
        self.run_until(self.converged, 20 * SECOND)
        return made

    def living(self) -> list[Process]:
        return [p for p in self.processes if p.alive and p.started and p.error is None]

    def converged(self) -> bool:
        living = {p.name: p for p in self.living()}
        return all(p.started or not p.alive for p in self.processes) and all(
            (member := p.part.get(name)) is not None and member.state is State.ALIVE and member.boot == other.part.identity.boot
            for p in living.values()
            for name, other in living.items()
        )

    def known_as(self, name: str, state: State) -> bool:
        return all((member := p.part.get(name)) is not None and member.state is state for p in self.living() if p.name != name)

    def kill(self, process: Process, streams: str = "closed") -> None:
        """The process ends; its machine refuses what comes for it, and closes its streams (or resets them)."""
        process.alive = False
        if self.at.get(process.address) is process:
            del self.at[process.address]
        for channel in list(process.streams):
            self._far_end(process, channel, streams)

    def cut_power(self, process: Process) -> None:
        """The machine ends: nothing answers, nothing refuses, no stream is closed."""
        process.alive = False
        self.dark.add(process.address)
        if self.at.get(process.address) is process:
            del self.at[process.address]

    def stop(self, process: Process) -> None:
        """Leave gracefully, then exit."""
        self._perform(process, process.part.on_event(Bye(), self.instant(process)))
        self.kill(process)

    def command(self, process: Process, directives: Directives) -> None:
        self._perform(process, directives)

    def merge(self, receiver: Process, teller: Process, *entries: Entry) -> None:
        """One process dials another and sends it these entries as its table."""
        self._channel += 2
        channel = self._channel

        def opened(message: Message) -> Directives:
            source = Source(teller.session, teller.address, teller.name, teller.part.identity.boot, channel)
            return receiver.part.on_message(message, source, self.instant(receiver))

        own = teller.part.get(teller.name)
        assert own is not None
        self._input(receiver, lambda: opened(Join(entry_of(own), True)))
        self._input(receiver, lambda: opened(Table(entries)))
        self.event(receiver, ChannelDown(channel, teller.session, teller.address, None, "closed"))

    def hear(self, receiver: Process, teller: Process, *messages: Message) -> None:
        """A datagram of one process reaches another now, whatever the network is like."""
        encoded = [encode(message) for message in messages]
        self._input(receiver, lambda: self._deliver(receiver, teller, encoded, None))

    def pause(self, process: Process, duration: int) -> None:
        process.paused = True

        def resume() -> None:
            process.paused = False
            waiting, process.buffer = process.buffer, []
            armed = sorted((at, token, timer) for timer, (at, token) in process.timers.items() if at <= self.now)
            late = [partial(self._fire, process, timer, token) for _, token, timer in armed]
            first, second = (waiting, late) if self.random.random() < 0.5 else (late, waiting)
            for action in [*first, *second]:
                action()

        self.later(duration, resume)

    # --- one step --------------------------------------------------------------------------------------------------

    def _input(self, process: Process, step: Callable[[], Directives]) -> None:
        def perform() -> None:
            if process.alive and process.error is None:
                self._perform(process, step())

        if process.paused:
            process.buffer.append(perform)
        else:
            perform()

    def event(self, process: Process, event: Event) -> None:
        self._input(process, lambda: process.part.on_event(event, self.instant(process)))

    def _fire(self, process: Process, timer: Hashable, token: int) -> None:
        if process.timers.get(timer, (0, 0))[1] != token or not process.alive or process.error is not None:
            return
        if process.paused:
            return
        del process.timers[timer]
        self._perform(process, process.part.on_timer(timer, self.instant(process)))

    def _perform(self, process: Process, directives: Directives) -> None:
        outgoing: dict[bytes, list[bytes]] = {}
        for directive in directives:
            match directive:
                case Send(to, message):
                    session = process.names.get(to) if isinstance(to, str) else to
                    if isinstance(message, Ping) and session in self.sessions:
                        self.pings.setdefault((process.name, self.sessions[session].name), []).append(self.now)
                    if session is not None and session != process.session:
                        self.tap(process, session, message)
                        outgoing.setdefault(session, []).append(encode(message))
                case Arm(timer, at):
                    self._count += 1
                    token = self._count
                    process.timers[timer] = (at, token)
                    self.later(
                        max(0, at - self.now),
                        lambda timer=timer, token=token: self._fire(process, timer, token),  # type: ignore[misc]
                    )
                case Disarm(timer):
                    process.timers.pop(timer, None)
                case Emit(event):
                    self._observe(process, event)
                case Know(name, boot, address):
                    process.contacts[boot.session] = address
                    process.names[name] = boot.session
                case Forget(session):
                    process.contacts.pop(session, None)
                    process.names = {n: s for n, s in process.names.items() if s != session}
                case Dial(address, tag):
                    self._dial(process, address, tag)
                case Write(channel, message):
                    self._write(process, channel, message)
                case Close(channel):
                    if channel in process.streams:
                        self._far_end(process, channel, "closed")
                        stream = process.streams.pop(channel, None)
                        assert stream is not None
                        down = ChannelDown(channel, stream.far.session, stream.far.address, stream.tag, "closed")
                        self.later(0, lambda down=down: self.event(process, down))  # type: ignore[misc]
                case Stop(error):
                    process.error = error
                    self.kill(process)
                case _:
                    raise AssertionError(directive)
        for session, encoded in outgoing.items():
            name = next((n for n, s in process.names.items() if s == session), "")
            gossip: list[bytes] = []
            for divisor in (2, 1):  # as the node does: half of the room first, then what is left of it
                room = DATAGRAM - sum(map(len, encoded + gossip))
                gossip += process.part.piggyback(name, room // divisor)
            assert sum(map(len, encoded + gossip)) <= DATAGRAM
            assert len(set(gossip)) == len(gossip), "a rumour rides twice on one datagram"
            self._transmit(process, session, encoded + gossip)
        self.laws.stepped(process.name, process.observer, directives, self.now)

    # --- the network -----------------------------------------------------------------------------------------------

    def _delay(self) -> int:
        return self.random.randint(*self.delay)

    def _transmit(self, sender: Process, session: bytes, encoded: list[bytes]) -> None:
        stranger = self.sessions.get(session)
        address = sender.contacts.get(session) or (stranger.address if stranger is not None else None)
        self.datagrams += 1
        if address is None or self.random.random() < self.loss:
            return

        def arrive() -> None:
            receiver = self.at.get(address)
            if receiver is None or self.refusing(sender, receiver):
                if address not in self.dark and sender.alive:
                    self.later(self._delay(), lambda: self.event(sender, Refused(address)))
                return
            if self.blocked(sender, receiver) or self.muted(sender, receiver) or receiver.session != session:
                return
            self._input(receiver, lambda: self._deliver(receiver, sender, encoded, None))

        self.later(self._delay(), arrive)

    def _deliver(self, receiver: Process, sender: Process, encoded: list[bytes], channel: int | None) -> Directives:
        directives: list[Any] = []
        for data in encoded:
            source = self.source(receiver, sender, channel)
            message = decode(data)
            if isinstance(message, News):
                self.laws.said(sender.name, message)
            directives += receiver.part.on_message(message, source, self.instant(receiver))
        return directives

    @staticmethod
    def source(receiver: Process, sender: Process, channel: int | None) -> Source:
        """What the receiver's node says of a sender."""
        known = receiver.part.by_session(sender.session)
        name, boot = (None, None) if known is None else (known.name, known.boot)
        return Source(sender.session, sender.address, name, boot, channel)

    def _dial(self, process: Process, address: str, tag: Hashable) -> None:
        self._channel += 2
        near, far = self._channel, self._channel + 1
        self.dials[process.name, address] += 1

        def down(reason: str) -> None:
            self.event(process, ChannelDown(near, None, address, tag, reason))

        def arrive() -> None:
            other = self.at.get(address)
            if other is process:
                down("itself")
            elif address in self.failing:
                down(self.failing[address])
            elif other is None and address in self.dark:
                self.later(CONNECT, lambda: down("silent"))
            elif other is None or self.refusing(process, other):
                down("refused")
            elif self.blocked(process, other) or self.blocked(other, process) or other.paused:
                self.later(CONNECT, lambda: down("silent"))
            else:
                process.streams[near] = Stream(other, far, tag)
                other.streams[far] = Stream(process, near)
                self.event(other, ChannelUp(far, process.session, process.address, None))
                self.event(process, ChannelUp(near, other.session, address, tag))

        self.later(2 * self._delay(), arrive)

    def _write(self, process: Process, channel: int, message: Message) -> None:
        stream = process.streams.get(channel)
        if stream is None:
            return
        data, far = encode(message), stream.far

        def arrive() -> None:
            if stream.far_channel in far.streams and not self.blocked(process, far) and not self.muffled(process, far):
                self._input(far, lambda: self._deliver(far, process, [data], stream.far_channel))

        self.later(self.delay[1], arrive)  # one delay for all: in order

    def _far_end(self, process: Process, channel: int, reason: str) -> None:
        stream = process.streams[channel]
        far, far_channel, session = stream.far, stream.far_channel, process.session

        def arrive() -> None:
            ended = far.streams.pop(far_channel, None)
            if ended is not None:
                self.event(far, ChannelDown(far_channel, session, process.address, ended.tag, reason))

        self.later(self.delay[1], arrive)

    # --- what must always hold -------------------------------------------------------------------------------------

    def _observe(self, process: Process, event: Event) -> None:
        process.events.append(event)
        self.laws.emitted(process.name, process.observer, event)
        if isinstance(event, MemberChanged) and event.member.state is State.DEAD:
            subject = self.sessions.get(event.member.boot.session)
            if subject is not None and subject.alive:
                self.false_deaths.append((self.now, process.name, event.member.name))

    def _incarnation(self, boot: Boot) -> int | None:
        """What the process with this boot itself has reached; None for a boot that no process has."""
        subject = self.sessions.get(boot.session)
        return subject.part.identity.incarnation if subject is not None and subject.part.identity.boot == boot else None
