"""What may hold beside what, in true time: L1 and L4 for every mode, L2, and how long a lock stays closed behind its dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode

__all__ = ["Closed", "Tokens", "clash"]

RATES_PERCENT = 98
"""Of a delay, what every clock within 1 % waits at the least."""


class Party(Protocol):
    @property
    def mode(self) -> Mode: ...


class Closed(NamedTuple):
    """A lease with a delay that has run out unreleased: nobody may be granted what it would not fit beside."""

    key: str
    mode: Mode
    until: int
    """True time."""

    @classmethod
    def after(cls, key: str, mode: Mode, deadline: int, delay: int) -> Closed:
        return cls(key, mode, deadline + delay * RATES_PERCENT // 100)


def clash(parties: Iterable[Party]) -> str:
    """Why these may not hold one lock at one moment, or ``."""
    modes = [party.mode for party in parties]
    if len(modes) < 2:
        return ""
    if any(not mode.permits for mode in modes):
        return "someone who needs it alone is not alone"
    limits = {mode.limit for mode in modes}
    if len(limits) > 1:
        return f"they go by different limits: {sorted(limits)}"
    (limit,) = limits
    taken = sum(mode.permits for mode in modes)
    return f"{taken} permits of {limit} are taken" if limit and taken > limit else ""


class Tokens:
    """The tokens of one lock: each is given once, and whoever needs it alone gets one above all before, and below all after."""

    def __init__(self) -> None:
        self.given: set[int] = set()
        self.highest = 0
        self.alone = 0

    def granted(self, token: int, mode: Mode) -> bool:
        """Take one down; False if it breaks the rule."""
        floor = self.highest if mode == EXCLUSIVE else self.alone
        fine = token > floor and token not in self.given
        self.given.add(token)
        self.highest = max(self.highest, token)
        if mode == EXCLUSIVE:
            self.alone = max(self.alone, token)
        return fine
