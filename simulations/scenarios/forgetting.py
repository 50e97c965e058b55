"""A campaign of cuts on whole nodes: writes, deletions, expiries and adds under loss, partitions that outlast `end_after`,
crashes and pauses, with cuts every few seconds; then everything is healed, and must come to rest.

At the end: everyone is counted by the same cut, nobody has anything left to bring back, all stores are equal, no vector names
anyone who is gone, nothing deleted is left, and nothing that a cut had covered is lost or undone (C4, C7, C15, C18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from coordination.agreed.roster import Parameters
from coordination.assembly import Assembly, build
from crdt.cell import COUNTER, KEY, Cell, Order, expiry_of
from crdt.counter import slot_actor
from crdt.store import Place
from mesh.replication.standing import Standing
from simulations.checkers.alarms import Alarms
from simulations.checkers.base import Violation
from simulations.checkers.stores import cells
from simulations.cluster import Build, Cluster, SimPeer
from simulations.dice import seed_of
from simulations.faults import Crash, Fault, Partition, Pause
from simulations.network.network import Conditions
from simulations.phases import Phases
from simulations.world import MS, SECOND, World

__all__ = ["END_AFTER", "INTERVAL", "Forgetting", "often", "plan_of", "run_forgetting"]

INTERVAL = 3 * SECOND
END_AFTER = 8 * SECOND
SHORT = Parameters(max_ttl=3 * SECOND)


def often(make: Build, *settings: Any, interval: int = INTERVAL, end_after: int = END_AFTER, **more: Any) -> Assembly:
    """A node whose rounds follow each other closely."""
    assembly = make(*settings, **more)
    assembly.rounds.interval, assembly.rounds.end_after = interval, end_after
    return assembly


def plan_of(seed: int, names: Sequence[str], duration: int) -> list[Fault]:
    """Cuts of the network from short ones to such as end whoever is cut off; crashes that leave what was promised, but no
    store (who leads a round asks a majority that remembers); pauses."""
    dice = Random(seed_of(seed, "forgetting"))
    plan: list[Fault] = []
    for _ in range(dice.randint(2, 5)):
        at = dice.randrange(duration * 3 // 4)
        lasts = dice.choice((2, 6, 14, 25)) * SECOND
        match dice.randrange(5):
            case 0 | 1:
                side = tuple(sorted(dice.sample(list(names), dice.randint(1, max(1, len(names) // 2 - 1)))))
                plan.append(Partition(at, lasts, side))
            case 2 | 3:
                plan.append(Crash(at, lasts // 2, dice.choice(list(names)), wipe=False))
            case _:
                plan.append(Pause(at, lasts // 2, dice.choice(list(names))))
    return sorted(plan, key=lambda fault: fault.at)


def standing_of(peer: SimPeer) -> Standing:
    standing = peer.assembly.replication.standing
    assert standing is not None
    return standing


@dataclass(slots=True)
class Forgetting:
    """What came of it."""

    world: World
    cluster: Cluster
    phases: Phases
    safe: dict[Place, Cell] = field(default_factory=dict)
    """Of each key the highest write that a cut had covered while somebody held it."""
    returning: set[tuple[Place, Order]] = field(default_factory=set)
    """What was held by somebody who is to come back: unseen, it may outlive a deletion that has been forgotten."""
    cuts: int = 0
    lives: int = 0
    forgotten: int = 0
    deleted: set[Place] = field(default_factory=set)
    """Keys that were deleted, or given an end, at some time: an absent one may be so."""

    def look(self) -> None:
        """Note what cuts cover, and compare those that claim the same under the same cut."""
        known: dict[tuple[int, bytes], tuple[SimPeer, dict[Place, Cell]]] = {}
        for peer in self.cluster.living():
            standing, store = standing_of(peer), peer.store
            for old in [held.store for held in standing.held] + ([] if standing.open else [store]):
                self.returning.update([(cell[:2], cell.order) for cell in old.cells()])
            if not standing.open or store.pending:
                continue
            held = cells(store)
            other, theirs = known.setdefault((standing.cut.round, store.dots.digest()), (peer, held))
            if theirs != held:
                differ = [place for place in {*theirs, *held} if theirs.get(place) != held.get(place)]
                raise Violation(f"C18: {other} and {peer} claim the same and differ in {differ} (seed {self.world.seed})")
            least = dict(standing.cut.least)
            for place, cell in held.items():
                if cell.kind == KEY and cell.n and cell.n <= least.get(cell.actor, 0):
                    safe = self.safe.get(place)
                    if safe is None or cell.order > safe.order:
                        self.safe[place] = cell

    def unsettled(self) -> str:
        """Why it has not come to rest yet; empty if it has."""
        living = self.cluster.living()
        newest = max((standing_of(peer).cut for peer in living), key=lambda cut: cut.round)
        for peer in living:
            standing = standing_of(peer)
            if not standing.open or standing.cut.round != newest.round or not newest.counts(standing.actor):
                return f"{peer} is {standing.state.value} at {standing.cut.round} of {newest.round}, not counted or behind"
            if standing.held or standing.brought:
                return f"{peer} has not brought back everything"
        if newest.ended:
            return f"ended and not retired: {newest.ended}"
        counted = {*newest.counted}
        for peer in living:
            left = [actor for actor, _ in peer.store.dots.summary().vector if actor not in counted]
            if left or peer.store.dots.gaps():
                return f"{peer} has {left} in its vector, and gaps {peer.store.dots.gaps()}"
        if len({peer.store.dots.digest() for peer in living}) > 1:
            return "stores differ"
        faded = [cell for peer in living for cell in peer.store.faded() if cell.body is None]
        return f"{faded[0]} is not forgotten" if faded else ""

    def judge(self) -> None:
        living = self.cluster.living()
        first = cells(living[0].store)
        for peer in living[1:]:
            if cells(peer.store) != first:
                raise Violation(f"C15: {living[0]} and {peer} differ in the end (seed {self.world.seed})")
        for place, safe in self.safe.items():
            final = first.get(place)
            ended = (safe.body is None and not safe.hash) or bool(expiry_of(safe))
            lost = final is None and not ended and place not in self.deleted
            undone = final is not None and final.order < safe.order and (place, final.order) not in self.returning
            if lost or undone:
                raise Violation(f"C7: {safe} is lost, or undone by {final} (seed {self.world.seed})")


def run_forgetting(
    seed: int,
    *,
    nodes: int = 5,
    loss: float = 0.1,
    duration: int = 60 * SECOND,
    writes: int = 150,
    bound: int = 90 * SECOND,
    plan: Sequence[Fault] | None = None,
    make: Build = build,
    encoded: bool = False,
) -> Forgetting:
    """Raises `Violation`."""
    world = World(seed, conditions=Conditions((MS // 5, 2 * MS)))
    cluster = Cluster(
        world, nodes, expect=min(3, nodes), parameters=SHORT, make=partial(often, make), encoded=encoded, durable=True
    )
    Alarms(world)
    cluster.form()
    cluster.set_loss(loss, duplicate=0.05, reorder=0.05)
    phases = Phases(cluster, plan_of(seed, cluster.names, duration) if plan is None else plan, duration)
    run = Forgetting(world, cluster, phases)
    dice = Random(seed_of(seed, "writes"))
    for _ in range(writes):
        world.after(dice.randrange(duration), _write, run, dice)
    end = world.now + duration
    while world.now < end:
        world.run(200 * MS)
        run.look()
    phases.heal()
    cluster.set_loss(0.02)
    deadline = world.now + bound
    while (why := run.unsettled()) and world.now < deadline:
        world.run(500 * MS)
        run.look()
    if why:
        raise Violation(f"C15: not at rest within {bound / SECOND:g} s: {why} (seed {seed})")
    run.judge()
    for peer in cluster.living():
        stats = peer.assembly.node.stats()
        run.cuts = max(run.cuts, stats["replication.cut"])
        run.lives += stats.get("replication.lives", 0)
        run.forgotten += stats.get("replication.cells_forgotten", 0)
    return run


def _write(run: Forgetting, dice: Random) -> None:
    name, kind, key, value = dice.choice(run.cluster.names), dice.random(), f"key/{dice.randrange(12)}", dice.randrange(1_000)
    ttl = dice.randrange(1_000, 6_000)
    peer = run.cluster.peers[name]
    if not peer.process.running:
        return
    if kind < 0.4:
        peer.put(key, value)
    elif kind < 0.55:
        peer.put(key, value, ttl_ms=ttl)
        run.deleted.add((KEY, key))
    elif kind < 0.85:
        peer.delete(key)
        run.deleted.add((KEY, key))
    else:
        peer.add(f"counter/{value % 3}", value - 300)


def slots_of_the_dead(peer: SimPeer) -> list[Cell]:
    """Slots of counters that nobody can write to any more, and that no cut keeps apart."""
    cut = standing_of(peer).cut
    kept = {*cut.counted, *[row.actor for row in cut.retired if not row.folded]}
    return [cell for cell in peer.store.cells() if cell.kind == COUNTER and slot_actor(cell.key) not in kept]
