"""Sweeps: the same summary on any executor, what was never reached, what diverged; and the command `mesh simulate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulations.cases import Case
from simulations.checkers import Violation
from simulations.command import command
from simulations.faults import Crash, Fault, Pause, Suspend
from simulations.plans import KINDS, random_plan
from simulations.profiles import CLOCKS, PROFILES
from simulations.registry import SCENARIOS, Scenario
from simulations.scenarios import run_locking
from simulations.sweeping import Progress, run_seed, sweep
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
    """Seed 2 depends on how often it has been called."""
    world = World(seed)
    seen(world)
    for at in range(3):
        world.trace.add(at, "n0", "command", str(next(calls)) if seed == 2 and at == 1 else "same")
    return {}


FORGETFUL = Scenario(f"{HERE}:FORGETFUL", "none", forgetful, nodes=2, fewest=2, duration=SECOND)


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


def test_two_runs_that_part_are_told_with_the_line() -> None:
    summary = sweep(FORGETFUL, range(4), executor=Inline(), verify=True)
    assert list(summary.divergences) == [2]
    assert "part at line 2" in summary.divergences[2]
    assert not summary.fine
    assert sweep(FORGETFUL, [0, 1, 3], executor=Inline(), verify=True).fine


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
    assert list(row["profiles"]) == ["calm", "flaky", "hostile", "swarm"]
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
    assert "from 25 faults to 1 in" in shrunk.stdout
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
        (("run", "lucking"), "mesh: no scenario 'lucking'; there are locking, spreading"),
        (("run", "locking", "--nodes", "2"), "mesh: locking needs 3 nodes at least, not 2"),
        (("sweep", "locking", "--profile", "stormy"), "mesh: no profile 'stormy'; there are calm, flaky, hostile, swarm"),
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
