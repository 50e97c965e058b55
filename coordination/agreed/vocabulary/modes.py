"""Modes: which leases may stand beside each other in one register.

    exclusive   permits 0               alone: locks, writers, elections
    shared      permits 1, limit 0      beside any number of its kind: readers
    counted     permits n, limit m      beside others as long as the sum is at most m: semaphores, barriers

A register's limit stands in its value: the first grant sets it, and it stays until the register is forgotten. A request that
names another one is refused. (Taken from the request, two limits are in force at once, and the larger one wins.)

A barrier is counted, and closes: the grant that fills it *shuts* the register, and then nobody comes in until the last of
that round has left. (Whoever came while the others leave would be counted to their round.)

Whether a lease fits is decided by the owner on the value that its accept changes, and on nothing else: the highest value of a
quorum, without what has ended. So what holds of every proposed value holds of every decided one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from coordination.agreed.vocabulary.values import Holding, Value

__all__ = ["EXCLUSIVE", "HOLDINGS_CAP", "SHARED", "Mode", "compatible", "differs", "fills", "fits"]

HOLDINGS_CAP = 64
"""Leases that one value may hold."""


class Mode(NamedTuple):
    permits: int = 0
    """How many it takes; 0: the register for itself."""
    limit: int = 0
    """How many there are; 0: without limit."""
    together: bool = False
    """Of a barrier."""


EXCLUSIVE = Mode()
SHARED = Mode(1)


def differs(value: Value, alive: Sequence[Holding], mode: Mode) -> bool:
    """Whether the register has another limit than is asked with."""
    return value.limit != mode.limit and bool(value.limit or alive)


def fits(value: Value, alive: Sequence[Holding], mode: Mode) -> bool:
    """Whether a lease of this mode may be granted beside those that are alive."""
    if not alive:
        return True
    if value.shut or len(alive) >= HOLDINGS_CAP or not mode.permits:
        return False
    taken = 0
    for holding in alive:
        if not holding.permits:
            return False
        taken += holding.permits
    return value.limit == 0 or taken + mode.permits <= value.limit


def fills(alive: Sequence[Holding], mode: Mode) -> bool:
    """Whether a grant of this mode completes the round of a barrier."""
    return mode.together and sum([holding.permits for holding in alive]) + mode.permits >= mode.limit


def compatible(value: Value) -> bool:
    """Whether all leases of a value may stand beside each other: what every checker asks."""
    taken = [holding.permits for holding in value.holdings]
    return len(taken) <= 1 or (all(taken) and (value.limit == 0 or sum(taken) <= value.limit))
