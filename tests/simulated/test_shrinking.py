"""A failing plan becomes a minimal one that fails in the same way, and is kept as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.checkers import Violation
from simulations.faults import (
    Crash,
    Cut,
    Fault,
    Isolate,
    LinkFault,
    Partition,
    Pause,
    RandomCuts,
    Ring,
    Suspend,
    WallStep,
    Weather,
)
from simulations.network.network import Conditions
from simulations.plans.plan_json import PlanError
from simulations.registry import SCENARIOS, Scenario, find
from simulations.sweeps import shrinking
from simulations.sweeps.cases import Case, replay
from simulations.sweeps.shrinking import NotFailing, ddmin, shrink
from simulations.sweeps.sweeping import sweep
from simulations.sweeps.trials import Candidate, Step
from simulations.world import MS, SECOND, World
from tests.simulated.three_faults import MINIMAL, THREE_FAULTS

HERE = "tests.simulated.test_shrinking"

# --- delta debugging, on its own ------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.data())
def test_ddmin_finds_exactly_what_is_needed(count: int, data: st.DataObject) -> None:
    items = list(range(count))
    needed = data.draw(st.sets(st.sampled_from(items), max_size=5)) if items else set()
    asked = 0

    def first(parts: list[list[int]]) -> int | None:
        nonlocal asked
        found = next((number for number, part in enumerate(parts) if needed <= set(part)), None)
        asked += len(parts) if found is None else found + 1
        return found

    assert ddmin(items, first) == sorted(needed)
    assert asked < 60 * (len(needed) + 1)


# --- on plans whose judge is known ----------------------------------------------------------------------------------------


def rule(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Breaks X1 for a power cut of some node during a partition, and X2 for two pauses; no mesh is asked."""
    seen(World(seed))
    crashes = [fault for fault in plan if isinstance(fault, Crash) and fault.power]
    partitions = [fault for fault in plan if isinstance(fault, Partition) and fault.lasts > SECOND]
    if any(cut.at <= crash.at <= cut.at + cut.lasts for crash in crashes for cut in partitions):
        raise Violation("X1: both")
    if sum(isinstance(fault, Pause) for fault in plan) >= 2:
        raise Violation("X2: two pauses")
    return {}


RULE = Scenario(f"{HERE}:RULE", "X1 X2", rule, nodes=7, fewest=3, duration=20 * SECOND)

NOISE: list[Fault] = [
    Cut(0, SECOND, "n1", "n2"),
    Weather(0, 3 * SECOND, Conditions(loss=0.5), ("n3",)),
    WallStep(SECOND, SECOND, "n5", 77),
]


def beat(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Breaks X3 for a pause that hits the 10 ms at the end of each second, all of which come 50 ms later for each crash."""
    seen(World(seed))
    late = 50 * MS * sum(isinstance(fault, Crash) for fault in plan)
    if any(isinstance(fault, Pause) and fault.lasts >= SECOND and (fault.at - late) % SECOND >= 990 * MS for fault in plan):
        raise Violation("X3: hit")
    return {}


BEAT = Scenario(f"{HERE}:BEAT", "X3", beat, nodes=3, fewest=3, duration=20 * SECOND)


def test_a_fault_that_only_moved_the_others_target_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan: list[Fault] = [Crash(SECOND, SECOND, "n1"), Pause(5 * SECOND + 95 * MS, SECOND, "n0"), Crash(0, SECOND, "n2")]
    (pause,) = shrink(BEAT, 1, plan).result.plan
    assert isinstance(pause, Pause)
    monkeypatch.setattr(shrinking, "SHIFTS", ())
    assert len(shrink(BEAT, 1, plan).result.plan) > 1, "without that step it stays"


def test_faults_become_few_short_early_and_plain_and_nodes_few() -> None:
    plan: list[Fault] = [
        *NOISE,
        Partition(3 * SECOND + 123_456_789, 9 * SECOND + 1, ("n0", "n4", "n6")),
        Pause(SECOND, SECOND, "n4"),
        Crash(7 * SECOND + 77 * MS, 2 * SECOND + 5, "n6", power=True, wipe=True),
    ]
    shrunk = shrink(RULE, 1, plan)
    assert not shrunk.exhausted
    assert shrunk.before == 6
    assert shrunk.result.law == "X1"
    assert shrunk.result.nodes == 3
    partition, crash = shrunk.result.plan
    assert isinstance(partition, Partition)
    assert isinstance(crash, Crash)
    assert len(partition.side) == 1
    assert (partition.at, crash.at, crash.lasts, crash.power, crash.wipe) == (0, 0, 0, True, False)
    assert SECOND < partition.lasts <= 2 * SECOND
    assert shrunk.runs < 100


def deaf(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """Breaks X3 if someone who is paused or asleep at some time hears less than half of the others at some time."""
    seen(World(seed))
    names = [f"n{number}" for number in range(nodes)]
    rules = [rule for fault in plan if isinstance(fault, LinkFault) for rule in fault.rules(names)]
    for fault in plan:
        if isinstance(fault, Pause | Suspend):
            others = [name for name in names if name != fault.whom]
            if 2 * sum(not any(rule.covers(other, fault.whom) for rule in rules) for other in others) < len(others):
                raise Violation(f"X3: {fault.whom}")
    return {}


DEAF = Scenario(f"{HERE}:DEAF", "X3", deaf, nodes=7, fewest=3, duration=20 * SECOND)


@pytest.mark.parametrize(
    "cuts",
    [
        [Ring(SECOND, SECOND, ("n3", "n1", "n4", "n2", "n6", "n0", "n5"))],
        [RandomCuts(SECOND, SECOND, 0.9, 7)],
        [Ring(SECOND, SECOND, ("n3", "n1", "n4", "n2")), RandomCuts(SECOND, SECOND, 0.5, 7)],
    ],
)
def test_patterns_of_cuts_become_one_node_that_is_cut_off_and_sleep_a_pause(cuts: list[Fault]) -> None:
    shrunk = shrink(DEAF, 1, [*NOISE, *cuts, Suspend(5 * SECOND, SECOND, "n4")])
    isolate, pause = shrunk.result.plan
    assert isinstance(isolate, Isolate)
    assert isinstance(pause, Pause)
    assert isolate == Isolate(0, 0, pause.whom)
    assert shrunk.result.nodes == 3


def test_another_bug_on_the_way_is_not_followed() -> None:
    plan: list[Fault] = [
        Pause(0, 1, "n0"),
        Pause(5, 1, "n1"),
        Partition(0, 5 * SECOND, ("n0",)),
        Crash(SECOND, 0, "n1", power=True),
    ]
    shrunk = shrink(RULE, 1, plan)
    assert shrunk.result.law == "X1"
    assert [type(fault) for fault in shrunk.result.plan] == [Partition, Crash]


def test_the_runs_are_bounded() -> None:
    plan = [*NOISE, Partition(0, 5 * SECOND, ("n0",)), Crash(SECOND, 0, "n1", power=True)]
    shrunk = shrink(RULE, 1, plan, most=4)
    assert shrunk.exhausted
    assert shrunk.runs == 4
    assert shrunk.result.law == "X1"


def test_what_does_not_fail_is_not_shrunk() -> None:
    with pytest.raises(NotFailing, match="breaks nothing"):
        shrink(RULE, 1, NOISE)


# --- the length of the run ------------------------------------------------------------------------------------------------


def lasting(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, duration: int
) -> Mapping[str, int]:  # fmt: skip
    """Breaks X4 three seconds after a pause began, if it lasts so long; says how long it is."""
    seen(World(seed))
    if any(isinstance(fault, Pause) and fault.at + 3 * SECOND <= duration for fault in plan):
        raise Violation("X4: a pause, and then three seconds")
    return {"tenths": duration // (100 * MS)}


LASTING = Scenario(f"{HERE}:LASTING", "X4", lasting, nodes=4, fewest=2, duration=20 * SECOND, shortest=SECOND)


def test_the_run_gets_shorter_and_a_case_keeps_how_long_it_is(tmp_path: Path) -> None:
    shrunk = shrink(LASTING, 1, [*NOISE[:2], Pause(9 * SECOND, SECOND, "n3"), Pause(18 * SECOND, SECOND, "n1")])
    assert shrunk.result.plan == (Pause(0, 0, "n1"),)
    assert shrunk.result.duration == 3 * SECOND
    assert not shrunk.exhausted
    case, file = Case.of(shrunk.result), tmp_path / "case.json"
    file.write_text(case.dump())
    assert '"duration": 3000000000' in case.dump()
    assert Case.load(case.dump()) == case
    assert replay(file).law == "X4"
    assert "duration" not in Case.of(LASTING.run(1, [])).dump()
    file.write_text(case.dump().replace("3000000000", "2900000000"))
    assert replay(file).reached == {"tenths": 29}
    with pytest.raises(PlanError, match="duration: int is wanted, not str"):
        Case.load(case.dump().replace("3000000000", '"3 s"'))


def test_a_run_is_not_cut_off_before_its_faults_have_begun() -> None:
    shrunk = shrink(LASTING, 1, [Pause(0, 0, "n1"), Crash(15 * SECOND, 0, "n0")])
    assert shrunk.result.duration == 3 * SECOND  # the crash is left out first
    with pytest.raises(PlanError, match=r"plan\[1\].at: 15000000000 is behind the end of the faults, at 15000000000"):
        LASTING.run(1, [Pause(0, 0, "n1"), Crash(15 * SECOND, 0, "n0")], duration=15 * SECOND)
    with pytest.raises(ValueError, match=r"LASTING needs 1.0 s at least, not 0.9"):
        LASTING.run(1, [], duration=900 * MS)
    with pytest.raises(ValueError, match=r"RULE takes its own time: it cannot be told a duration"):
        RULE.run(1, [], duration=9 * SECOND)
    assert {name for name in ("locking", "spreading") if SCENARIOS[name].shortest} == {"locking", "spreading"}
    short = SCENARIOS["locking"].run(1, [], nodes=3, duration=2 * SECOND)
    assert short.violation is None
    assert short.virtual < SCENARIOS["locking"].run(1, [], nodes=3, duration=4 * SECOND).virtual - SECOND


# --- many at a time -------------------------------------------------------------------------------------------------------


class Backwards(Executor):
    """Runs what it was given in the reverse order, once a result is asked for."""

    def __init__(self) -> None:
        self.runs = 0
        self._waiting: list[Callable[[], None]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        executor = self

        class Asked(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                while executor._waiting:
                    executor._waiting.pop()()
                return super().result(0)

        future: Future[Any] = Asked()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                self.runs += 1
                future.set_result(function(*arguments, **named))

        self._waiting.append(run)
        return future


LARGE: list[Fault] = [
    *NOISE,
    Partition(3 * SECOND + 123_456_789, 9 * SECOND + 1, ("n0", "n4", "n6")),
    *[Pause(number * SECOND, SECOND, f"n{number}") for number in range(1)],
    Crash(7 * SECOND + 77 * MS, 2 * SECOND + 5, "n6", power=True, wipe=True),
    *[Cut(number * SECOND, SECOND, f"n{number}", "n6") for number in range(6)],
]


@pytest.mark.parametrize("most", [500, 23])
def test_the_plan_and_the_runs_are_the_same_however_many_are_tried_at_a_time(most: int) -> None:
    steps: list[Step] = []
    alone = shrink(RULE, 1, LARGE, most=most, progress=steps.append)
    assert [step.runs for step in steps] == list(range(2, alone.runs + 1))
    assert steps[-1].best == Candidate.of(alone.result)
    assert alone.exhausted == (most == 23)
    for ahead in (1, 2, 7, 100):
        backwards = Backwards()
        assert shrink(RULE, 1, LARGE, most=most, executor=backwards, jobs=ahead) == alone
        assert backwards.runs >= alone.runs - 1
    with ThreadPoolExecutor(3) as threads:
        again: list[Step] = []
        assert shrink(RULE, 1, LARGE, most=most, executor=threads, progress=again.append) == alone
        assert again == steps
    if most == 500:
        assert shrink(RULE, 1, LARGE, jobs=2) == alone  # processes of their own


# --- a planted bug of whole nodes -----------------------------------------------------------------------------------------


def passes_without_any_one(case: Case) -> None:
    for number in range(len(case.plan)):
        rest = case.plan[:number] + case.plan[number + 1 :]
        assert THREE_FAULTS.run(case.seed, rest, nodes=case.nodes).violation is None, case.plan[number]


def hunt(first: int, seeds: int, file: Path) -> None:
    """Sweep until it is found, shrink, save, replay."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        summary = sweep(THREE_FAULTS, range(first, first + seeds), executor=pool, stop_after=1)
        found = summary.failures[0]
        assert found.law == "C13"
        shrunk = shrink(THREE_FAULTS, found.seed, executor=pool, jobs=2)
    case = Case.of(shrunk.result)
    assert shrunk.before == 17
    assert not shrunk.exhausted
    assert len(case.plan) == 3
    assert case.nodes == 3
    file.write_text(case.dump())
    assert Case.load(file.read_text()) == case
    again = replay(file)
    assert (again.violation, again.digest) == (shrunk.result.violation, shrunk.result.digest)
    passes_without_any_one(case)


def test_a_bug_of_three_faults_is_found_and_shrunk_to_three(tmp_path: Path) -> None:
    """The seed is the first of all that finds it: see the hunt from 0 in the soak tests."""
    hunt(127, 5, tmp_path / "case.json")


@pytest.mark.soak
def test_a_bug_of_three_faults_is_found_from_scratch(tmp_path: Path) -> None:
    hunt(0, 400, tmp_path / "case.json")


def test_the_known_plan_of_three_faults_is_minimal() -> None:
    result = THREE_FAULTS.run(1, MINIMAL)
    assert result.law == "C13"
    passes_without_any_one(Case.of(result))


# --- cases as files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "case: no JSON"),
        ("[]", "case: an object is wanted"),
        ('{"case": 1}', "scenario: missing; a case needs it"),
        ('{"case": 1, "scenario": "locking", "seed": "7", "nodes": 4, "plan": []}', "seed: int is wanted, not str"),
        ('{"case": 2, "scenario": "locking", "seed": 7, "nodes": 4, "plan": []}', "case: format 2 is unknown here"),
        ('{"case": 1, "scenario": "lucking", "seed": 7, "nodes": 4, "plan": []}', "no scenario 'lucking'; there are locking"),
        ('{"case": 1, "scenario": "locking", "seed": 7, "nodes": 2, "plan": []}', "nodes: locking needs 3 at least, not 2"),
        (
            '{"case": 1, "scenario": "locking", "seed": 7, "nodes": 3, "plan": [{"kind": "Pause", "at": 0, "lasts": true}]}',
            "plan[0].lasts: a whole number is wanted, not true",
        ),
    ],
)
def test_a_malformed_case_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Case.load(text)
    assert str(refused.value).startswith(says)


def test_scenarios_are_found_by_name_and_by_place() -> None:
    assert find("locking") is SCENARIOS["locking"]
    assert find(f"{HERE}:RULE") is RULE
    for name, says in [("x.y:Z", "No module"), (f"{HERE}:NONE", "NONE"), (f"{HERE}:HERE", "is a str, not a Scenario")]:
        with pytest.raises(ValueError, match=says):
            find(name)


def test_a_case_about_a_node_that_it_has_not_is_refused() -> None:
    text = Case("locking", 7, 4, (Crash(0, 0, "n3"),)).dump()
    assert Case.load(text).plan == (Crash(0, 0, "n3"),)
    with pytest.raises(PlanError, match='unknown node "n3"; there are n0, n1, n2'):
        Case.load(text.replace('"nodes": 4', '"nodes": 3'))


def test_a_plan_about_unknown_nodes_is_not_run() -> None:
    with pytest.raises(PlanError, match="unknown node"):
        RULE.run(1, [Crash(0, 0, "n7")])
    with pytest.raises(ValueError, match="needs 3 nodes at least"):
        RULE.run(1, nodes=2)
