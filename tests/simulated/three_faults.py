"""A planted bug that needs three faults on one node: it was cut off from most others and paused meanwhile, and its wall clock
is off. Then its replication keeps a change to itself, which C13 catches at the next write that it hears of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crdt.clock import Instant
from mesh.directives import Directive, Directives, Source
from mesh.replication import Replication
from simulations.faults import Fault, Partition, Pause, WallStep
from simulations.registry import Scenario
from simulations.scenarios.scenarios import run_spreading
from simulations.world import SECOND, World
from tests.simulated.planted import with_parts

__all__ = ["MINIMAL", "THREE_FAULTS", "SecretiveWhenConfused"]

DURATION = 20 * SECOND
NS_PER_MS = 1_000_000
NAP = 11 * SECOND // 10
SILENCE = 3 * SECOND // 2
OFFSET_MS = 25

MINIMAL: list[Fault] = [
    Partition(SECOND, 12 * SECOND, ("n1",)),
    Pause(9 * SECOND, 2 * SECOND, "n1"),
    WallStep(SECOND, 12 * SECOND, "n1", 60),
]
"""A plan that shows it, and no part of which does."""


class SecretiveWhenConfused(Replication):
    _last: Instant | None = None
    _offset: int | None = None
    _until = 0
    """Boot-time ns until which it is confused."""

    def _notice(self, now: Instant) -> None:
        """It wakes from a pause, had heard of fewer than half the others before it, and its wall clock is off."""
        offset = now.wall - now.boot // NS_PER_MS
        if self._offset is None or self._last is None:
            self._offset, self._heard = offset, dict[bytes, int]()
        elif now.boot - self._last.boot > NAP:
            recent = [session for session, at in self._heard.items() if self._last.boot - at < SILENCE]
            if 2 * len(recent) < len(self._heard) and abs(offset - self._offset) > OFFSET_MS:
                self._until = now.boot + 2 * SECOND
        self._last = now

    def on_message(self, message: Any, source: Source, now: Instant) -> Directives:
        self._notice(now)
        self._heard[source.session] = now.boot
        return super().on_message(message, source, now)

    def on_timer(self, timer: Any, now: Instant) -> Directives:
        self._notice(now)
        return super().on_timer(timer, now)

    def _changed(self, now: Instant, out: list[Directive]) -> None:
        self._notice(now)
        if now.boot < self._until:
            self.store.take_changes()
        super()._changed(now, out)


def three_faults(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = run_spreading(
        seed, plan, nodes=nodes, loss=0.0, duration=DURATION, writes=200, make=with_parts(SecretiveWhenConfused), seen=seen
    )
    return done.phases.faults.begun


THREE_FAULTS = Scenario(
    "tests.simulated.three_faults:THREE_FAULTS", "C13", three_faults, nodes=5, fewest=3, duration=DURATION, sometimes=("Pause",)
)
