"""Cancelling a piece of work at each of its steps in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

__all__ = ["StepsOf", "cancelled_at"]


class StepsOf(trio.abc.Instrument):
    """Cancels a scope at the n-th step of one task: as that begins, or, `parked`, as it has ended in a checkpoint.

    What wakes a task and what cancels it may come at the same moment, so both have to be tried: in the first case the
    checkpoint returns what was waited for and the next one raises, in the second the checkpoint itself does."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, n: int, *, parked: bool = False) -> None:
        self.task, self.scope, self.left, self.parked = task, scope, n, parked

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.parked:
            self._step(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.parked:
            self._step(task)

    def _step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(n: int, work: Callable[[], Any], *, parked: bool = False) -> bool:
    """Run `work`, cancelled at its n-th step; whether that came before its end."""
    with trio.CancelScope() as scope:
        steps = StepsOf(trio.lowlevel.current_task(), scope, n, parked=parked)
        trio.lowlevel.add_instrument(steps)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(steps)
    return steps.left <= 0
