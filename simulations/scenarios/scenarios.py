"""Whole campaigns, by seed: a mesh, users, a plan of faults, then healing, and what must hold at the end.

Each has a *safety* phase, in which the checkers look at every step, and a *liveness* phase, in which everything is healed and
must be well within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from coordination.agreed.vocabulary.roster import Parameters
from coordination.assembly import build
from simulations.checkers import Alarms, Exclusion, Members, Nonces, RecordedLocks, Sums, WatchFold
from simulations.cluster import Build, Cluster
from simulations.dice import seed_of
from simulations.faults import Fault
from simulations.locking import Locks, LockUser
from simulations.network.network import Conditions
from simulations.phases import Phases
from simulations.plans.plans import random_plan
from simulations.world import MS, SECOND, World

__all__ = [
    "SHORT_TERMS",
    "Locking",
    "Spreading",
    "network_of",
    "run_locking",
    "all_locks_are_free",
    "run_spreading",
    "world_of",
]

SHORT_TERMS = Parameters(max_ttl=3 * SECOND)
"""Leases of 3 s at most: a voter that restarts abstains for so long."""


@dataclass(frozen=True, slots=True)
class Locking:
    """What came of a campaign of locks."""

    world: World
    phases: Phases
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
    encoded: bool = True,
    durable: bool = False,
    seen: Callable[[World], object] | None = None,
) -> Locking:
    """Lock users on every node under faults of every kind (L1, L2, L4), then every lock can be had by everyone (L12); in
    the end all grants together must be those of a mutex with rising tokens (L1 and L2, seen from outside).

    `seen` is shown the world before anything happens; `encoded` and `durable` as for `Cluster`.

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    cluster = Cluster(world, nodes, expect=voters, parameters=parameters, make=make, encoded=encoded, durable=durable)
    cluster.form()
    locks = Locks(cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    keys = ["lock/a", "lock/b", "lock/c"][: 1 + seed % 3]
    stop = world.now + duration
    for name in cluster.names:
        for number in range(2):
            LockUser(locks, name, keys, number, stop)
    phases = Phases(cluster, random_plan(seed, cluster.names, faults, duration) if plan is None else plan, duration)
    phases.heal()
    all_locks_are_free(phases, locks, keys)
    history.check()
    return Locking(world, phases, locks)


def all_locks_are_free(phases: Phases, locks: Locks, keys: Sequence[str]) -> None:
    """Whatever died with a lock, every node gets every lock: after abstentions and the last ttl."""
    cluster = phases.cluster
    phases.converge(60 * SECOND, suspects=False)
    phases.world.run(cluster.parameters.max_ttl + 2 * SECOND)
    for peer in cluster.living():
        for claim in list(locks.of(peer.process).values()):
            locks.cancel(claim)
    for peer in cluster.living():
        for key in keys:
            claim = locks.acquire(peer, key, ttl=SECOND)
            phases.must("L12", f"{claim} is held after healing", lambda claim=claim: claim.state == "held", 6 * SECOND)  # type: ignore[misc]
            locks.release(claim)
            phases.must("L12", f"{claim} is released", lambda claim=claim: claim.state == "released", 4 * SECOND)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Spreading:
    """What came of a campaign of replicated state."""

    world: World
    cluster: Cluster
    phases: Phases
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
    encoded: bool = True,
    seen: Callable[[World], object] | None = None,
) -> Spreading:
    """Puts, deletes, values that expire and adds on every node under a plan; then all stores are equal within `bound`.

    `seen` is shown the world before anything happens; `encoded` as for `Cluster`.

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    cluster = Cluster(world, nodes, make=make, encoded=encoded)
    members, sums, fold = Members(cluster), Sums(cluster), WatchFold(cluster)
    Alarms(world)
    if encoded:
        Nonces(world)
    cluster.form()
    cluster.set_loss(loss, duplicate=0.05, reorder=0.05)
    phases = Phases(cluster, plan, duration)
    dice = Random(seed_of(seed, "writes"))
    for _ in range(writes):
        world.after(dice.randrange(duration), _write, cluster, sums, dice)
    phases.heal()
    cluster.set_loss(loss)
    settled = phases.converge(bound)
    sums.check()
    fold.check()
    members.check(suspects=True)
    return Spreading(world, cluster, phases, settled)


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


def world_of(seed: int, seen: Callable[[World], object] | None) -> World:
    """A world with a network of chance, which `seen` is shown before anything happens."""
    world = World(seed, conditions=network_of(seed))
    if seen is not None:
        seen(world)
    return world


def network_of(seed: int) -> Conditions:
    """A good network of this seed: near, or wide."""
    dice = Random(seed_of(seed, "network"))
    return Conditions(dice.choice(((MS // 5, MS), (MS // 5, 2 * MS), (MS, 20 * MS))))
