"""Many seeds of one scenario, over processes or over any `concurrent.futures.Executor`.

The summary depends on the seeds alone, not on the executor, nor on the order in which runs end. A sweep fails if a property was
broken, if a seed diverged (with `verify`), or if something that the scenario is meant to reach was never reached."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter

from simulations.running import Result, Scenario
from simulations.sweeps import second_run
from simulations.sweeps.workers import workers

__all__ = ["Progress", "Summary", "run_seed", "sweep"]

AHEAD = 64
"""Runs that are given to the executor at a time."""


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    failures: int


@dataclass(slots=True)
class Summary:
    scenario: str
    profile: str
    nodes: int
    runs: int = 0
    failures: list[Result] = field(default_factory=list)
    """By seed."""
    divergences: dict[int, str] = field(default_factory=dict)
    """Of each seed whose two runs were not the same: where they parted."""
    reached: Counter[str] = field(default_factory=Counter)
    missing: tuple[str, ...] = ()
    """What should be reached sometimes, and never was."""
    virtual: int = 0
    """True ns of all runs together."""
    seconds: float = 0.0
    """Real ones."""
    digest: str = ""
    """Over the digests of all runs, by seed."""

    @property
    def fine(self) -> bool:
        return not (self.failures or self.divergences or self.missing)


def run_seed(
    scenario: Scenario, seed: int, nodes: int | None, profile: str | None, verify: bool
) -> tuple[Result, str | None]:  # fmt: skip
    """One seed, in whatever process; with `verify` in another one too. The second answer is where the two runs parted."""
    if verify:
        return second_run.compare(second_run.Request(scenario, seed, nodes, profile))
    result = scenario.run(seed, nodes=nodes, profile=profile)
    gc.collect(0)  # the world was circles, and is still near: left for later, it costs half as much again
    return result, None


def sweep(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    nodes: int | None = None,
    profile: str | None = None,
    verify: bool = False,
    executor: Executor | None = None,
    jobs: int | None = None,
    stop_after: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Summary:
    """Run them all.

    Parameters
    ----------
    verify: run each seed twice, the second time in another process with another PYTHONHASHSEED, and tell where the two part.
    executor: where; it is not shut down. By default `jobs` processes of an own pool (None: one a core).
    stop_after: so many failures are enough; what is `missing` is then not asked.
    progress: called after each run.

    Raises
    ------
    ValueError: too few nodes, or no such profile.
    SecondRunError: with `verify`, if there can be no other process.
    """
    seeds = list(seeds)
    scenario.draw(0, nodes=nodes, profile=profile)
    summary = Summary(scenario.name, profile or scenario.profile, nodes or scenario.nodes)
    begun = perf_counter()
    with ExitStack() as stack:
        stack.callback(second_run.close)  # of an executor that runs in this process
        pool = stack.enter_context(workers(executor, jobs))
        digests = _run(summary, scenario, seeds, (nodes, profile, verify), pool, stop_after, progress)
    summary.failures.sort(key=lambda result: result.seed)
    summary.divergences = dict(sorted(summary.divergences.items()))
    if summary.runs == len(seeds) and not summary.failures:
        summary.missing = tuple([what for what in scenario.sometimes if not summary.reached[what]])
    summary.digest = blake2b("".join([digests[seed] for seed in sorted(digests)]).encode(), digest_size=16).hexdigest()
    summary.seconds = perf_counter() - begun
    return summary


def _run(
    summary: Summary,
    scenario: Scenario,
    seeds: Sequence[int],
    arguments: tuple[int | None, str | None, bool],
    executor: Executor,
    stop_after: int | None,
    progress: Callable[[Progress], object] | None,
) -> dict[int, str]:
    digests: dict[int, str] = {}
    waiting = iter(seeds)
    pending: set[Future[tuple[Result, str | None]]] = set()
    try:
        while stop_after is None or len(summary.failures) < stop_after:
            while len(pending) < AHEAD and (seed := next(waiting, None)) is not None:
                pending.add(executor.submit(run_seed, scenario, seed, *arguments))
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                result, parted = future.result()
                digests[result.seed] = result.digest
                summary.runs += 1
                summary.virtual += result.virtual
                summary.reached.update(result.reached)
                if result.violation is not None:
                    summary.failures.append(result)
                if parted is not None:
                    summary.divergences[result.seed] = parted
                if progress is not None:
                    progress(Progress(summary.runs, len(seeds), len(summary.failures)))
    finally:
        for future in pending:
            future.cancel()
    return digests
