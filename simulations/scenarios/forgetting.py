"""A campaign of cuts on whole nodes: writes, deletions, expiries, batches and adds under whatever a plan lets happen, with
cuts every few seconds; then everything is healed, and must come to rest.

At the end: everyone is counted by the same cut, nobody has anything left to bring back, all stores are equal, no vector names
anyone who is gone, nothing deleted is left, what goes between them is digests alone, and nothing that a cut had covered or
that was acknowledged is lost or undone (C4, C7, C8, C15, C18, C26, C27). All the time readers are told what the stores show
(C13)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from coordination.agreed.vocabulary.roster import Parameters
from coordination.assembly import Assembly, build
from crdt.cell import COUNTER, KEY, Cell
from crdt.counter import slot_actor
from crdt.store import Place
from simulations.checkers import Acks, Resurrection, Violation, WatchFold, Wholeness, cells
from simulations.checkers.alarms import Alarms
from simulations.checkers.resurrection import standing_of
from simulations.cluster import DELETED, Build, Cluster, SimPeer
from simulations.dice import seed_of
from simulations.faults import Fault
from simulations.machine.process import Process
from simulations.network.network import Conditions
from simulations.phases import Phases
from simulations.scenarios.forgetting_plans import hostile_plan, plan_of
from simulations.world import MS, SECOND, World

__all__ = ["END_AFTER", "INTERVAL", "Forgetting", "often", "run_forgetting", "run_hostile", "slots_of_the_dead", "standing_of"]

INTERVAL = 3 * SECOND
END_AFTER = 8 * SECOND
SHORT = Parameters(max_ttl=3 * SECOND)
KEYS = 12
QUIET = 5 * SECOND
"""For which a mesh at rest is listened to."""
UNDER_WAY = 2 * SECOND
"""After which what was sent before it came to rest has arrived."""
TRAFFIC = ("pulls", "cells_served", "cells_pushed", "unequal_digests", "lives")
"""What does not happen between stores that are equal."""


def often(make: Build, *settings: Any, interval: int = INTERVAL, end_after: int = END_AFTER, **more: Any) -> Assembly:
    """A node whose rounds follow each other closely."""
    assembly = make(*settings, **more)
    assembly.rounds.interval, assembly.rounds.attendance.end_after = interval, end_after
    return assembly


@dataclass(slots=True)
class Forgetting:
    """What came of it."""

    world: World
    cluster: Cluster
    phases: Phases
    resurrection: Resurrection
    wholeness: Wholeness
    acks: Acks
    fold: WatchFold
    adds: list[tuple[Process, str, int]] = field(default_factory=list)
    cuts: int = 0
    lives: int = 0
    forgotten: int = 0
    queries: int = 0

    def look(self) -> None:
        """Note what cuts cover, and compare those that claim the same under the same cut."""
        self.resurrection.look()
        known: dict[tuple[int, bytes], tuple[SimPeer, dict[Place, Cell]]] = {}
        for peer in self.cluster.living():
            standing, store = standing_of(peer), peer.store
            if not standing.open or store.pending:
                continue
            held = cells(store)
            other, theirs = known.setdefault((standing.cut.round, store.dots.digest()), (peer, held))
            if theirs != held:
                differ = [place for place in {*theirs, *held} if theirs.get(place) != held.get(place)]
                raise Violation(f"C18: {other} and {peer} claim the same and differ in {differ} (seed {self.world.seed})")

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
        for entrusted in self.acks.owed():
            self.resurrection.owe(entrusted.cells)
        self.resurrection.check()
        self.wholeness.check()
        self.fold.check()
        self._sums(living[0])

    def _sums(self, peer: SimPeer) -> None:
        """What those added who never ended counts once; what others did, once or not at all."""
        running = [each.process for each in self.cluster.living()]
        for counter in sorted({counter for _, counter, _ in self.adds}):
            low = high = 0
            for process, name, amount in self.adds:
                if name == counter:
                    low += amount if process in running else min(amount, 0)
                    high += amount if process in running else max(amount, 0)
            if not low <= (value := peer.store.counter(counter)) <= high:
                raise Violation(f"C4: {counter} is {value}, not within {low} and {high} (seed {self.world.seed})")

    def listen(self) -> None:
        """At rest, nothing but digests goes between the stores, and nobody starts anew."""
        self.world.run(UNDER_WAY)
        before = self._traffic()
        self.world.run(QUIET)
        after = self._traffic()
        for what in TRAFFIC:
            if after[what] != before[what]:
                more = after[what] - before[what]
                raise Violation(f"C8: {more} {what} between equal stores in {QUIET / SECOND:g} s (seed {self.world.seed})")
        if after["digests"] == before["digests"]:
            raise Violation(f"C8: no digest in {QUIET / SECOND:g} s (seed {self.world.seed})")

    def _traffic(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for peer in self.cluster.living():
            sums.update(peer.assembly.replication.stats())
        return sums

    # --- writers -------------------------------------------------------------------------------------------------------

    def write(self, dice: Random) -> None:
        """One write somewhere. The draws are the same whoever is up."""
        name, kind, value = dice.choice(self.cluster.names), dice.random(), dice.randrange(1_000)
        keys = [f"key/{n}" for n in dice.sample(range(KEYS), 3)]
        ttl, need = dice.randrange(1_000, 6_000), dice.randrange(4)
        peer = self.cluster.peers[name]
        if not peer.process.running:
            return
        if kind < 0.3:
            peer.put(keys[0], value)
            self._entrust(peer, keys[:1], need)
        elif kind < 0.42:
            peer.put(keys[0], value, ttl_ms=ttl)
        elif kind < 0.48:
            peer.touch(keys[0], ttl)
        elif kind < 0.6:
            values: dict[str, Any] = dict.fromkeys(keys, value)
            if value % 3 == 0:
                values[keys[0]] = DELETED
            self.wholeness.batch(peer.batch(values, ttl_ms=ttl if value % 2 else 0))
            self._entrust(peer, keys, need)
            self.resurrection.put(peer, _written(peer, keys[1:]))
        elif kind < 0.85:
            peer.delete(keys[0])
        else:
            counter = f"counter/{value % 3}"
            peer.add(counter, value - 300)
            self.adds.append((peer.process, counter, value - 300))
            return
        self.resurrection.put(peer, _written(peer, keys[:1]))

    def _entrust(self, peer: SimPeer, keys: Sequence[str], need: int) -> None:
        """One write in two is waited for until some others have it."""
        if need and self.queries < ENTRUSTED:
            self.queries += 1
            self.acks.begins(peer, self.queries, [*_written(peer, keys)], need)
            peer.entrust(self.queries, keys, need)


ENTRUSTED = 40
"""Writes that are waited for in one run: each costs the checker a look at every step."""


def _written(peer: SimPeer, keys: Sequence[str]) -> Iterator[Cell]:
    for key in keys:
        cell = peer.store.cell(KEY, key)
        if cell is not None:
            yield cell


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
    interval: int = INTERVAL,
    end_after: int = END_AFTER,
) -> Forgetting:
    """A plan (by default `plan_of`), then rest within `bound`.

    Raises
    ------
    Violation
    """
    world = World(seed, conditions=Conditions((MS // 5, 2 * MS)))
    cluster = Cluster(
        world, nodes, expect=min(VOTERS, nodes), parameters=SHORT, encoded=encoded, durable=True,
        make=partial(often, make, interval=interval, end_after=end_after),
    )  # fmt: skip
    Alarms(world)
    resurrection = Resurrection(cluster)
    wholeness, acks = Wholeness(cluster, resurrection.was_ended), Acks(cluster, resurrection.was_ended)
    fold = WatchFold(cluster)
    cluster.form()
    cluster.set_loss(loss, duplicate=0.05, reorder=0.05)
    phases = Phases(cluster, plan_of(seed, cluster.names, duration) if plan is None else plan, duration)
    run = Forgetting(world, cluster, phases, resurrection, wholeness, acks, fold)
    dice = Random(seed_of(seed, "writes"))
    for _ in range(writes):
        world.after(dice.randrange(duration), run.write, dice)
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
    cluster.set_loss(0)
    run.listen()
    for peer in cluster.living():
        stats = peer.assembly.node.stats()
        run.cuts = max(run.cuts, stats["replication.cut"])
        run.lives += stats.get("replication.lives", 0)
        run.forgotten += stats.get("replication.cells_forgotten", 0)
    return run


VOTERS = 3


def run_hostile(
    seed: int,
    *,
    nodes: int = 30,
    writes: int = 400,
    patience: int = 2 * SECOND,
    make: Build = build,
    **more: Any,
) -> Forgetting:
    """All at once (`hostile_plan`): 50 s of it, and rest before 120 s of the world's time have gone by. Rounds are a second
    apart, and who is dead is ended after two, so that partitions of 40 s outlast everything.

    Parameters
    ----------
    patience: ns after which a member that is dead is ended. All else goes with it: with half of it, half as long a run.

    Raises
    ------
    Violation
    """
    names = [f"n{number}" for number in range(nodes)]
    duration = 25 * patience
    plan = hostile_plan(seed, names, min(VOTERS, nodes), duration, patience)
    return run_forgetting(
        seed, nodes=nodes, writes=writes, duration=duration, bound=60 * SECOND, plan=plan, make=make,
        interval=patience // 2, end_after=patience, **more,
    )  # fmt: skip


def slots_of_the_dead(peer: SimPeer) -> list[Cell]:
    """Slots of counters that nobody can write to any more, and that no cut keeps apart."""
    cut = standing_of(peer).cut
    kept = {*cut.counted, *[row.actor for row in cut.retired if not row.folded]}
    return [cell for cell in peer.store.cells() if cell.kind == COUNTER and slot_actor(cell.key) not in kept]
