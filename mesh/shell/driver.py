"""The Trio shell of a node: it feeds the node from real sockets and one timer, and performs its outputs.

Rules:
  - one input is one step of the node, with a fresh `Instant`; its outputs are performed before anything else is fed to it;
  - what the node sends in one turn of the loop leaves together (`turns`);
  - performing outputs never waits and never feeds the node: what the kernel does not take at once waits, bounded, for a task;
  - a halt (the node's own, an exception in a step, in a task or in a subscriber) makes the shell deaf at once and cancels the
    body of `open_driver`, which raises the reason, alone and not in a group;
  - leaving, in whatever way, lets the node say its last, unless a step of it has failed: tasks run in a scope shielded from
    the caller's cancellation, so that flushing goes on for up to `FLUSH_SECONDS`; then every socket is closed;
  - a fork of the process must not speak for the node: in it every command is refused, and nothing is sent, also at the end.

Tasks: one each for datagrams, connections, timers and the disk, one a stream; no task and no `await` a datagram or a
command. Without a network and a disk the timers' task is the only one."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, TypeVarTuple
from weakref import WeakSet

import trio

from crdt.clock import Instant
from mesh.directives import Address, Directives, Event, Part
from mesh.driver import NodeLike
from mesh.errors import ClosedError, ForkedError
from mesh.outputs import Commit, Connect, Halt, Output, Publish, StreamClose, StreamWrite, Transmit
from mesh.shell.clocks import read_instant
from mesh.shell.datagrams import Datagrams
from mesh.shell.disk import Disk, Store
from mesh.shell.outcomes import leaves, outcome_of, raise_bare
from mesh.shell.polling import polling
from mesh.shell.sockets import Sockets, bind_sockets
from mesh.shell.streams import Streams
from mesh.shell.turns import MOST_INPUTS, Turns

__all__ = ["FLUSH_SECONDS", "HELD_EVENTS", "NO_ADDRESS", "TrioDriver", "open_driver"]

logger = logging.getLogger("mesh")

FLUSH_SECONDS = 0.5
"""For the last datagrams and streams to leave when the driver ends."""

HELD_EVENTS = 4_096
"""Events kept for the first subscriber; later ones are dropped and counted."""

NO_ADDRESS = ""
"""What `build` is given without a network."""

NS = 1_000_000_000
NEVER = 1 << 63
AWAKE = -1
"""Earlier than every timer: while its task is awake, the timer needs no re-arming."""

N = TypeVar("N", bound=NodeLike)
Args = TypeVarTuple("Args")


class TrioDriver(Generic[N]):
    """Drives one node in one Trio run. Made by `open_driver`; implements `mesh.driver.Driver`."""

    def __init__(self, node: N, sockets: Sockets | None, store: Store | None = None, busy_poll: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self.deaf = False
        self.failed: Exception | None = None
        """Why the driver has halted."""
        self.address = sockets.advertise if sockets else NO_ADDRESS
        """What others are told."""
        self.bound = sockets.bound if sockets else NO_ADDRESS
        self._node = node
        self._sockets = sockets
        self._pid = os.getpid()
        self._forked = False
        self._body = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._running = trio.Event()
        self._ended = trio.Event()
        self._begun = False
        self._closed = False
        self._crashed = False
        """A step has failed, and may have been left in its middle: the node is told nothing more, not even to stop."""
        self._performing = False
        self._subscribers: tuple[Callable[[Event], None], ...] = ()
        self._held: deque[Event] | None = deque()
        self._timer = trio.CancelScope()
        self._armed = AWAKE
        self._datagrams = Datagrams(self, sockets.udp) if sockets else None
        self._streams = Streams(self, sockets.family if sockets else None)
        self._disk = Disk(self, store) if store is not None else None
        self._turns = Turns(self, polling(sockets.udp, busy_poll, self.counts) if sockets else None)
        _drivers.add(self)

    # --- for the layer above ---------------------------------------------------------------------------------------

    @property
    def node(self) -> N:
        return self._node

    def instant(self) -> Instant:
        """Now, by the three clocks."""
        return read_instant()

    def check(self) -> None:
        """Raises the reason if the node has halted, and `ClosedError` once it has been stopped."""
        if self.failed is not None:
            raise self.failed
        if self._closed:
            raise ClosedError

    @trio.lowlevel.enable_ki_protection
    def command(self, part: Part, directives: Directives, now: Instant | None = None) -> None:
        """Perform what a local command of `part` answered at `now`; from any task of the same Trio run, not a checkpoint.

        Raises the reason if the node has halted (also if this command made it halt), `ClosedError` once it has been
        stopped, and `ForkedError` in a fork."""
        if self.failed is not None or self._closed:
            self.check()
        try:
            self._node.command(part, directives, now or read_instant())
            self.perform()
        except Exception as error:
            self._crash(error)
            raise
        if self.failed is not None:
            raise self.failed

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each event that the node publishes, at once and in order; the answer ends that.

        A callback that raises halts the driver. It may give commands, whose outputs are performed after those under way.
        What was published before the first subscription is held and given to it now."""
        self._subscribers = (*self._subscribers, callback)
        held, self._held = self._held, None
        if held:
            self._performing = True  # what a callback makes the node publish comes after all that was held
            try:
                for event in held:
                    self._publish(event)
            finally:
                self._performing = False
            self.perform()

        def unsubscribe() -> None:
            self._subscribers = tuple(each for each in self._subscribers if each is not callback)

        return unsubscribe

    def stats(self) -> dict[str, int]:
        """Counts since the start, and what is open or waits now."""
        counts = {f"shell.{name}": count for name, count in sorted(self.counts.items())}
        counts["shell.streams"] = len(self._streams)
        counts["shell.stream_backlog_bytes"] = self._streams.backlog_bytes
        counts["shell.udp_waiting"] = self._datagrams.waiting if self._datagrams else 0
        return counts

    # --- for the sockets below -------------------------------------------------------------------------------------

    def perform(self, datagrams: int = 1) -> None:
        """Take and perform the node's outputs, in order. Called again from within (by a subscriber), it leaves them to the
        call under way."""
        turns = self._turns
        turns.inputs += 1
        turns.work += datagrams
        if self._performing:
            return
        if turns.inputs >= MOST_INPUTS:
            turns.left()
            self._node.flush()
        self._drain()
        if self._armed != AWAKE:
            due = self._node.due()
            if due is not None and due < self._armed:
                self._armed = due
                self._timer.deadline = trio.current_time() + (due - read_instant().mono) / NS

    def _drain(self) -> None:
        """Perform what the node has put out, and what it puts out meanwhile, in order."""
        outputs = self._node.take()
        if outputs:
            self._performing = True
            try:
                while outputs:
                    for output in outputs:
                        self._output(output)
                    outputs = self._node.take()
            finally:
                self._performing = False

    def hold(self, held: bool) -> None:
        """Whether what the node sends waits for the end of a turn. Not any more once it has been stopped."""
        self._node.holds = held and not self._closed

    def flush(self) -> bool:
        """Let the node send what it has held in this turn; whether a task waits to be run for it. Raises nothing."""
        if self._crashed or self._forked:
            return False
        try:
            self._node.flush()
            self._drain()
        except Exception as error:
            self._crash(error)
        return self.failed is not None or (self._datagrams is not None and self._datagrams.waiting > 0)

    def committing(self) -> bool:
        return self._disk is not None and self._disk.under_way

    def spawn(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._guarded, task, *args)

    # --- outputs ---------------------------------------------------------------------------------------------------

    def _output(self, output: Output) -> None:
        if self._forked:
            self.counts["forked"] += 1
        elif isinstance(output, Transmit):
            if self._datagrams is not None:
                self._datagrams.send(output.address, output.data)
            else:
                self.counts["unsendable"] += 1
        elif isinstance(output, Publish):
            self._publish(output.event)
        elif isinstance(output, StreamWrite):
            self._streams.write(output.stream, output.data)
        elif isinstance(output, Commit):
            assert self._disk is not None, "a node with a memory needs a store"
            self._disk.commit(output)
        elif isinstance(output, Connect):
            self._streams.connect(output.stream, output.address)
        elif isinstance(output, StreamClose):
            self._streams.close(output.stream)
        elif isinstance(output, Halt):
            self._halt(output.error)
        else:
            raise TypeError(f"{output!r} is no output of a node")

    def _publish(self, event: Event) -> None:
        if self._held is not None:
            if len(self._held) < HELD_EVENTS:
                self._held.append(event)
            else:
                self.counts["events_dropped"] += 1
            return
        for callback in self._subscribers:
            try:
                callback(event)
            except Exception as error:  # a bug above: the others must not miss the event, nor the node its outputs
                self._halt(error)

    def _halt(self, error: Exception) -> None:
        """Tell the node nothing more, and end the body. The first reason counts."""
        if self.failed is None:
            self.failed = error
            self.deaf = True
            self._body.cancel()

    def _crash(self, error: Exception) -> None:
        """A step of the node, or what came of it, has failed."""
        self._crashed = True
        self._halt(error)

    def fork(self) -> None:
        """This process is a fork. Nothing of Trio's may be touched: the kernel's side of its loop is the parent's too."""
        self.failed = ForkedError(self._pid, os.getpid())
        self.deaf = True
        self._forked = True

    # --- tasks -----------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _guarded(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """An interrupt from the keyboard belongs to the main task; an error here ends the body, not the nursery."""
        try:
            await task(*args)
        except Exception as error:
            self._crash(error)

    async def _time(self) -> None:
        """Wake the node whenever a timer is due. `perform` moves the deadline when an earlier one is armed."""
        rested = True
        while not self.deaf:
            due, now = self._node.due(), read_instant()
            if due is not None and due <= now.mono:
                if rested:
                    self._node.on_due(now)
                    self.perform()
                else:
                    await trio.lowlevel.checkpoint()  # the next one is due already: others have their turn
                rested = not rested
                continue
            rested = True
            self._timer = trio.CancelScope()
            if due is not None:
                self._timer.deadline = trio.current_time() + (due - now.mono) / NS
            self._armed = NEVER if due is None else due
            try:
                with self._timer:
                    await trio.sleep_forever()
            finally:
                self._armed = AWAKE

    async def _run(self) -> None:
        """Hold every task of the driver, out of reach of the caller's cancellation, until `_end`."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._turns.begin()
                    try:
                        self.hold(True)
                        self._running.set()
                        await trio.sleep_forever()
                    finally:
                        self.hold(False)
                        self._turns.end()
        finally:
            self._ended.set()

    def _begin(self) -> None:
        self._begun = True
        try:
            self._node.start(read_instant())
            self.perform()
        except Exception as error:
            self._crash(error)
        if self.failed is not None:
            raise self.failed
        self.spawn(self._time)
        if self._disk is not None:
            self.spawn(self._disk.serve)
        if self._sockets is not None and self._datagrams is not None:
            self.spawn(self._datagrams.receive)
            self.spawn(self._streams.accept, self._sockets.tcp)

    async def stop(self) -> None:
        """Stop the node, and let its last outputs leave; once. Takes `FLUSH_SECONDS` at the most, shielded."""
        if self._closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._closed = True
        with trio.move_on_after(FLUSH_SECONDS, shield=True):
            if self._begun and not self._crashed and not self._forked:
                try:
                    self.hold(False)
                    self._node.stop(read_instant())
                    self.perform()
                except Exception as error:
                    self._crash(error)
                if self._disk is not None:
                    with trio.move_on_after(FLUSH_SECONDS / 2):
                        await self._disk.drained()  # what waits for the disk is said, too
            self.deaf = True
            if not self._forked:
                if self._datagrams is not None:
                    await self._datagrams.drained()
                await self._streams.drained()

    async def _end(self) -> None:
        """End every task, and wait for that: nothing is left for the caller's nursery to wait for, or to be cancelled at."""
        nursery, self._nursery = self._nursery, None
        if self._disk is not None:
            self._disk.close()
        if nursery is not None:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()


_drivers: WeakSet[TrioDriver[Any]] = WeakSet()


def _forked() -> None:
    for driver in list(_drivers):
        driver.fork()


os.register_at_fork(after_in_child=_forked)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_driver(
    build: Callable[[Address], N],
    *,
    bind: str | None = None,
    advertise: str | None = None,
    store: Store | None = None,
    busy_poll: int = 0,
) -> AsyncIterator[TrioDriver[N]]:
    """Bind, build the node for its address, start it, and drive it until the context is left.

    Entering and leaving are checkpoints. Leaving takes up to `FLUSH_SECONDS`, also if the caller has been cancelled, and
    waits for a commit under way, however long the disk takes.

    Parameters
    ----------
    build: makes the node for the address that others are told, `NO_ADDRESS` without a network.
    bind: `host:port` for UDP and TCP, port 0 for any; None for no network.
    advertise: what others are told, if it is not what is bound.
    store: where what the node remembers is made durable; the caller closes it, after this context.
    busy_poll: ns for which it looks for the next datagram, where answers come at once, before the loop sleeps
        (`mesh.shell.polling`); 0: never.

    Raises
    ------
    BindFailedError: before anything is started.
    Whatever the node halted for, alone and not in a group. An exception of the body wins if the body ended first; one that
    came after the halt stands in the `__context__` of the reason.
    """
    sockets = await bind_sockets(bind, advertise) if bind is not None else None
    error: BaseException | None = None
    halted_first = False
    try:
        driver = TrioDriver(build(sockets.advertise if sockets is not None else NO_ADDRESS), sockets, store, busy_poll)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver._run)
                try:
                    with trio.CancelScope(shield=True):  # a task that cannot be cancelled must not be left alone
                        await driver._running.wait()
                    await trio.lowlevel.checkpoint_if_cancelled()
                    driver._begin()
                    with driver._body:
                        yield driver
                except BaseException as raised:  # held until nothing runs any more, so that the nursery does not wrap it
                    error = raised
                halted_first = driver.failed is not None
                try:
                    await driver.stop()
                finally:
                    await driver._end()
        except BaseExceptionGroup as group:  # of the nursery: an interrupt from the keyboard while the driver ended
            error = next(leaves(group))
        outcome = outcome_of(error, driver.failed, halted_first)
    finally:
        if sockets is not None:
            sockets.close()
    try:
        raise_bare(outcome, error)
    finally:
        del error, outcome  # they hold this frame, and it would hold them
