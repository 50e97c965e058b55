"""Rotations of the mesh's secret in the world, with a node that sleeps meanwhile (W7).

nobody is cut off   while it goes on no node that is awake loses another that is awake, not for a moment
one ring            when all is calm all hold the same secrets and seal with the same one
gone                what was removed is accepted by nobody, and what is sealed with it is refused and counted
back                the sleeper is back, with the ring of the others, unless its last secret was removed by force;
                    then it is heard by nobody, disturbs nobody, and is back once it is started with the new one"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from coordination.arguments.rotating import add_secret, remove_secret, use_secret
from coordination.errors import BadConfig, SecretLacking
from mesh.directives import Event, OtherSecret
from mesh.keyring import Keyring
from mesh.membership import LOCAL, MemberChanged, State
from simulations import SECOND, Cluster, SimPeer, World
from simulations.cluster import SECRET
from simulations.faults import Faults, Isolate

__all__ = ["KEYS", "SECRETS", "STEPS", "Story"]

SECRETS = (SECRET, "the second secret of this mesh, long enough", "the third secret of this mesh, long enough")
KEYS = tuple([Keyring([secret]).primary.hex() for secret in SECRETS])
STEPS = (("add", 1), ("use", 1), ("remove", 0), ("add", 2), ("use", 2), ("remove", 1))
SLEEPER = "n3"
CALM = 60 * SECOND
"""At the end: far above the grace of a removal, and enough for who was away to be dialled again."""


@dataclass
class Story:
    """`nap`: the sleeper is away from before step `nap[0]` to before step `nap[1]` (6: after the last). `how`: it is `paused`,
    isolated by a `partition`, or `killed` and started again with the secret that it was started with at first. `apart` ns
    lie between two steps. `force`: what is refused is done all the same."""

    seed: int
    nap: tuple[int, int]
    how: str
    force: bool
    apart: int = 8 * SECOND
    durable: bool = False
    refused: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    warned: set[str] = field(default_factory=set)
    """Nodes that heard something that is sealed with another secret."""

    def __post_init__(self) -> None:
        self.world = World(self.seed)
        self.cluster = Cluster(self.world, 4, profile=LOCAL, durable=self.durable)
        self.away = False
        self.woken = self.world.now
        """When the sleeper came back."""
        self.seen: dict[bytes, SimPeer] = {}

    def watch(self) -> None:
        for peer in self.cluster.living():
            session = peer.assembly.identity.boot.session
            if session not in self.seen:
                self.seen[session] = peer
                peer.process.subscribe(partial(self.on_event, peer.name))

    def on_event(self, observer: str, event: Event) -> None:
        # Who was isolated comes back with verdicts of its own, and for a moment they are believed, rotation or not. It
        # takes somewhat longer to come back if half of its greetings are sealed with what was removed.
        healing = self.how == "partition" and 0 <= self.world.now - self.woken < 6 * SECOND
        if isinstance(event, MemberChanged) and event.member.state is State.DEAD:
            if not healing and SLEEPER not in (observer, event.member.name):
                self.lost.append(f"{observer} takes {event.member.name} for dead at {self.world.now / SECOND:.1f} s")
            return
        if isinstance(event, OtherSecret):
            self.warned.add(observer)

    def run(self) -> Story:
        self.cluster.form()
        self.watch()
        for index, (step, number) in enumerate(STEPS):
            self.nod(index)
            self.act(f"n{index % 3}", step, number)
            self.rest()
        self.nod(len(STEPS))
        self.rest()
        for _ in range(CALM // SECOND):
            self.world.run(SECOND)
            self.watch()
        return self

    def rest(self) -> None:
        for _ in range(8):
            self.world.run(self.apart // 8)
            self.watch()

    def nod(self, index: int) -> None:
        if index == self.nap[0]:
            self.away = True
            match self.how:
                case "paused":
                    self.paused = self.world.pause(SLEEPER)
                case "killed":
                    self.world.kill(SLEEPER)
                case "partition":
                    lasts = (self.nap[1] - self.nap[0]) * self.apart
                    Faults(self.world).set([Isolate(0, lasts, SLEEPER)])
        if index == self.nap[1] and self.away:
            self.away, self.woken = False, self.world.now
            if self.how == "paused":
                assert self.paused is not None
                self.world.resume(self.paused)
            elif self.how == "killed":
                self.world.boot(SLEEPER)
        self.watch()

    def act(self, name: str, step: str, number: int) -> None:
        rotation = self.cluster.peer(name).assembly.rotation
        peer, key, now = self.cluster.peer(name), KEYS[number], self.cluster.peer(name).process.instant()
        try:
            match step:
                case "add":
                    directives = add_secret(rotation, SECRETS[number], now)[1]
                case "use":
                    directives = use_secret(rotation, key, self.force, now)
                case _:
                    directives = remove_secret(rotation, key, self.force, now)
        except (SecretLacking, BadConfig) as problem:
            self.refused.append(f"{step} {number}: {problem}")
            return
        peer.perform(rotation, directives)

    # --- what must hold ----------------------------------------------------------------------------------------------

    def rings(self) -> dict[str, tuple[str, frozenset[str]]]:
        return {
            peer.name: (ring.primary.hex(), frozenset(key.hex() for key in ring.identifiers()))
            for peer in self.cluster.living()
            for ring in [peer.assembly.keyring]
        }

    def others(self) -> list[SimPeer]:
        return [peer for peer in self.cluster.living() if peer.name != SLEEPER]

    def whole_without_sleeper(self) -> bool:
        names = [peer.name for peer in self.others()]
        return all(peer.assembly.membership.is_alive(name) for peer in self.others() for name in names)

    def violations(self) -> list[str]:
        wrong = list(self.lost)
        rings = self.rings()
        awake = {ring for name, ring in rings.items() if name != SLEEPER}
        if len(awake) != 1:
            wrong.append(f"no one ring: {rings}")
        if not self.whole_without_sleeper():
            wrong.append("the others are not whole")
        if not self.cut_off():
            if len(set(rings.values())) != 1:
                wrong.append(f"the sleeper has another ring: {rings}")
            if not self.cluster.whole():
                wrong.append(f"the sleeper is not back: {self.cluster.unseen()[:4]}")
        if self.force and any(KEYS[0] in ring or KEYS[1] in ring for _, ring in awake):
            wrong.append(f"a removed secret is accepted: {rings}")
        return wrong

    def cut_off(self) -> bool:
        """Whether the sleeper shares no secret with the others."""
        rings = self.rings()
        others = frozenset().union(*[ring for name, (_, ring) in rings.items() if name != SLEEPER])
        return not others & rings[SLEEPER][1]
