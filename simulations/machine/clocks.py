"""The clocks of one simulated machine, as functions of true time.

    monotonic   runs at the machine's rate; stands still while the machine is suspended
    boot-time   the same, and goes on during suspension
    wall        true time plus an offset, plus a drift; steps when it is set

They belong to the machine: a process that restarts finds them running on. True time is what the world counts, in ns."""

from __future__ import annotations

from crdt.clock import Instant

__all__ = ["EPOCH_MS", "MachineClocks"]

EPOCH_MS = 1_700_000_000_000
"""The true wall time at which every world begins, ms."""

MILLION = 1_000_000
NS_PER_MS = 1_000_000

_made = tuple.__new__
"""Of a named tuple's class, without the call in between: one is read for each step."""


class MachineClocks:
    """Parameters
    ----------
    uptime: what the monotonic clock reads at true time 0, ns."""

    __slots__ = ("_at", "_last", "_last_true", "_mono", "_rate", "_slept", "_wall_at", "_wall_drift", "_wall_ms")

    def __init__(self, uptime: int = 0) -> None:
        self._at = 0
        self._mono = uptime
        self._rate = MILLION
        self._slept = 0
        self._wall_at = 0
        self._wall_ms = EPOCH_MS
        self._wall_drift = 0
        self._last = Instant(0, 0, 0)
        self._last_true = -1
        """When it was read last, unless it was changed since: what is shown to a process is looked at by checkers too."""

    def read(self, true: int) -> Instant:
        """What a process on this machine reads at a true time."""
        if true == self._last_true:
            return self._last
        elapsed = true - self._at
        mono = self._mono + (elapsed if self._rate == MILLION else elapsed * self._rate // MILLION)
        wall = self._wall_ms + true // NS_PER_MS
        if self._wall_drift:
            wall += (true - self._wall_at) * self._wall_drift // (MILLION * NS_PER_MS)
        self._last_true = true
        self._last = instant = _made(Instant, (mono, mono + self._slept if self._slept else mono, wall))
        return instant

    def when(self, mono: int) -> int:
        """The first true time at which the monotonic clock reads at least this."""
        ahead = mono - self._mono
        return self._at + (ahead if self._rate == MILLION else -(-ahead * MILLION // self._rate))

    def set_rate(self, ppm: int, true: int) -> None:
        """From now on the monotonic clock gains so many parts per million (loses, if negative)."""
        self._mono, self._at = self.read(true).mono, true
        self._rate = MILLION + ppm
        self._last_true = -1

    def slept(self, nanoseconds: int, true: int) -> None:
        """The machine has been suspended for so long, until now."""
        mono = self.read(true).mono
        self._mono, self._at = mono - nanoseconds, true
        self._slept += nanoseconds
        self._last_true = -1

    def step_wall(self, ms: int) -> None:
        """The wall clock is set forward by so many ms (back, if negative)."""
        self._wall_ms += ms
        self._last_true = -1

    def drift_wall(self, ppm: int, true: int) -> None:
        """From now on the wall clock gains so many parts per million."""
        self._wall_ms = self.read(true).wall - true // NS_PER_MS
        self._wall_at, self._wall_drift = true, ppm
        self._last_true = -1
