"""Writers of keys under faults: puts, deletes, touches, batches, and some that wait until others have what they wrote.

The values and the slices of transfers are such that batches are cut in every way: some are larger than a slice, many are
touched or overwritten in part while they travel, and their writers die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from coordination.assembly import Assembly, Settings, build
from simulations.checkers import Acks, Alarms, Kept, WatchFold, Wholeness
from simulations.cluster import DELETED, Build, Cluster, SimPeer
from simulations.dice import seed_of
from simulations.faults import Fault
from simulations.phases import Phases
from simulations.scenarios.scenarios import world_of
from simulations.world import SECOND, World

__all__ = ["Writing", "run_writing", "small_slices"]

KEYS = 12
SLICE = 2_000
"""Bytes of a slice: a few cells."""


@dataclass(frozen=True, slots=True)
class Writing:
    world: World
    phases: Phases
    wholeness: Wholeness
    acks: Acks
    settled: int
    """True ns from the last fault until all stores were equal."""


def small_slices(make: Build) -> Build:
    """A builder of nodes that answer pulls in small slices."""

    def made(settings: Settings, **sources: Any) -> Assembly:
        assembly = make(settings, **sources)
        assembly.replication.chunk_bytes = SLICE
        return assembly

    return made


def run_writing(
    seed: int,
    plan: Sequence[Fault],
    *,
    nodes: int = 6,
    loss: float = 0.2,
    duration: int = 7 * SECOND,
    bound: int = 30 * SECOND,
    writes: int = 160,
    make: Build = build,
    encoded: bool = True,
    durable: bool = False,
    seen: Callable[[World], object] | None = None,
) -> Writing:
    """Writers on every node under a plan; then all stores are equal within `bound`, and what was acknowledged is there.

    `seen`, `encoded` and `durable` as for `Cluster`.

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    cluster = Cluster(world, nodes, make=small_slices(make), encoded=encoded, durable=durable)
    wholeness, acks, fold = Wholeness(cluster), Acks(cluster), WatchFold(cluster)
    Alarms(world)
    kept = Kept(cluster) if durable else None
    cluster.form()
    cluster.set_loss(loss, duplicate=0.05, reorder=0.05)
    phases = Phases(cluster, plan, duration)
    dice = Random(seed_of(seed, "writes"))
    for number in range(writes):
        world.after(dice.randrange(duration), _write, cluster, wholeness, acks, dice, number)
    phases.heal()
    cluster.set_loss(loss)
    settled = phases.converge(bound)
    fold.check()
    wholeness.check()
    acks.check()
    phases.reached.update(acknowledged=acks.acknowledged, batches=wholeness.seen)
    if kept is not None:
        phases.reached.update(restored=kept.restored, looked_up=kept.seen)
    return Writing(world, phases, wholeness, acks, settled)


def _write(cluster: Cluster, wholeness: Wholeness, acks: Acks, dice: Random, number: int) -> None:
    """One write somewhere. The draws are the same whoever is up."""
    name, kind = dice.choice(cluster.names), dice.random()
    keys = [f"key/{n}" for n in dice.sample(range(KEYS), 6)]
    ttl, size = dice.randrange(1_000, 8_000), dice.choice((1, 1, 20, 600, 3_000))
    need, count = dice.randint(1, 2), dice.randint(2, 6)
    deleted = dice.random() < 0.2
    peer = cluster.peers[name]
    if not peer.process.running:
        return
    if kind < 0.35:
        values: dict[str, Any] = {key: [number, "x" * size] for key in keys[:count]}
        if deleted:
            values[keys[0]] = DELETED
        cells = peer.batch(values, ttl_ms=ttl if kind < 0.1 else 0)
        wholeness.batch(cells)
        if kind > 0.2:
            _entrust(peer, acks, number, keys[:count], need)
    elif kind < 0.5:
        peer.put(keys[0], number, ttl_ms=ttl)
    elif kind < 0.7:
        peer.put(keys[0], [number, "x" * size])
        _entrust(peer, acks, number, keys[:1], need)
    elif kind < 0.8:
        peer.delete(keys[0])
    else:
        for key in keys:
            peer.touch(key, ttl)


def _entrust(peer: SimPeer, acks: Acks, query: int, keys: Sequence[str], need: int) -> None:
    cells = [cell for key in keys if (cell := peer.store.cell(0, key)) is not None]
    acks.begins(peer, query, cells, need)
    peer.entrust(query, keys, need)
