"""Cancelling a piece of work at each of its steps in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

__all__ = ["StepsOf", "cancelled_at"]


class StepsOf(trio.abc.Instrument):
    """Cancels a scope at the n-th step of one task."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, n: int) -> None:
        self.task, self.scope, self.left = task, scope, n

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(n: int, work: Callable[[], Any]) -> bool:
    """Run `work`, cancelled at its n-th step; whether that came before its end."""
    with trio.CancelScope() as scope:
        steps = StepsOf(trio.lowlevel.current_task(), scope, n)
        trio.lowlevel.add_instrument(steps)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(steps)
    return steps.left <= 0
