"""Histories of elections, with what those that asked were told, are linearizable (L10); and the checker notices."""

from __future__ import annotations

import pytest

from coordination.agreed.telling.inspector import Inspector
from tests.coordination.agreed_faults import FAULTS
from tests.coordination.agreed_world import Changes, Violation
from tests.coordination.election_campaign import HeardForgetful, ReadsOne, TellsHalfNoted, judge

SEEDS = (*range(10), 137, 300)
"""In 137 somebody asks while a release is noted, in 300 while a voter has forgotten."""
SOAK_SEEDS = range(10_000, 12_000)
SEEDS_FOR_FAULTS = range(40)
RARE = (TellsHalfNoted, HeardForgetful)
"""Staged in `test_explaining.py`."""
PLANTED: dict[str, tuple[Changes, tuple[str, ...]]] = {
    **{name: (FAULTS[name].changes, FAULTS[name].focus) for name in (
        "accepts a value that loses a live identity", "the owner takes one answer for a quorum", "ends an unreleased lease",
        "waits less than the ttl",
    )},
    "asks one voter who leads": (((Inspector, ReadsOne),), ("isolate", "thin")),
}  # fmt: skip


def test_one_leads_at_a_time_and_whoever_asks_is_told_the_truth() -> None:
    led = read = 0
    for seed in SEEDS:
        world = judge(seed)
        led += len(world.leaderships)
        read += sum(operation.name == "leader" for operation in world.history())
    assert led > 20 * len(SEEDS) and read > 100 * len(SEEDS), (led, read)


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_seen_in_the_history_alone(fault: str) -> None:
    changes, focus = PLANTED[fault]
    for seed in SEEDS_FOR_FAULTS:
        try:
            judge(seed, faults=changes, focus=focus)
        except Violation as violation:
            if str(violation).startswith("L10"):
                return
    pytest.fail(f"not noticed in {len(SEEDS_FOR_FAULTS)} seeds")


@pytest.mark.soak
@pytest.mark.parametrize("fault", RARE)
def test_what_is_rare_is_seen_in_the_history_alone(fault: type[Inspector]) -> None:
    with pytest.raises(Violation, match="L10"):
        for seed in range(1_000):
            judge(seed, faults=((Inspector, fault),))


@pytest.mark.soak
def test_two_thousand_histories() -> None:
    for seed in SOAK_SEEDS:
        judge(seed)
