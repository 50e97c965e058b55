"""What one acceptor keeps of one register: its promise, what it accepted, and until when each lease counts as live here."""

from __future__ import annotations

from typing import NamedTuple

from coordination.agreed.vocabulary.ballot import ZERO
from coordination.agreed.vocabulary.messages import Live
from coordination.agreed.vocabulary.values import FREE, LeaseId

__all__ = ["Kept", "Register"]

ENDED_KEPT = 8
"""Ends that a register remembers and reports, the newest ones. Losing one costs at most the rest of that lease."""


class Kept(NamedTuple):
    """What this acceptor holds of one identity."""

    serial: int
    until: int
    """Monotonic ns until which it counts as live here."""
    binds: bool


class Register:
    __slots__ = (
        "accepted",
        "ended",
        "highest",
        "learned",
        "leases",
        "promised",
        "proposed",
        "since",
        "touched",
        "value",
        "watcher",
    )

    def __init__(self) -> None:
        self.promised = ZERO
        self.accepted = ZERO
        self.value = FREE
        self.highest = 0
        self.leases: dict[LeaseId, Kept] = {}
        self.ended: dict[LeaseId, None] = {}
        self.touched = 0
        self.proposed = 0
        """When a proposer was last heard (monotonic ns)."""
        self.since = 0
        """Of an atomic register: the roster from which on nothing is missing that this voter ever answered of it."""
        self.learned = ZERO
        """The last accept of which this process has learned by told votes all that it did to leases of its own."""
        self.watcher = ""
        """The last proposer that found it live, to be told when it frees."""

    def live(self, mono: int) -> list[Live]:
        ended = self.ended
        return [
            Live(lease, kept.serial, max(0, kept.until - mono) if lease not in ended else 0, kept.binds)
            for lease, kept in self.leases.items()
        ]

    def is_live(self, lease: LeaseId, mono: int) -> bool:
        kept = self.leases.get(lease)
        return kept is not None and kept.until > mono and lease not in self.ended

    def until(self) -> int:
        """When the last of what counts as live here runs out."""
        return max((kept.until for lease, kept in self.leases.items() if lease not in self.ended), default=0)

    def end(self, lease: LeaseId) -> None:
        ended = self.ended
        ended[lease] = None
        if len(ended) > ENDED_KEPT:
            # Never one that is still kept here: it would count as live again. Of the others the one that was granted first: an
            # accept that was late, and names old ends, pushed out what had been noted just before it.
            oldest = min(ended)
            if oldest not in self.leases:
                del ended[oldest]
            elif over := [old for old in ended if old not in self.leases]:
                del ended[min(over)]
