"""The failures of the field: this mesh gets through each, the dangerous moment was there, and a mesh in which the rule is
broken that protects it does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from simulations.field import FIELD
from simulations.running import Scenario
from tests.simulated.field_faults import FAULTS_OF_THE_FIELD, Plant

BY_NAME = {scenario.name: scenario for scenario in FIELD}
SEEDS = range(4)
CAUGHT_WITHIN = range(6)


@pytest.mark.parametrize("scenario", FIELD, ids=lambda scenario: scenario.name)
def test_this_mesh_gets_through_and_the_moment_was_there(scenario: Scenario) -> None:
    reached: Counter[str] = Counter()
    for seed in SEEDS:
        result = scenario.run(seed)
        assert result.violation is None, (seed, result.violation)
        reached.update(result.reached)
    assert [what for what in scenario.sometimes if not reached[what]] == []


@pytest.mark.parametrize(
    ("name", "plant", "laws"), FAULTS_OF_THE_FIELD, ids=[f"{name}-{plant.__name__}" for name, plant, _ in FAULTS_OF_THE_FIELD]
)
def test_a_mesh_without_the_rule_fails(name: str, plant: Plant, laws: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    make = plant(monkeypatch)
    scenario = BY_NAME[name]
    go: Any = scenario.go
    broken = replace(scenario, go=partial(go, make=make))
    results = (broken.run(seed) for seed in CAUGHT_WITHIN)
    caught = next((result for result in results if result.violation is not None), None)
    assert caught is not None
    assert caught.law in laws, caught.violation


def test_every_scenario_has_a_fault_that_it_catches() -> None:
    assert {name for name, _, _ in FAULTS_OF_THE_FIELD} == set(BY_NAME)


@pytest.mark.soak
@pytest.mark.parametrize("profile", ["calm", "flaky", "hostile", "swarm"])
@pytest.mark.parametrize("scenario", FIELD, ids=lambda scenario: scenario.name)
def test_whatever_else_happens_around_the_moment(scenario: Scenario, profile: str) -> None:
    for seed in range(100):
        result = scenario.run(seed, profile=profile)
        assert result.violation is None, (seed, result.violation)
