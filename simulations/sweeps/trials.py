"""Candidates, in an order of preference: the first that breaks the same property as the best run so far is the next best.

They may be run many at a time. The answer is that of trying one after the other: what is found, and how many runs it took, does
not depend on how many workers there are, nor on which is done first. What was run ahead, and was not asked for, does not
count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import NamedTuple

from simulations.faults import Fault
from simulations.plans.plan_json import PlanError
from simulations.running import Result, Scenario

__all__ = ["Candidate", "Step", "Trials"]


class Candidate(NamedTuple):
    plan: tuple[Fault, ...]
    nodes: int
    duration: int | None
    """ns; None: the scenario's own."""

    @classmethod
    def of(cls, result: Result) -> Candidate:
        return cls(result.plan, result.nodes, result.duration)


class Step(NamedTuple):
    """How far it is."""

    runs: int
    most: int
    best: Candidate


class Trials:
    """Parameters
    ----------
    best: a run that breaks something.
    most: runs, that one included.
    executor: where; None runs one at a time, here.
    ahead: so many at a time.
    progress: called after each run that counts.
    """

    def __init__(
        self,
        scenario: Scenario,
        best: Result,
        most: int,
        *,
        executor: Executor | None = None,
        ahead: int = 1,
        progress: Callable[[Step], object] | None = None,
    ) -> None:
        self.best = best
        self.runs = 1
        self.most = most
        self._scenario = scenario
        self._executor = executor
        self._ahead = ahead
        self._progress = progress
        self._failed: set[Candidate] = set()

    @property
    def exhausted(self) -> bool:
        return self.runs >= self.most

    def first(self, candidates: Iterable[Candidate]) -> int | None:
        """The number of the first that breaks the same property; None if none does, or the runs are used up.

        The best one is there at no cost, and what failed to break it once is not run again."""
        waiting = enumerate(candidates)
        pending: deque[tuple[int, Candidate, Future[Result | None] | None]] = deque()
        try:
            while True:
                while len(pending) < self._ahead and (more := next(waiting, None)) is not None:
                    if more[1] not in self._failed:
                        pending.append((*more, self._begin(more[1])))
                if not pending:
                    return None
                number, candidate, future = pending.popleft()
                if candidate == Candidate.of(self.best):
                    return number
                if candidate in self._failed:  # it stood there twice
                    continue
                if self.exhausted:
                    return None
                if self._breaks(candidate, future):
                    return number
        finally:
            for _, _, future in pending:
                if future is not None:
                    future.cancel()

    def _begin(self, candidate: Candidate) -> Future[Result | None] | None:
        if self._executor is None or candidate == Candidate.of(self.best) or self.exhausted:
            return None
        return self._executor.submit(attempt, self._scenario, self.best.seed, candidate)

    def _breaks(self, candidate: Candidate, future: Future[Result | None] | None) -> bool:
        result = attempt(self._scenario, self.best.seed, candidate) if future is None else future.result()
        breaks = result is not None and result.law == self.best.law
        if breaks:
            assert result is not None
            self.best = result
        else:
            self._failed.add(candidate)
        if result is not None:
            self.runs += 1
            if self._progress is not None:
                self._progress(Step(self.runs, self.most, Candidate.of(self.best)))
        return breaks


def attempt(scenario: Scenario, seed: int, candidate: Candidate) -> Result | None:
    """Run it, in whatever process; None for a plan that cannot be."""
    try:
        return scenario.run(seed, candidate.plan, nodes=candidate.nodes, duration=candidate.duration)
    except PlanError:
        return None
