"""Turns of Trio's loop: what the node sends in one leaves together, before the loop waits.

Tasks that ask for something in the same turn share datagrams, and so does what came in with what it makes the program ask for
next: an acceptance, and the release by the task that it woke. While tasks are runnable what was sent is held, for one more turn
at the most. (A lock takes a third less datagrams, and each costs as much as two messages.)

The loop tells by an instrument (`trio.abc.Instrument`) that it is about to wait. Nothing may be raised into it, and it has
decided by then how long it waits: whatever makes a task runnable here has to wake it."""

from __future__ import annotations

from typing import Protocol

import trio

__all__ = ["MOST_INPUTS", "Turns"]

MOST_INPUTS = 64
"""Inputs of a node after which it does not wait for the end of the turn: a task that gives one command after the other would
have all of it leave at once."""


class Flushed(Protocol):
    def flush(self) -> bool:
        """Let what is held leave; whether a task has been made runnable. Raises nothing."""


class Turns(trio.abc.Instrument):
    """Counts the inputs whose outputs are held, and has them leave at the end of the turn."""

    def __init__(self, driver: Flushed) -> None:
        self._driver = driver
        self._held = False
        """What waits has been held for a turn."""
        self.inputs = 0
        """Of the node since it was flushed."""

    def before_io_wait(self, timeout: float) -> None:
        if not self.inputs:
            return
        if timeout or self._held:
            self.flush(idle=timeout > 0)
        else:
            self._held = True

    def flush(self, *, idle: bool = False) -> None:
        """Now; `idle`: the loop is about to wait."""
        self.inputs, self._held = 0, False
        if self._driver.flush() and idle:
            trio.lowlevel.current_trio_token().run_sync_soon(_nothing, idempotent=True)


def _nothing() -> None:
    """To wake the loop."""
