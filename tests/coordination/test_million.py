"""A million grants over all kinds of histories; see `million`."""

from __future__ import annotations

import pytest

from tests.coordination.million import history, kind_of, sums

QUICK = (1_000_000, 1_000_001, 1_000_002, 1_000_003)
FOUND = (7_000_362,)
"""Histories that broke a rule once. 7,000,362: a token fell (L2), for what had been completed only was told as granted."""
FIRST = 1_000_000
GRANTS = 1_000_000


@pytest.mark.parametrize("seed", QUICK)
def test_one_history_of_each_kind(seed: int) -> None:
    _, kind, grants, violation = history(seed)
    assert kind == kind_of(seed) and not violation and grants > 5


@pytest.mark.parametrize("seed", FOUND)
def test_what_broke_once_breaks_no_more(seed: int) -> None:
    assert not history(seed)[3]


def test_all_kinds_have_their_turn() -> None:
    assert {kind_of(seed) for seed in QUICK} == {kind_of(seed) for seed in range(FIRST, FIRST + 1_000)}


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_million_grants() -> None:
    total, broken = sums(range(FIRST, FIRST + 100_000), GRANTS)
    assert not broken, "\n".join(broken)
    assert total["grants"] >= GRANTS and total["histories"] >= 1_000
