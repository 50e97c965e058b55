"""Locks of a mesh grow with its nodes, and each node serves as many as before."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import pytest

from coordination.agreed.vocabulary import placement
from simulations.lock_scaling import Figures, measure
from simulations.world import MS

LEAST = 11
"""Datagrams of a lock and its release in a group of five, none of them shared: asked, two accepts and their answers, granted;
and again five for the release. Users next to the owner save some, and renewals and probes add some."""


def under_load(nodes: int) -> Figures:
    return measure(nodes, users=2, warm=150 * MS, span=150 * MS)


def test_twice_the_nodes_serve_twice_the_locks() -> None:
    few, many = under_load(5), under_load(11)
    assert (few.voters, many.voters) == (5, 11)
    assert 1.7 * few.locks_per_s < many.locks_per_s < 2.7 * few.locks_per_s
    assert few.datagrams < 1.3 * LEAST
    assert many.datagrams < 1.3 * LEAST


def test_one_group_for_every_lock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = placement._rank

    def same(voters: Any, size: int, groups: Any, key: str) -> placement.Group:
        return rank(voters, size, groups, "lock")

    monkeypatch.setattr(placement, "_rank", same)
    monkeypatch.setattr(placement, "_placements", WeakValueDictionary())
    few, many = under_load(5), under_load(11)
    assert many.locks_per_s < 1.3 * few.locks_per_s


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_nodes_serve_ten_times_as_many_as_five() -> None:
    few, many = measure(5, warm=300 * MS, span=300 * MS), measure(51, warm=300 * MS, span=300 * MS)
    assert many.voters == 51
    assert many.locks_per_s > 8 * few.locks_per_s
