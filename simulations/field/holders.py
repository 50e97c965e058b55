"""Holders that stood still for longer than their lease, and go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crdt.store import StoreFencedError
from simulations.checkers import Exclusion, Tokens
from simulations.checkers.exclusion import TICK
from simulations.cluster import Build
from simulations.faults import Fault, Isolate, WallStep
from simulations.field.stage import Stage, build
from simulations.locking import Locks
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["PAUSED_HOLDER", "STALE_TOKEN", "Resource", "paused_holder", "stale_token"]

DURATION = 15 * SECOND
TTL = SECOND
LOCK = "lock/report"


class Resource:
    """What a lock protects, somewhere outside: a file, a database. It remembers the highest token that it has seen."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._highest = 0
        self.value = ""

    def takes(self, token: int) -> bool:
        return token >= self._highest

    def write(self, value: str, token: int, holder: object) -> bool:
        """Whether it was taken."""
        if not self.takes(token):
            return False
        self._highest, self.value = token, value
        self._tokens.written("the resource", token, holder)
        return True


def stale_token(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A holder stands still between its check of the lock and its write (stopped), or does not look at it any more (cut off: a
    body without a checkpoint cannot be stopped). The lock is granted to another, who writes; wall clocks are set back
    meanwhile. Then the first one writes, late, under its old token, to a resource outside and to a key of the mesh."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    resource = Resource(Tokens(stage.world))
    old_name, new_name = stage.dice.sample(stage.cluster.names, 2)
    newer = False
    with stage.moment():
        old = stage.held(locks, old_name, LOCK, ttl=TTL)
        resource.write("old", old.token, old)
        old.peer.put("report", "old", fence=old.token)
        stage.world.run(stage.dice.randrange(2_000) * MS)
        cut_off = stage.dice.random() < 0.5
        paused = None if cut_off else stage.stop(old_name)
        if stage.quiet:  # a process that starts under a clock set back meets the later boots of its own name, and stops
            stage.faults.set([WallStep(0, 8 * SECOND, name, -60_000) for name in stage.cluster.names])
        if cut_off:
            stage.faults.set([Isolate(0, 5 * SECOND, old_name)])
        new = locks.acquire(stage.peer(new_name), LOCK, ttl=TTL)
        stage.until(lambda: new.state == "held", 6 * SECOND, MS)
        newer = resource.write("new", new.token, new)
        new.peer.put("report", "new", fence=new.token)
        stage.world.run(stage.dice.choice((1, 1_000)) * MS)
        stage.reached["late_writes"] += 1
        stage.reached["refused_by_the_resource"] += not resource.write("late", old.token, old)
        if paused is not None:
            stage.world.resume(paused)
        try:
            old.peer.put("report", "late", fence=old.token)
            stage.reached["late_key_was_written"] += 1  # it has not heard of the other: the merge decides
        except StoreFencedError:
            stage.reached["late_key_was_refused"] += 1
    stage.finish()
    if newer and resource.value != "new":
        stage.fail("L7", f"the late write of {old} stands in the resource: {resource.value!r}")
    if newer and new.peer.process.alive and not stage.all_show("report", "new"):
        shown = {peer.name: stage.shown(peer, "report") for peer in stage.cluster.living()}
        stage.fail("L7", f"the late write of {old} counts, after one of {new}: {shown}")
    return stage.done()


STALE_TOKEN = Scenario(
    "stale-token",
    "HBase, Redlock: a holder paused by its garbage collector wrote after the lock was another's; L2, L5, L7",
    stale_token, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("late_writes", "refused_by_the_resource", "late_key_was_written", "late_key_was_refused"),
)  # fmt: skip


def paused_holder(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A holder is stopped, or its machine sleeps, for longer than its lease, while another waits. The other is granted the lock
    meanwhile. On waking the first must not believe for a moment, and its body is told at once; also if it wakes just
    before its deadline."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    old_name, new_name = stage.dice.sample(stage.cluster.names, 2)
    with stage.moment():
        old = stage.held(locks, old_name, LOCK, ttl=TTL)
        stage.world.run(stage.dice.randrange(2_000) * MS)
        new = locks.acquire(stage.peer(new_name), LOCK, ttl=TTL)
        stage.world.run(100 * MS)
        sleeps = stage.dice.random() < 0.5
        process = stage.stop(old_name)
        begun = stage.world.now
        if stage.dice.random() < 0.25:  # it wakes when the lease is as good as over
            stage.world.run(TTL * stage.dice.randint(80, 100) // 100)
        else:
            stage.until(lambda: new.state == "held", TTL + 3 * SECOND, MS)
            stage.world.run(stage.dice.randrange(1_000) * MS)
        late = old.body and not old.believed
        stage.world.resume(process, slept=stage.world.now - begun if sleeps else 0)
        if late and old.believed:
            stage.fail("L7", f"{old} believes again after its deadline has passed")
        stage.reached["slept_past_its_deadline" if sleeps else "stopped_past_its_deadline"] += late
        stage.reached["woke_while_another_held"] += late and new.state == "held"
        stage.world.run(TICK)
        if late and old.body and process.running:
            stage.fail("L4", f"{old} was not told within a tick that its lease is over")
    stage.finish()
    return stage.done()


PAUSED_HOLDER = Scenario(
    "paused-holder",
    "ZooKeeper recipes: a process that was stopped past its session went on working beside the next holder; L1, L4, L7",
    paused_holder, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("slept_past_its_deadline", "stopped_past_its_deadline", "woke_while_another_held"),
)  # fmt: skip
