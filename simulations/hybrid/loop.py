"""One Trio run of a simulated process: a thread of its own that runs only while it is its turn.

Of all threads of a simulation exactly one runs at a time, the world's or that of one host: they hand a baton to each other.
A turn lasts until every task of the host is blocked. Trio itself tells when that is, by the instrument hook before it waits
for I/O; there the thread waits for its next turn, in which what the host has been told meanwhile, and what has become due, is
handled as if the wait for I/O had ended.

So a paused process is one that gets no turn, a killed one gets none any more, and each has a clock of its own: a Trio run per
process gives all three, one run for all of them none. A killed process must not run its `finally` blocks: its thread is parked
where it stood, and unwound only when the simulation is over (`unwind`) and nobody looks any more."""

from __future__ import annotations

import math
import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

import trio

from simulations.hybrid import guards
from simulations.hybrid.scheduling import order_by

__all__ = ["Loop", "StuckError"]

STUCK_SECONDS = 10.0
"""Real seconds after which a turn counts as blocked for good."""
TRIO_LONGEST = 24 * 60 * 60.0
"""Trio waits no longer than this at a time."""
UNWINDING_STEPS = 1_000


class StuckError(Exception):
    """The tasks of a host did not all come to wait: one of them blocks, or spins without time going by."""


class HostClock(trio.abc.Clock):
    """Trio's clock of one host: the monotonic clock of its machine, in seconds."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self.deadline = math.inf
        """The next one, as Trio last asked for it."""
        self.ahead = 0.0
        """Seconds that an unwinding run is ahead."""

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._read() / 1e9 + self.ahead

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.deadline = deadline
        return deadline - self.current_time()


class Loop(trio.abc.Instrument):
    """Parameters
    ----------
    main: what it runs; its tasks may use everything of Trio but threads and sockets.
    mono: the machine's monotonic clock, ns.
    random: of the order in which tasks that are runnable together run.
    """

    def __init__(self, name: str, main: Callable[[], Awaitable[object]], mono: Callable[[], int], random: Random) -> None:
        self.clock = HostClock(mono)
        self.ended = False
        self.error: BaseException | None = None
        """What left `main`."""
        self.turns = 0
        self.scope = trio.CancelScope()
        self._main = main
        self._random = random
        self._told: deque[Callable[[], object]] = deque()
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._token: trio.lowlevel.TrioToken | None = None
        self._returned = False
        self._unwinding = 0
        self._thread = threading.Thread(target=self._run, name=f"simulated {name}", daemon=True)

    # --- from the world's side ---------------------------------------------------------------------------------------

    @property
    def current(self) -> bool:
        """Whether the caller is one of its tasks."""
        return threading.current_thread() is self._thread

    @property
    def asleep_until(self) -> float:
        """By its clock, if nothing is told to it; infinite if only that can wake it."""
        return self.clock.deadline

    def tell(self, action: Callable[[], object]) -> None:
        """Call it in the next turn."""
        self._told.append(action)

    def turn(self) -> None:
        """Let its tasks run until all of them wait. Nothing once it has ended.

        Raises
        ------
        StuckError: they do not.
        """
        if self.ended:
            return
        if not self.turns:
            self._thread.start()
        self.turns += 1
        with order_by(self._random):
            self._go.release()
            if not self._back.acquire(timeout=STUCK_SECONDS):
                raise StuckError(self._where())

    def unwind(self) -> bool:
        """End it, for nobody looks any more: its main task is cancelled and time runs. Whether it has ended."""
        if not self.turns:
            self.ended = True
        if not self.ended:
            self._unwinding = 1
            self.turn()
            self._thread.join(STUCK_SECONDS if self.ended else 0.0)
        return self.ended

    def _where(self) -> str:
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        return (
            f"{self._thread.name}: its tasks have not come to wait for {STUCK_SECONDS:g} real seconds: one of them blocks, or "
            f"spins without `await trio.sleep(…)`, and no time goes by meanwhile. It is here:\n{stack}"
        )

    # --- in its thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._go.acquire()
        try:
            trio.run(self._guarded, clock=self.clock, instruments=[self])
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self._back.release()

    async def _guarded(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        try:
            with guards.armed(), self.scope:
                await self._main()
        finally:
            self._returned = True

    def before_io_wait(self, timeout: float) -> None:
        """Trio is about to wait: for the next turn, then."""
        asked = min(self.clock.deadline - self.clock.current_time(), TRIO_LONGEST)
        if timeout <= 0 or timeout < asked:
            return  # something is runnable, or a task waits for all others to block (`wait_all_tasks_blocked`)
        if self._token is None or self._returned:
            return  # Trio begins or ends; nothing of the service waits
        if self._unwinding:
            if self._unwind_step():
                return
            self.clock.deadline = math.inf  # shielded for ever: it stays parked, and ends with the process
        self._back.release()
        self._go.acquire()
        # By Trio's own way in, which also ends the wait that it is about to begin.
        self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        if self._unwinding:
            self.scope.cancel()
        while self._told:
            self._told.popleft()()

    def _unwind_step(self) -> bool:
        """Let time run for those that wait in shielded scopes; False if that is of no use."""
        self._unwinding += 1
        wait = self.clock.deadline - self.clock.current_time()
        if self._unwinding > UNWINDING_STEPS or not math.isfinite(wait):
            return False
        self.clock.ahead += max(wait, 1e-9)
        assert self._token is not None
        self._token.run_sync_soon(self._deliver)
        return True
