"""Random histories of atomic registers under faults: linearizable, prompt, lost only if they are (L9, L10). And the checkers
themselves, on planted faults: each is found within a stated number of seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from coordination.agreed.owning.server import Server
from tests.coordination.atomic_campaign import BriefAtomicCampaign, hunt, stress
from tests.coordination.atomic_faults import FAULTS, RARE, FewResults, with_state

SEEDS = 40
DURABLE_SEEDS = 20
OUTCOMES = ("add", "cas", "read", "write", "cancelled", "dead", "memory", "unavailable", "unknown")


def campaign(seeds: range, *, durable: bool = False) -> Counter[str]:
    seen: Counter[str] = Counter()
    voters = set()
    for seed in seeds:
        world = stress(seed, durable=durable)
        seen.update(world.outcomes)
        seen["operations"] += len(world.history)
        voters.add(world.voters)
    assert voters == {3, 5, 7}
    assert seen["undecided"] <= 1 + len(seeds) // 50, "histories that are too large to judge prove nothing"
    return seen


def test_histories_are_linearizable() -> None:
    seen = campaign(range(SEEDS))
    assert seen["operations"] > 200 * SEEDS
    assert not [outcome for outcome in OUTCOMES if not seen[outcome]]


def test_histories_of_voters_with_disks_and_of_some_without_are_linearizable() -> None:
    seen = campaign(range(DURABLE_SEEDS), durable=True)
    assert seen["operations"] > 200 * DURABLE_SEEDS


def test_a_table_of_two_is_as_safe_as_one_of_64() -> None:
    """More is forgotten then, and more outcomes are unknown; nothing is done twice."""
    seen: Counter[str] = Counter()
    for seed in range(12):
        seen.update(BriefAtomicCampaign(seed, ((Server, with_state(FewResults)),)).run().outcomes)
    assert seen["unknown"] > 12
    assert seen["undecided"] <= 6, "what is unknown makes histories hard to judge, but not all"


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(10_000, 14_000, 500))
def test_thousands_of_histories_are_linearizable(first: int) -> None:
    campaign(range(first, first + 500))
    campaign(range(first, first + 200), durable=True)


@pytest.mark.parametrize("fault", [*FAULTS, *[pytest.param(fault, marks=pytest.mark.soak) for fault in RARE]])
def test_a_planted_fault_is_found(fault: str) -> None:
    planted, within = {**FAULTS, **RARE}[fault]
    assert hunt(range(within), planted.changes, planted.focus) is not None, f"{fault}: not found within {within} seeds"
