"""What befalls a mesh that is to forget: plans for `simulations.scenarios.forgetting`.

Voters keep what they promised: who leads a round asks a majority that remembers. Whoever does not vote may also lose its disk,
or find it as it was a while ago (a backup, a snapshot of a machine)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from simulations.dice import seed_of
from simulations.faults import Crash, Fault, OldDisk, Partition, Pause, Rate, WallStep, Weather
from simulations.network.network import Conditions
from simulations.world import MS, SECOND

__all__ = ["hostile_plan", "plan_of"]

SKEW_MS = 240
"""How far a clock may be off: of two, by less than the drift of 500 ms that stores allow for."""
RATE_PPM = 10_000
PARTITIONS = (1, 3, 7, 12, 20)
"""Times the patience of the mesh: the longest ones last 20 times longer than anyone waits for a member before it is ended."""


def plan_of(seed: int, names: Sequence[str], duration: int) -> list[Fault]:
    """Cuts of the network from short ones to such as end whoever is cut off; crashes that leave what was promised; pauses."""
    dice = Random(seed_of(seed, "forgetting"))
    plan: list[Fault] = []
    for _ in range(dice.randint(2, 5)):
        at = dice.randrange(duration * 3 // 4)
        lasts = dice.choice((2, 6, 14, 25)) * SECOND
        match dice.randrange(5):
            case 0 | 1:
                plan.append(Partition(at, lasts, _side(dice, names)))
            case 2 | 3:
                plan.append(Crash(at, lasts // 2, dice.choice(list(names)), wipe=False))
            case _:
                plan.append(Pause(at, lasts // 2, dice.choice(list(names))))
    return sorted(plan, key=lambda fault: fault.at)


def hostile_plan(seed: int, names: Sequence[str], voters: int, duration: int, patience: int) -> list[Fault]:
    """All of it together: clocks that are wrong from the beginning, weather in which up to every second datagram is lost,
    partitions up to 20 times as long as a member is waited for, pauses, and restarts with the memory, without one, and with
    an old one.

    Parameters
    ----------
    voters: how many of the names, the first, vote.
    patience: ns after which a member that is dead is ended.
    """
    dice = Random(seed_of(seed, "hostile"))
    plan: list[Fault] = []
    for name in names:
        plan.append(WallStep(0, duration, name, dice.randint(-SKEW_MS, SKEW_MS)))
        if dice.random() < 0.3:
            plan.append(Rate(0, duration, name, dice.randint(-RATE_PPM, RATE_PPM)))
    for _ in range(dice.randint(2, 4)):
        at = dice.randrange(duration * 3 // 4)
        loss = dice.choice((0.1, 0.3, 0.5))
        conditions = Conditions((MS // 5, dice.choice((2, 50)) * MS), loss, 0.05, 0.1)
        plan.append(Weather(at, dice.randint(1, duration // SECOND // 3) * SECOND, conditions))
    others = list(names[voters:]) or list(names)
    for _ in range(dice.randint(1, 3)):
        lasts = dice.choice(PARTITIONS) * patience
        plan.append(Partition(dice.randrange(max(1, duration - lasts)), lasts, _side(dice, names)))
    for _ in range(dice.randint(2, 3 + len(names) // 6)):
        at = dice.randrange(duration * 3 // 4)
        lasts = dice.randrange(6 * patience)
        match dice.randrange(6):
            case 0 | 1:
                plan.append(Crash(at, lasts, dice.choice(list(names)), power=dice.random() < 0.3))
            case 2:
                plan.append(Crash(at, lasts, dice.choice(others), power=dice.random() < 0.3, wipe=True))
            case 3 | 4:
                plan.append(OldDisk(at, lasts, dice.choice(others)))
            case _:
                plan.append(Pause(at, lasts, dice.choice(list(names))))
    return sorted(plan, key=lambda fault: fault.at)


def _side(dice: Random, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(dice.sample(list(names), dice.randint(1, max(1, len(names) // 2 - 1)))))
