"""Placement is the same everywhere, for ever (L8)."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.agreed.vocabulary import placement as placing
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS, found

NAMES = ("ash", "birch", "cedar", "elm", "fir", "oak", "pine")
GOLDEN = {
    "lock/jobs/nightly": ("cedar", "fir", "elm", "pine", "ash"),
    "lease/ash-1": ("elm", "fir", "cedar", "oak", "ash"),
    "lock/ä": ("birch", "pine", "elm", "ash", "fir"),
}


def test_golden() -> None:
    placement = Placement(found(NAMES, DEFAULT_PARAMETERS))
    assert {key: tuple(placement.group(key)) for key in GOLDEN} == GOLDEN


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=30), st.sampled_from(NAMES))
def test_removing_a_voter_moves_only_its_own_keys(key: str, gone: str) -> None:
    parameters = DEFAULT_PARAMETERS._replace(R=3)
    whole = Placement(found(NAMES, parameters)).group(key)
    rest = Placement(found(tuple(name for name in NAMES if name != gone), parameters)).group(key)
    if gone in whole:
        assert tuple(name for name in whole if name != gone) == tuple(rest)[: len(whole) - 1]
    else:
        assert whole == rest


def test_voters_share_the_load() -> None:
    placement = Placement(found(NAMES, DEFAULT_PARAMETERS))
    owners = [placement.group(f"lock/{number}")[0] for number in range(2000)]
    assert all(180 <= owners.count(name) <= 400 for name in NAMES)
    assert len(placement.group("x")) == 5 and placement.group("x").quorum == 3


def test_what_is_remembered_of_keys_that_come_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the groups: of so many voters nearly every key has another one."""
    monkeypatch.setattr(placing, "CACHE_KEYS", 100)
    voters = tuple([f"bounded-{number}" for number in range(50)])
    placement = Placement(found(voters, DEFAULT_PARAMETERS))
    groups = {placement.group(f"lock/{number}") for number in range(1000)}
    assert len(groups) > 900, "they share groups: it is not staged any more"
    groups.clear()
    gc.collect()
    kept = [each for each in gc.get_objects() if type(each) is Group and each[0] in voters]
    assert 100 <= len(kept) <= 200
