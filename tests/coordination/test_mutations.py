"""The table of mutations: the document and the code name the same faults, and every fault is found within the seeds it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.coordination.mutations import MUTATIONS, NAMED, row
from tests.coordination.named_faults import dead_waiters, long_holder, three_proposers

PAGE = Path(__file__).parents[2] / "docs" / "mutations.md"
LINE = re.compile(r"^\| (?P<fault>[^|]+?) \| (?P<where>[^|]+?) \| (?P<rule>\w+) \| (?P<first>\d+) \| (?P<seeds>\d+) \|$", re.M)
QUICK = (
    "takes the view for the quorum",
    "grants to a dead waiter",
    "checks the token window on every accept",
    "adopts the higher ballot of two leases",
    "drops an epoch at the roster's majority",
)
"""Faults that no other test looks for. (All of them: `-m soak`.)"""


def test_the_document_names_the_faults_that_there_are() -> None:
    text = PAGE.read_text()
    rows = {found["fault"]: (found["where"], int(found["seeds"])) for found in LINE.finditer(text)}
    assert rows == {name: (mutation.where, mutation.seeds) for name, mutation in MUTATIONS.items()}
    for found in LINE.finditer(text):
        assert int(found["first"]) < int(found["seeds"])


def test_every_mistake_that_the_design_warns_of_is_planted() -> None:
    text = PAGE.read_text()
    for named, fault in NAMED.items():
        assert fault in MUTATIONS
        assert f"| {named} | {fault} |" in text


@pytest.mark.parametrize("fault", QUICK)
def test_it_is_found(fault: str) -> None:
    assert "not found" not in row(fault)


@pytest.mark.parametrize("story", [dead_waiters, long_holder, three_proposers])
def test_the_right_code_passes_the_stories(story: object) -> None:
    for seed in range(5):
        story(seed, ())  # type: ignore[operator]


@pytest.mark.soak
@pytest.mark.parametrize("fault", MUTATIONS)
def test_each_is_found_within_the_seeds_that_the_table_says(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = row(fault)
    with capsys.disabled():
        print(line)
    assert "not found" not in line
