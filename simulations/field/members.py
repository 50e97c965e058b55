"""Members that are taken for dead though they live, or are refused though they are new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mesh.directives import Address, Directive, Event, Send
from mesh.membership import Member, MemberChanged, State
from mesh.membership.member import RANK
from mesh.membership.messages import Entry, News, WireBoot, entry_of
from simulations.checkers.base import Checker
from simulations.cluster import Build, SimPeer
from simulations.faults import Fault, OneWay
from simulations.field.stage import Missed, Stage, build
from simulations.machine.process import Process
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["OLD_INCARNATION", "ONE_WAY_FLAP", "POISON", "old_incarnation", "one_way_flap", "poison"]

DURATION = 40 * SECOND
HIGH = 100
LARGEST = (1 << 64) - 1
FAR = 1 << 60
"""A boot's stamp of some thousand years ahead."""


class _Flaps(Checker):
    """Who was suspected, and how much was said in vain over the cut link."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.world)
        self.suspicions: list[tuple[str, str]] = []
        self.cut: tuple[str, Address] | None = None
        self.in_vain = 0

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, MemberChanged) and event.member.state is State.SUSPECT:
            self.suspicions.append((process.machine, event.member.name))

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        self.in_vain += (process.machine, address) == self.cut


def one_way_flap(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """What one node sends to another is lost, for long or on and off; the other way, and everyone else's ways, are good. The
    two get no answer from each other, and a third reaches both: nobody may be called dead, nor even suspected."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    flaps = _Flaps(stage)
    one, other = stage.dice.sample(stage.cluster.names, 2)
    with stage.moment():
        on_and_off = stage.dice.random() < 0.5
        times = 6 if on_and_off else 1
        for _ in range(times):
            flaps.cut = (one, stage.world.machines[other].address)
            stage.faults.set([OneWay(0, 30 * SECOND // times, (one,), (other,))])
            stage.world.run(30 * SECOND // times)
            flaps.cut = None
            stage.world.run(SECOND)
        stage.reached["said_in_vain"] += flaps.in_vain
        stage.reached["on_and_off" if on_and_off else "for_long"] += flaps.in_vain > 10
    if stage.quiet and stage.members.deaths:
        stage.fail("M9", f"called dead, though others reach them: {stage.members.deaths[:5]}")
    if stage.quiet and flaps.suspicions:
        stage.fail("M9", f"suspected, though others reach them: {flaps.suspicions[:5]} and {len(flaps.suspicions)} in all")
    stage.finish()
    return stage.done()


ONE_WAY_FLAP = Scenario(
    "one-way-flap",
    "Serf, Akka: one direction of one link was lost, and its two ends called each other dead and alive for ever; M9",
    one_way_flap, nodes=6, fewest=4, duration=DURATION, profile="calm", sometimes=("said_in_vain", "on_and_off", "for_long"),
)  # fmt: skip


def old_incarnation(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A member has had to refute up to a high incarnation. It dies and starts again with nothing, at incarnation 0, and meets
    somebody who has not heard of the new one, while "dead at 100" is still told from node to node. Everyone must see the new
    one alive, sooner than the longest suspicion, and go on seeing it."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    names = list(stage.cluster.names)
    stage.dice.shuffle(names)
    victim, teller, *others = names
    with stage.moment():
        entry = replace(_known(stage.peer(teller), victim), rank=RANK[State.SUSPECT])
        _tell(stage.peer(teller), [victim], replace(entry, incarnation=HIGH - 1))
        stage.until(lambda: all(_known(peer, victim).incarnation == HIGH for peer in stage.cluster.living()), 10 * SECOND)
        dead = replace(_known(stage.peer(teller), victim), rank=RANK[State.DEAD])
        away = stage.dice.choice((0, 100, 5_000)) * MS  # not even noticed, or known to be dead
        peer = stage.restart(victim, away)
        stage.reached["knew_it_dead" if away > SECOND else "had_not_noticed"] += 1
        told, seen_at = 0, 0
        begun = stage.world.now
        while stage.world.now - begun < 2 * SECOND:
            stage.world.run(stage.dice.choice((1, 50, 200)) * MS)
            if stage.cluster.peers[teller].process.running:
                _tell(stage.peer(teller), [victim, *others], dead)  # old news, still under way
                told += peer.assembly.identity.incarnation < HIGH
            if not seen_at and stage.cluster.whole():
                seen_at = stage.world.now
        stage.reached["dead_at_100_told_of_a_lower_one"] += told
        if stage.quiet:
            longest = stage.cluster.profile.suspicion(nodes)[1]
            left = longest - (stage.world.now - begun)
            stage.must("M3", f"{peer} is seen by all", stage.cluster.whole, left)
            stage.reached["seen_again_ms"] += ((seen_at or stage.world.now) - begun) // MS
            deaths = len(stage.members.deaths)
            stage.world.run(2 * longest)
            if stage.members.deaths[deaths:] or not stage.cluster.whole():
                stage.fail("M3", f"{peer} was alive to all, and is not: {stage.cluster.unseen()[:5]}")
    stage.finish()
    return stage.done()


OLD_INCARNATION = Scenario(
    "old-incarnation",
    "memberlist#311: a node that started again at incarnation 0 stayed dead, as dead at a higher one was still told; M3",
    old_incarnation, nodes=6, fewest=4, duration=DURATION, profile="calm",
    sometimes=("knew_it_dead", "had_not_noticed", "dead_at_100_told_of_a_lower_one"),
)  # fmt: skip


def poison(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A member tells all others, out of a bug, that one of them is dead (or suspect, or alive elsewhere) at the largest
    incarnation there is, or under a boot of the far future. There is nothing above that by which the victim could refute. It
    must be seen as it is all the same, and must be able to start again under its name."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    names = list(stage.cluster.names)
    stage.dice.shuffle(names)
    victim, liar, *others = names
    with stage.moment():
        state = stage.dice.choice((State.DEAD, State.SUSPECT, State.ALIVE))
        lie = replace(_known(stage.peer(liar), victim), rank=RANK[state])
        future = WireBoot(FAR, stage.dice.randbytes(16))
        lie = replace(lie, incarnation=LARGEST) if seed % 2 else replace(lie, boot=future)
        for _ in range(3):
            _tell(stage.peer(liar), [victim, *others], lie)
            stage.world.run(stage.dice.choice((10, 500)) * MS)
        stage.reached["boot_of_the_future" if seed % 2 == 0 else "largest_incarnation"] += _doubted(stage) > 0
        if stage.quiet:
            stage.must("M4", f"{victim} is seen as it is", stage.cluster.whole, 10 * SECOND, count="seen_again_ms")
            peer = stage.restart(victim, stage.dice.choice((0, 3_000)) * MS)
            stage.must("M4", f"{peer} is seen by all", stage.cluster.whole, 10 * SECOND)
    stage.finish()
    return stage.done()


POISON = Scenario(
    "poison",
    "memberlist#358: one bad message with the largest incarnation, and the member could never be alive again; M4",
    poison, nodes=5, fewest=4, duration=DURATION, profile="calm", sometimes=("boot_of_the_future", "largest_incarnation"),
)  # fmt: skip


def _known(observer: SimPeer, name: str) -> Entry:
    member: Member | None = observer.assembly.membership.get(name)
    if member is None:
        raise Missed(name)
    return entry_of(member)


def _tell(teller: SimPeer, names: Sequence[str], entry: Entry) -> None:
    """Say it to some members, as a rumour of one's own."""
    said: list[Directive] = [Send(name, News(entry, None)) for name in names]
    teller.perform(teller.assembly.membership, said)


def _doubted(stage: Stage) -> int:
    return sum([peer.assembly.membership.stats().get("news_doubted", 0) for peer in stage.cluster.living()])
