"""Whole nodes that talk without end while the world is against them, and a ledger of who was told what.

at most once    no letter and no broadcast is taken twice by one process, nor a letter by another than the addressed one
true fates      `taken`: the addressed process took it; `nobody`, `full`, `absent`, `busy`: it did not. Every letter of a
                process that lives on has exactly one fate, 31 s after it was posted at the latest
in order        what one sends to another one after the other is taken in that order
everyone        what one process that lives on has heard of, everyone has that ran before it was said, after some calm
bounded         when all is calm nothing is pending anywhere"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mesh.directives import Event
from mesh.messaging import Arrived, Fate, Posted, Subscription
from mesh.messaging.broadcasts import LIFE_MS
from simulations import SECOND, Cluster, Conditions, SimPeer, World
from simulations.faults import Crash, Fault, Faults, OneWay, Partition, Pause, Weather
from simulations.world import MS

__all__ = ["Campaign", "run"]

NEVER = (Fate.NOBODY, Fate.FULL, Fate.ABSENT, Fate.BUSY)


@dataclass
class Letter:
    sender: str
    session: bytes
    """The sender's."""
    to: str
    addressee: bytes | None
    """The session that the name had for its sender."""
    chain: bool
    at: int
    fates: list[Fate] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    """Sessions."""


@dataclass
class Talker:
    """One process: what it reads, and what it has been told."""

    peer: SimPeer
    eager: Subscription
    lazy: Subscription
    recorded: dict[int, int] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    letters: dict[int, int] = field(default_factory=dict)
    """Letters by reference."""
    started: int = 0
    heard: dict[int, int] = field(default_factory=dict)
    """Broadcasts, and how often."""


class Campaign:
    def __init__(self, seed: int, nodes: int = 5, *, seconds: int = 30, loss: float = 0.3) -> None:
        self.seed = seed
        self.world = World(seed)
        self.cluster = Cluster(self.world, nodes, encoded=False)
        self.random = Random(f"talk {seed}")
        self.seconds = seconds
        self.loss = loss
        self.letters: dict[int, Letter] = {}
        self.broadcasts: dict[int, int] = {}
        """When each was made, by number."""
        self.talkers: dict[bytes, Talker] = {}
        self.chains: dict[tuple[bytes, str], int] = {}
        self.order: dict[tuple[bytes, bytes], list[int]] = {}
        self.made = 0

    # --- the talk ----------------------------------------------------------------------------------------------------

    def run(self) -> Campaign:
        self.cluster.form()
        begun = self.world.now
        self.world.network.set_conditions(Conditions(loss=self.loss, duplicate=0.2, reorder=0.2))
        Faults(self.world).set(self.plan())
        end = begun + self.seconds * SECOND
        while self.world.now < end:
            self.adopt()
            self.talk()
            self.world.run(self.random.randrange(2 * MS, 60 * MS))
        self.world.network.set_conditions(Conditions())
        for _ in range(40):
            self.adopt()
            self.world.run(SECOND)
        return self

    def plan(self) -> list[Fault]:
        draw, names = self.random, self.cluster.names
        faults: list[Fault] = []
        for _ in range(6):
            at = draw.randrange((self.seconds - 12) * SECOND)
            lasts = draw.randrange(SECOND // 2, 10 * SECOND)
            whom, other = draw.sample(names, 2)
            match draw.randrange(5):
                case 0:
                    faults.append(Crash(at, lasts // 4, whom))
                case 1:
                    faults.append(Partition(at, lasts, tuple(draw.sample(names, len(names) // 2))))
                case 2:
                    faults.append(OneWay(at, lasts, (whom,), (other,)))
                case 3:
                    faults.append(Pause(at, lasts, whom))
                case 4:
                    faults.append(Weather(at, lasts, Conditions((MS, 300 * MS), 0.5, 0.3, 0.5)))
        return faults

    def adopt(self) -> None:
        """New processes begin to read."""
        for peer in self.cluster.living():
            session = peer.assembly.identity.boot.session
            if session in self.talkers:
                continue
            messaging = peer.assembly.messaging
            eager, lazy = messaging.subscribe("eager", 10_000), messaging.subscribe("lazy", 3)
            assert eager is not None and lazy is not None
            talker = self.talkers[session] = Talker(peer, eager, lazy, started=self.world.now)
            peer.process.subscribe(self.listener(talker, session))

    def listener(self, talker: Talker, session: bytes) -> Callable[[Event], None]:
        def on_event(event: Event) -> None:
            match event:
                case Posted(ref, fate) if ref in talker.letters:
                    self.letters[talker.letters[ref]].fates.append(fate)
                case Arrived():
                    for subscription in (talker.eager, talker.lazy):
                        self.record(talker, session, subscription)

        return on_event

    def record(self, talker: Talker, session: bytes, subscription: Subscription) -> None:
        """What has come since the last look."""
        number = subscription.number
        total = talker.taken.get(number, 0) + len(subscription.unread)
        new = total - talker.recorded.get(number, 0)
        for incoming in list(subscription.unread)[len(subscription.unread) - new :]:
            said = int(incoming.body)
            if incoming.broadcast:
                talker.heard[said] = talker.heard.get(said, 0) + 1
            else:
                letter = self.letters[said]
                letter.taken.append(session)
                if letter.chain:
                    self.order.setdefault((letter.session, session), []).append(said)
        talker.recorded[number] = total
        if subscription is talker.eager:
            talker.taken[number] = talker.taken.get(number, 0) + len(subscription.unread)
            subscription.unread.clear()

    def talk(self) -> None:
        draw = self.random
        for peer in self.cluster.living():
            session = peer.assembly.identity.boot.session
            talker = self.talkers.get(session)
            if talker is None:
                continue
            if draw.random() < 0.5:
                to = draw.choice(self.cluster.names)
                self.post(talker, session, to, draw.choice(["eager", "eager", "lazy", "nobody reads this"]), chain=False)
            if draw.random() < 0.5:
                to = draw.choice(self.cluster.names)
                last = self.chains.get((session, to))
                if last is None or self.letters[last].fates:
                    self.chains[session, to] = self.post(talker, session, to, "eager", chain=True)
            if draw.random() < 0.1:
                self.made += 1
                self.broadcasts[self.made] = self.world.now
                messaging = peer.assembly.messaging
                peer.perform(messaging, messaging.broadcast("eager", b"%d" % self.made, peer.process.instant()))
            if draw.random() < 0.05:
                lazy = talker.lazy
                self.record(talker, session, lazy)
                talker.taken[lazy.number] = talker.taken.get(lazy.number, 0) + len(lazy.unread)
                while lazy.take() is not None:
                    pass

    def post(self, talker: Talker, session: bytes, to: str, topic: str, *, chain: bool) -> int:
        self.made += 1
        messaging, membership = talker.peer.assembly.messaging, talker.peer.assembly.membership
        boot = membership.boot(to)
        ref = messaging.next_ref()
        self.letters[self.made] = Letter(
            talker.peer.name, session, to, None if boot is None else boot.session, chain, self.world.now
        )
        talker.letters[ref] = self.made
        talker.peer.perform(messaging, messaging.send(ref, to, topic, b"%d" % self.made, talker.peer.process.instant()))
        return self.made

    # --- the ledger --------------------------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        wrong: list[str] = []
        living = {peer.assembly.identity.boot.session for peer in self.cluster.living()}
        for said, letter in self.letters.items():
            if len(letter.taken) > 1:
                wrong.append(f"once: letter {said} was taken {len(letter.taken)} times")
            if any(session != letter.addressee for session in letter.taken):
                wrong.append(f"once: letter {said} was taken by another process")
            if len(letter.fates) > 1 or (not letter.fates and letter.session in living):
                wrong.append(f"fates: letter {said} has the fates {letter.fates}")
            for fate in letter.fates:
                if fate in NEVER and letter.taken:
                    wrong.append(f"fates: letter {said} is {fate}, and was taken")
                if fate is Fate.TAKEN and not letter.taken:
                    wrong.append(f"fates: letter {said} is {fate}, and was not")
        for pair, numbers in self.order.items():
            if numbers != sorted(numbers):
                wrong.append(f"order: {pair} {numbers}")
        lasting = {said for session in living for said in self.talkers[session].heard}
        for session, talker in self.talkers.items():
            for said, times in talker.heard.items():
                if times > 1:
                    wrong.append(f"once: broadcast {said} was taken {times} times")
            if session not in living:
                continue
            for said, at in self.broadcasts.items():
                if talker.started < at and said not in talker.heard and said in lasting:
                    wrong.append(f"everyone: {talker.peer.name} has not heard broadcast {said}")
            stats = talker.peer.assembly.messaging.stats()
            if stats["pending"] or stats["recent"]:
                wrong.append(f"bounded: {stats}")
        return wrong

    def count(self, name: str) -> int:
        return sum(talker.peer.assembly.messaging.counts[name] for talker in self.talkers.values())


def run(seed: int) -> Campaign:
    campaign = Campaign(seed).run()
    assert not campaign.violations(), (seed, campaign.violations()[:5])
    return campaign


assert LIFE_MS < 40_000, "the calm at the end outlasts what is remembered"
