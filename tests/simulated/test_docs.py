"""The scenarios of the docs run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

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
