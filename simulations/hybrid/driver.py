"""The driver of a peer that a simulated service opens: `open_peer` and `connect` find it in the context variable, and notice no
difference. It implements `mesh.driver.Driver` for one opening; the node is run by the process of the host."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from coordination.opening.driver_seam import Build, Built
from crdt.clock import Instant
from mesh.directives import Directives, Event, Part
from mesh.errors import BindFailedError, ClosedError
from mesh.node import Node
from mesh.shell.driver import NO_ADDRESS
from mesh.shell.outcomes import outcome_of, raise_bare
from simulations.hybrid.loop import Loop
from simulations.hybrid.process import HostProcess
from simulations.machine.process import Sources

__all__ = ["HostDriver", "Tell", "WrongTaskError", "opening"]

B = TypeVar("B", bound=Built)
Tell = Callable[[Callable[[], object]], None]
"""Has the host call something in its next turn, which comes at once."""


class WrongTaskError(Exception):
    """A peer belongs to the tasks of the host that opened it."""


class HostDriver:
    """Parameters
    ----------
    tell: how events that come between two turns reach the host's tasks."""

    def __init__(self, process: HostProcess, loop: Loop, tell: Tell, node: Node) -> None:
        self.body = trio.CancelScope()
        self.failed: Exception | None = None
        self._process = process
        self._loop = loop
        self._tell = tell
        self._node = node
        self._closed = False

    @property
    def node(self) -> Node:
        return self._node

    def instant(self) -> Instant:
        return self._process.instant()

    def check(self) -> None:
        if self.failed is not None:
            raise self.failed
        if self._closed:
            raise ClosedError
        self._process.check()

    def command(self, part: Part, directives: Directives, now: Instant | None = None) -> None:
        """As the protocol says.

        Raises
        ------
        WrongTaskError: it is not a task of the host that asks, but the world's side: use `Host.do`.
        """
        self.check()
        if not self._loop.current:
            raise WrongTaskError("a peer takes commands from the tasks of its own host only: host.do(function) runs one there")
        self._process.command(part, directives, now)
        if self.failed is not None:
            raise self.failed

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        waiting: deque[Event] = deque()

        def catch_up() -> None:
            while waiting:
                self._hear(callback, waiting.popleft())

        def hear(event: Event) -> None:
            if self._loop.current:
                catch_up()  # of a task's own command nothing is told before what happened earlier
                self._hear(callback, event)
            else:
                waiting.append(event)
                self._tell(catch_up)

        return self._process.subscribe(hear)

    def _hear(self, callback: Callable[[Event], None], event: Event) -> None:
        if self._closed:
            return
        try:
            callback(event)
        except Exception as error:  # a bug above; the node must not miss its outputs
            self._process.fail(error)

    def halted(self, error: Exception) -> None:
        """The node must not go on: the body of `open_peer` is cancelled."""
        if self.failed is None:
            self.failed = error
            if self._loop.current:
                self.body.cancel()
            else:
                self._tell(self.body.cancel)

    async def stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._process.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def stats(self) -> dict[str, int]:
        return self._process.stats()


def check_bind(bind: str | None, address: str) -> None:
    """Refuse what no socket of this host can be bound to, as the operating system would."""
    if bind is None:
        return
    host, _, port = bind.rpartition(":")
    own_host, _, own_port = address.rpartition(":")
    if host.strip("[]") not in (own_host.strip("[]"), "0.0.0.0", "::", "localhost"):
        raise BindFailedError(bind, f"not an address of this host, whose only one is {address}")
    if port not in ("0", own_port):
        raise BindFailedError(bind, f"this host has one port, that of its address {address} (or give port 0)")


@asynccontextmanager
async def opening(
    process: HostProcess,
    loop: Loop,
    tell: Tell,
    build: Build[B],
    listens: bool,
    opened: Callable[[HostDriver | None], object],
) -> AsyncIterator[tuple[HostDriver, B]]:
    """Run the node that `build` makes in this process until the context is left. A checkpoint at both ends.

    `opened` is told of the driver, and of its end. One exception leaves it, bare: the reason, if the node halted."""
    await trio.lowlevel.checkpoint()
    built: list[B] = []

    def make(sources: Sources) -> Node:
        session, entropy, random, now = sources
        made = build(process.address if listens else NO_ADDRESS, session=session, entropy=entropy, random=random, now=now)
        built.append(made)
        driver = HostDriver(process, loop, tell, made.node)
        drivers.append(driver)
        opened(driver)
        return made.node

    drivers: list[HostDriver] = []
    process.open(make, bound=listens)
    (driver,) = drivers
    error: BaseException | None = None
    try:
        if driver.failed is None:
            with driver.body:
                yield driver, built[0]
    except BaseException as raised:
        error = raised
    halted_first = driver.failed is not None
    await driver.stop()
    opened(None)
    raise_bare(outcome_of(error, driver.failed, halted_first), error)
