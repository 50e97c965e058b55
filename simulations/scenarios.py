"""Whole campaigns, by seed: a mesh, users, a plan of faults, then healing, and what must hold at the end.

Each has a *safety* phase, in which the checkers look at every step, and a *liveness* phase, in which everything is healed and
must be well within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from coordination.agreed.roster import Parameters
from coordination.assembly import build
from simulations.checkers import Exclusion, Members, Nonces, RecordedLocks, Sums, Violation, WatchFold, agree, differences
from simulations.cluster import Build, Cluster
from simulations.dice import seed_of
from simulations.faults import Fault, Faults
from simulations.locking import Locks, LockUser
from simulations.network import Conditions
from simulations.plans import random_plan
from simulations.world import MS, SECOND, World

__all__ = ["Locking", "Spreading", "run_locking", "run_spreading"]

SHORT_TERMS = Parameters(max_ttl=3 * SECOND)
"""Leases of 3 s at most: a voter that restarts abstains for so long."""


@dataclass(frozen=True, slots=True)
class Locking:
    """What came of a campaign of locks."""

    world: World
    faults: Faults
    locks: Locks


def run_locking(
    seed: int,
    *,
    nodes: int = 4,
    voters: int = 3,
    duration: int = 30 * SECOND,
    faults: int = 25,
    plan: Sequence[Fault] | None = None,
    parameters: Parameters = SHORT_TERMS,
    make: Build = build,
    seen: Callable[[World], object] | None = None,
) -> Locking:
    """Lock users on every node under faults of every kind (L1, L2, L4), then every lock can be had by everyone (L12); in
    the end all grants together must be those of a mutex with rising tokens (L1 and L2, seen from outside).

    `seen` is shown the world before anything happens.

    Raises
    ------
    Violation
    """
    world = World(seed, conditions=_network(seed))
    if seen is not None:
        seen(world)
    cluster = Cluster(world, nodes, expect=voters, parameters=parameters, make=make)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    keys = ["lock/a", "lock/b", "lock/c"][: 1 + seed % 3]
    stop = world.now + duration
    for name in cluster.names:
        for number in range(2):
            LockUser(locks, name, keys, number, stop)
    injector = Faults(world)
    injector.set(random_plan(seed, cluster.names, faults, duration) if plan is None else plan)
    world.run(duration)
    injector.heal()
    _all_locks_are_free(cluster, locks, keys)
    history.check()
    return Locking(world, injector, locks)


def _all_locks_are_free(cluster: Cluster, locks: Locks, keys: Sequence[str]) -> None:
    """Whatever died with a lock, every node gets every lock: after abstentions and the last ttl."""
    world = cluster.world
    if world.run_until(cluster.whole, 60 * SECOND, 100 * MS) is None:
        raise Violation(f"M8: not whole 60 s after the last fault (seed {world.seed}): {cluster.unseen()[:5]}")
    world.run(cluster.parameters.max_ttl + 2 * SECOND)
    for peer in cluster.living():
        for claim in list(locks.of(peer.process).values()):
            locks.cancel(claim)
    for peer in cluster.living():
        for key in keys:
            claim = locks.acquire(peer, key, ttl=SECOND)
            if world.run_until(lambda claim=claim: claim.state != "asking", 6 * SECOND) is None or claim.state != "held":  # type: ignore[misc]
                raise Violation(f"L12: {claim} does not get it after healing (seed {world.seed}, at {world.now})")
            locks.release(claim)
            if world.run_until(lambda claim=claim: claim.state == "released", 4 * SECOND) is None:  # type: ignore[misc]
                raise Violation(f"L12: {claim} is not released (seed {world.seed}, at {world.now})")


@dataclass(frozen=True, slots=True)
class Spreading:
    """What came of a campaign of replicated state."""

    world: World
    cluster: Cluster
    faults: Faults
    settled: int
    """True ns from the last fault until all stores were equal."""


def run_spreading(
    seed: int,
    plan: Sequence[Fault],
    *,
    nodes: int = 20,
    loss: float = 0.2,
    duration: int = 7 * SECOND,
    bound: int = 30 * SECOND,
    writes: int = 80,
    make: Build = build,
    seen: Callable[[World], object] | None = None,
) -> Spreading:
    """Puts, deletes, values that expire and adds on every node under a plan; then all stores are equal within `bound`.

    `seen` is shown the world before anything happens.

    Raises
    ------
    Violation
    """
    world = World(seed, conditions=_network(seed))
    if seen is not None:
        seen(world)
    cluster = Cluster(world, nodes, make=make)
    members, sums, fold = Members(cluster), Sums(cluster), WatchFold(cluster)
    Nonces(world)
    cluster.form()
    cluster.set_loss(loss, duplicate=0.05, reorder=0.05)
    injector = Faults(world)
    injector.set(plan)
    dice = Random(seed_of(seed, "writes"))
    for _ in range(writes):
        world.after(dice.randrange(duration), _write, cluster, sums, dice)
    world.run(duration)
    injector.heal()
    cluster.set_loss(loss)
    begun = world.now
    equal = world.run_until(lambda: agree(cluster.living()) and cluster.whole(suspects=True), bound, 100 * MS)
    if equal is None:
        raise Violation(f"C15: not equal {bound / SECOND} s after the last fault (seed {seed}): {_unequal(cluster)}")
    sums.check()
    fold.check()
    members.check(suspects=True)
    return Spreading(world, cluster, injector, world.now - begun)


def _unequal(cluster: Cluster) -> list[object]:
    return [*cluster.unseen(suspects=True)[:5], *differences(cluster.living())[:5]]


def _write(cluster: Cluster, sums: Sums, dice: Random) -> None:
    """One write somewhere. The draws are the same whoever is up."""
    name, kind, key, value = dice.choice(cluster.names), dice.random(), f"key/{dice.randrange(25)}", dice.randrange(1000)
    ttl = dice.randrange(1_000, 8_000)
    peer = cluster.peers[name]
    if not peer.process.running:
        return
    if kind < 0.45:
        peer.put(key, value)
    elif kind < 0.6:
        peer.put(key, value, ttl_ms=ttl)
    elif kind < 0.7:
        peer.delete(key)
    elif kind < 0.72:
        peer.put(key, "x" * 3_000)
    else:
        sums.add(peer, f"counter/{value % 3}", value - 300)


def _network(seed: int) -> Conditions:
    dice = Random(seed_of(seed, "network"))
    return Conditions(dice.choice(((MS // 5, MS), (MS // 5, 2 * MS), (MS, 20 * MS))))
