"""One run: a whole mesh, a time of trouble for some, two silent deaths meanwhile, and what was made of it.

A *false positive* is a member that never was in trouble and is called dead while it lives: once for each observer that calls it
so, as in the paper. *At healthy* counts those at observers that never were in trouble either: what a slow node thinks to itself
harms only it. *Latency* is the time from a silent death (its machine loses its power) until some healthy node calls it dead
(first), and until all do (all)."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from mesh.directives import Event
from mesh.membership import LAN, MemberChanged, Profile, State
from simulations.dice import seed_of
from simulations.lifeguard.anomalies import Blockable, Kind, draw, inflict
from simulations.lifeguard.variants import Variant
from simulations.machine.process import Process
from simulations.members_only import MembersOnly
from simulations.observer import Observer
from simulations.world import MS, SECOND, World

__all__ = ["Outcome", "Setup", "Tally", "live"]

SETTLED = 10 * SECOND
PATIENCE = 400 * SECOND
"""For all healthy nodes to know of a death: more than the longest window of a node in the worst health."""


@dataclass(frozen=True, slots=True)
class Setup:
    nodes: int = 100
    seeds: int = 10
    """Through which everyone joins."""
    troubled: Sequence[int] = (1, 2, 4, 8, 16)
    """How many are in trouble: by the run's number, in turn."""
    kinds: Sequence[Kind] = tuple(Kind)
    lasts: int = 120 * SECOND
    deaths: int = 2
    profile: Profile = LAN


@dataclass(slots=True)
class Outcome:
    false_at_healthy: int = 0
    false_anywhere: int = 0
    first: list[int] = field(default_factory=list)
    """ns from each death until a healthy node knew."""
    all: list[int] = field(default_factory=list)
    """ns until the last did."""
    unknown: int = 0
    """Deaths that not all healthy nodes had learnt of in the end."""
    datagrams: int = 0
    stream_writes: int = 0
    node_seconds: int = 0


@dataclass(slots=True)
class Tally:
    """Of one variant over many runs."""

    runs: list[Outcome] = field(default_factory=list)

    def total(self, what: str) -> int:
        return sum(getattr(run, what) for run in self.runs)

    @property
    def messages(self) -> float:
        """Datagrams and writes to streams, a node and second."""
        return (self.total("datagrams") + self.total("stream_writes")) / self.total("node_seconds")

    def latency(self, what: str, percent: float) -> float:
        """Seconds; `what` is first or all."""
        values = sorted(value for run in self.runs for value in getattr(run, what))
        return values[min(len(values) - 1, int(len(values) * percent / 100))] / SECOND if values else float("nan")


class Watch(Observer):
    """Sees every verdict."""

    def __init__(self, mesh: MembersOnly, troubled: Sequence[str]) -> None:
        self.mesh = mesh
        self.troubled = frozenset(troubled)
        self.outcome = Outcome()
        self.died_at: dict[str, int] = {}
        self.healthy = [name for name in mesh.names if name not in self.troubled]
        self.knowing: dict[str, dict[str, int]] = {}
        """When each healthy node has learnt of each death."""

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, MemberChanged) or event.member.state is not State.DEAD:
            return
        name, observer = event.member.name, process.machine
        if name in self.died_at:
            if observer not in self.troubled:
                self.knowing.setdefault(name, {}).setdefault(observer, self.mesh.world.now)
        elif name not in self.troubled:
            self.outcome.false_anywhere += 1
            self.outcome.false_at_healthy += observer not in self.troubled

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        self.outcome.stream_writes += 1

    def all_know(self) -> bool:
        expected = len(self.healthy) - len(self.died_at)
        return all(len(self.knowing.get(name, ())) >= expected for name in self.died_at)

    def finish(self) -> None:
        outcome, expected = self.outcome, len(self.healthy) - len(self.died_at)
        for name, at in self.died_at.items():
            known = self.knowing.get(name, {})
            if len(known) < expected:
                outcome.unknown += 1
            if known:
                outcome.first.append(min(known.values()) - at)
                outcome.all.append(max(known.values()) - at)


def live(variant: Variant, seed: int, setup: Setup) -> Outcome:
    """One run of one variant; of the same seed, all variants meet the same."""
    world = World(seed)
    mesh = MembersOnly(
        world, setup.nodes, seeds=setup.seeds, profile=setup.profile, part=variant.make, kind=Blockable
    )  # fmt: skip
    mesh.form()
    world.run(SETTLED)
    random = Random(seed_of(seed, "lifeguard"))
    chosen = random.sample(mesh.names, setup.troubled[seed % len(setup.troubled)] + setup.deaths)
    victims, troubled = chosen[: setup.deaths], chosen[setup.deaths :]
    watch = Watch(mesh, troubled)
    world.observe(watch)
    inflict(world, draw(random, troubled, setup.kinds, setup.lasts))

    def die(name: str) -> None:
        watch.died_at[name] = world.now
        world.kill(name, power=True)

    for victim in victims:
        world.after(random.randrange(10 * SECOND, setup.lasts // 2), die, victim)
    before = world.datagrams.sent
    world.run(setup.lasts)
    watch.outcome.datagrams = world.datagrams.sent - before
    watch.outcome.node_seconds = setup.nodes * setup.lasts // SECOND
    writes = watch.outcome.stream_writes
    world.run_until(watch.all_know, PATIENCE, 100 * MS)
    world.run(SETTLED)
    watch.outcome.stream_writes = writes
    watch.finish()
    gc.collect()  # a world is full of cycles
    return watch.outcome
