"""Random plans. Fault number i of a plan comes from a stream of its own: a longer plan begins with the shorter one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from simulations.dice import seed_of
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
from simulations.network.latency import Latency, LogNormal, Pareto
from simulations.network.network import Conditions

__all__ = ["DISK_KINDS", "KINDS", "LOSSES", "random_plan"]

MS = 1_000_000
SECOND = 1_000 * MS

LOSSES = (0.0, 0.1, 0.3)
"""Of a weather, one of these."""


@dataclass(frozen=True, slots=True)
class _Draw:
    """What the random fault of one number is made of, beside its kind."""

    dice: Random
    at: int
    lasts: int
    names: tuple[str, ...]
    whom: str
    other: str
    some: tuple[str, ...]
    rate_ppm: int
    wall_ms: int
    losses: tuple[float, ...]

    def rate(self) -> int:
        return self.dice.randint(-self.rate_ppm, self.rate_ppm)

    def sources(self) -> tuple[str, ...] | None:
        """Of what befalls some links: often all."""
        return None if self.dice.random() < 0.3 else self.some


def _one_way(draw: _Draw) -> Fault:
    targets = (draw.other,) if draw.dice.random() < 0.5 else draw.names
    return OneWay(draw.at, draw.lasts, (draw.whom,), targets)


def _weather(draw: _Draw) -> Fault:
    dice = draw.dice
    low = dice.choice((MS // 5, 5 * MS, 50 * MS))
    latency: Latency = dice.choice(
        ((low, 2 * low), (low, 5 * low), LogNormal(low, 1_000, 2 * SECOND), Pareto(low, 1_000, 2 * SECOND))
    )
    conditions = Conditions(latency, dice.choice(draw.losses), dice.choice((0.0, 0.1)), dice.choice((0.0, 0.2)))
    return Weather(draw.at, draw.lasts, conditions, draw.sources(), draw.sources() if dice.random() < 0.3 else None)


def _throttle(draw: _Draw) -> Fault:
    dice = draw.dice
    per_second, queue = dice.choice((20_000, 100_000, 1_000_000)), dice.choice((4 << 10, 64 << 10))
    return Throttle(draw.at, draw.lasts, per_second, queue, draw.sources())


def _corruption(draw: _Draw) -> Fault:
    dice = draw.dice
    return Corruption(draw.at, draw.lasts, dice.choice((0.01, 0.1, 0.5)), dice.choice((0.0, 0.001, 0.02)), draw.sources())


def _ring(draw: _Draw) -> Fault:
    return Ring(draw.at, draw.lasts, tuple(draw.dice.sample(draw.names, len(draw.names))))


def _random_cuts(draw: _Draw) -> Fault:
    return RandomCuts(draw.at, draw.lasts, draw.dice.choice((0.1, 0.3, 0.5)), draw.dice.getrandbits(32))


def _slow(draw: _Draw) -> Fault:
    dice = draw.dice
    step = dice.choice((MS, 5 * MS, 20 * MS))
    return Slow(draw.at, draw.lasts, draw.whom, step, dice.choice((0, 300 * MS)), dice.choice((0.0, 0.05)))


def _crash(draw: _Draw) -> Fault:
    return Crash(draw.at, draw.lasts, draw.whom, power=draw.dice.random() < 0.3, wipe=draw.dice.random() < 0.5)


def _slow_disk(draw: _Draw) -> Fault:
    return SlowDisk(draw.at, draw.lasts, draw.whom, draw.dice.choice((5 * MS, 50 * MS, 500 * MS)))


def _blackout(draw: _Draw) -> Fault:
    return Blackout(draw.at, draw.lasts, draw.names if draw.dice.random() < 0.5 else draw.some)


def _wall_step(draw: _Draw) -> Fault:
    return WallStep(draw.at, draw.lasts, draw.whom, draw.dice.randint(-draw.wall_ms, draw.wall_ms))


_DRAWN: dict[type[Fault], Callable[[_Draw], Fault]] = {
    Partition: lambda draw: Partition(draw.at, draw.lasts, draw.some),
    Isolate: lambda draw: Isolate(draw.at, draw.lasts, draw.whom),
    OneWay: _one_way,
    Cut: lambda draw: Cut(draw.at, draw.lasts, draw.whom, draw.other),
    Ring: _ring,
    RandomCuts: _random_cuts,
    Weather: _weather,
    Throttle: _throttle,
    Corruption: _corruption,
    Crash: _crash,
    Pause: lambda draw: Pause(draw.at, draw.lasts, draw.whom),
    Suspend: lambda draw: Suspend(draw.at, draw.lasts, draw.whom),
    Slow: _slow,
    Rate: lambda draw: Rate(draw.at, draw.lasts, draw.whom, draw.rate()),
    WallStep: _wall_step,
    WallDrift: lambda draw: WallDrift(draw.at, draw.lasts, draw.whom, draw.rate()),
}

KINDS: tuple[type[Fault], ...] = tuple(_DRAWN)
"""What may befall any mesh."""

_DRAWN |= {
    Blackout: _blackout,
    SlowDisk: _slow_disk,
    FullDisk: lambda draw: FullDisk(draw.at, draw.lasts, draw.whom),
    Torn: lambda draw: Torn(draw.at, draw.lasts, draw.whom),
    Damage: lambda draw: Damage(draw.at, draw.lasts, draw.whom),
    OldDisk: lambda draw: OldDisk(draw.at, draw.lasts, draw.whom),
}

DISK_KINDS: tuple[type[Fault], ...] = (Blackout, SlowDisk, FullDisk, Torn, Damage)
"""What is of interest where voters keep their promises on disk. Not `OldDisk`: a disk that forgets in silence is what durable
excludes."""


def random_plan(
    seed: int,
    names: Sequence[str],
    count: int,
    duration: int,
    *,
    kinds: Sequence[type[Fault]] = KINDS,
    longest: int = 8 * SECOND,
    rate_ppm: int = 10_000,
    wall_ms: int = 100,
    losses: tuple[float, ...] = LOSSES,
) -> list[Fault]:
    """So many faults that begin within `duration` ns, each of them over at the end of it at the latest.

    `rate_ppm` and `wall_ms` bound the clocks' errors: what the mesh promises, it promises within its drift bounds.
    `losses`: of a weather, one of them."""
    plan: list[Fault] = []
    for number in range(count):
        dice = Random(seed_of(seed, "plan", number))
        at = dice.randrange(duration)
        lasts = min(int(longest * dice.random() ** 2) + 10 * MS, duration - at)
        kind = dice.choice(list(kinds))
        whom, other = dice.sample(list(names), 2)
        some = tuple(sorted(dice.sample(list(names), dice.randint(1, max(1, len(names) // 2)))))
        plan.append(_DRAWN[kind](_Draw(dice, at, lasts, tuple(names), whom, other, some, rate_ppm, wall_ms, losses)))
    return plan
