"""Locks under every fault at once: no two holders in true time (L1), rising tokens (L2), bodies told in time (L4), and in the
end every node gets every lock, whoever died with it (L12)."""

from __future__ import annotations

from collections import Counter

import pytest

from simulations.checkers import Violation
from simulations.faults import Isolate, Partition
from simulations.plans.plans import KINDS, random_plan
from simulations.scenarios import scenarios
from simulations.scenarios.scenarios import run_locking
from simulations.world import SECOND
from tests.coordination.agreed_faults import FAULTS
from tests.simulated.planted import with_planted

GRANTS = 1_000
OUTCOMES = ("released", "cancelled", "busy", "ended", "unavailable", "dead")


def campaign(first: int, grants: int) -> None:
    """Seeds from `first` on, until so many grants; sometimes everything that can happen must have happened."""
    seen: Counter[str] = Counter()
    seed = first
    while seen["grants"] < grants:
        done = run_locking(seed)
        seen["grants"] += done.locks.grants
        seen.update(done.locks.outcomes)
        seen.update(done.phases.faults.begun)
        seed += 1
        assert seed < first + grants // 20, "hardly any grants: the campaign shows nothing"
    missing = [what for what in (*OUTCOMES, *[kind.__name__ for kind in KINDS]) if not seen[what]]
    assert not missing


@pytest.mark.parametrize("first", range(0, 10_000, 1_000))
def test_no_two_holders_in_ten_thousand_grants(first: int) -> None:
    campaign(first, GRANTS)


@pytest.mark.parametrize("fault", ["accepts a value that loses a live identity", "the owner takes one answer for a quorum"])
def test_the_history_of_a_campaign_is_judged_too(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if nobody looks at what each process believes: the grants alone show it."""
    monkeypatch.setattr(scenarios, "Exclusion", lambda locks: None)
    plan = random_plan(0, ["n0", "n1", "n2", "n3"], 25, 30 * SECOND, kinds=(Partition, Isolate))
    with pytest.raises(Violation, match=r"^L1/L2: the history of 'lock/a' cannot be linearized"):
        run_locking(0, plan=plan, make=with_planted(FAULTS[fault].changes))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(100_000, 150_000, 1_000))
def test_no_two_holders_in_half_a_million_grants(first: int) -> None:
    campaign(first, 10 * GRANTS)
