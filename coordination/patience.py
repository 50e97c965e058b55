"""Waits that only time cuts short: leaving waits for a release to be confirmed, out of reach of cancellation, but not for ever.

A scope with a deadline for each wait is a twentieth of what a lock costs. Here all are given the same time, so they run out in
the order in which they began, and one task sees to all of them. It is a system task, for who waits may be the last task that
there is, and it lasts as long as somebody waits, also beyond the main task: whoever waits then is a system task, too."""

from __future__ import annotations

import trio

from coordination.dispatch import Waiting

__all__ = ["RELEASE_SECONDS", "Patience"]

RELEASE_SECONDS = 1.0
"""How long leaving waits for a majority to confirm the release. Beyond it the release is repeated in the background."""


class Patience:
    """Parameters
    ----------
    seconds: how long each of them waits at the most.
    """

    __slots__ = ("_ends", "_seconds", "_watched")

    def __init__(self, seconds: float = RELEASE_SECONDS) -> None:
        self._seconds = seconds
        self._ends: dict[Waiting, float] = {}
        """By Trio's clock, the earliest first."""
        self._watched = False

    async def outlast(self, waiting: Waiting) -> None:
        """Wait until it is told something, or its time is over. A checkpoint, shielded from cancellation: an interrupt from the
        keyboard comes after it. Raises `Closed` if the peer has left meanwhile."""
        waiting.shielded = True
        if not self._watched:
            trio.lowlevel.spawn_system_task(self._watch)
            self._watched = True
        ends = self._ends
        ends[waiting] = trio.current_time() + self._seconds
        try:
            await waiting.outcome()
        finally:
            del ends[waiting]

    async def _watch(self) -> None:
        try:
            await self._see_to_them()
        except trio.Cancelled:
            # The run is over, but not yet for who waits in a system task: nothing else ends that.
            with trio.CancelScope(shield=True):
                await self._see_to_them()
            raise
        finally:
            self._watched = False

    async def _see_to_them(self) -> None:
        while self._ends:
            await trio.sleep_until(next(iter(self._ends.values())))
            now = trio.current_time()
            for waiting, end in self._ends.items():
                if end > now:
                    break
                waiting.give_up()
