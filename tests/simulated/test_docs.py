"""The scenarios of the docs run as they stand there, and the trace that they read is what the tool shows."""

from __future__ import annotations

import re
from pathlib import Path

from coordination.assembly import build
from simulations.registry import find
from simulations.sweeps.cases import Case
from simulations.traces.causal import record
from simulations.traces.tracing import causes, column
from tests.simulated.forwarding import PLAN, write_at_bad_moments

DOCS = Path(__file__).parent.parent.parent / "docs"


def run(page: str) -> dict[str, object]:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)
    names: dict[str, object] = {}
    exec(compile(code, page, "exec"), names)
    return names


def test_the_scenario_of_simulation_md() -> None:
    assert getattr(run("simulation.md")["claim"], "token", 0) > 0


def test_the_service_of_services_md() -> None:
    jobs = run("services.md")["jobs"]
    assert isinstance(jobs, list)
    assert {name for name, _ in jobs} == {"a", "b", "c"}


def untimed(shown: str) -> str:
    """Without what shifts with anything else in the run: the numbers and the moment."""
    return re.sub(r"^ *\d+ +(<\d+)? +\d+\.\d+ +", "", shown)


def test_the_trace_of_the_docs_is_what_the_tool_shows() -> None:
    case = Case.load(Path(__file__).with_name("forwarding.json").read_text())
    assert list(case.plan) == PLAN
    result, happenings = record(find(case.scenario), case.seed, case.plan, nodes=case.nodes)
    text = (DOCS / "simulation.md").read_text()
    assert result.violation is not None
    assert re.sub(r"\d\.\d+ s", "", result.violation) in re.sub(r"\d\.\d+ s", "", text)
    section = text[text.index("### Worked on one real bug") :]
    heard, chain, changes = [
        [untimed(line) for line in block.splitlines()]
        for block in re.findall(r"node event     with          what\n((?: *\d+ .*\n)+)", section)
    ]
    assert not [each for each in happenings if each.node == "n5" and "stock" in each.detail]
    pushed = [each for each in happenings if each.node == "n5" and each.kind == "recv" and "@n0#1" in each.detail]
    assert [untimed(column(each)) for each in pushed] == heard
    assert [untimed(column(each)) for each in causes(happenings, pushed[0].n)] == chain
    events = [each for each in happenings if (each.node, each.kind) == ("n0", "event") and "price" in each.detail]
    assert [untimed(column(each)) for each in events] == changes


def test_without_the_planted_bug_nothing_is_broken_there() -> None:
    assert write_at_bad_moments(build, 7, PLAN, 6, lambda world: None)["Isolate"] == 2
