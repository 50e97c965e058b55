"""Busy polling: the loop looks for the next datagram for a moment before it goes to sleep.

Where one process asks and another one answers at once, each sleeps while the other one works. A core that sleeps takes as long
to wake as a message takes to be handled (on a virtual machine it is woken by way of the host), and then finds nothing in its
caches. So a loop that has been answered quickly again and again looks for the next answer before it sleeps: for a window
(`Profile.busy_poll`) at the most, and offering the core to other processes meanwhile.

It must not cost those who gain nothing by it:
  - at rest nothing is looked for: the confidence that `QUICK` quick answers build up is halved by each wait that was none
    of them;
  - nor where much is done between two waits: then there is other work while one waits, and cores are wanted for that;
  - where another process has had the core meanwhile it rests: for `REST_FIRST`, and twice as long each further time;
  - what else wakes the loop waits for the end of a look, or for the process that has the core. So nothing is looked for while
    a commit is under way, or when a timer is due within the window (a later one may be late by as much); nor by several nodes
    of one loop.

It is done in the thread of the loop: where Trio is a guest, its host waits. Between two looks other threads may take Python's
lock, and one that computes makes the look a crowded one.

(Karlin, Li, Manasse and Owicki, 1991, on spinning before one blocks; the `busy_poll` of Linux's sockets; halt polling.)"""

from __future__ import annotations

import os
import select
import socket
from collections import Counter
from time import monotonic_ns

__all__ = ["LONE", "Polling", "polling"]

LONE = 4
"""Datagrams and commands between two waits, up to which there is little else to do: one datagram, and the commands of a task
that it wakes, which releases a lock and acquires the next."""

QUICK = 8
"""Quick answers before it looks."""

MOST_QUICK = 64
"""Quick answers that count: four looks in vain make them fewer than `QUICK`."""

CROWDED = 100_000
"""ns of one look if another process, or the machine's host, has had the core."""

REST_FIRST, REST_LONGEST = 1_000_000, 1_000_000_000
"""ns without a look after that; each answer that is found takes a thirty-second off the next rest."""

NS = 1_000_000_000


class Polling:
    """Of one socket. To be told when the loop is about to wait, and when it has waited.

    Parameters
    ----------
    udp: what is looked at.
    window: ns that it looks at the most, and within which an answer is quick.
    counts: `busy_polls`, and of them those `in_vain` and those that were `crowded` out.
    """

    __slots__ = ("_began", "_counts", "_look", "_quick", "_rest", "_rests_until", "_window")

    def __init__(self, udp: socket.socket, window: int, counts: Counter[str]) -> None:
        poll = select.poll()
        poll.register(udp, select.POLLIN)
        self._look = poll.poll
        self._window = window
        self._counts = counts
        self._quick = 0
        self._began = 0
        """When the wait began that is measured; 0: none is."""
        self._rest = REST_FIRST
        self._rests_until = 0

    def waits(self, timeout: float, inputs: int) -> None:
        """The loop is about to wait for so many seconds, after so many inputs. Returns as soon as there is a datagram, or when
        it is time to sleep."""
        if inputs > LONE:
            self._quick //= 2
            self._began = 0
            return
        self._began = now = monotonic_ns()
        if self._quick >= QUICK and timeout * NS > self._window and now >= self._rests_until:
            self._poll(now)

    def _poll(self, began: int) -> None:
        self._counts["busy_polls"] += 1
        look, last = self._look, began
        while not look(0):
            os.sched_yield()
            now = monotonic_ns()
            if now - last > CROWDED:
                self._counts["busy_polls_crowded"] += 1
                self._rests_until = now + self._rest
                self._rest = min(2 * self._rest, REST_LONGEST)
                return
            if now - began > self._window:
                self._counts["busy_polls_in_vain"] += 1
                return
            last = now
        if self._rest > REST_FIRST:
            self._rest = max(REST_FIRST, self._rest - (self._rest >> 5))

    def waited(self, now: int) -> None:
        """The loop goes on, at this monotonic ns."""
        began, self._began = self._began, 0
        if not began:
            return
        if now - began <= self._window and self._look(0):
            if self._quick < MOST_QUICK:
                self._quick += 1
        else:
            self._quick //= 2


def polling(udp: socket.socket, window: int, counts: Counter[str]) -> Polling | None:
    """None where nothing is to be looked for, or the system knows no such call (Windows)."""
    if not window or not hasattr(select, "poll") or not hasattr(os, "sched_yield"):
        return None
    return Polling(udp, window, counts)
