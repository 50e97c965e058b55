"""What a node costs, and how fast news is, by the number of members: `python -m simulations.scaling` prints the tables of
docs/scaling.md.

Members alone live in a world with every byte sealed (`simulations.members_only`): what they send at rest is counted, news of
new tags is followed to the last of them, some are killed and some lose their power. Each figure stands beside what its formula
gives."""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import e, log
from random import Random

from mesh.directives import Address, Event
from mesh.membership import LAN, PROFILES, MemberChanged, Profile, State
from simulations.dice import seed_of
from simulations.machine.process import Process
from simulations.members_only import MembersOnly
from simulations.observer import Observer
from simulations.sweeps.workers import GARBAGE
from simulations.world import MS, SECOND, World

__all__ = ["Bounds", "Figures", "measure"]

SETTLED = 60 * SECOND
REST = 60 * SECOND
PATIENCE = 400 * SECOND
HEADERS = 28
"""Bytes of IP and UDP that each datagram has beside its own."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the formulas give for so many members."""

    members: int
    profile: Profile = LAN

    @property
    def notice(self) -> float:
        """Seconds, in the mean, until the first of N that each probe one a period meets a silent death (SWIM, 3.1)."""
        return e / (e - 1) * self.profile.probe_interval / SECOND

    @property
    def rounds(self) -> float:
        """Of gossip, until the last of N has heard: log(N) / log(1 + f) while few know, and ln(N) / f for the last ones
        (Pittel, 1987, for a fanout f)."""
        f = self.profile.gossip_fanout
        return log(self.members) / log(1 + f) + log(self.members) / f

    @property
    def spread(self) -> float:
        """Seconds that so many rounds take."""
        return self.rounds * self.profile.gossip_interval / SECOND

    @property
    def windows(self) -> tuple[float, float]:
        """Seconds that a suspicion lasts, confirmed and not."""
        shortest, longest, _ = self.profile.suspicion(self.members)
        return shortest / SECOND, longest / SECOND

    @property
    def tellings(self) -> int:
        return self.profile.transmissions(self.members)


@dataclass(slots=True)
class Figures:
    """Seconds, and what is sent and used by one node in one second."""

    bytes_per_s: float = 0.0
    datagrams_per_s: float = 0.0
    cpu: float = 0.0
    """Share of a core, of the world's own work too."""
    spread: list[float] = field(default_factory=list)
    """From new tags of one member until the last has heard."""
    notice: list[float] = field(default_factory=list)
    """From a silent death until the first suspects it."""
    first: list[float] = field(default_factory=list)
    """Until the first calls it dead."""
    silent: list[float] = field(default_factory=list)
    """Until all do."""
    killed: list[float] = field(default_factory=list)
    """From a kill until all know."""
    bytes_per_death: float = 0.0
    """Sent by each node for one silent death, beyond what it sends at rest."""


class Meter(Observer):
    def __init__(self, mesh: MembersOnly) -> None:
        self.mesh = mesh
        self.bytes = 0
        self.datagrams = 0
        self.subject = ""
        self.since = 0
        self.heard: dict[str, dict[str, int]] = {}
        """By what is said of the subject (a state, or its tags) and observer: when it first said so."""
        mesh.world.observe(self)

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        self.bytes += len(data) + HEADERS
        self.datagrams += 1

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        self.bytes += len(data)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, MemberChanged) and event.member.name == self.subject != process.machine:
            now, member = self.mesh.world.now, event.member
            for said in (member.state.value, str(member.tags)):
                self.heard.setdefault(said, {}).setdefault(process.machine, now)

    def follow(self, subject: str) -> None:
        self.subject, self.since, self.heard = subject, self.mesh.world.now, {}

    def until_all(self, said: str) -> None:
        """Run until all others have said so of the subject."""
        others = len(self.mesh.names) - 1
        if self.mesh.world.run_until(lambda: len(self.heard.get(said, ())) == others, PATIENCE, 100 * MS) is None:
            raise AssertionError(f"{len(self.heard.get(said, ()))} of {others} heard that {self.subject} is {said}")

    def seconds(self, said: str, pick: Callable[[Sequence[int]], int] = max) -> float:
        return (pick(list(self.heard[said].values())) - self.since) / SECOND


def measure(members: int, *, seed: int = 1, times: int = 5, profile: Profile = LAN) -> Figures:
    """Figures of one mesh, each of `times` events of a kind, one after the other. Raises `AssertionError` if the mesh is not
    whole whenever it should be."""
    world = World(seed)
    mesh = MembersOnly(world, members, seeds=min(3, members), profile=profile, encoded=True)
    mesh.form()
    world.run(SETTLED)
    meter, figures, random = Meter(mesh), Figures(), Random(seed_of(seed, "scaling"))
    began = time.process_time()
    world.run(REST)
    seconds = REST // SECOND
    figures.cpu = (time.process_time() - began) / members / seconds
    figures.bytes_per_s = meter.bytes / members / seconds
    figures.datagrams_per_s = meter.datagrams / members / seconds
    assert mesh.whole()

    for turn in range(times):
        name = random.choice(mesh.names)
        tags = (("turn", str(turn)),)
        process, part = mesh.process(name), mesh.parts[name]
        meter.follow(name)
        process.command(part, part.set_tags(tags, process.instant()))
        meter.until_all(str(tags))
        figures.spread.append(meter.seconds(str(tags)))
        world.run(5 * SECOND)

    def again(name: str) -> None:
        world.boot(name)
        assert world.run_until(mesh.whole, PATIENCE, SECOND) is not None
        world.run(SETTLED // 2)

    extra = 0.0
    for _ in range(times):
        name = random.choice(mesh.names[3:] or mesh.names)
        world.run(random.randrange(profile.probe_interval))
        meter.follow(name)
        sent, begun = meter.bytes, world.now
        world.kill(name, power=True)
        meter.until_all(State.DEAD)
        world.run(5 * SECOND)
        extra += (meter.bytes - sent) / members - figures.bytes_per_s * (world.now - begun) / SECOND
        figures.notice.append(meter.seconds(State.SUSPECT, min))
        figures.first.append(meter.seconds(State.DEAD, min))
        figures.silent.append(meter.seconds(State.DEAD))
        again(name)
    figures.bytes_per_death = extra / max(1, times)
    for _ in range(times):
        name = random.choice(mesh.names[3:] or mesh.names)
        world.run(random.randrange(profile.probe_interval))
        meter.follow(name)
        world.kill(name)
        meter.until_all(State.DEAD)
        figures.killed.append(meter.seconds(State.DEAD))
        again(name)
    return figures


REST_HEAD = "| members | datagrams /s | bytes /s | share of a core | bytes for one silent death |\n|---|---|---|---|---|"
NEWS_HEAD = (
    "| members | new tags known to all | by formula | killed, known to all | silent death: noticed | by formula "
    "| first verdict | window, by formula | all know |\n|---|---|---|---|---|---|---|---|---|"
)


def rest_row(members: int, figures: Figures) -> str:
    return (
        f"| {members:,} | {figures.datagrams_per_s:.2f} | {figures.bytes_per_s:.0f} | {figures.cpu:.3%} "
        f"| {figures.bytes_per_death:,.0f} |"
    )


def news_row(bounds: Bounds, figures: Figures | None) -> str:
    """Medians and maxima; only the formulas where nothing was measured."""

    def told(values: Sequence[float], pattern: str) -> str:
        return f"{statistics.median(values):{pattern}} ({max(values):{pattern}}) s"

    shortest, longest = bounds.windows
    spread, killed, notice, first, silent = (
        ("-",) * 5
        if figures is None
        else (
            told(figures.spread, ".2f"), told(figures.killed, ".2f"), f"{statistics.mean(figures.notice):.1f} s",
            told(figures.first, ".1f"), told(figures.silent, ".1f"),
        )
    )  # fmt: skip
    return (
        f"| {bounds.members:,} | {spread} | {bounds.spread:.2f} s | {killed} | {notice} | {bounds.notice:.1f} s | {first} "
        f"| {shortest:.1f} to {longest:.1f} s | {silent} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulations.scaling", description=__doc__)
    parser.add_argument("members", nargs="*", type=int, default=[10, 100, 1_000], metavar="MEMBERS", help="10 100 1000")
    parser.add_argument("--times", type=int, default=5, help="events of each kind (5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", choices=list(PROFILES), default="lan")
    given = parser.parse_args()
    profile = PROFILES[given.profile]
    gc.set_threshold(GARBAGE, 20, 10)
    measured: dict[int, Figures] = {}
    print(REST_HEAD, flush=True)
    for members in given.members:
        measured[members] = measure(members, seed=given.seed, times=given.times, profile=profile)
        print(rest_row(members, measured[members]), flush=True)
    print(f"\n{NEWS_HEAD}")
    for members in [*given.members, 5_000]:
        print(news_row(Bounds(members, profile), measured.get(members)))


if __name__ == "__main__":
    main()
