"""Counters: sums that every member may add to, and that merge without loss (PN-counter, Shapiro et al., 2011).

Each process adds to a slot of its own, so nothing is lost or counted twice, whoever restarts: a new process is a new slot.
`set` begins an *epoch*: what was added without knowing of it is lost, by definition; what is added by whoever has seen it
counts."""

from __future__ import annotations

from coordination.arguments.checks import check_amount, check_key
from coordination.core import Core

__all__ = ["Counter"]

SMALL = 1 << 62
"""Below it an amount needs no closer look."""


class Counter:
    """One counter: `peer.counter(name)`. Always available; each member's adds reach the others by gossip.

    Whole numbers of any size; one step is at most 512 bytes. A counter and a key of one name are two things that never meet.
    Follow it with `peer.watch(counter=name)`.

    Of a process that dies a beginning of its adds counts: those that have left it, after a millisecond (16 under load)."""

    __slots__ = ("_add_more", "_check_drift", "_check_driver", "_core", "name")

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._check_driver = core.driver.check
        self._check_drift = core.assembly.clock.check
        self._add_more = core.assembly.replication.add_more
        self.name = check_key(name, "counter name")

    def add(self, n: int = 1) -> None:
        """Add `n`, which may be negative. Local and synchronous, no checkpoint.

        Raises
        ------
        BadValue: not an integer.
        TooLarge: beyond 512 bytes.
        ClockDrift: this node's clock is off.
        """
        if type(n) is not int or not -SMALL < n < SMALL:
            check_amount(n, self.name)
        self._check_driver()
        if self._check_drift() is not None:
            self._core.check_writable()
        if not self._add_more(self.name, n):
            driver, replication = self._core.driver, self._core.assembly.replication
            now = driver.instant()
            driver.command(replication, replication.add(self.name, n, now), now)

    def subtract(self, n: int = 1) -> None:
        """Add `-n`. Raises as `add`."""
        check_amount(n, self.name)
        self.add(-n)

    def set(self, n: int) -> None:
        """Let it stand at `n`, from now on. Local and synchronous, no checkpoint.

        An epoch begins. Adds that it does not know of, and adds by those who do not know of it yet, are lost; of two that are
        set at the same time the later counts, by hybrid logical time. Raises as `add`."""
        check_amount(n, self.name)
        self._core.check_writable()
        driver, replication = self._core.driver, self._core.assembly.replication
        now = driver.instant()
        driver.command(replication, replication.set_counter(self.name, n, now), now)

    @property
    def value(self) -> int:
        """The sum of all adds that have arrived here. Local."""
        return self._core.assembly.store.counter(self.name)

    def lag(self) -> float:
        """How old `value` may be: seconds since this peer was last heard to have all that each other living member had. Local.

        Members tell each other once a second, one at a time: with n of them it is about n seconds in the mean though news takes
        milliseconds, and grows while somebody is not heard. What is on its way is not covered: it is for alarms, and no proof.
        0.0 in a mesh of one."""
        return self._core.assembly.replication.lag(self._core.now()) / 1e9
