"""From a failing plan to a minimal one that fails in the same way.

1. *Fewer faults*, by delta debugging: in the end no fault can be left out (ddmin; Zeller and Hildebrandt, 2002).
2. *Fewer nodes*, down to what the scenario needs; the faults keep to those that are left.
3. *Simpler faults*: shorter, earlier, of fewer nodes, weaker, in round numbers.
4. *A shorter run*, if the scenario can be told how long.
5. *Fewer faults, aimed anew*: one is left out, and the others come a little earlier or later.

Again from 1, until nothing helps. The same way means that the same property is broken: a plan that breaks another is
another bug. It works because a plan's faults are independent: leaving one out shifts no other's draws (`simulations.dice`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from simulations.faults import Fault, Isolate, Pause, RandomCuts, Ring, Suspend
from simulations.network.latency import LogNormal, Pareto
from simulations.network.network import Conditions
from simulations.running import Result, Scenario
from simulations.sweeps.trials import Candidate, Step, Trials
from simulations.sweeps.workers import cores, workers

__all__ = ["NotFailing", "Shrunk", "ddmin", "shrink"]

T = TypeVar("T")
MS = 1_000_000
SHIFTS = tuple([sign * step * MS for step in (5, 10, 20, 30, 50, 70, 100, 150, 200, 300) for sign in (1, -1)])
"""ns by which the others are moved when a fault is left out."""
TENTH = 100 * MS
SECOND = 1_000 * MS
ROUND = (1_000 * MS, 100 * MS, 10 * MS, MS)
"""ns: times are rounded to the first of these that still fails."""


class NotFailing(ValueError):
    """There is nothing to shrink: the run breaks nothing."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    result: Result
    """Of the minimal plan."""
    before: int
    """Faults of the plan that was given."""
    runs: int
    exhausted: bool
    """The runs were used up: perhaps it could be smaller."""


def shrink(
    scenario: Scenario,
    seed: int,
    plan: Sequence[Fault] | None = None,
    *,
    nodes: int | None = None,
    profile: str | None = None,
    duration: int | None = None,
    most: int = 500,
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: Callable[[Step], object] | None = None,
) -> Shrunk:
    """The smallest plan that is found with `most` runs; the same one wherever they are made.

    Parameters
    ----------
    executor, jobs: candidates are run in it, `jobs` at a time (None: one a core). Without an executor `jobs` processes are
        started for them; without either they run here, one after the other.
    progress: called after each run.

    Raises
    ------
    NotFailing: the run breaks nothing.
    """
    first = scenario.run(seed, plan, nodes=nodes, profile=profile, duration=duration)
    if first.violation is None:
        raise NotFailing(f"{scenario.name} with seed {seed} on {first.nodes} nodes breaks nothing: there is nothing to shrink")
    if executor is None and jobs is None:
        return _shrink(scenario, Trials(scenario, first, most, progress=progress))
    with workers(executor, jobs) as pool:
        return _shrink(scenario, Trials(scenario, first, most, executor=pool, ahead=jobs or cores(), progress=progress))


def _shrink(scenario: Scenario, trials: Trials) -> Shrunk:
    search = _Search(scenario, trials)
    faults = len(trials.best.plan)
    while True:
        before = trials.best
        search.fewer_faults()
        search.fewer_nodes()
        search.simpler_faults()
        search.shorter_run()
        if trials.best is before and not search.aimed_anew():
            return Shrunk(trials.best, faults, trials.runs, trials.exhausted)


def ddmin(items: Sequence[T], first: Callable[[list[list[T]]], int | None]) -> list[T]:
    """A part of `items` that fails, and from which no single one can be left out. `items` must fail.

    Parameters
    ----------
    first: the number of the first of some parts that fails, None if none does.
    """
    items = list(items)
    if first([[]]) is not None:
        return []
    parts = 2
    while len(items) > 1:
        size = -(-len(items) // parts)
        starts = range(0, len(items), size)
        chunks = [items[start : start + size] for start in starts]
        rests = [items[:start] + items[start + size :] for start in starts]
        some = [part for part in (*chunks, *rests) if len(part) < len(items)]
        found = first(some)
        if found is not None:
            items = some[found]
            parts = 2 if items in chunks else max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(items))
    return items


class _Search:
    """What is tried."""

    def __init__(self, scenario: Scenario, trials: Trials) -> None:
        self._scenario = scenario
        self._trials = trials

    @property
    def best(self) -> Result:
        return self._trials.best

    def _first(self, plans: Iterable[Sequence[Fault]], nodes: int | None = None) -> int | None:
        best = self.best
        return self._trials.first(Candidate(tuple(plan), nodes or best.nodes, best.duration) for plan in plans)

    def fewer_faults(self) -> None:
        ddmin(self.best.plan, self._first)

    def fewer_nodes(self) -> None:
        """Leave out the last node; if a fault is about it, that one falls on another that has none, or is left out."""
        while self.best.nodes > self._scenario.fewest:
            *rest, last = self._scenario.names(self.best.nodes)
            named = {name for fault in self.best.plan for name in _names(fault)}
            stands_in = [name for name in reversed(rest) if name not in named] if last in named else []
            plans = [_renamed(self.best.plan, {last: name}) for name in stands_in]
            plans = [*plans[:3], _without(self.best.plan, last)]
            if self._first(plans, len(rest)) is None:
                return

    def simpler_faults(self) -> None:
        number = 0
        while number < len(self.best.plan):
            plan = self.best.plan
            others = [name for fault in plan[:number] + plan[number + 1 :] for name in _names(fault)]
            victims = sorted(self._scenario.names(self.best.nodes), key=others.count, reverse=True)
            instead = (*_plainer(plan[number], victims), *_simpler(plan[number]))
            simpler = ([*plan[:number], fault, *plan[number + 1 :]] for fault in instead)
            if self._first(simpler) is None:
                number += 1

    def aimed_anew(self) -> bool:
        """Leave out one fault, and let the others come a little earlier or later. Without it everything happens at other
        moments, and a fault that has to hit one of them misses it: it seems to be needed and is not."""
        plan = self.best.plan
        if len(plan) < 2:
            return False
        rests = (plan[:number] + plan[number + 1 :] for number in range(len(plan)))
        moved = ([replace(fault, at=max(0, fault.at + shift)) for fault in rest] for rest in rests for shift in SHIFTS)
        return self._first(moved) is not None

    def shorter_run(self) -> None:
        """Down to just behind the beginning of the last fault, in whole tenths of a second."""
        if self._scenario.shortest is None:
            return
        while True:
            plan, nodes, held = Candidate.of(self.best)
            now = held or self._scenario.duration
            least = max(self._scenario.shortest, *[fault.at + 1 for fault in plan], 1)
            lengths = [-(-length // TENTH) * TENTH for length in (least, (3 * least + now) // 4, (least + now) // 2)]
            shorter = [length for length in (*lengths, now - SECOND, now - TENTH) if least <= length < now]
            if self._trials.first([Candidate(plan, nodes, length) for length in shorter]) is None:
                return


def _plainer(fault: Fault, victims: Sequence[str]) -> Iterator[Fault]:
    """Another kind in its place that says more: one node is cut off, and not a pattern of links. First comes who has the most
    of the other faults."""
    match fault:
        case Ring(at=at, lasts=lasts) | RandomCuts(at=at, lasts=lasts):
            yield from (Isolate(at, lasts, name) for name in victims)
        case Suspend(at=at, lasts=lasts, whom=whom):
            yield Pause(at, lasts, whom)


def _simpler(value: Any) -> Iterator[Any]:
    """The same fault, a little simpler in one field. Each step goes down in one measure, so that it comes to an end."""
    for field in fields(value):
        held = getattr(value, field.name)
        for less in _less(field.name, held):
            yield replace(value, **{field.name: less})


def _less(name: str, held: Any) -> Iterator[Any]:
    match held:
        case True:
            yield False
        case int() if name in ("at", "lasts") and held:
            yield 0
            yield held // 2 // MS * MS
            yield from (held - held % step for step in ROUND if held % step)
        case int() if name in ("ppm", "ms", "step", "stall") and held:
            yield int(held / 2)
        case float() if held:
            yield 0.0
        case (str(), _, *_):
            yield from (held[:number] + held[number + 1 :] for number in range(len(held)))
        case Conditions():
            yield from _simpler(held)
        case LogNormal():
            yield held.median, held.median
        case Pareto():
            yield held.lowest, held.lowest


def _names(fault: Fault) -> Iterator[str]:
    for field in fields(fault):
        held = getattr(fault, field.name)
        if isinstance(held, str):
            yield held
        elif isinstance(held, tuple):
            yield from held


def _renamed(plan: Sequence[Fault], names: dict[str, str]) -> list[Fault]:
    def new(held: Any) -> Any:
        if isinstance(held, str):
            return names.get(held, held)
        if not isinstance(held, tuple):
            return held
        some = [names.get(name, name) for name in held]
        return tuple(sorted(some) if list(held) == sorted(held) else some)  # the order of a ring matters

    return [replace(fault, **{field.name: new(getattr(fault, field.name)) for field in fields(fault)}) for fault in plan]


def _without(plan: Sequence[Fault], name: str) -> list[Fault]:
    """The plan without this node, and without the faults that are about it alone."""
    kept = []
    for fault in plan:
        held = {field.name: getattr(fault, field.name) for field in fields(fault)}
        some: dict[str, Any] = {
            key: tuple([each for each in value if each != name]) for key, value in held.items() if isinstance(value, tuple)
        }
        if name not in held.values() and all(some.values()):
            kept.append(replace(fault, **some))
    return kept
