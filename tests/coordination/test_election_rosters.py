"""Who asks who leads is told the truth while one roster follows the other (L10); and the checkers notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordination.agreed.owning.owner import Owner
from coordination.agreed.telling.inspector import Inspector
from tests.coordination.agreed_world import Changes, Violation
from tests.coordination.election_rosters import (
    HeedsNoRoster,
    asked_behind_the_change,
    asked_while_nobody_holds,
    asked_while_not_moved,
    judge,
)

STORIES = (asked_while_not_moved, asked_while_nobody_holds, asked_behind_the_change)
SEEDS = (1, 2)
SOAK_SEEDS = range(20_000, 20_300)
HEEDLESS: Changes = ((Inspector, HeedsNoRoster),)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("seed", range(2))
def test_story(story: Callable[[int, Changes], bool], seed: int) -> None:
    assert story(seed, ())


@pytest.mark.parametrize("story", (asked_while_not_moved, asked_behind_the_change))
def test_what_voters_say_that_do_not_serve_the_register_is_noticed(story: Callable[[int, Changes], bool]) -> None:
    assert not story(0, HEEDLESS)


class LeavesItThere(Owner):
    """Moves nothing that is free."""

    def _step(self, desk: object, now: object, out: object) -> bool:
        desk.unmoved = False  # type: ignore[attr-defined]
        return super()._step(desk, now, out)  # type: ignore[arg-type]


def test_a_free_register_that_is_not_moved_for_whoever_asks_is_noticed() -> None:
    assert not asked_while_nobody_holds(0, ((Owner, LeavesItThere),))


def test_histories_are_linearizable() -> None:
    assert sum(len(judge(seed).reads) for seed in SEEDS) > 300 * len(SEEDS)


def test_the_planted_fault_is_seen_in_the_history_alone() -> None:
    with pytest.raises(Violation, match="L10"):
        for seed in SEEDS:
            judge(seed, HEEDLESS)


@pytest.mark.soak
def test_three_hundred_histories() -> None:
    for seed in SOAK_SEEDS:
        judge(seed)
