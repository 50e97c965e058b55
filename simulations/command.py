"""`mesh simulate`: run scenarios under faults, find seeds that fail, replay and shrink them.

Exit codes: 0 nothing was broken, 1 something was, 2 wrong usage, a malformed plan included."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from coordination.output import say
from simulations.command_parts import BROKEN, Shrinking, Sweeping, finish, read_plan, read_trace, told, write_case, write_text

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])


def options(function: F) -> F:
    """What most subcommands have."""
    function = click.option("--json", "json_output", is_flag=True, help="Print JSON.")(function)
    function = click.option(
        "--profile", metavar="NAME", help="calm, flaky, hostile, disks, mixed or swarm; else the scenario's own."
    )(function)
    return click.option("--nodes", type=click.IntRange(1, 1_000), help="How many; else the scenario's own number.")(function)


seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="Of everything: the world, the plan, the workload."
)
json_option = click.option("--json", "json_output", is_flag=True, help="Print JSON.")
plan_option = click.option(
    "--plan", type=click.Path(dir_okay=False, path_type=Path), help="A JSON list of faults, in place of the drawn ones."
)
save_option = click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the case to this file, for replay and shrink."
)
jobs_option = click.option("--jobs", type=click.IntRange(1), help="Processes; else one a core.")


@click.group("simulate")
def command() -> None:
    """Run whole meshes in virtual time under faults; every run is repeated by its seed.

    \b
    Examples:
      mesh simulate list
      mesh simulate sweep locking --seeds 200
      mesh simulate shrink locking --seed 17 --save case.json
      mesh simulate replay case.json
      mesh simulate trace case.json --kind event

    A SCENARIO is a name of the list, or a `simulations.Scenario` of yours as package.module:NAME.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")


@command.command("list")
@json_option
def list_(json_output: bool) -> None:
    """List the scenarios and the profiles of faults.

    \b
    Example:
      mesh simulate list
    """
    from simulations.plans.profiles import PROFILES
    from simulations.registry import SCENARIOS

    if json_output:
        rows = [{"name": each.name, "checks": each.checks, "nodes": each.nodes} for each in SCENARIOS.values()]
        say(json.dumps({"scenarios": rows, "profiles": {each.name: each.about for each in PROFILES.values()}}))
        return
    for scenario in SCENARIOS.values():
        say(f"{scenario.name:18} {scenario.nodes:3} nodes  {scenario.checks}")
    say("profiles:")
    for profile in PROFILES.values():
        say(f"  {profile.name:10} {profile.per_minute:3} faults a minute: {profile.about}")


@command.command("run")
@click.argument("scenario")
@seed_option
@plan_option
@save_option
@options
def run(
    scenario: str, seed: int, plan: Path | None, save: Path | None, nodes: int | None, profile: str | None, json_output: bool
) -> None:
    """Run one seed of a scenario.

    \b
    Examples:
      mesh simulate run locking --seed 7 --profile swarm
      mesh simulate run locking --seed 7 --plan plan.json
    """
    from simulations.registry import find

    def work() -> Any:
        found = find(scenario)
        return found.run(seed, read_plan(found, plan, nodes), nodes=nodes, profile=profile)

    result = told(work)
    if save is not None:
        write_case(result, save)
    given = [
        f"--{name} {value}" for name, value in (("plan", plan), ("nodes", nodes), ("profile", profile)) if value is not None
    ]
    finish(result, json_output, " ".join([f"{scenario} --seed {seed}", *given]))


@command.command("sweep")
@click.argument("scenario")
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option("--seed", "first", type=int, default=0, show_default=True, help="The first of them.")
@jobs_option
@click.option("--verify", is_flag=True, help="Run each seed in two processes, and tell where they part.")
@click.option("--stop-after", type=click.IntRange(1), help="So many failures are enough.")
@save_option
@options
def sweep(
    scenario: str,
    seeds: int,
    first: int,
    jobs: int | None,
    verify: bool,
    stop_after: int | None,
    save: Path | None,
    nodes: int | None,
    profile: str | None,
    json_output: bool,
) -> None:
    """Run many seeds over processes; sum up what was broken, and what was never reached.

    \b
    Example:
      mesh simulate sweep locking --seeds 1000 --profile swarm --save first.json
    """
    from simulations.registry import find
    from simulations.sweeps.sweeping import sweep as run_all

    summary = told(
        lambda: run_all(
            find(scenario), range(first, first + seeds),
            nodes=nodes, profile=profile, verify=verify, jobs=jobs, stop_after=stop_after, progress=Sweeping(),
        )
    )  # fmt: skip
    if save is not None and summary.failures:
        write_case(summary.failures[0], save)
    if json_output:
        row = {
            "scenario": summary.scenario, "profile": summary.profile, "nodes": summary.nodes, "runs": summary.runs,
            "failures": [{"seed": each.seed, "law": each.law, "violation": each.violation} for each in summary.failures],
            "divergences": summary.divergences, "missing": list(summary.missing),
            "reached": dict(sorted(summary.reached.items())),
            "virtual_seconds": summary.virtual / 1e9, "seconds": round(summary.seconds, 3), "digest": summary.digest,
        }  # fmt: skip
        say(json.dumps(row))
    else:
        for result in summary.failures[:20]:
            say(f"seed {result.seed}: {result.violation}")
        if len(summary.failures) > 20:
            say(f"and {len(summary.failures) - 20} more")
        for seed, where in summary.divergences.items():
            say(f"seed {seed} diverged: {where}")
        for what in summary.missing:
            say(f"never reached: {what}")
        pace = f"{summary.seconds:.1f} s, {round(summary.runs / max(summary.seconds, 1e-9) * 3_600)} seeds an hour"
        what = f"{summary.runs} runs of {summary.scenario} ({summary.profile}, {summary.nodes} nodes)"
        say(f"{what}: {len(summary.failures)} failed")
        say(f"{summary.virtual / 1e9:.0f} virtual seconds in {pace}; digest {summary.digest}")
    raise SystemExit(0 if summary.fine else BROKEN)


@command.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def replay(file: Path, json_output: bool) -> None:
    """Run a saved case again.

    \b
    Example:
      mesh simulate replay case.json
    """
    from simulations.sweeps.cases import replay as run_again

    finish(told(lambda: run_again(file)), json_output, str(file))


@command.command("trace")
@click.argument("what")
@seed_option
@plan_option
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only this: send, recv, timer, event, fault, ...; again for more."
)
@click.option("--node", "only", multiple=True, metavar="NAME", help="Only what happened there; again for more.")
@click.option("--text", default="", help="Only what says this, in any of its words.")
@click.option("--since", type=float, metavar="SECONDS", help="Of true time.")
@click.option("--until", type=float, metavar="SECONDS", help="Of true time.")
@click.option("--causes", type=int, metavar="N", help="Only event N and all that led to it, the first cause first.")
@click.option("--last", type=click.IntRange(1), help="Show only so many of what is chosen.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write what is chosen to this file, as JSON lines."
)
@options
def trace(
    what: str,
    seed: int,
    plan: Path | None,
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    text: str,
    since: float | None,
    until: float | None,
    causes: int | None,
    last: int | None,
    save: Path | None,
    nodes: int | None,
    profile: str | None,
    json_output: bool,
) -> None:
    """Show all that happened in a run, numbered, and what each thing came of.

    WHAT is a scenario, a saved case (.json), which are run again for it, or a saved trace (.jsonl). --json prints JSON lines:
    n, at (ns of true time), node, kind, what, detail, bytes, cause (the n of what led to it, or null).

    \b
    Examples:
      mesh simulate trace locking --seed 7 --kind fault --kind event --node n3
      mesh simulate trace case.json --save case.jsonl --last 40 --text lock/a
      mesh simulate trace case.jsonl --causes 5091 --last 20
    """
    from simulations.traces.tracing import HEAD, Choice, column, dump
    from simulations.traces.tracing import causes as led_to

    def work() -> Any:
        happenings, result = read_trace(what, seed, plan, nodes, profile)
        chosen = happenings if causes is None else led_to(happenings, causes)
        end = None if until is None else round(until * 1e9)
        return Choice(kinds, only, text, round((since or 0) * 1e9), end).of(chosen), result

    chosen, result = told(work)
    if save is not None:
        write_text(save, "".join([dump(each) + "\n" for each in chosen]))
    chosen = chosen[-last:] if last else chosen
    for line in map(dump, chosen) if json_output else [HEAD, *map(column, chosen)]:
        say(line)
    if result is not None and result.violation is not None:
        if not json_output:
            say(f"broken: {result.violation}")
        raise SystemExit(BROKEN)


@command.command("shrink")
@click.argument("what")
@seed_option
@plan_option
@click.option("--runs", type=click.IntRange(1), default=500, show_default=True, help="At most.")
@jobs_option
@save_option
@options
def shrink(
    what: str,
    seed: int,
    plan: Path | None,
    runs: int,
    jobs: int | None,
    save: Path | None,
    nodes: int | None,
    profile: str | None,
    json_output: bool,
) -> None:
    """Shrink a failing seed of a scenario, or a saved case (WHAT ends in .json), to a minimal plan.

    Exits with 1 after it has shown the minimal plan, which breaks the same property. It is the same with any number of --jobs.

    \b
    Examples:
      mesh simulate shrink locking --seed 17 --save minimal.json
      mesh simulate shrink case.json --save minimal.json
    """
    from simulations.registry import find
    from simulations.sweeps.cases import Case
    from simulations.sweeps.shrinking import shrink as make_small
    from simulations.sweeps.workers import cores

    def work() -> Any:
        if what.endswith(".json"):
            case = Case.load(Path(what).read_text())
            found, given, length = find(case.scenario), (case.seed, case.plan), case.duration
            count: int | None = case.nodes
        else:
            found, length, count = find(what), None, nodes
            given = seed, read_plan(found, plan, nodes)
        return make_small(
            found, *given, nodes=count, profile=profile, duration=length, most=runs, jobs=jobs or cores(), progress=shown
        )  # fmt: skip

    shown = Shrinking()
    try:
        shrunk = told(work)
    finally:
        shown.close()
    case = Case.of(shrunk.result)
    if save is not None:
        write_case(shrunk.result, save)
    if json_output:
        row = {"case": json.loads(case.dump()), "before": shrunk.before, "runs": shrunk.runs, "exhausted": shrunk.exhausted}
        say(json.dumps(row))
    else:
        say(case.dump().rstrip())
        more = "; the runs were used up, try more --runs" if shrunk.exhausted else ""
        lasts = "" if case.duration is None else f", in {case.duration / 1e9:g} s"
        say(f"from {shrunk.before} faults to {len(case.plan)} on {case.nodes} nodes{lasts}; {shrunk.runs} runs{more}")
    raise SystemExit(BROKEN)
