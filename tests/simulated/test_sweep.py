"""Sweeps: the same summary on any executor, what was never reached, what diverged; and the command `mesh simulate`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import simulations.sweeps.sweeping
from simulations.checkers import Violation
from simulations.command import command
from simulations.faults import Crash, Fault, Pause, Suspend
from simulations.plans.plans import KINDS, random_plan
from simulations.plans.profiles import CLOCKS, PROFILES
from simulations.registry import SCENARIOS, Scenario
from simulations.scenarios.scenarios import run_locking
from simulations.sweeps.cases import Case
from simulations.sweeps.second_run import SecondRun, SecondRunError
from simulations.sweeps.sweeping import Progress, run_seed, sweep
from simulations.world import SECOND, World

HERE = "tests.simulated.test_sweep"
NAMES = ["n0", "n1", "n2", "n3"]


class Inline(Executor):
    """Runs at once, where it is asked; nothing but `submit` is needed of an executor."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as problem:
            future.set_exception(problem)
        return future


def sevens(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Breaks X7 for every seventh seed with a pause or a sleep in its plan, raises for seed 20, reaches "five" with seed 5."""
    world = World(seed)
    seen(world)
    world.trace.add(seed, "n0", "command", repr(plan))
    if seed % 7 == 3 and any(isinstance(fault, Pause | Suspend) for fault in plan):
        raise Violation(f"X7: a pause (seed {seed})")
    if seed == 20:
        raise KeyError("a node raised")
    return {"five": int(seed == 5), "runs": 1}


SEVENS = Scenario(f"{HERE}:SEVENS", "X7", sevens, nodes=4, fewest=2, duration=30 * SECOND, sometimes=("five",))

calls = count()


def forgetful(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Seed 2 depends on how many runs there were before it."""
    world = World(seed)
    seen(world)
    call = next(calls)
    for at in range(3):
        world.trace.add(at, "n0", "command", str(call) if seed == 2 and at == 1 else "same")
    return {}


FORGETFUL = Scenario(f"{HERE}:FORGETFUL", "none", forgetful, nodes=2, fewest=2, duration=SECOND)


def unordered(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Odd seeds send in the order of a set, which is another one with each PYTHONHASHSEED."""
    world = World(seed)
    seen(world)
    print("what a scenario prints is not in the way")
    for at in range(1_000):
        world.trace.add(at, "n0", "command", "same")
    peers = [f"peer {number}" for number in range(9)]
    for peer in set(peers) if seed % 2 else peers:
        world.trace.add(1_000, "n0", "send", peer)
    return {}


UNORDERED = Scenario(f"{HERE}:UNORDERED", "none", unordered, nodes=2, fewest=2, duration=SECOND)


def moody(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Always the same trace; what it says was broken hangs on the hash seed."""
    seen(World(seed))
    raise Violation(f"X1: {hash('mood')}")


MOODY = Scenario(f"{HERE}:MOODY", "X1", moody, nodes=2, fewest=2, duration=SECOND)


def shorter(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """One more line with a PYTHONHASHSEED of "1", for even seeds; one less for odd ones."""
    world = World(seed)
    seen(world)
    for at in range(300 + ((os.environ.get("PYTHONHASHSEED") == "1") ^ seed % 2)):
        world.trace.add(at, "n0", "command", "same")
    return {}


SHORTER = Scenario(f"{HERE}:SHORTER", "none", shorter, nodes=2, fewest=2, duration=SECOND)


# --- the summary ----------------------------------------------------------------------------------------------------------


def test_the_summary_does_not_depend_on_the_executor() -> None:
    told: list[Progress] = []
    one = sweep(SEVENS, range(21), executor=Inline(), progress=told.append)
    with ThreadPoolExecutor(3) as threads:
        other = sweep(SEVENS, reversed(range(21)), executor=threads)
    third = sweep(SEVENS, range(21), jobs=2)  # processes
    for summary in (other, third):
        assert summary.failures == one.failures
        assert (summary.digest, summary.runs, summary.reached) == (one.digest, one.runs, one.reached)
    assert [result.seed for result in one.failures] == [3, 10, 17, 20]
    assert [result.law for result in one.failures] == ["X7", "X7", "X7", "KeyError"]
    assert not one.fine
    assert told[-1] == Progress(21, 21, 4)
    assert [progress.done for progress in told] == list(range(1, 22))
    assert sweep(SEVENS, range(22), executor=Inline()).digest != one.digest


def test_a_sweep_fails_if_it_never_reached_what_it_should() -> None:
    assert sweep(SEVENS, [0, 1, 5], executor=Inline()).fine
    summary = sweep(SEVENS, [0, 1, 2], executor=Inline())
    assert summary.missing == ("five",)
    assert not summary.fine


def test_enough_failures_end_a_sweep() -> None:
    summary = sweep(SEVENS, range(1_000), executor=Inline(), stop_after=1)
    assert len(summary.failures) >= 1
    assert summary.runs < 100


# --- twice ----------------------------------------------------------------------------------------------------------------


def test_what_hangs_on_the_hash_seed_is_told_with_the_line() -> None:
    """In one process two runs of it are the same."""
    assert UNORDERED.run(1).digest == UNORDERED.run(1).digest
    summary = sweep(UNORDERED, range(4), executor=Inline(), verify=True)
    assert list(summary.divergences) == [1, 3]
    head, one, other = summary.divergences[1].splitlines()
    assert "(PYTHONHASHSEED=" in head
    assert re.search(r" part at line 10\d\d$", head)
    assert one.startswith("  one:   ")
    assert "send      peer" in one
    assert "send      peer" in other
    assert one.split()[1:] != other.split()[1:]
    assert not summary.fine
    assert sweep(UNORDERED, [0, 2], jobs=1, verify=True).fine
    assert list(sweep(UNORDERED, range(4), jobs=2, verify=True).divergences) == [1, 3]


def test_what_a_run_leaves_behind_is_told() -> None:
    summary = sweep(FORGETFUL, range(4), executor=Inline(), verify=True)
    assert list(summary.divergences) == [2]
    assert "part at line 2\n" in summary.divergences[2]
    assert sweep(FORGETFUL, [0, 1, 3], executor=Inline(), verify=True).fine


def test_a_trace_that_goes_on_and_a_violation_that_differs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    with ThreadPoolExecutor(2) as threads:
        parted = sweep(SHORTER, [0, 1], executor=threads, verify=True).divergences
    assert "part at line 301\n  one:   has ended\n  other: " in parted[0]
    assert re.search(r"part at line 301\n  one:   .*same\n  other: has ended", parted[1])
    (moods,) = sweep(MOODY, [0], executor=Inline(), verify=True).divergences.values()
    assert moods.startswith("the traces are the same, and what was broken is not\n  one:   X1: ")


def test_without_another_process_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    local = Scenario("local", "none", lambda seed, plan, nodes, seen: {}, nodes=2, fewest=2, duration=SECOND)
    with pytest.raises(SecondRunError, match="local cannot be handed to another process: "):
        sweep(local, [1], executor=Inline(), verify=True)
    with pytest.raises(SecondRunError, match=r"has ended with 1: it said nothing"):
        SecondRun("/bin/false")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SecondRunError, match=r"cannot be started: .*No such file"):
        sweep(UNORDERED, [1], executor=Inline(), verify=True)

    def broken() -> None:
        raise SecondRunError("it died")

    monkeypatch.setattr(simulations.sweeps.sweeping, "sweep", lambda *arguments, **named: broken())
    shown = mesh_simulate("sweep", UNORDERED.name, "--verify")
    assert (shown.exit_code, shown.stderr) == (1, "mesh: it died\n")


@pytest.mark.parametrize(("name", "nodes"), [("locking", 3), ("spreading", 4)])
def test_whole_nodes_do_the_same_twice(name: str, nodes: int) -> None:
    result, parted = run_seed(SCENARIOS[name], 3, nodes, "swarm", True)
    assert parted is None
    assert result.violation is None
    assert result.lines > 2_000
    assert result.digest == SCENARIOS[name].run(3, result.plan, nodes=nodes).digest
    assert result.digest != SCENARIOS[name].run(3, [], nodes=nodes).digest


def test_a_given_plan_replaces_the_drawn_one() -> None:
    plan = [Crash(SECOND, SECOND, "n1")]
    result = SCENARIOS["locking"].run(1, plan)
    assert result.plan == tuple(plan)
    assert result.reached["Crash"] == 1
    assert not {kind.__name__ for kind in KINDS} - {"Crash"} & set(result.reached)


def test_a_scenario_that_shows_no_world_is_told_so() -> None:
    blind = Scenario("blind", "none", lambda seed, plan, nodes, seen: {}, nodes=2, fewest=2, duration=SECOND)
    with pytest.raises(TypeError, match="blind must show its one world"):
        blind.run(1)


# --- profiles -------------------------------------------------------------------------------------------------------------


def kinds_of(profile: str, seed: int) -> set[type[Fault]]:
    return {type(fault) for fault in PROFILES[profile].plan(seed, NAMES, 60 * SECOND)}


def test_profiles_draw_what_they_say() -> None:
    assert set().union(*[kinds_of("calm", seed) for seed in range(9)]) == set(CLOCKS)
    assert set().union(*[kinds_of("flaky", seed) for seed in range(9)]) == set(PROFILES["flaky"].kinds)
    assert set().union(*[kinds_of("hostile", seed) for seed in range(9)]) == set(KINDS)
    swarms = [kinds_of("swarm", seed) for seed in range(40)]
    assert set().union(*swarms) == set(KINDS)
    assert all(swarms)
    assert all(any(kind not in swarm for swarm in swarms) for kind in KINDS)
    assert len({frozenset(swarm) for swarm in swarms}) > 20
    for profile in PROFILES.values():
        plan = profile.plan(4, NAMES, 30 * SECOND)
        assert plan == profile.plan(4, NAMES, 30 * SECOND)
        assert all(fault.at + fault.lasts <= 30 * SECOND for fault in plan)


def test_the_hostile_profile_is_the_plan_that_the_locking_campaign_draws() -> None:
    assert SCENARIOS["locking"].draw(5) == random_plan(5, NAMES, 25, 30 * SECOND)
    assert SCENARIOS["locking"].run(5).digest == run_locking(5).world.trace.digest()


# --- the command ----------------------------------------------------------------------------------------------------------


def mesh_simulate(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_list_names_scenarios_and_profiles() -> None:
    shown = mesh_simulate("list", "--json")
    assert shown.exit_code == 0
    row = json.loads(shown.stdout)
    assert [each["name"] for each in row["scenarios"]] == list(SCENARIOS)
    assert list(row["profiles"]) == ["calm", "flaky", "hostile", "disks", "mixed", "swarm"]
    assert "locking" in mesh_simulate("list").stdout


def test_run_says_what_came_of_it() -> None:
    shown = mesh_simulate("run", "locking", "--seed", "3", "--nodes", "3", "--profile", "calm", "--json")
    assert shown.exit_code == 0, shown.output
    row = json.loads(shown.stdout)
    assert (row["seed"], row["nodes"], row["violation"]) == (3, 3, None)
    assert row["digest"] == SCENARIOS["locking"].run(3, nodes=3, profile="calm").digest
    broken = mesh_simulate("run", SEVENS.name, "--seed", "3")
    assert broken.exit_code == 1
    assert "broken: X7: a pause (seed 3)" in broken.stdout


def test_a_failure_is_saved_shrunk_and_replayed(tmp_path: Path) -> None:
    file, small = tmp_path / "case.json", tmp_path / "small.json"
    swept = mesh_simulate("sweep", SEVENS.name, "--seeds", "12", "--jobs", "1", "--save", str(file), "--json")
    assert swept.exit_code == 1
    row = json.loads(swept.stdout)
    assert [each["seed"] for each in row["failures"]] == [3, 10]
    assert "12/12 runs, 2 failed" in swept.stderr
    assert len(Case.load(file.read_text()).plan) == 25
    shrunk = mesh_simulate("shrink", str(file), "--save", str(small))
    assert shrunk.exit_code == 1
    assert "from 25 faults to 1 on 2 nodes; 14 runs" in shrunk.stdout
    assert "14 runs: 1 faults on 2 nodes" not in shrunk.stderr  # said when it got smaller, once
    assert "runs: 1 faults on 2 nodes" in shrunk.stderr
    (pause,) = Case.load(small.read_text()).plan
    assert isinstance(pause, Pause | Suspend)
    assert (pause.at, pause.lasts) == (0, 0)
    replayed = mesh_simulate("replay", str(small), "--json")
    assert replayed.exit_code == 1
    assert json.loads(replayed.stdout)["digest"] == Case.load(small.read_text()).digest
    by_seed = mesh_simulate("shrink", SEVENS.name, "--seed", "3", "--json")
    assert json.loads(by_seed.stdout)["case"]["plan"] == json.loads(small.read_text())["plan"]


def test_a_sweep_in_which_nothing_breaks_exits_with_0() -> None:
    shown = mesh_simulate("sweep", SEVENS.name, "--seed", "4", "--seeds", "4", "--jobs", "1", "--verify")
    assert shown.exit_code == 0, shown.output
    assert "4 runs" in shown.stdout
    assert "0 failed" in shown.stdout


def test_wrong_usage_is_one_clear_line(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('[{"kind": "Pause", "at": 0, "lasts": 1, "whom": "n9"}]')
    no_json = tmp_path / "no.json"
    no_json.write_text("nothing")
    for arguments, says in [
        (("run", "lucking"), "mesh: no scenario 'lucking'; there are locking, durable-locking, spreading"),
        (("run", "locking", "--nodes", "2"), "mesh: locking needs 3 nodes at least, not 2"),
        (
            ("sweep", "locking", "--profile", "stormy"),
            "mesh: no profile 'stormy'; there are calm, flaky, hostile, disks, mixed, swarm",
        ),
        (("run", "locking", "--plan", str(plan)), 'mesh: plan[0].whom: unknown node "n9"; there are n0, n1, n2, n3'),
        (("run", "locking", "--plan", str(tmp_path / "none")), "No such file"),
        (("replay", str(no_json)), "mesh: case: no JSON"),
        (("replay", str(tmp_path / "none.json")), "No such file"),
        (
            ("shrink", SEVENS.name, "--seed", "4"),
            "mesh: tests.simulated.test_sweep:SEVENS with seed 4 on 4 nodes breaks nothing",
        ),
    ]:
        shown = mesh_simulate(*arguments)
        assert shown.exit_code == 2, (arguments, shown.output)
        assert says in shown.stderr
        assert len(shown.stderr.splitlines()) == 1
    assert mesh_simulate("run", "locking", "--nodes", "many").exit_code == 2


@pytest.mark.parametrize("name", ["list", "run", "sweep", "replay", "trace", "shrink"])
def test_each_has_help_with_an_example(name: str) -> None:
    shown = mesh_simulate(name, "--help")
    assert shown.exit_code == 0
    assert f"\n    mesh simulate {name}" in shown.stdout
