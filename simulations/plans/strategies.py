"""Hypothesis strategies for faults and plans: for laws, codecs and models. Sweeps find more bugs in less time: see
`simulations.sweeps.sweeping`. Hypothesis must be installed; nothing else here imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from simulations.faults import (
    Blackout,
    Corruption,
    Crash,
    Cut,
    Damage,
    Fault,
    FullDisk,
    Isolate,
    OldDisk,
    OneWay,
    Partition,
    Pause,
    RandomCuts,
    Rate,
    Ring,
    Slow,
    SlowDisk,
    Suspend,
    Throttle,
    Torn,
    WallDrift,
    WallStep,
    Weather,
)
from simulations.network.latency import LogNormal, Pareto
from simulations.network.network import Conditions

__all__ = ["faults", "plans"]

SECOND = 1_000_000_000


def faults(names: Sequence[str], *, duration: int = 30 * SECOND, longest: int = 8 * SECOND) -> st.SearchStrategy[Fault]:
    """One fault of any kind, about some of two names or more, that begins within `duration` ns and lasts `longest` at most."""
    at, lasts, whom = st.integers(0, duration), st.integers(0, longest), st.sampled_from(list(names))
    some = st.lists(whom, min_size=1, max_size=len(names), unique=True).map(lambda drawn: tuple(sorted(drawn)))
    side = st.lists(whom, min_size=1, max_size=len(names) - 1, unique=True).map(lambda drawn: tuple(sorted(drawn)))
    pair = st.lists(whom, min_size=2, max_size=2, unique=True)
    chance = st.floats(0, 1)
    ns = st.integers(0, SECOND)
    latency: st.SearchStrategy[Any] = st.one_of(
        st.lists(ns, min_size=2, max_size=2).map(lambda drawn: (min(drawn), max(drawn))),
        st.builds(LogNormal, ns, st.integers(0, 3_000), ns),
        st.builds(Pareto, ns, st.integers(500, 5_000), ns),
    )
    conditions: st.SearchStrategy[Any] = st.builds(Conditions, latency, chance, chance, chance, ns)
    ppm, ms = st.integers(-10_000, 10_000), st.integers(-100, 100)
    return st.one_of(
        st.builds(Partition, at, lasts, side),
        st.builds(Isolate, at, lasts, whom),
        st.builds(OneWay, at, lasts, some, some),
        st.builds(lambda at, lasts, two: Cut(at, lasts, *two), at, lasts, pair),
        st.builds(Ring, at, lasts, st.permutations(list(names)).map(tuple)),
        st.builds(RandomCuts, at, lasts, chance, st.integers(0, (1 << 32) - 1)),
        st.builds(
            Throttle, at, lasts, st.integers(1_000, 10_000_000), st.integers(0, 1 << 20), st.none() | some, st.none() | some
        ),
        st.builds(Corruption, at, lasts, chance, chance, st.none() | some, st.none() | some),
        st.builds(Weather, at, lasts, conditions, st.none() | some, st.none() | some),
        st.builds(Blackout, at, lasts, some),
        st.builds(SlowDisk, at, lasts, whom, ns),
        *[st.builds(kind, at, lasts, whom) for kind in (FullDisk, Torn, Damage, OldDisk)],
        st.builds(Crash, at, lasts, whom, st.booleans(), st.booleans()),
        st.builds(Pause, at, lasts, whom),
        st.builds(Suspend, at, lasts, whom),
        st.builds(Slow, at, lasts, whom, st.integers(0, 100_000_000), ns, chance),
        st.builds(Rate, at, lasts, whom, ppm),
        st.builds(WallStep, at, lasts, whom, ms),
        st.builds(WallDrift, at, lasts, whom, ppm),
    )


def plans(names: Sequence[str], *, most: int = 10, duration: int = 30 * SECOND) -> st.SearchStrategy[list[Fault]]:
    """So many faults at most."""
    return st.lists(faults(names, duration=duration), max_size=most)
