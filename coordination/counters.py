"""Counters: sums that every member may add to, and that merge without loss (PN-counter, Shapiro et al., 2011)."""

from __future__ import annotations

from coordination.checks import check_amount, check_key
from coordination.core import Core

__all__ = ["Counter"]


class Counter:
    """One counter: `peer.counter(name)`. Always available; each member's adds reach the others by gossip.

    A counter and a key of one name are two things that never meet."""

    __slots__ = ("_core", "name")

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self.name = check_key(name, "counter name")

    def add(self, n: int = 1) -> None:
        """Add `n`, which may be negative. Local and synchronous, no checkpoint.

        Raises
        ------
        BadValue: not an integer.
        TooLarge: beyond 512 bytes.
        ClockDrift: this node's clock is off.
        """
        check_amount(n, self.name)
        self._core.check_writable()
        driver, replication = self._core.driver, self._core.assembly.replication
        driver.command(replication, replication.add(self.name, n, driver.instant()))

    @property
    def value(self) -> int:
        """The sum of all adds that have arrived here. Local."""
        return self._core.assembly.store.counter(self.name)
