"""What one task waits at, again and again: a watcher for the next change.

A thousand watchers of one key wait and are woken all at once, over and over. An event (`trio.Event`) or a closure for each wait
would be most of what that costs: in time, and in objects that are there all at once, which make Python's cyclic collector run.
So one bell is made once, and a wait allocates nothing that lasts."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

__all__ = ["Bell"]


class Bell:
    """One task at a time."""

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        self._asleep: trio.lowlevel.Task | None = None

    def wait(self) -> Awaitable[object]:
        """To be awaited at once: until it is rung. What was rung before does not count, so look first, with no checkpoint in
        between. A checkpoint."""
        self._asleep = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self)  # noqa: ASYNC105 - a coroutine around it would cost as much again

    def __call__(self, _: object) -> trio.lowlevel.Abort:
        """The wait is cancelled."""
        self._asleep = None
        return trio.lowlevel.Abort.SUCCEEDED

    def ring(self) -> None:
        """Wake the task, if one waits. Not a checkpoint."""
        task, self._asleep = self._asleep, None
        if task is not None:
            trio.lowlevel.reschedule(task)
