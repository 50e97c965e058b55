"""The scenario of docs/simulation.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs" / "simulation.md"


def test_the_scenario_of_the_docs_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    names: dict[str, object] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert getattr(names["claim"], "token", 0) > 0
