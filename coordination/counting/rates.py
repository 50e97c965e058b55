"""Rates, of one process: the token bucket and the sliding window, whose share of the whole may change.

    bucket   holds up to `burst` tokens, and gains `rate` of them a second; n requests take n
    window   at most `limit` requests in any time of `window`, exactly: each is remembered for so long. (A fixed window admits
             twice its limit around its edge.)

A *share* is a fraction, parts of a whole. With a smaller one what is there already is cut, with a larger one nothing is there
sooner: whoever hands a share on to another process hands on a rate, and no request can be counted to it twice.

Pure; all times are integer ns of one clock, all amounts integers: equal calls are decided equally on every machine."""

from __future__ import annotations

from collections import deque
from typing import Protocol

__all__ = ["Rate", "SlidingWindow", "TokenBucket"]

NS = 1_000_000_000
MICRO = 1_000_000
TOKEN = MICRO * NS
"""Level of one token: micro-tokens a second, times ns."""


class Rate(Protocol):
    """What decides."""

    @property
    def most(self) -> int:
        """More at once are never admitted by the present share."""

    def at_least(self, n: int) -> None:
        """Let the present share admit n, however small it is."""

    def share(self, parts: int, whole: int, now: int, least: int = 0) -> None:
        """From now on this much of the whole counts, but no less at once than `least`."""

    def take(self, n: int, now: int) -> bool:
        """Admit n requests now; False, and nothing is taken, if that is too much."""

    def wait(self, n: int, now: int) -> int:
        """ns until n could be admitted, if nothing else is; -1 if never by the present share."""


class TokenBucket:
    """Parameters
    ----------
    rate: micro-tokens a second. burst: tokens.
    full: whether it begins full.
    """

    __slots__ = ("_at", "_burst", "_level", "_most", "_rate", "_share_rate")

    def __init__(self, rate: int, burst: int, now: int, *, full: bool) -> None:
        self._rate = self._share_rate = rate
        self._burst = burst
        self._most = burst * TOKEN
        self._level = self._most if full else 0
        self._at = now

    @property
    def most(self) -> int:
        return self._most // TOKEN

    def share(self, parts: int, whole: int, now: int, least: int = 0) -> None:
        self._gain(now)
        self._share_rate = self._rate * parts // whole
        self._most = max(self._burst * TOKEN * parts // whole, least * TOKEN)
        self._level = min(self._level, self._most)

    def at_least(self, n: int) -> None:
        """Let the share hold n tokens, however small it is."""
        self._most = max(self._most, n * TOKEN)

    def take(self, n: int, now: int) -> bool:
        if now > self._at:
            self._gain(now)
        cost = n * TOKEN
        if cost > self._level:
            return False
        self._level -= cost
        return True

    def wait(self, n: int, now: int) -> int:
        self._gain(now)
        missing = n * TOKEN - self._level
        if missing <= 0:
            return 0
        if n * TOKEN > self._most or not self._share_rate:
            return -1
        return -(-missing // self._share_rate)

    def _gain(self, now: int) -> None:
        if now > self._at:
            self._level = min(self._most, self._level + self._share_rate * (now - self._at))
            self._at = now


class SlidingWindow:
    """Parameters
    ----------
    limit: requests. window: ns.
    """

    __slots__ = ("_count", "_limit", "_past", "_share", "_window")

    def __init__(self, limit: int, window: int) -> None:
        self._limit = self._share = limit
        self._window = window
        self._past: deque[tuple[int, int]] = deque()
        """When, and how many."""
        self._count = 0

    @property
    def most(self) -> int:
        return self._share

    def share(self, parts: int, whole: int, now: int, least: int = 0) -> None:
        self._share = max(self._limit * parts // whole, least)

    def at_least(self, n: int) -> None:
        """Let the share admit n, however small it is."""
        self._share = max(self._share, n)

    def take(self, n: int, now: int) -> bool:
        past = self._past
        while past and past[0][0] <= now - self._window:
            self._count -= past.popleft()[1]
        if self._count + n > self._share:
            return False
        past.append((now, n))
        self._count += n
        return True

    def wait(self, n: int, now: int) -> int:
        if n > self._share:
            return -1
        over = self._count + n - self._share
        for at, count in self._past:
            if over <= 0:
                break
            over -= count
            if over <= 0:
                return max(0, at + self._window - now)
        return 0
