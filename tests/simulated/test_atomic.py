"""Atomic registers of whole nodes under faults: linearizable (L10), and answered by everyone after healing (L9)."""

from __future__ import annotations

from collections import Counter

import pytest

from simulations.checkers import Violation
from simulations.registry import SCENARIOS
from simulations.scenarios.atomic import run_atomic
from tests.coordination.atomic_faults import FAULTS
from tests.simulated.planted import with_planted

ATOMIC = SCENARIOS["atomic"]


def test_registers_are_linearizable() -> None:
    seen: Counter[str] = Counter()
    for seed in range(4):
        seen.update(run_atomic(seed, ATOMIC.draw(seed)).registers.outcomes)
    assert min(seen[name] for name in ("add", "cas", "read", "write")) > 100


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(100_000, 102_000, 200))
def test_registers_are_linearizable_over_thousands_of_seeds(first: int) -> None:
    for seed in range(first, first + 200):
        run_atomic(seed, ATOMIC.draw(seed), encoded=False)


@pytest.mark.parametrize("fault", ["takes one answer for a quorum", "fast path over another's ballot"])
def test_a_mesh_in_which_a_rule_is_broken_is_found(fault: str) -> None:
    make = with_planted(FAULTS[fault].planted.changes)
    with pytest.raises(Violation, match="L10"):
        for seed in range(10):
            run_atomic(seed, ATOMIC.draw(seed), make=make, encoded=False)
