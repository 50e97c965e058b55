"""Rates, and shares of them that change hands: exactly what they promise, at every moment."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.counting.rates import MICRO, NS, Rate, SlidingWindow, TokenBucket
from simulations.scenarios.primitives import Bucket, Window

moments = st.lists(st.tuples(st.integers(0, 2 * NS), st.integers(1, 4)), max_size=60)


@given(moments, st.integers(1, 50 * MICRO), st.integers(1, 10))
def test_a_bucket_admits_what_a_bucket_holds_and_all_of_it(steps: list[tuple[int, int]], rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0, full=True)
    level, now = burst * MICRO * NS, 0
    for step, n in steps:
        now += step
        level = min(burst * MICRO * NS, level + rate * step)
        admitted = bucket.take(n, now)
        assert admitted == (level >= n * MICRO * NS)
        level -= admitted * n * MICRO * NS


@given(moments, st.integers(1, 10), st.integers(1, 3 * NS))
def test_a_window_admits_its_limit_in_any_window_and_no_less(steps: list[tuple[int, int]], limit: int, length: int) -> None:
    window, now = SlidingWindow(limit, length), 0
    past: list[tuple[int, int]] = []
    for step, n in steps:
        now += step
        within = sum(count for at, count in past if at > now - length)
        admitted = window.take(n, now)
        assert admitted == (within + n <= limit)
        if admitted:
            past.append((now, n))


@given(moments, st.booleans())
def test_wait_is_the_time_until_it_may_be_and_no_longer(steps: list[tuple[int, int]], bucket: bool) -> None:
    def fresh() -> Rate:
        return TokenBucket(3 * MICRO, 5, 0, full=True) if bucket else SlidingWindow(5, NS)

    now = 0
    for count, (_, n) in enumerate(steps):
        rates, now = [fresh(), fresh()], 0
        for earlier, m in steps[:count]:
            now += earlier
            for rate in rates:
                rate.take(m, now)
        wait = rates[0].wait(n, now)
        assert 0 <= wait <= 2 * NS
        assert rates[0].take(n, now + wait)
        if wait:
            assert not rates[1].take(n, now + wait - 1)


def test_more_than_a_share_holds_is_never_to_be_waited_for() -> None:
    for rate in (TokenBucket(MICRO, 8, 0, full=True), SlidingWindow(8, NS)):
        rate.share(1, 4, 0)
        assert rate.most == 2 and rate.wait(3, 0) == -1 and not rate.take(3, 9 * NS)
        rate.at_least(3)
        assert rate.most == 3
        rate.share(0, 1, 9 * NS)
        assert rate.most == 0 and not rate.take(1, 99 * NS)


@pytest.mark.parametrize("kind", ["bucket", "window"])
def test_permits_that_change_hands_admit_no_more_together(kind: str) -> None:
    """Whoever gets a permit begins with nothing of it; a window's permit is worth nothing for one window."""
    admitted = 0
    for seed in range(60):
        dice = Random(seed)
        whole, now = 8, 0
        rates: list[Rate] = [
            TokenBucket(20 * MICRO, 8, 0, full=False) if kind == "bucket" else SlidingWindow(8, NS) for _ in range(3)
        ]
        judge = Bucket(20, 8) if kind == "bucket" else Window(8, NS)
        permits = [dice.randrange(3) for _ in range(whole)]
        since = [0 if kind == "bucket" else -NS] * whole
        for rate in rates:
            rate.share(0, 1, 0)
        for _ in range(400):
            now += dice.randrange(60_000_000)
            if dice.random() < 0.1:
                permit = dice.randrange(whole)
                permits[permit], since[permit] = dice.randrange(3), now
            who = dice.randrange(3)
            for each in range(3):
                worth = [p for p in range(whole) if permits[p] == each and (kind == "bucket" or now >= since[p] + NS)]
                rates[each].share(len(worth), whole, now)
            if rates[who].take(1, now):
                admitted += 1
                assert judge.admit(1, now), f"seed {seed}"
    assert admitted > 1000


def test_the_judges_themselves() -> None:
    """Against a look at every interval."""
    dice = Random(5)
    seen = {True: 0, False: 0}
    for _ in range(300):
        times = sorted(dice.randrange(3 * NS) for _ in range(12))
        bucket, window = Bucket(3, 4), Window(6, NS)
        said = ([bucket.admit(1, at) for at in times], [window.admit(1, at) for at in times])
        fits = all(
            (j - i + 1) * NS <= 4 * NS + 3 * (times[j] - times[i]) for i in range(12) for j in range(i, 12)
        )  # fmt: skip
        assert all(said[0]) == fits
        assert all(said[1]) == all(times[i + 6] - times[i] >= NS for i in range(6))
        seen[fits] += 1
    assert min(seen.values()) > 20
    assert all(one <= other for one, other in pairwise(times))
