"""A mesh of real stores under cuts: the rules of docs/cuts.md with everything that can go wrong mixed, and no network.

Members write, push, pull, join, are cut off from each other, crash, come back without, with and with an old memory; somebody
leads rounds through one register that only a majority reaches. Frames lie in a bag, from which they are delivered in any order,
twice, late by any number of cuts, or never. Checked:

    C18   replicas that have applied the same cut and claim the same are equal, at every moment
    C7    what is safe (held by a process that never lost its memory, or covered by a cut) is neither lost nor undone
    C15   in the end all are equal, and nothing ended is left in any vector
    C13   of a key nothing is told after what is later, but by a change that says so
    C4    counters: what was added by whoever kept its memory counts once

`Rules` holds what planted faults replace."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from crdt.cell import KEY
from crdt.clock import COUNTER_BITS, HybridClock, Stamp
from crdt.store import StoreFencedError
from tests.crdt.cut_members import (
    COUNTERS,
    FENCED,
    KEYS,
    LEASES,
    Held,
    Member,
    Rules,
)
from tests.crdt.cut_rest import Rest
from tests.crdt.replicas import Broken


class World(Rest):
    # --- local -----------------------------------------------------------------------------------------------------

    def write(self, member: Member) -> None:
        random, store = self.random, member.store
        stamp = self.tick(member)
        key, body = random.choice(KEYS), random.randbytes(2)
        match random.randrange(12):
            case 0 | 1 | 2:
                self.put(member, key, body, stamp)
            case 3 | 4 | 5:
                self.put(member, key, None, stamp)
            case 6 | 7:
                self.put(member, key, body, stamp, expiry=stamp + (random.choice((300, 2_000)) << COUNTER_BITS))
            case 8:
                self.put(member, FENCED, random.choice((body, None)), stamp, fence=random.randrange(1, 4))
            case 9:
                store.touch(key, stamp, stamp + (random.choice((500, 2_000)) << COUNTER_BITS))
            case 10:
                counter, amount = random.choice(COUNTERS), random.randrange(-5, 9)
                store.add(counter, amount, stamp)
                self.adds.append((member.name, member.boot, counter, amount))
            case 11:
                lease = random.choice(LEASES)
                if not store.lease_ended(lease):
                    self.put(member, key, body, stamp, bound=lease)

    def put(self, member: Member, key: str, body: bytes | None, stamp: Stamp, **more: Any) -> None:
        try:
            cell = member.store.put(key, body, stamp, **more)
        except StoreFencedError:
            return
        safe = self.safe.get((KEY, key))
        if member.state != "member" or (safe and safe.order > cell.order and member.store.dots.covers(safe.actor, safe.n)):
            self.after.add((cell[:2], cell.order))

    def crash(self, member: Member) -> None:
        member.up = False
        self.note(member.name, "crashes")

    def save(self, member: Member) -> None:
        self.flush(member)
        if member.store.pending:
            return  # what has no dot yet is not on disk
        member.disk = copy.deepcopy((member.store, member.cut.round, member.held, member.owned))

    def restart(self, member: Member, memory: bool) -> None:
        member.up = True
        member.boot += 1
        member.life = 0
        member.clock = HybridClock()
        held: list[Held] = []
        owned: list[bytes] = []
        if memory and member.disk is not None:
            store, since, held, owned = copy.deepcopy(member.disk)
            if len(store):
                held.append(Held(store, since))
        member.owned = []
        member.begin(held)
        member.owned = [*owned, member.actor]
        self.note(member.name, "restarts with", len(held))

    # --- what happens ------------------------------------------------------------------------------------------

    def step(self) -> None:
        random = self.random
        member = random.choice(list(self.members.values()))
        other = random.choice(list(self.members))
        dice = random.randrange(100)
        if dice < 30:
            for _ in range(random.randrange(1, 6)):
                if self.bag:
                    self.deliver(random.randrange(len(self.bag)), keep=random.randrange(6) == 0)
        elif dice < 33:
            if self.bag and random.randrange(2):
                self.bag.pop(random.randrange(len(self.bag)))
        elif dice < 36:
            self.ms += random.choice((1, 20, 300, 900))
            for each in self.up():
                each.store.expire(self.read(each))
        elif dice == 36:
            self.split()
        elif dice < 40:
            if not member.up:
                self.restart(member, memory=random.randrange(2) == 0)
            elif random.randrange(3) == 0 and self.spare(member):
                self.crash(member)
        elif not member.up:
            return
        elif dice < 55:
            self.write(member)
        elif dice < 62:
            self.flush(member)
        elif dice < 66:
            self.forward(member, other, random.choice(KEYS))
        elif dice < 72:
            if other != member.name:
                self.begin_pull(member, other)
        elif dice < 75:
            self.ask_more(member)
        elif dice < 79:
            self.ask(member, other)
        elif dice < 81:
            self.save(member)
        elif dice < 87:
            self.lead(member, harsh=random.randrange(4) == 0)
        elif dice < 95:
            self.decide(member)
        elif dice == 95:
            lease = random.choice(LEASES)
            if random.randrange(6) == 0 and member.state == "member":
                member.store.end_lease(lease, self.tick(member))
        elif dice == 96:
            if member.state == "pulling" and random.randrange(4) == 0:
                self.reborn(member)  # its sponsor does not answer
            elif member.pull is not None:
                member.pull.sender = other
        else:
            self.try_bring_back(member)

    def split(self) -> None:
        random = self.random
        if any(self.sides.values()) and random.randrange(2):
            self.sides = dict.fromkeys(self.members, 0)
        else:
            self.sides = {name: int(random.random() < 0.35) for name in self.members}

    def spare(self, member: Member) -> bool:
        """A crash leaves two that are counted, or any two as long as nobody is."""
        cut = self.register.cut
        left = [each for each in self.up() if each is not member and each.state == "member"]
        return len([each for each in left if not cut.round or cut.counts(each.actor)]) >= 2


def run(seed: int, steps: int = 400, names: int = 0, rules: Rules | None = None) -> World:
    random = Random(seed)
    world = World(names or random.choice((3, 4, 5)), random, rules)
    try:
        for number in range(steps):
            world.step()
            if number % 4 == 0:
                world.check()
        world.settle()
    except Broken as problem:
        raise Broken(f"seed {seed}: {problem}") from problem
    return world
