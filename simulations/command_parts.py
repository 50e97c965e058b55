"""What the subcommands of `mesh simulate` share: how they read and write, what they show, how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import fail
from coordination.output import say

if TYPE_CHECKING:
    from simulations.registry import Result, Scenario
    from simulations.sweeps.sweeping import Progress
    from simulations.sweeps.trials import Step

__all__ = [
    "BROKEN",
    "USAGE",
    "Shrinking",
    "Sweeping",
    "finish",
    "read_plan",
    "read_trace",
    "told",
    "write_case",
    "write_text",
]

BROKEN = 1
USAGE = 2
BAR = 30
"""Characters."""


def told(work: Callable[[], Any]) -> Any:
    """What cannot be is told in one line."""
    from concurrent.futures import BrokenExecutor

    from simulations.sweeps.second_run import SecondRunError

    try:
        return work()
    except OSError as problem:
        fail(f"{str(problem.filename)!r}: {problem.strerror}", USAGE)
    except ValueError as problem:
        fail(str(problem), USAGE)
    except SecondRunError as problem:
        fail(str(problem))
    except BrokenExecutor:
        fail("a process of the sweep died, killed or out of memory: try fewer --jobs")
    except KeyboardInterrupt:
        fail("interrupted", 130)


def read_plan(scenario: Scenario, file: Path | None, nodes: int | None) -> Any:
    from simulations.plans.plan_json import load_plan

    return None if file is None else load_plan(file.read_text(), scenario.names(nodes))


def read_trace(what: str, seed: int, plan: Path | None, nodes: int | None, profile: str | None) -> Any:
    """The happenings of WHAT, and the result of the run; None for a trace that was saved."""
    from simulations.registry import find
    from simulations.sweeps.cases import Case
    from simulations.traces.causal import record
    from simulations.traces.tracing import load

    if what.endswith(".jsonl"):
        return list(load(Path(what).read_text().splitlines())), None
    if what.endswith(".json"):
        case = Case.load(Path(what).read_text())
        result, happenings = record(
            find(case.scenario), case.seed, case.plan, nodes=case.nodes, duration=case.duration
        )  # fmt: skip
    else:
        found = find(what)
        result, happenings = record(found, seed, read_plan(found, plan, nodes), nodes=nodes, profile=profile)
    return happenings, result


def write_case(result: Result, file: Path) -> None:
    from simulations.sweeps.cases import Case

    write_text(file, Case.of(result).dump())


def write_text(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as problem:
        fail(f"{str(file)!r} cannot be written: {problem.strerror}", USAGE)


def show_trace(result: Result, again: str) -> None:
    """The last that befell the nodes that were concerned, of the same run once more, with its recording on."""
    from simulations.registry import find
    from simulations.traces.causal import record
    from simulations.traces.tracing import HEAD, around, column

    recorded = record(
        find(result.scenario), result.seed, result.plan, nodes=result.nodes, duration=result.duration
    )  # fmt: skip
    if recorded.result.digest != result.digest:
        say(f"{result.trace}\nrun again it was another run (digest {recorded.result.digest}): try sweep --verify")
        return
    shown = around(recorded)
    for line in (HEAD, *map(column, shown)):
        say(line)
    if shown:
        say(f"more: mesh simulate trace {again} --causes {shown[-1].n} --last 40")


def finish(result: Result, json_output: bool, again: str) -> None:
    """Show a run, and exit. `again` is what the command `trace` is given to show it in full."""
    if json_output:
        from simulations.plans.plan_json import plan_to

        row = {
            "scenario": result.scenario, "seed": result.seed, "nodes": result.nodes, "law": result.law,
            "violation": result.violation, "digest": result.digest, "virtual_seconds": result.virtual / 1e9,
            "lines": result.lines, "reached": dict(sorted(result.reached.items())), "plan": plan_to(result.plan),
        }  # fmt: skip
        say(json.dumps(row))
    else:
        if result.violation is not None:
            show_trace(result, again)
        say(f"broken: {result.violation}" if result.violation is not None else "nothing broken")
        run = f"{result.scenario}, seed {result.seed}, {result.nodes} nodes, {len(result.plan)} faults"
        say(f"{run}; {result.virtual / 1e9:.1f} virtual seconds; digest {result.digest}")
    raise SystemExit(BROKEN if result.violation else 0)


class Sweeping:
    """Shows how far a sweep is: on a terminal a bar on the error stream, else a line at each tenth."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._begun = monotonic()

    def __call__(self, progress: Progress) -> None:
        done, total = progress.done, progress.total
        text = f"{done}/{total} runs, {progress.failures} failed"
        if self._terminal:
            filled = BAR * done // total
            left = (monotonic() - self._begun) * (total - done) / done
            click.echo(f"\r[{'#' * filled}{'.' * (BAR - filled)}] {text}, {left:.0f} s left \033[K", nl=done == total, err=True)
        elif done * 10 // total > (done - 1) * 10 // total:
            click.echo(text, err=True)


class Shrinking:
    """Shows how small it is: on a terminal a line that changes on the error stream, else a line whenever it got smaller."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown: object = None

    def __call__(self, step: Step) -> None:
        best = step.best
        size = f"{len(best.plan)} faults on {best.nodes} nodes"
        if self._terminal:
            click.echo(f"\r{step.runs} runs: {size} \033[K", nl=False, err=True)
        elif size != self._shown:
            click.echo(f"{step.runs} runs: {size}", err=True)
        self._shown = size

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._shown is not None:
            click.echo(err=True)
