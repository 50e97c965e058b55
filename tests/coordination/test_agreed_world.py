"""Random histories under faults: L1, L2, L4, L6, L9, L12, L13, C19, ghosts. And the checkers themselves, on planted faults."""

from __future__ import annotations

import pytest

from tests.coordination.agreed_campaign import FAULT_KINDS, PLAIN, hunt, stress
from tests.coordination.agreed_faults import FAULTS
from tests.coordination.agreed_world import S, World

SEEDS = range(280)
SHARES = 4
SOAK_SEEDS = range(10_000, 20_000)
SEEDS_FOR_FAULTS = range(100)
GRANTS = 7_000


@pytest.mark.parametrize("share", range(SHARES))
def test_no_violation_over_seven_thousand_grants(share: int) -> None:
    grants = 0
    voters = set()
    for seed in SEEDS[share::SHARES]:
        world = stress(seed)
        grants += world.grants
        voters.add((world.voters, any("@" in name for name in world.nodes)))
    assert grants >= GRANTS // SHARES, "the histories hardly grant anything: they prove nothing"
    assert voters == {(count, thin) for count in (3, 5, 7) for thin in (False, True)}


@pytest.mark.soak
def test_no_violation_over_a_quarter_of_a_million_grants() -> None:
    grants = sum(stress(seed).grants for seed in SOAK_SEEDS)
    assert grants >= 250_000


@pytest.mark.soak
@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_no_violation_where_one_kind_of_fault_prevails(kind: str) -> None:
    assert hunt(range(300), focus=(kind,)) is None


def test_same_seed_same_history() -> None:
    first, second = stress(5), stress(5)
    assert first.log == second.log
    assert first.sent == second.sent


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    planted = FAULTS[fault]
    found = hunt(SEEDS_FOR_FAULTS, planted.changes, planted.focus, PLAIN)
    assert found is not None, f"{fault}: no checker noticed in {len(SEEDS_FOR_FAULTS)} seeds"


def test_who_meets_one_other_again_is_not_cut_off() -> None:
    world = World(0, voters=3)
    world.isolate("n0")
    world.join("n0", "n1")
    assert not world.isolated and world.cuts.keys() == {("n0", "n2"), ("n2", "n0")}
    world.now += S
    world.isolate("n0")
    assert world.isolated == {"n0": world.now}, "it is cut off since now, not since before"
