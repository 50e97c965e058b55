"""What the public objects of one peer share: its assembly, its driver, its dispatcher."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio

from coordination.assembly import Assembly
from coordination.dispatch import Dispatch
from coordination.errors import ClockDrift
from crdt.clock import Instant
from mesh.driver import Driver

__all__ = ["CALLS_PER_TURN", "Core"]

CALLS_PER_TURN = 32
"""Local writes after which one lets other tasks run: a full checkpoint costs as much as two writes."""


@dataclass(slots=True)
class Core:
    assembly: Assembly
    driver: Driver[Any]
    dispatch: Dispatch = field(default_factory=Dispatch)
    _calls: int = 0

    def now(self) -> Instant:
        return self.driver.instant()

    def check_clock(self) -> None:
        """Refuse writes while this node's clock is off."""
        offset = self.assembly.clock.check()
        if offset is not None:
            raise ClockDrift(offset)

    async def turn(self) -> None:
        """The checkpoint of a local write: always a point of cancellation, and every 32nd time one of scheduling."""
        self._calls += 1
        if self._calls % CALLS_PER_TURN:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
