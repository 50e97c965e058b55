"""Random plans. Fault number i of a plan comes from a stream of its own: a longer plan begins with the shorter one."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from simulations.dice import seed_of
from simulations.faults import (
    Crash,
    Cut,
    Fault,
    Isolate,
    OneWay,
    Partition,
    Pause,
    Rate,
    Suspend,
    WallDrift,
    WallStep,
    Weather,
)
from simulations.network import Conditions

__all__ = ["KINDS", "random_plan"]

MS = 1_000_000
SECOND = 1_000 * MS

KINDS: tuple[type[Fault], ...] = (
    Partition, Isolate, OneWay, Cut, Weather, Crash, Pause, Suspend, Rate, WallStep, WallDrift,
)  # fmt: skip


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
) -> list[Fault]:
    """So many faults that begin within `duration` ns, each of them over at the end of it at the latest.

    `rate_ppm` and `wall_ms` bound the clocks' errors: what the mesh promises, it promises within its drift bounds."""
    plan: list[Fault] = []
    for number in range(count):
        dice = Random(seed_of(seed, "plan", number))
        at = dice.randrange(duration)
        lasts = min(int(longest * dice.random() ** 2) + 10 * MS, duration - at)
        plan.append(_fault(dice, dice.choice(list(kinds)), at, lasts, list(names), rate_ppm, wall_ms))
    return plan


def _fault(
    dice: Random, kind: type[Fault], at: int, lasts: int, names: list[str], rate_ppm: int, wall_ms: int
) -> Fault:  # fmt: skip
    whom, other = dice.sample(names, 2)
    some = tuple(sorted(dice.sample(names, dice.randint(1, max(1, len(names) // 2)))))
    if kind is Partition:
        return Partition(at, lasts, some)
    if kind is Isolate:
        return Isolate(at, lasts, whom)
    if kind is OneWay:
        return OneWay(at, lasts, (whom,), (other,)) if dice.random() < 0.5 else OneWay(at, lasts, (whom,), tuple(names))
    if kind is Cut:
        return Cut(at, lasts, whom, other)
    if kind is Weather:
        low = dice.choice((MS // 5, 5 * MS, 50 * MS))
        conditions = Conditions(
            (low, low * dice.choice((2, 5))), dice.choice((0.0, 0.1, 0.3)), dice.choice((0.0, 0.1)), dice.choice((0.0, 0.2))
        )
        return Weather(at, lasts, conditions, None if dice.random() < 0.3 else some)
    if kind is Crash:
        return Crash(at, lasts, whom, power=dice.random() < 0.3, wipe=dice.random() < 0.5)
    if kind is Pause:
        return Pause(at, lasts, whom)
    if kind is Suspend:
        return Suspend(at, lasts, whom)
    if kind is Rate:
        return Rate(at, lasts, whom, dice.randint(-rate_ppm, rate_ppm))
    if kind is WallStep:
        return WallStep(at, lasts, whom, dice.randint(-wall_ms, wall_ms))
    return WallDrift(at, lasts, whom, dice.randint(-rate_ppm, rate_ppm))
