"""Very many voters, some of which are killed while a quarter of all is cut off."""

from __future__ import annotations

from typing import Any

import pytest

from coordination.agreed.rosters.confirming import Confirming
from coordination.assembly import Assembly, build
from simulations.checkers import Violation
from simulations.scenarios.many_voters import CUT_FOR, run_many_voters
from simulations.world import SECOND
from tests.coordination.agreed_nodes import plant
from tests.coordination.roster_faults import CountsFromAnswer

FEW = 19
"""Voters of the smallest roster, nearly, that has stewards."""


def test_locks_are_granted_where_a_majority_is_and_nowhere_else() -> None:
    reached = run_many_voters(0, nodes=FEW).phases.reached
    assert reached["servable"] > 3 and reached["granted_apart"] > 20 and reached["grants"] > 100


def test_a_steward_that_is_taken_at_its_word_is_noticed() -> None:
    """In a mesh that is cut up, those that are too few confirm each other for ever."""

    def planted(*arguments: Any, **options: Any) -> Assembly:
        assembly = build(*arguments, **options)
        plant([assembly.agreed.succession], ((Confirming, CountsFromAnswer),))
        return assembly

    with pytest.raises(Violation, match=r"L11: claim .* is granted by a minority"):
        run_many_voters(0, nodes=FEW, make=planted)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("nodes", "seeds"), [(51, 10), (201, 2)])
def test_locks_are_granted_in_large_meshes(nodes: int, seeds: int) -> None:
    """Long enough, mostly, for those that were cut off to be evicted, and taken in again."""
    for seed in range(seeds):
        reached = run_many_voters(seed, nodes=nodes, cut_for=2 * CUT_FOR).phases.reached
        assert reached["servable"] > 3 and reached["granted_apart"] > 50, f"seed {seed}: {reached}"


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_locks_are_granted_by_five_hundred_voters() -> None:
    reached = run_many_voters(0, nodes=501, cut_for=8 * SECOND).phases.reached
    assert reached["servable"] > 3 and reached["granted_apart"] > 20, reached
