"""Scenarios by name.

One of your own is a `Scenario` in a module of yours, found as "package.module:NAME"; so it is swept, shrunk and replayed as
those here are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from simulations.faults import Fault
from simulations.field import FIELD
from simulations.running import Go, GoFor, Result, Scenario
from simulations.scenarios import atomic, primitives, scenarios, succession
from simulations.world import SECOND, World

__all__ = ["SCENARIOS", "Go", "GoFor", "Result", "Scenario", "find"]


def _locking(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, duration: int
) -> Mapping[str, int]:  # fmt: skip
    done = scenarios.run_locking(seed, nodes=nodes, duration=duration, plan=plan, seen=seen)
    return {"grants": done.locks.grants, **done.locks.outcomes, **done.phases.reached}


def _durable_locking(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = scenarios.run_locking(seed, nodes=nodes, plan=plan, durable=True, seen=seen)
    disks = [machine.disk for machine in done.world.machines.values()]
    memory = {
        "commits": sum([disk.commits for disk in disks]),
        "set aside": sum([disk.set_aside for disk in disks]),
        "failed commits": sum([disk.failures for disk in disks]),
        "remembered": sum([disk.remembered for disk in disks]),
    }
    return {"grants": done.locks.grants, **done.locks.outcomes, **memory, **done.phases.reached}


def _spreading(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, duration: int
) -> Mapping[str, int]:  # fmt: skip
    done = scenarios.run_spreading(seed, plan, nodes=nodes, duration=duration, seen=seen)
    revisions = sum([peer.store.revision for peer in done.cluster.living()])
    deleted = sum([cell.body is None for peer in done.cluster.living() for cell in peer.store.cells() if cell.kind == 0])
    return {"changes": revisions, "deleted": deleted, **done.phases.reached}


def _atomic(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = atomic.run_atomic(seed, plan, nodes=nodes, seen=seen)
    return {**done.registers.outcomes, **done.phases.reached}


def _roster(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:  # fmt: skip
    done = succession.run_succession(seed, plan, nodes=nodes, seen=seen)
    return {"grants": done.locks.grants, **done.locks.outcomes, **done.phases.reached}


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "locking",
            "L1 no two holders in true time, L2 tokens rise, L4 bodies are told, L12 everyone gets every lock, M8",
            _locking, nodes=4, fewest=3, duration=30 * SECOND, sometimes=("grants", "released", "cancelled", "busy"),
            shortest=SECOND,
        ),
        Scenario(
            "durable-locking",
            "as locking, with voters that keep their promises on disk: restarts of all at once, torn and damaged disks",
            _durable_locking, nodes=4, fewest=3, duration=30 * SECOND, profile="disks",
            sometimes=("grants", "Blackout", "Torn", "set aside", "failed commits", "remembered"),
        ),
        Scenario(
            "spreading",
            "C2 sums, C5 claims, C13 watchers, C15 equal stores, M1, M8, M19, W6 nonces; under 20 % loss",
            _spreading, nodes=8, fewest=3, duration=7 * SECOND, sometimes=("changes", "deleted"),
            shortest=SECOND,
        ),
        Scenario(
            "atomic",
            "L10 registers (read, write, compare-and-set, add) are linearizable; no quorum said is nothing done; L9; M8",
            _atomic, nodes=5, fewest=3, duration=20 * SECOND, sometimes=("add", "write", "cas", "read", "unavailable", "dead"),
        ),
        Scenario(
            "roster",
            "L11 one roster an epoch, L1, L2, L4, L12: 3 voters grow to 5, and all five are replaced one by one",
            _roster, nodes=9, fewest=9, duration=succession.ROSTER_DURATION, profile="flaky",
            sometimes=("grants", "epochs", "replaced"),
        ),
        Scenario(
            "primitives",
            "C2 counters, C13 watchers, B1 budgets, B2 limiters, B3 gauges: services that use all of them through the API",
            primitives.run_primitives, nodes=4, fewest=4, duration=primitives.DURATION, profile="mixed",
            sometimes=(
                "added", "folded", "spent", "refunded", "exhausted", "events", "resyncs", "resumed", "strict", "window", "fast",
                "Partition", "Weather", "Crash", "OldDisk", "remembered",
            ),
        ),
        *FIELD,
    )
}  # fmt: skip


def find(name: str) -> Scenario:
    """The scenario of a name here, or of "package.module:NAME".

    Raises
    ------
    ValueError: there is none.
    """
    if name in SCENARIOS:
        return SCENARIOS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}, and yours as package.module:NAME")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise ValueError(f"no scenario {name!r}: {problem}") from None
    if not isinstance(found, Scenario):
        raise ValueError(f"{name!r} is a {type(found).__name__}, not a Scenario")
    return found
