"""Everything at once, by seed: loss, kills, lost power, restarts, leaves, pauses, partitions, jumps of the wall clock. The laws
hold throughout, and once the faults stop everyone knows everyone, within a bound, and nobody is accused any more."""

from __future__ import annotations

from random import Random

import pytest

from mesh.membership import State
from tests.mesh.membership_world import MS, SECOND, Process, World

SEEDS = ["10.0.0.1:7000", "10.0.0.2:7000"]


def live_through(seed: int, seconds: int = 120) -> World:
    """A world after so long a time of faults, and none any more."""
    random = Random(seed)
    world = World(seed, loss=random.choice([0.0, 0.05, 0.2]))
    count = random.randint(3, 12)
    world.mesh(count)

    def running() -> list[Process]:
        return [p for p in world.living() if not p.paused]

    def restart(p: Process, elsewhere: bool) -> None:
        world.dark.discard(p.address)
        if p.address not in world.at:
            world.start(
                p.name, SEEDS, address=None if elsewhere else p.address, wall_offset=random.choice([0, 0, -5_000, 5_000])
            )

    def fault() -> None:
        candidates = running()
        if not candidates:
            return
        p = random.choice(candidates)
        kind = random.choice(["kill", "power", "stop", "pause", "partition", "heal", "wall", "tags"])
        if kind in ("kill", "power", "stop") and len(candidates) > 2:
            {"kill": world.kill, "power": world.cut_power, "stop": world.stop}[kind](p)
            elsewhere = random.random() < 0.3 and p.address not in SEEDS
            world.later(random.randint(0, 20_000) * MS, lambda: restart(p, elsewhere))
        elif kind == "pause":
            world.pause(p, random.randint(200, 15_000) * MS)
        elif kind == "partition":
            side = {q.name: random.random() < 0.5 for q in world.processes}
            world.blocked = lambda one, other: side[one.name] != side[other.name]
        elif kind == "heal":
            world.blocked = lambda one, other: False
        elif kind == "wall":
            p.wall_offset = random.randint(-10_000, 10_000)
        else:
            world.command(p, p.part.set_tags((("at", str(world.now)),), world.instant(p)))

    at = 0
    while at < seconds * SECOND:
        at += random.randint(500, 6_000) * MS
        world.later(at, fault)
    world.run(at)
    world.blocked = lambda one, other: False
    world.loss = 0.0
    world.run(30 * SECOND)  # who is paused, or to be restarted, is back
    return world


@pytest.mark.parametrize("seed", range(8))
def test_laws_hold_under_everything_and_the_mesh_is_whole_in_the_end(seed: int) -> None:
    world = live_through(seed)
    world.run_until(world.converged, 60 * SECOND)
    assert world.laws.violations == []
    accused = len(world.false_deaths)
    world.run(60 * SECOND)
    assert world.converged()
    assert len(world.false_deaths) == accused
    names = {p.name for p in world.living()}
    for p in world.living():
        assert {m.name for m in p.part.members() if m.state is State.ALIVE} == names
