"""What one task waits at, again and again: a watcher for the next change.

A thousand watchers of one key wait and are woken all at once, over and over. An event (`trio.Event`) or a closure for each wait
would be most of what that costs: in time, and in objects that are there all at once, which make Python's cyclic collector run.
So one bell is made once, and a wait allocates nothing that lasts.

Of many that are rung together a portion is woken at once, and the others one portion after the other. Trio makes two objects
for each task that is about to run; for a thousand at once these are more than the collector lets pass, again and again, and
what it finds alive it counts as old, until it goes through all that the process has. So all are told sooner; and what else
there is to do, an answer to a probe, need not wait until a thousand have run."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable

import trio

__all__ = ["PORTION", "Belfry", "Bell"]

PORTION = 64
"""Tasks. Of two portions, one about to run and one that is being woken, Trio has 256 objects: the collector runs after 700."""


class Belfry:
    """Of bells that may be rung together."""

    __slots__ = ("_line", "_ringing", "_room")

    def __init__(self) -> None:
        self._line: deque[Bell] = deque()
        self._ringing = False
        self._room = PORTION

    def begin(self) -> None:
        """Something has happened, for which bells will be rung now."""
        if not self._line:
            self._room = PORTION

    def ring(self, bell: Bell) -> None:
        if self._room:
            self._room -= 1
            bell.wake()
            return
        bell.rung = True
        self._line.append(bell)
        if not self._ringing:
            self._ringing = True
            trio.lowlevel.spawn_system_task(self._ring_the_others)

    async def _ring_the_others(self) -> None:
        """A task of its own: were it for those that are woken to go on, the others would hang on what becomes of these."""
        line = self._line
        while line:
            for _ in range(min(PORTION, len(line))):
                bell = line.popleft()
                if bell.rung:
                    bell.wake()
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._ringing = False


class Bell:
    """One task at a time."""

    __slots__ = ("_asleep", "_belfry", "rung")

    def __init__(self, belfry: Belfry) -> None:
        self._belfry = belfry
        self._asleep: trio.lowlevel.Task | None = None
        self.rung = False
        """Its turn to wake the task will come."""

    def wait(self) -> Awaitable[object]:
        """To be awaited at once: until it is rung. What was rung before does not count, so look first, with no checkpoint in
        between. A checkpoint."""
        self._asleep = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self)  # noqa: ASYNC105 - a coroutine around it would cost as much again

    def __call__(self, _: object) -> trio.lowlevel.Abort:
        """The wait is cancelled."""
        self._asleep, self.rung = None, False
        return trio.lowlevel.Abort.SUCCEEDED

    def ring(self) -> None:
        """Wake the task, if one waits: at once, or in its turn. Not a checkpoint."""
        if self._asleep is not None and not self.rung:
            self._belfry.ring(self)

    def wake(self) -> None:
        """Wake the task, if one waits. Not a checkpoint."""
        task, self._asleep, self.rung = self._asleep, None, False
        if task is not None:
            trio.lowlevel.reschedule(task)
