"""Turns of Trio's loop: what the node sends in one leaves together, before the loop waits.

Tasks that ask for something in the same turn share datagrams, and so does what came in with what it makes the program ask for
next: an acceptance, and the release by the task that it woke. While tasks are runnable what was sent is held, for one more turn
at the most. (A lock takes half as many datagrams, and each costs as much as two messages.)

Whoever computes for long before the turn ends keeps back what others have said. So in a program in which turns take long time
and again everything leaves at once.

The loop tells by an instrument (`trio.abc.Instrument`) that it is about to wait. It has decided by then how long: whatever
makes a task runnable here has to wake it. And it drops an instrument that raises: what a signal's handler raises here is
raised anew where the loop's own steps would raise it. Where answers come at once it looks for the next datagram before it waits
(`polling`)."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import NoReturn, Protocol

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
        self._beside: list[Turns] = []
        """Those of all nodes of this loop."""
        self.inputs = 0
        """Of the node since it was flushed."""
        self.work = 0
        """Datagrams and commands since the loop waited last."""

    def begin(self) -> None:
        """From now on, in this Trio run."""
        self._beside = _ALL.get(self._beside)
        _ALL.set(self._beside)
        self._beside.append(self)
        trio.lowlevel.add_instrument(self)

    def end(self) -> None:
        self._beside.remove(self)
        with suppress(KeyError):  # it was dropped
            trio.lowlevel.remove_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        try:
            self._began = monotonic_ns()
            if self._polling is not None:
                self._polling.waited(self._began)
        except BaseException as error:
            _raise_later(error)

    def before_io_wait(self, timeout: float) -> None:
        try:
            self._before(timeout)
        except BaseException as error:
            _raise_later(error)

    def _before(self, timeout: float) -> None:
        now = monotonic_ns()
        if self._began and now - self._began > LONG:
            self._long.append(now)
            if self._holds and len(self._long) == OFTEN and now - self._long[0] < LATELY:
                self._hold(False)
        elif not self._holds and now - self._long[-1] > LATELY:
            self._hold(True)
        woken = False
        if self.inputs:
            if timeout or self._held or not self._holds:
                woken = self.flush(idle=timeout > 0)
            else:
                self._held = True
        if self._polling is None or timeout <= 0:
            return
        work, self.work = self.work, 0
        if not (woken or len(self._beside) > 1 or self._driver.committing()):
            self._polling.waits(timeout, work)

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


_ALL: trio.lowlevel.RunVar[list[Turns]] = trio.lowlevel.RunVar("mesh.shell.turns")


def _nothing() -> None:
    """To wake the loop."""


def _raise_later(error: BaseException) -> None:
    trio.lowlevel.current_trio_token().run_sync_soon(partial(_raise, error))


def _raise(error: BaseException) -> NoReturn:
    raise error
