"""Queues of waiters: ghosts in them, and waiters that are told too late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.checkers import Exclusion, RecordedLocks
from simulations.cluster import Build
from simulations.faults import Fault, Weather
from simulations.field.stage import Stage, build
from simulations.locking import Claim, Locks
from simulations.network.network import Conditions
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["GHOST_WAITER", "LATE_GRANT", "ghost_waiter", "late_grant"]

DURATION = 20 * SECOND
LOCK = "lock/queue"
LONG = 3 * SECOND
"""A ghost that is granted the lock keeps it from the others for so long."""


def ghost_waiter(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """One holds a lock, a second waits, a third waits behind it. The second gives up at just the time at which the first
    releases: before, after, or while its grant is under way. The third must be granted at once, behind nobody."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    with stage.moment():
        for _ in range(10):
            _give_up_once(stage, locks)
    stage.finish()
    return stage.done()


def _give_up_once(stage: Stage, locks: Locks) -> None:
    first, second, third = stage.dice.sample(stage.cluster.names, 3)
    holder = stage.held(locks, first, LOCK, ttl=LONG)
    ghost = locks.acquire(stage.peer(second), LOCK, ttl=LONG)
    stage.world.run(200 * MS)
    following = locks.acquire(stage.peer(third), LOCK, ttl=LONG)
    stage.world.run(200 * MS)
    unwanted = _unwanted(stage)
    stage.peer(second)
    locks.release(holder)
    stage.world.run(stage.dice.randrange(stage.dice.choice((2, 6, 60)) * MS))  # a grant takes one to three ways of up to 20 ms
    if ghost.state == "asking":
        locks.cancel(ghost)
        stage.reached["gave_up"] += 1
    else:
        locks.release(ghost)
    if stage.quiet:
        what = f"{following} is granted after {ghost}"
        stage.must("L13", what, _is_held(following), 1_500 * MS, count="granted_next_ms", step=MS)
    else:
        stage.until(_is_held(following), 10 * SECOND)
    stage.reached["grant_met_a_ghost"] += _unwanted(stage) - unwanted
    locks.release(following)
    stage.until(lambda: following.state == "released", 4 * SECOND)


def _is_held(claim: Claim) -> Callable[[], bool]:
    return lambda: claim.state == "held"


def _unwanted(stage: Stage) -> int:
    """Grants that came to who did not want them any more."""
    return sum([peer.assembly.agreed.holder.stats().get("unwanted", 0) for peer in stage.cluster.living()])


GHOST_WAITER = Scenario(
    "ghost-waiter",
    "kazoo, redis-py: an acquire that was cancelled left its place in the queue, and all behind it waited for nobody; L12, L13",
    ghost_waiter, nodes=4, fewest=3, duration=DURATION, profile="calm", sometimes=("gave_up", "grant_met_a_ghost"),
)  # fmt: skip


def late_grant(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A waiter is stopped, or what is sent to it takes seconds, while the lock is handed over to it. Its time runs out unused,
    and the next is granted. Then the grant reaches it. It must not believe that, for a moment."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    with stage.moment():
        owner = stage.group(LOCK)[0]  # must be able to hand over while the second is stopped
        second = stage.dice.choice([name for name in stage.cluster.names if name != owner])
        first, third = stage.dice.sample([name for name in stage.cluster.names if name != second], 2)
        holder = stage.held(locks, first, LOCK, ttl=LONG)
        late = locks.acquire(stage.peer(second), LOCK, ttl=LONG)
        stage.world.run(300 * MS)
        following = locks.acquire(stage.peer(third), LOCK, ttl=LONG)
        stage.world.run(200 * MS)
        grants = _grants(stage)
        process = None
        if stage.dice.random() < 0.5:
            process = stage.stop(second)
        else:
            slow = Conditions((3 * SECOND, 4 * SECOND))
            stage.faults.set([Weather(0, 6 * SECOND, slow, tuple(n for n in stage.cluster.names if n != second), (second,))])
            stage.world.run(1)
        locks.release(holder)
        stage.until(_is_held(following), 8 * SECOND, MS)
        handed_over = late.state != "held" and _grants(stage) - grants >= 2  # one of them to the late one
        if process is not None:
            stage.world.resume(process)
            stage.reached["stopped_at_its_grant"] += handed_over
        else:
            stage.reached["grant_was_slow"] += handed_over
        stage.world.run(5 * SECOND)
        stage.reached["next_held_meanwhile"] += following.believed
    stage.finish()
    history.check()
    return stage.done()


def _grants(stage: Stage) -> int:
    return sum([peer.assembly.agreed.owner.stats().get("grants", 0) for peer in stage.cluster.peers.values()])


LATE_GRANT = Scenario(
    "late-grant",
    "etcd: a waiter was told that it holds a lock when its lease had run out, and the next held it too; L1",
    late_grant, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("stopped_at_its_grant", "grant_was_slow", "next_held_meanwhile"),
)  # fmt: skip
