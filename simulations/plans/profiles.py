"""Profiles: how hard a world is on its mesh, as generators of plans. The plan depends on the seed, the names and the duration
alone.

    calm      clocks that are a little off, nothing else
    flaky     a network that is bad at times: weather, narrow and noisy links, short cuts of a link, a direction or a node
    hostile   everything: partitions of every shape, crashes with and without memory, pauses, suspended and slow machines,
              clocks at their bounds
    disks     hostile, and what befalls disks: for a mesh whose voters keep their promises there
    mixed     hostile, losses up to a half, and disks that are found as they were some time before: for replicated state, and
              meshes in which no voter has such a disk
    swarm     of each seed its own kinds, each in or out by chance, and its own number of them (swarm testing; Groce and others,
              2012): what one kind hides from another shows where it is left out"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from simulations.dice import seed_of
from simulations.faults import (
    Corruption,
    Crash,
    Cut,
    Fault,
    Isolate,
    OldDisk,
    OneWay,
    Rate,
    Throttle,
    WallDrift,
    WallStep,
    Weather,
)
from simulations.plans.plans import DISK_KINDS, KINDS, LOSSES, random_plan

__all__ = ["PROFILES", "Profile", "profile_of"]

SECOND = 1_000_000_000
CLOCKS: tuple[type[Fault], ...] = (Rate, WallStep, WallDrift)


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    about: str
    per_minute: int
    """Faults that begin in a minute."""
    kinds: tuple[type[Fault], ...] = KINDS
    longest: int = 8 * SECOND
    rate_ppm: int = 10_000
    wall_ms: int = 100
    losses: tuple[float, ...] = LOSSES
    chosen: bool = False
    """Each seed chooses its kinds, and how many."""

    def plan(self, seed: int, names: Sequence[str], duration: int) -> list[Fault]:
        """Faults that begin within `duration` ns and are over at the end of it."""
        count, kinds = -(-self.per_minute * duration // (60 * SECOND)), self.kinds
        if self.chosen:
            dice = Random(seed_of(seed, "swarm"))
            some = tuple([kind for kind in kinds if dice.random() < 0.5])
            kinds = some or (dice.choice(kinds),)
            count = dice.randint(1, 2 * count)
        return random_plan(
            seed, names, count, duration,
            kinds=kinds, longest=self.longest, rate_ppm=self.rate_ppm, wall_ms=self.wall_ms, losses=self.losses,
        )  # fmt: skip


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("calm", "clocks a little off", 10, CLOCKS, rate_ppm=200, wall_ms=20),
        Profile(
            "flaky", "a bad network at times", 30, (Weather, Throttle, Corruption, OneWay, Cut, Isolate), longest=3 * SECOND
        ),
        Profile("hostile", "every kind of fault", 50),
        Profile("disks", "every kind of fault, and of disks; everyone at once", 60, (*KINDS, *DISK_KINDS, *DISK_KINDS)),
        Profile(
            "mixed", "hostile, losses to a half, and disks from before", 50, (*KINDS, Crash, OldDisk), losses=(0.1, 0.3, 0.5)
        ),
        Profile("swarm", "a random subset of kinds per seed", 50, chosen=True),
    )
}


def profile_of(name: str) -> Profile:
    """Raises
    ------
    ValueError: there is none of this name.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
