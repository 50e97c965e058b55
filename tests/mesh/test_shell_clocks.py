"""The moment, as the shell reads it."""

from __future__ import annotations

import time

from crdt.clock import Instant
from mesh.shell import read_instant


def test_an_instant_is_the_three_clocks_of_the_machine() -> None:
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = (time.monotonic_ns(), time.clock_gettime_ns(boottime))
    now = read_instant()
    after = (time.monotonic_ns(), time.clock_gettime_ns(boottime))
    assert type(now) is Instant
    assert before[0] <= now.mono <= after[0]
    assert before[1] <= now.boot <= after[1]
    assert abs(now.wall - time.time() * 1_000) < 1_000
