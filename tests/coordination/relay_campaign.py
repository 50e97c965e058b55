"""A relay: somebody takes the lock and gives it back, and as soon as that is confirmed the next one tries, without waiting.

Nobody else wants it, so there is nobody to give way to:

    L6   who tries it gets it, or hears of no quorum; "busy" at most once, for a question that was still on its way somewhere
         may have been granted, and its node gives that back as soon as it hears of it

Beside what `agreed_world` looks at (L1, L2 and the rest)."""

from __future__ import annotations

import random
from collections import Counter

from tests.coordination.agreed_campaign import first_violation
from tests.coordination.agreed_world import MS, Changes, S, Violation, Worker, World
from tests.coordination.roster_campaign import ELASTIC, RosterWorld

__all__ = ["Relay", "hunt"]

KEY = "lock/baton"
KINDS = ("cut", "one_way", "isolate", "heal", "heal", "crash", "pause", "lie", "change", "change")
GHOSTS = 400 * MS
"""By then whatever was granted to nobody has been given back."""
LAPSE = 7 * S
"""By then every lease is over that was not given back."""


class Relay:
    """One history. The same seed gives the same one."""

    def __init__(self, seed: int, faults: Changes = (), *, elastic: bool = False, durable: bool = False) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed * 31 + 7)
        how = {
            "voters": dice.choice([3, 3, 5]),
            "latency": dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]),
            "loss": dice.choice([0, 0, 0.05]),
            "clients": 2,
            "durable": durable,
            "faults": faults,
        }
        self.world = (
            RosterWorld(seed, parameters=ELASTIC._replace(R=dice.choice([3, 5])), **how) if elastic else World(seed, **how)
        )
        self.members = sorted(self.world.nodes)
        self.done: Counter[str] = Counter()
        """How many tries came to what."""

    def run(self, legs: int = 60) -> World:
        world, dice = self.world, self.dice
        if not world.run_until(world.founded, 60 * S):
            raise Violation(f"birth: no roster after 60 s, seed {self.seed}")
        world.run(4 * S)
        for _ in range(legs):
            if dice.random() < 0.5:
                getattr(self, f"do_{dice.choice(KINDS)}")(*dice.sample(self.members, 2))
            if dice.random() < 0.15:
                world.heal()
            world.run(dice.choice([0, 0, dice.randrange(30), dice.randrange(400)]) * MS)
            running = [name for name in self.members if world.running(world.nodes[name])]
            if not running:
                world.run(S)
            elif not self.leg(dice.choice(running)):
                world.run(LAPSE)
                world.heal()
                world.run(S)
        return world

    def leg(self, name: str) -> bool:
        """One tries, holds, and gives back. Whether that is known to everyone whom it concerns."""
        worker = self.attempt(name)
        if worker.state == "busy":
            self.world.run(GHOSTS)
            if not self.world.running(self.world.nodes[name]):
                return False
            worker = self.attempt(name)
            if worker.state == "busy":
                raise Violation(f"L6: {worker} was told that it is held, twice, and nobody holds it, seed {self.seed}")
        return worker.state == "held" and self.give_back(worker)

    def attempt(self, name: str) -> Worker:
        world, dice = self.world, self.dice
        ttl = dice.choice([S, 2 * S, 3 * S])
        worker = world.acquire(name, KEY, ttl=ttl, wait=False, renew=dice.random() < 0.7)
        world.run_until(lambda: worker.state != "asking" or self.died(worker), 6 * S)
        self.done[worker.state] += 1
        if worker.state == "asking" and not self.died(worker):
            world.command(worker, "cancel")  # it has no roster yet: it would wait for one, and take the lock then
        return worker

    def give_back(self, worker: Worker) -> bool:
        world, dice = self.world, self.dice
        world.run(dice.choice([0, dice.randrange(100), dice.randrange(1500)]) * MS)
        if self.died(worker) or not world.valid(worker):
            return False
        world.command(worker, "release")
        began = world.now
        world.run_until(lambda: worker.state == "released" or self.died(worker), 5 * S)
        # Later it may have run out in place of being confirmed.
        return worker.state == "released" and world.now - began < S * 9 // 10

    def died(self, worker: Worker) -> bool:
        node = self.world.nodes[worker.node]
        return worker.state in ("asking", "held", "leaving") and node.workers.get(worker.request) is not worker

    # --- faults -----------------------------------------------------------------------------------------------------------

    def do_cut(self, name: str, other: str) -> None:
        self.world.cut(name, other)

    def do_one_way(self, name: str, other: str) -> None:
        self.world.cut(name, other, one_way=True)

    def do_isolate(self, name: str, other: str) -> None:
        self.world.isolate(name)

    def do_heal(self, name: str, other: str) -> None:
        self.world.heal()

    def do_pause(self, name: str, other: str) -> None:
        self.world.pause(name, self.dice.randrange(10, 1500) * MS)

    def do_lie(self, name: str, other: str) -> None:
        self.world.lies.setdefault(name, set()).add(other)

    def do_crash(self, name: str, other: str) -> None:
        """One at a time, and not before it knows again what it has forgotten: then all may know less than q."""
        world = self.world
        nodes = world.nodes.values()
        if any(not node.up or world.now - node.up_at < 4 * S for node in nodes):
            return
        if isinstance(world, RosterWorld):
            others = sum(world.remembers(each) for each in world.newest.voters if each != name)
            if others < world.newest.majority:
                return
        world.crash(name)
        world.after(self.dice.randrange(1, 300) * MS, lambda: None if world.nodes[name].up else world.start(name))

    def do_change(self, name: str, other: str) -> None:
        world, dice = self.world, self.dice
        if isinstance(world, RosterWorld):
            able = [each for each in self.members if world.running(world.nodes[each])]
            voters = [each for each in world.newest.voters if each in able]
            if voters:
                world.propose(dice.choice(voters), dice.sample(able, min(len(able), dice.choice([1, 3, 3, 3, 5]))))


def hunt(seeds: range, faults: Changes = (), *, elastic: bool = False, durable: bool = False) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: Relay(seed, faults, elastic=elastic, durable=durable).run(), seeds)
