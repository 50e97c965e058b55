"""What a member costs does not grow with their number, and news is as fast as its formula says."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import count

import pytest

from mesh.membership.messages import TABLE_DIGEST_BYTES
from mesh.membership.registry import Registry
from mesh.membership.table import Table
from simulations.scaling import Bounds, Figures, measure

BUDGET = 400
"""Bytes a second of a node at rest, for everything; membership alone must leave room."""


def hold(members: int, figures: Figures) -> None:
    bounds = Bounds(members)
    shortest, longest = bounds.windows
    assert figures.datagrams_per_s == pytest.approx(2, abs=0.1)
    assert 150 < figures.bytes_per_s < 0.75 * BUDGET
    assert statistics.median(figures.spread) < 2 * bounds.spread
    assert max(figures.spread) < 4 * bounds.spread
    assert max(figures.killed) < 1
    assert statistics.mean(figures.notice) < 3 * bounds.notice
    assert shortest <= min(figures.first) <= max(figures.silent) < longest
    assert max(figures.silent) < max(figures.first) + 2 * bounds.spread


def test_bounds_by_hand() -> None:
    assert Bounds(1_000).rounds == pytest.approx(4.98 + 2.30, abs=0.01)
    assert Bounds(5_000).spread == pytest.approx(0.90, abs=0.01)
    assert Bounds(5_000).windows == pytest.approx((14.8, 88.8), abs=0.1)
    assert Bounds(30).notice == pytest.approx(1.582, abs=0.001)


@pytest.fixture(scope="module")
def few() -> Iterator[Figures]:
    yield measure(8, times=2)


def test_few_members(few: Figures) -> None:
    hold(8, few)


def test_four_times_as_many_cost_each_the_same(few: Figures) -> None:
    many = measure(32, times=2)
    hold(32, many)
    assert many.bytes_per_s == pytest.approx(few.bytes_per_s, rel=0.1)


def test_slow_gossip_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "gossip", lambda self, now: None)
    with pytest.raises(AssertionError):
        hold(16, measure(16, times=1))


def test_a_load_that_grows_with_the_members_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole tables are exchanged, although they are equal."""
    number = count()
    monkeypatch.setattr(Table, "digest", lambda self: next(number).to_bytes(TABLE_DIGEST_BYTES, "big"))
    assert measure(32, times=0).bytes_per_s > 1.2 * measure(8, times=0).bytes_per_s


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("members", [100, 1_000])
def test_many_members(members: int) -> None:
    hold(members, measure(members, times=5))
