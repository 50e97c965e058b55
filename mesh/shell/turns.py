"""Turns of Trio's loop: what the node sends in one leaves together, before the loop waits.

Tasks that ask for something in the same turn share datagrams, and so does what came in with what it makes the program ask for
next: an acceptance, and the release by the task that it woke. While tasks are runnable what was sent is held, for one more turn
at the most. (A lock takes half as many datagrams, and each costs as much as two messages.)

Whoever computes for long before the turn ends keeps back what others have said. So in a program in which turns take long time
and again everything leaves at once.

The loop tells by an instrument (`trio.abc.Instrument`) that it is about to wait. Nothing may be raised into it, and it has
decided by then how long it waits: whatever makes a task runnable here has to wake it. Where answers come at once it looks for
the next datagram before it waits (`polling`)."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import Protocol

import trio

from mesh.shell.polling import Polling

__all__ = ["LATELY", "LONG", "MOST_INPUTS", "OFTEN", "Turns"]

MOST_INPUTS = 64
"""Inputs of a node after which it does not wait for the end of the turn: a task that gives one command after the other would
have all of it leave at once."""

LONG = 20_000_000
"""ns of a long turn."""

LATELY = 10_000_000_000
"""With `OFTEN` long turns in so many ns nothing is held, until so long after the last one."""

OFTEN = 3


class Flushed(Protocol):
    def hold(self, held: bool, /) -> None:
        """Whether what the node sends from now on waits for `flush`."""

    def flush(self) -> bool:
        """Let what is held leave; whether a task has been made runnable. Raises nothing."""

    def committing(self) -> bool:
        """Whether a thread is about to wake the loop."""


class Turns(trio.abc.Instrument):
    """Counts the inputs whose outputs are held, and has them leave at the end of the turn."""

    def __init__(self, driver: Flushed, polling: Polling | None = None) -> None:
        self._driver = driver
        self._polling = polling
        self._held = False
        """What waits has been held for a turn."""
        self._began = 0
        """When this turn began; 0 before the first whole one."""
        self._long: deque[int] = deque(maxlen=OFTEN)
        """When the last long ones ended."""
        self._holds = True
        self.inputs = 0
        """Of the node since it was flushed."""

    def after_io_wait(self, timeout: float) -> None:
        self._began = monotonic_ns()
        if self._polling is not None:
            self._polling.waited(self._began)

    def before_io_wait(self, timeout: float) -> None:
        now = monotonic_ns()
        if self._began and now - self._began > LONG:
            self._long.append(now)
            if self._holds and len(self._long) == OFTEN and now - self._long[0] < LATELY:
                self._hold(False)
        elif not self._holds and now - self._long[-1] > LATELY:
            self._hold(True)
        inputs = self.inputs
        woken = False
        if inputs:
            if timeout or self._held or not self._holds:
                woken = self.flush(idle=timeout > 0)
            else:
                self._held = True
        if self._polling is not None and timeout > 0 and not woken and not self._driver.committing():
            self._polling.waits(timeout, inputs)

    def _hold(self, held: bool) -> None:
        self._holds = held
        self._driver.hold(held)

    def left(self) -> None:
        """What was held has left."""
        self.inputs, self._held = 0, False

    def flush(self, *, idle: bool = False) -> bool:
        """Now; `idle`: the loop is about to wait. Whether it has been woken."""
        self.left()
        if not (self._driver.flush() and idle):
            return False
        trio.lowlevel.current_trio_token().run_sync_soon(_nothing, idempotent=True)
        return True


def _nothing() -> None:
    """To wake the loop."""
