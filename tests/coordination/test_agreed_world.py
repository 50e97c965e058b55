"""Random histories under faults: L1, L2, L4, L6, L12, ghosts. And the checkers themselves, on planted faults."""

from __future__ import annotations

import pytest

from tests.coordination.agreed_campaign import hunt, stress
from tests.coordination.agreed_faults import FAULTS

SEEDS = 60
SEEDS_FOR_FAULTS = 50
LATER = {
    # Found beyond the first few seeds: begin nearer to save time.
    "votes at once after a restart": 15,
    "token from the clock alone": 25,
    "believes longer than its term": 15,
    "one acknowledgement renews": 30,
    "re-accept resets until": 6,
}


def test_no_violation_over_random_histories() -> None:
    grants = 0
    for seed in range(SEEDS):
        grants += stress(seed).grants
    assert grants > 10 * SEEDS, "the histories hardly grant anything: they prove nothing"


def test_same_seed_same_history() -> None:
    first, second = stress(5), stress(5)
    assert first.log == second.log
    assert first.sent == second.sent


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    first = LATER.get(fault, 0)
    found = hunt(range(first, first + SEEDS_FOR_FAULTS), FAULTS[fault])
    assert found is not None, f"{fault}: no checker noticed in {SEEDS_FOR_FAULTS} seeds"
