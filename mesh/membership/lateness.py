"""Noticing that this node itself was away: its own timers fire late.

A paused process, or one starved of CPU, finds every probe of before its pause overdue and every suspicion expired,
while the answers that would acquit wait in its socket's buffer. So it first asks how late its timers are, and if they
are, judges by nothing of before. A node that is always late would never judge; so after `FORGIVEN` rounds running it
does, with timeouts that its bad health has stretched by then."""

from __future__ import annotations

__all__ = ["FORGIVEN", "Lateness"]

FORGIVEN = 3
"""Late rounds running after which lateness is no excuse any more."""


class Lateness:
    __slots__ = ("_accounted", "_fresh", "_running", "threshold", "total")

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        """ns that a timer may be late, as far as anyone can tell."""
        self._accounted = 0
        self._running = 0
        self._fresh = False
        self.total = 0

    def observe(self, due: int, now: int) -> int:
        """A timer that was due at `due` fires, or is seen unfired, at `now`: the pause in ns that came to light, or 0.

        Each pause is answered once, however many timers it made late; `excuses` says whether it is one to make up for."""
        pause = now - max(due, self._accounted)
        if pause <= self.threshold:
            return 0
        self._accounted = now
        self._fresh = True
        self.total += 1
        self._running += 1
        return pause

    @property
    def excuses(self) -> bool:
        return self._running <= FORGIVEN

    def on_time(self, now: int) -> None:
        """A round begins. If no pause was noticed since the last one, the node is well again."""
        if not self._fresh:
            self._running = 0
        self._fresh = False
