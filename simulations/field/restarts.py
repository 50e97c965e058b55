"""Voters that have forgotten what they promised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coordination.agreed.vocabulary.roster import Parameters
from simulations.checkers import Exclusion, RecordedLocks
from simulations.cluster import Build
from simulations.faults import Fault, Isolate
from simulations.field.stage import Stage, build
from simulations.locking import Claim, Locks
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["VOTERS_RESTART", "voters_restart"]

DURATION = 25 * SECOND
TTL = 9 * SECOND
TERMS = Parameters(max_ttl=10 * SECOND)
LOCK = "lock/a"


def voters_restart(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """Somebody holds a lock and is cut off. Every voter starts again without memory, and once more before it has voted; nobody
    who votes knows of the lock any more. Somebody else asks for it all the time, and must not get it before the holder's time
    is over; and must get it then."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make, parameters=TERMS)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    voters = stage.cluster.names[: stage.cluster.expect]
    others = [name for name in stage.cluster.names if name not in voters]
    with stage.moment():
        holder, asker = stage.dice.sample(others, 2)
        held = stage.held(locks, holder, LOCK, ttl=TTL)
        stage.world.run(stage.dice.randrange(3_000) * MS)
        stage.faults.set([Isolate(0, 14 * SECOND, holder)])
        stage.world.run(MS)
        asking = locks.acquire(stage.peer(asker), LOCK, ttl=SECOND)
        for time in ("once", "twice"):
            for name in voters:
                stage.restart(name, wipe=True)
                stage.world.run(stage.dice.choice((0, 0, 100)) * MS)
            stage.reached[f"restarted_{time}_while_held"] += held.believed
            end = stage.world.now + stage.dice.choice((500, 2_000)) * MS
            while stage.world.now < end:
                asking = _go_on_asking(stage, locks, asking, asker)
        over = stage.world.now + 30 * SECOND
        while asking.state != "held" and stage.world.now < over:
            asking = _go_on_asking(stage, locks, asking, asker)
        if stage.quiet and asking.state != "held":
            stage.fail("L12", f"{asking} is not granted 30 s after the last restart")
        stage.reached["granted_after_it"] += asking.state == "held" and not held.believed
    stage.finish()
    history.check()
    return stage.done()


def _go_on_asking(stage: Stage, locks: Locks, asking: Claim, asker: str) -> Claim:
    if asking.state not in ("asking", "held"):
        asking = locks.acquire(stage.peer(asker), LOCK, ttl=SECOND)
    stage.world.run(10 * MS)
    return asking


VOTERS_RESTART = Scenario(
    "voters-restart",
    "Redlock without persistence: nodes that came back empty granted a lock that was held; L1, L2, L12",
    voters_restart, nodes=5, fewest=5, duration=DURATION, profile="calm",
    sometimes=("restarted_once_while_held", "restarted_twice_while_held", "granted_after_it"),
)  # fmt: skip
