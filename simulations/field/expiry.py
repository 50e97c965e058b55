"""Time to live across a jump of the wall clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.cluster import Build
from simulations.faults import Fault, WallStep
from simulations.field.stage import GONE, Stage, build
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["CLOCK_JUMP", "clock_jump"]

DURATION = 25 * SECOND
DAY_MS = 86_400_000
SHORT, LONG = 4 * SECOND, 3_600 * SECOND
SLACK = 1_500 * MS
"""What clocks within their bounds, a message and a look may make of a time to live."""


def clock_jump(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """Keys live for four seconds and for an hour. Meanwhile the wall clock of one node jumps by a day, forward or back, and is
    set right again after a while. The short ones go in time, also those that are put during the jump, and are never seen
    again; the long ones stay; and nobody is called dead. (A step that most machines make together is adopted: then it is
    taken for the truth.)"""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    day = stage.dice.choice((DAY_MS, -DAY_MS))
    jumper = stage.dice.choice(stage.cluster.names)
    short: dict[str, int] = {}
    """When each was put, true ns."""

    def put(name: str, key: str) -> None:
        stage.peer(name).put(f"long/{key}", key, ttl_ms=LONG // MS)
        stage.peer(name).put(f"short/{key}", key, ttl_ms=SHORT // MS)
        short[f"short/{key}"] = stage.world.now

    with stage.moment():
        put("n0", "before")
        stage.until(lambda: stage.all_show("short/before", "before") and stage.all_show("long/before", "before"), 2 * SECOND)
        stage.faults.set([WallStep(0, 9 * SECOND, jumper, day)])
        stage.world.run(100 * MS)
        for name in dict.fromkeys((jumper, stage.dice.choice(stage.cluster.names))):
            put(name, f"during by {name}")
        stage.reached["forward" if day > 0 else "back"] += stage.shown(stage.peer(jumper), "short/before") == "before"
        gone: dict[tuple[object, str], int] = {}
        until = stage.world.now + 14 * SECOND  # over the jump back, too
        while stage.world.now < until:
            stage.world.run(200 * MS)
            if stage.quiet:
                _look(stage, short, gone)
        stage.reached["expired"] += sum([stage.shown(peer, key) is GONE for peer in stage.cluster.living() for key in short])
    if stage.quiet and stage.members.deaths:
        stage.fail("M12", f"a jump of the wall clock made some dead: {stage.members.deaths[:5]}")
    stage.finish()
    return stage.done()


def _look(stage: Stage, short: Mapping[str, int], gone: dict[tuple[object, str], int]) -> None:
    now = stage.world.now
    for peer in stage.cluster.living():
        for key, at in short.items():
            age, there = now - at, stage.shown(peer, key) is not GONE
            if there and (peer, key) in gone:
                stage.fail("C12", f"{peer} shows {key} again, which had expired")
            if there and age > SHORT + SLACK:
                stage.fail("C12", f"{peer} still shows {key} after {age / SECOND:g} s")
            if not there and SLACK < age < SHORT - SLACK:
                stage.fail("M12", f"{peer} does not show {key} any more after {age / SECOND:g} s")
            if not there and age > SLACK:
                gone[peer, key] = now
            long = key.replace("short/", "long/")
            if age > SLACK and stage.shown(peer, long) is GONE:
                stage.fail("M12", f"{peer} does not show {long} any more after {age / SECOND:g} s")


CLOCK_JUMP = Scenario(
    "clock-jump",
    "Redis: keys expire by the wall clock, so that a step of it ends everything at once, or nothing for a day; C12, M12",
    clock_jump, nodes=4, fewest=3, duration=DURATION, profile="calm", sometimes=("forward", "back", "expired"),
)  # fmt: skip
