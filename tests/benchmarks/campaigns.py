"""Seeds an hour: campaigns of five nodes under the hostile profile, a virtual minute of faults each, over two processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice

from simulations import SECOND, World
from simulations.faults import Fault
from simulations.running import Scenario
from simulations.scenarios import scenarios
from simulations.sweeps.sweeping import sweep
from simulations.sweeps.workers import workers
from tests.benchmarks.figures import rate, title
from tests.benchmarks.limits import heap_events

__all__ = ["LOCKING", "LOCKING_SEALED", "SPREADING", "main"]

MINUTE = 60 * SECOND
NODES = 5
PROCESSES = 2
SECONDS = 10.0
"""For which each scenario is swept, in real time."""
GOAL = 50_000


def _locking(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], encoded: bool = False
) -> Mapping[str, int]:  # fmt: skip
    done = scenarios.run_locking(seed, nodes=nodes, duration=MINUTE, plan=plan, seen=seen, encoded=encoded)
    assert done.locks.grants > 10, "hardly any grants: this seed shows nothing"
    return {"grants": done.locks.grants}


def _locking_sealed(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    return _locking(seed, plan, nodes, seen, encoded=True)


def _spreading(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = scenarios.run_spreading(seed, plan, nodes=nodes, duration=MINUTE, seen=seen, encoded=False)
    changes = sum([peer.store.revision for peer in done.cluster.living()])
    assert changes > 10, "hardly any changes: this seed shows nothing"
    return {"changes": changes}


def _named(name: str, go: Callable[..., Mapping[str, int]], sometimes: str) -> Scenario:
    return Scenario(f"tests.benchmarks.campaigns:{name}", sometimes, go, NODES, NODES, MINUTE, "hostile", (sometimes,))


LOCKING = _named("LOCKING", _locking, "grants")
LOCKING_SEALED = _named("LOCKING_SEALED", _locking_sealed, "grants")
SPREADING = _named("SPREADING", _spreading, "changes")
CAMPAIGNS = (
    ("replicated state", SPREADING, GOAL),
    ("locks", LOCKING, GOAL),
    ("locks, every message encoded and sealed", LOCKING_SEALED, None),
)


def main() -> None:
    title(f"Campaigns: {NODES} nodes, hostile profile, {MINUTE // SECOND} virtual seconds of faults, {PROCESSES} processes")
    heap = PROCESSES * heap_events(500_000)
    for what, scenario, goal in CAMPAIGNS:
        seeds = count()
        events = scenario.run(next(seeds)).lines
        with workers(None, PROCESSES) as pool:
            warm = sweep(scenario, islice(seeds, 4 * PROCESSES), executor=pool)  # the workers import what they need
            wanted = max(4 * PROCESSES, round(warm.runs / warm.seconds * SECONDS))
            done = sweep(scenario, islice(seeds, wanted), executor=pool)
        for summary in (warm, done):
            assert summary.fine, f"{scenario.name} failed: {summary.failures[:3]} {summary.missing}"
        assert done.runs == wanted
        hourly = done.runs / done.seconds * 3600
        rate(f"{what}: seeds", hourly, goal, heap * 3600 / events, "bare heaps with as many events", "/hour")
