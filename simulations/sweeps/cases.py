"""A case: one run that is worth keeping, as JSON. `replay(file)` runs it again, and is a regression test in one line:

    assert replay("tests/cases/two_holders.json").violation is None

    {"case": 1, "scenario": "locking", "seed": 7, "nodes": 4, "law": "L1", "violation": "...", "digest": "...", "plan": [...]}

The plan is as in `simulations.plans.plan_json`; `duration` (ns) is there if the run was shorter than the scenario's own. `law`,
`violation` and `digest` are what came of the run when it was saved, null if nothing was broken; a replay does not need them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulations.faults import Fault
from simulations.plans.plan_json import PlanError, dump_plan, plan_from
from simulations.registry import find
from simulations.running import Result, Scenario

__all__ = ["Case", "replay"]

FORMAT = 1
NEEDED = {"case": int, "scenario": str, "seed": int, "nodes": int, "plan": list}


@dataclass(frozen=True, slots=True)
class Case:
    scenario: str
    seed: int
    nodes: int
    plan: tuple[Fault, ...]
    violation: str | None = None
    digest: str | None = None
    duration: int | None = None
    """ns; None: the scenario's own."""

    @classmethod
    def of(cls, result: Result) -> Case:
        return cls(
            result.scenario, result.seed, result.nodes, result.plan, result.violation, result.digest, result.duration
        )  # fmt: skip

    def dump(self) -> str:
        head = {
            "case": FORMAT, "scenario": self.scenario, "seed": self.seed, "nodes": self.nodes,
            **({} if self.duration is None else {"duration": self.duration}),
            "law": self.violation and self.violation.partition(":")[0], "violation": self.violation, "digest": self.digest,
        }  # fmt: skip
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        return "{\n" + ",\n".join([*lines, f'  "plan": {dump_plan(self.plan, "  ")}']) + "\n}\n"

    @classmethod
    def load(cls, text: str, scenario: Scenario | None = None) -> Case:
        """Raises
        ------
        PlanError: what is wrong, and where.
        ValueError: there is no such scenario.
        """
        try:
            value: Any = json.loads(text)
        except ValueError as problem:
            raise PlanError("case", f"no JSON: {problem}") from None
        if not isinstance(value, dict):
            raise PlanError("case", "an object is wanted")
        for key, kind in NEEDED.items():
            if key not in value:
                raise PlanError(key, "missing; a case needs it")
            if type(value[key]) is not kind:
                raise PlanError(key, f"{kind.__name__} is wanted, not {type(value[key]).__name__}")
        if value["case"] != FORMAT:
            raise PlanError("case", f"format {value['case']} is unknown here; this version reads {FORMAT}")
        scenario = scenario or find(value["scenario"])
        if value["nodes"] < scenario.fewest:
            raise PlanError("nodes", f"{scenario.name} needs {scenario.fewest} at least, not {value['nodes']}")
        plan = plan_from(value["plan"], scenario.names(value["nodes"]))
        duration = value.get("duration")
        if duration is not None and type(duration) is not int:
            raise PlanError("duration", f"int is wanted, not {type(duration).__name__}")
        return cls(
            value["scenario"], value["seed"], value["nodes"], tuple(plan), value.get("violation"), value.get("digest"), duration
        )  # fmt: skip

    def run(self) -> Result:
        return find(self.scenario).run(self.seed, self.plan, nodes=self.nodes, duration=self.duration)


def replay(file: str | Path) -> Result:
    """Run a saved case again.

    Raises
    ------
    OSError, PlanError: it cannot be read.
    """
    return Case.load(Path(file).read_text()).run()
