"""One running process of a simulated machine: the driver of one node.

It does what the Trio shell does, and is what the layer above sees of a driver (`mesh.driver.Driver`): one input is one step
with a fresh `Instant`, and its outputs are performed before anything else is fed to the node.

While it is paused (SIGSTOP) nothing is fed to it: what arrives waits in the buffers of its sockets, bounded as the kernel's,
and timers are late. When it goes on, its timers, its datagrams and each of its streams come in an order of chance, as tasks
do. Datagrams that have waited for it are read together, some at a time, as the shell does: what they make the node send leaves
together. While it is slow (`simulations.machine.slowness`) inputs wait there too, and come one at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, Protocol

from crdt.clock import Instant
from mesh.directives import Address, Directives, Event, Part
from mesh.driver import NodeLike
from mesh.errors import ClosedError
from mesh.outputs import Commit, Connect, Halt, Output, Publish, StreamClose, StreamWrite, Transmit
from simulations.dice import seed_of
from simulations.machine.clocks import MachineClocks
from simulations.machine.disk import Disk
from simulations.machine.inbox import Inbox
from simulations.machine.slowness import Service, Turns
from simulations.schedule import Schedule
from simulations.trace import Trace

__all__ = ["BATCH", "HELD_EVENTS", "PausedError", "Process", "Sources", "Wire"]

HELD_EVENTS = 4_096
"""Kept for the first subscriber, as in the shell."""


class PausedError(Exception):
    """A command to a process that is paused: no code of its program can run."""


class Sources(NamedTuple):
    """What the world gives to a program that starts: all of it from the seed."""

    session: bytes
    entropy: Callable[[int], bytes]
    random: Random
    now: Instant


class Wire(Protocol):
    """What the world does for a process."""

    @property
    def watched(self) -> bool:
        """Whether somebody wants to be told of each step (`stepped`)."""

    def transmit(self, process: Process, address: Address, data: bytes) -> None: ...
    def connect(self, process: Process, stream: int, address: Address) -> None: ...
    def write(self, process: Process, stream: int, data: bytes) -> None: ...
    def close(self, process: Process, stream: int) -> None: ...
    def published(self, process: Process, event: Event) -> None: ...
    def stepped(self, process: Process) -> None: ...
    def settled(self, process: Process) -> None: ...
    def closed(self, process: Process) -> None: ...
    def exited(self, process: Process) -> None: ...


class Process:
    """Made by the world; `boot` counts the processes of its machine from 1."""

    def __init__(
        self, machine: str, address: Address, boot: int, disk: Disk, seed: int, clocks: MachineClocks,
        schedule: Schedule, trace: Trace, wire: Wire, socket_bytes: int,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.address = address
        self.boot = boot
        self.disk = disk
        """Of the machine: what is kept there outlives the process."""
        self.started = schedule.now
        self.alive = True
        self.paused = False
        self.slow = False
        self.holds = False
        """It is paused or slow: what arrives waits."""
        self.waking = False
        """It is going on after a pause, and has not yet seen everything that had waited."""
        self.woken: int | None = None
        """When its machine last woke from a suspension."""
        self.failed: Exception | None = None
        """Why the node has halted."""
        self.bound = True
        """Whether its port is open."""
        self.deaf = False
        """Whether it takes no input any more."""
        self.datagrams = Inbox(socket_bytes)
        self.accepts = Inbox(ACCEPT_BACKLOG)
        self.commits = Inbox(1)
        self.streams: dict[int, Inbox] = {}
        """Of each stream that something waits in, by an identity of the connection."""
        self.counts: Counter[str] = Counter()
        self._closed = False
        self._seed = seed
        self._clocks = clocks
        self._schedule = schedule
        self._trace = trace
        self._wire = wire
        self.node: NodeLike
        """From `start` on."""
        self._performing = False
        self._told = False
        """Something was published in the step under way."""
        self._subscribers: tuple[Callable[[Event], None], ...] = ()
        self._held: deque[Event] | None = deque()
        self._due: int | None = None
        self._wake_at: int | None = None
        self._resumes = 0
        self._turns: Turns | None = None
        self._batch: list[tuple[bytes, Address]] | None = None
        """Datagrams that are being read together."""
        self._flushing = False

    def __repr__(self) -> str:
        return f"<{self.machine}#{self.boot}{'' if self.alive else ' dead'}{' paused' if self.paused else ''}>"

    def sources(self) -> Sources:
        """Session, entropy, choices and the moment, for a node that starts now."""
        seeds = {what: seed_of(self._seed, what, self.machine, self.boot) for what in ("session", "entropy", "choices")}
        return Sources(
            Random(seeds["session"]).randbytes(16),
            Random(seeds["entropy"]).randbytes,
            Random(seeds["choices"]),
            self.instant(),
        )

    # --- for the layer above (mesh.driver.Driver) --------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether code of its program can run now."""
        return not self.paused and not self.deaf

    def instant(self) -> Instant:
        """Now, by the clocks of its machine."""
        return self._clocks.read(self._schedule.now)

    def check(self) -> None:
        """Raises as `mesh.driver.Driver` says; `PausedError` if paused."""
        if self.failed is not None:
            raise self.failed
        if self._closed or not self.alive:
            raise ClosedError
        if self.paused:
            raise PausedError(f"{self} is paused")

    def command(self, part: Part, directives: Directives, now: Instant | None = None) -> None:
        """Perform what a local command of `part` answered. Raises as `check` does."""
        self.check()
        self._trace.add(self._schedule.now, self.machine, "command", part.name)
        self.node.command(part, directives, self.instant())
        self.perform()

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each event that the node publishes; what came before the first subscription is given now."""
        held, self._held = self._held, None
        self._subscribers = (*self._subscribers, callback)
        for event in held or ():
            callback(event)

        def unsubscribe() -> None:
            self._subscribers = tuple(each for each in self._subscribers if each is not callback)

        return unsubscribe

    def stats(self) -> dict[str, int]:
        return {f"world.{name}": count for name, count in sorted(self.counts.items())}

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self, node: NodeLike) -> None:
        self.node = node
        node.start(self.instant())
        self.perform()

    def stop(self) -> None:
        """Let the node say its last, and exit."""
        if self._closed or not self.alive:
            return
        self._closed = self.deaf = True
        self.node.stop(self.instant())
        self.perform()
        self.flush()
        self._wire.exited(self)

    def flush(self) -> None:
        """Wait for the disk, as the shell does: what rests on the last commits is said, too."""
        self._flushing = True
        for _ in range(LAST_COMMITS):
            self.disk.finish()
        self._flushing = False

    def end(self) -> None:
        """Nothing of it runs any more."""
        self.alive = False
        self.deaf = True
        self._wake_at = None

    def forget(self) -> None:
        """Keep no event for a subscriber that did not come."""
        if self._held is not None:
            self._held.clear()

    def pause(self) -> None:
        self.paused = self.holds = True

    def resume(self) -> None:
        """Go on: timers, datagrams and streams that waited, in an order of chance."""
        self.paused = False
        self.holds = self.slow
        if not self.slow:
            self._catch_up()
        elif self._turns is not None:
            self.rearm()
            self._turns.ask()

    def slow_down(self, service: Service | None) -> None:
        """From now on each input costs so much; None: nothing any more, and what has waited comes."""
        if service is None:
            self.slow, self.holds = False, self.paused
            if not self.holds:
                self._catch_up()
        elif self._turns is None:
            self.slow = self.holds = True
            key = seed_of(self._seed, "slow", self.machine, self.boot)
            self._turns = Turns(service, key, self._schedule, self._ready)
        else:
            self.slow = self.holds = True
            self._turns.service = service

    def _catch_up(self) -> None:
        self.waking = True
        self._resumes += 1
        chance = Random(seed_of(self._seed, "resume", self.machine, self.boot, self._resumes))
        tasks = self._waited(chance.randint(1, BATCH))
        chance.shuffle(tasks)
        for task in tasks:
            task()
        self.waking = False

    def _waited(self, together: int) -> list[Callable[[], None]]:
        """What goes on after a pause; so many datagrams are read together."""
        inboxes = [self.accepts, self.commits, *self.streams.values()]
        self.streams.clear()

        def read() -> None:
            while self.datagrams.items and self.alive:
                self._read_some(together)

        return [self._late, read, *[self._drainer(inbox) for inbox in inboxes]]

    def _drainer(self, inbox: Inbox) -> Callable[[], None]:
        def drain() -> None:
            while inbox.items and self.alive:
                inbox.take()

        return drain

    def _read_some(self, most: int) -> None:
        """Feed the node datagrams that have waited, up to so many at once."""
        self._batch = []
        for _ in range(most):
            if not self.datagrams.items or not self.alive:
                break
            self.datagrams.take()
        self._feed()
        self._batch = None

    def _feed(self) -> None:
        """What has been read so far."""
        batch = self._batch
        if batch:
            self._batch = []
            self.node.on_datagrams(batch, self.instant())
            self.perform()

    # --- while it is slow ------------------------------------------------------------------------------------------------

    def hold(self, inbox: Inbox, size: int, action: Callable[..., None], *args: Any) -> bool:
        """Keep it until it can be fed to the node; False if the inbox is full."""
        kept = inbox.add(size, action, *args)
        if self.slow and self._turns is not None:
            self._turns.ask()
        return kept

    @property
    def overdue(self) -> bool:
        """It is slow, and has not come to a timer that is due."""
        due = self.node.due() if self.slow and not self.deaf else None
        return due is not None and due <= self.instant().mono

    def _ready(self) -> list[Callable[[], None]]:
        """What could have the next turn."""
        if not self.slow or self.paused or self.deaf:
            return []
        for key in [key for key, inbox in self.streams.items() if not inbox.items]:
            del self.streams[key]
        inboxes = (self.datagrams, self.accepts, self.commits, *self.streams.values())
        waiting = [inbox.take for inbox in inboxes if inbox.items]
        return [self._late, *waiting] if self.overdue else waiting

    # --- inputs --------------------------------------------------------------------------------------------------------

    def on_datagram(self, data: bytes, address: Address) -> None:
        if self._batch is not None:
            self._batch.append((data, address))
            return
        self.node.on_datagram(data, address, self._clocks.read(self._schedule.now))
        self.perform()

    def on_refused(self, address: Address) -> None:
        if self.holds and not self.deaf:
            self.hold(self.datagrams, 0, self._refused, address)
        else:
            self._refused(address)

    def _refused(self, address: Address) -> None:
        self._feed()
        if not self.deaf:
            self.node.on_refused(address, self.instant())
            self.perform()

    def on_commit(self, number: int, error: str) -> None:
        """The disk is done with a batch."""
        if self.holds and not self.deaf:
            self.hold(self.commits, 0, self._committed, number, error)
        else:
            self._committed(number, error)

    def _committed(self, number: int, error: str) -> None:
        if self.deaf and not self._flushing:
            return
        if error:
            self.node.on_commit_failed(number, error, self.instant())
        else:
            self.node.on_committed(number, self.instant())
        self.perform()

    def _late(self) -> None:
        """The timers that came due while nothing was fed to it."""
        self._wake_at = self._due = None
        if not self.deaf:
            now = self.instant()
            due = self.node.due()
            if due is not None and due <= now.mono:
                self.node.on_due(now)
            self.perform()

    def _wake(self, at: int) -> None:
        if at != self._wake_at or self.paused or self.deaf:
            return
        self._wake_at = None
        node, now = self.node, self._clocks.read(self._schedule.now)
        due = node.due()
        if due is None or due > now.mono:
            self._due = None
            self._rearm()
        elif self.slow and self._turns is not None:
            self._turns.ask()
        else:
            node.on_due(now)
            self.perform()

    def rearm(self) -> None:
        """Its timers are due at other true times than before: the clock was changed, or it was paused."""
        self._due = self._wake_at = None
        if not self.deaf:
            self._rearm()

    def _rearm(self) -> None:
        """See that the node is woken when its next timer is due."""
        due = self.node.due()
        if due == self._due:
            return
        self._due = due
        if due is None:
            return
        at, now = self._clocks.when(due), self._schedule.now
        at = max(at, now)
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at
            self._schedule.at(at, self._wake, at)

    # --- outputs -------------------------------------------------------------------------------------------------------

    def perform(self) -> None:
        """Take and perform the node's outputs, in order; called from within (by a subscriber), it leaves them to the call
        under way."""
        if self._performing:
            return
        node, wire = self.node, self._wire
        outputs = node.take()
        if outputs:
            self._performing = True
            try:
                while outputs:
                    for output in outputs:
                        kind = type(output)
                        if kind is Transmit:
                            wire.transmit(self, output.address, output.data)  # type: ignore[union-attr]
                        elif kind is Publish:
                            self._publish(output.event)  # type: ignore[union-attr]
                        else:
                            self._perform(output, wire)
                    outputs = node.take()
            finally:
                self._performing = False
        if not self.deaf:
            self._rearm()
        if self._told:
            self._told = False
            wire.settled(self)
        if wire.watched:
            wire.stepped(self)

    def _perform(self, output: Output, wire: Wire) -> None:
        """What is asked for less often."""
        if isinstance(output, StreamWrite):
            wire.write(self, output.stream, output.data)
        elif isinstance(output, Connect):
            wire.connect(self, output.stream, output.address)
        elif isinstance(output, StreamClose):
            wire.close(self, output.stream)
        elif isinstance(output, Commit):
            self.disk.take(output, self.on_commit)
        elif isinstance(output, Halt):
            self._halt(output.error)
        else:
            raise TypeError(f"{output!r} is no output of a node")

    def _publish(self, event: Event) -> None:
        self._told = True
        self._wire.published(self, event)
        if self._held is not None:
            if len(self._held) < HELD_EVENTS:
                self._held.append(event)
            else:
                self.counts["events_dropped"] += 1
        for callback in self._subscribers:
            callback(event)

    def _halt(self, error: Exception) -> None:
        """The node must not go on: it says its last, and the process exits. The first reason counts."""
        if self.failed is None:
            self.failed = error
            self.deaf = True
            self._trace.add(self._schedule.now, self.machine, "halt", type(error).__name__)
            self._schedule.after(0, self.stop)


BATCH = 16
"""Datagrams that are read together at the most after a pause, as in the shell."""

ACCEPT_BACKLOG = 128
"""Connections that the kernel holds for a process that does not accept them."""

LAST_COMMITS = 2
"""The one under way when a node is stopped, and the one of what it says at last."""
