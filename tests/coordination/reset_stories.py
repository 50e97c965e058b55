"""Resets by an operator, told to the real parts or to planted ones. A rule that is broken raises Violation.

Some of the voters are cut off with their memory, and some users; so many of the others forget that nobody can go on. An
operator resets the roster, perhaps two do, perhaps one on either side; then those with memory come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import ChainIs, ResetPrepare, RosterAccepted, RosterPromise
from mesh.directives import Event, Message
from tests.coordination.agreed_world import MS, Changes, Node, S, Violation, Worker
from tests.coordination.roster_campaign import ELASTIC, RosterWorld

KEYS = ("lock/a", "lock/b")
Story = Callable[[int, Changes], RosterWorld]


class ResetWorld(RosterWorld):
    """After a reset locks that nobody has moved wait until the leases of the old roster have lapsed."""

    changed = 0

    def observe(self, node: Node, event: Event) -> None:
        if isinstance(event, events.RosterDecided):
            self.changed = self.now
        super().observe(node, event)

    def calm_for(self) -> int:
        if self.lost() or self.now - self.changed < self.newest.lapse + S:
            return 0
        return super().calm_for()


class Users:
    """Each member takes one of two locks again and again, for as long as chance has it."""

    def __init__(self, world: RosterWorld, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.granted = 0
        self.ended = False
        self.longest = world.parameters.max_ttl
        for name in sorted(world.nodes):
            world.after(dice.randrange(S), partial(self.take, name))

    def take(self, name: str) -> None:
        world = self.world
        if self.ended:
            return
        if not world.running(world.nodes[name]):
            world.after(S // 2, partial(self.take, name))
            return
        worker = world.acquire(name, self.dice.choice(KEYS), ttl=self.dice.choice([S, self.longest // 2, self.longest]))
        self.watch(name, worker, world.now + 6 * S, 0)

    def watch(self, name: str, worker: Worker, patience: int, until: int) -> None:
        world = self.world
        if worker.state == "held" and not until:
            self.granted += 1
            until = world.now + self.dice.randrange(50 * MS, self.longest)
        if worker.state == "asking" and world.now < patience and world.nodes[name].up:
            world.after(10 * MS, partial(self.watch, name, worker, patience, until))
        elif worker.state == "held" and world.now < until:
            world.after(20 * MS, partial(self.watch, name, worker, patience, until))
        else:
            if worker.state in ("asking", "held"):
                world.command(worker, "release" if worker.state == "held" else "cancel")
            world.after(self.dice.randrange(20, 600) * MS, partial(self.take, name))


class Operator:
    """Repeats the command until it is told that it is done."""

    def __init__(self, world: RosterWorld, name: str, without: tuple[str, ...], times: int = 8) -> None:
        self.world, self.name, self.without = world, name, without
        self.query = 1 << 20
        self.told: list[events.ResetOver] = []
        self.repeat(times)

    @property
    def done(self) -> bool:
        return any(not each.refusal for each in self.told)

    def repeat(self, times: int) -> None:
        self.told = [event for _, name, event in self.world.log if name == self.name and isinstance(event, events.ResetOver)]
        node = self.world.nodes[self.name]
        unneeded = any(each.refusal.startswith("no reset is needed") for each in self.told)
        if self.done or unneeded or not times or not self.world.running(node) or node.parts is None:
            return
        self.query += 1
        part = node.parts.reset
        self.world.perform(node, part, part.reset(self.query, self.without, self.world.instant(node)))
        self.world.after(6 * S, partial(self.repeat, times - 1))


class Cast:
    """Who is where."""

    def __init__(self, seed: int, faults: Changes, *, voters: int = 0, R: int = 0, max_ttl: int = 0) -> None:
        self.dice = dice = random.Random(seed)
        self.world = world = ResetWorld(
            seed,
            voters=voters or dice.choice([3, 4, 5, 5, 5]),
            clients=4,
            loss=dice.choice([0, 0, 0.05]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]),
            faults=faults,
            parameters=ELASTIC._replace(R=R or dice.choice([3, 5]), max_ttl=(max_ttl or dice.choice([3, 3, 8])) * S),
        )
        self.lapse = world.parameters.max_ttl * 2
        if not world.run_until(world.founded, 30 * S):
            raise Violation("birth: no roster")
        self.roster: RosterValue = world.newest
        names = list(self.roster.voters)
        dice.shuffle(names)
        self.few, self.most = names[self.roster.majority :], names[: self.roster.majority]
        """Those that keep their memory, and those of which some forget."""
        guests = [name for name in sorted(world.nodes) if name not in names]
        self.far = self.few + guests[:2]
        self.near = self.most + guests[2:]

    def part(self) -> None:
        for name in self.far:
            for other in self.near:
                self.world.cut(name, other)

    def forget(self) -> list[str]:
        """So many that nobody can tell the others; at least one."""
        for name in self.dice.sample(self.most, self.dice.randrange(1, len(self.most) + 1)):
            self.world.crash(name)
            self.world.after(self.dice.randrange(20, 400) * MS, partial(self.world.start, name))
        self.world.run(S)
        return [name for name in self.most if self.world.remembers(name)]


def come_back(seed: int, faults: Changes, *, change: bool | None = None) -> RosterWorld:
    """Old voters with memory come back after the reset, and a voter that took part may go over to them while it runs."""
    cast = Cast(seed, faults)
    world, dice = cast.world, cast.dice
    users = Users(world, dice)
    world.run(dice.randrange(2 * S, 4 * S))
    if change if change is not None else dice.random() < 0.4:
        # Those that will be cut off change the roster to themselves just before, and perhaps in vain.
        world.propose(dice.choice(cast.few), cast.far)
        world.run(dice.randrange(1, 6) * world.latency[1])
    cast.part()
    world.run(dice.randrange(S))
    remember = cast.forget()
    if not honest(world, cast.roster, remember):
        return world
    near = [name for name in cast.near if world.running(world.nodes[name])]
    operators = [Operator(world, name, tuple(cast.few)) for name in dice.sample(near, dice.choice([1, 1, 2]))]
    if dice.random() < 0.3:
        operators.append(Operator(world, dice.choice(cast.far), tuple(cast.most), times=2))
    if dice.random() < 0.5:
        world.after(dice.randrange(2100 * MS), partial(go_over, cast, dice.choice(cast.most)))
        world.after(2 * S + dice.randrange(10 * world.latency[1]), partial(go_over, cast, dice.choice(cast.most)))
    world.run(dice.randrange(S, cast.lapse + 6 * S))
    return ended(cast, users)


def accepted(seed: int, faults: Changes) -> RosterWorld:
    """Those that are cut off have changed the roster to themselves, and one of the others has accepted that and remembers."""
    cast = Cast(seed, faults)
    world, dice = cast.world, cast.dice
    users = Users(world, dice)
    world.run(dice.randrange(2 * S))
    if not change_unheard(cast):
        return ended(cast, users)
    accepting = [name for name in cast.most if (parts := world.nodes[name].parts) and parts.succession.accepted() is not None]
    for name in cast.most:
        if name != accepting[0]:
            world.crash(name)
            world.after(100 * MS, partial(world.start, name))
    world.run(S)
    Operator(world, dice.choice(cast.near), tuple(cast.few))
    world.run(dice.randrange(4 * S, cast.lapse + 6 * S))
    return ended(cast, users)


def change_unheard(cast: Cast) -> bool:
    """Whether a change to those far from the others has been decided, of which the others have not heard."""
    world = cast.world
    world.lose = lambda number, a, to, message: to in cast.near and isinstance(message, ChainIs)
    world.propose(cast.dice.choice(cast.few), cast.far)
    decided = world.run_until(lambda: len(world.decided) == 2, S)
    cast.part()
    world.lose = None
    return decided


def ended(cast: Cast, users: Users) -> RosterWorld:
    """All meet again."""
    world = cast.world
    world.heal()
    world.run(cast.dice.randrange(10 * S, 14 * S))
    world.loss = 0
    world.heal()
    world.run(cast.lapse + 10 * S)
    users.ended = True
    world.run(8 * S)
    settle(world, cast.world.seed)
    return world


def honest(world: RosterWorld, roster: RosterValue, remember: list[str]) -> bool:
    """Whether the operator can vouch that no roster which all have forgotten is in use: he knows more than any node."""
    asked = [world.nodes[name].parts for name in world.newest.voters]
    changes = [parts.succession.accepted() for parts in asked if parts is not None]
    if max(world.decided) == roster.epoch and not any(changes):
        return True
    for name in remember:
        parts = world.nodes[name].parts
        if parts is not None and (parts.succession.accepted() is not None or world.epoch(name) > roster.epoch):
            return True
    return False


def go_over(cast: Cast, name: str) -> None:
    """It loses the others, and finds those that were cut off."""
    world = cast.world
    for other in cast.near:
        if other != name:
            world.cut(name, other)
    for other in cast.far:
        world.join(name, other)


def settle(world: RosterWorld, seed: int) -> None:
    """In the end there is one roster, and it grants."""
    epochs = {name: world.epoch(name) for name in sorted(world.nodes)}
    if set(epochs.values()) != {max(world.decided)}:
        raise Violation(f"L11: {epochs} are the newest to some, {max(world.decided)} is decided, seed {seed}")
    if world.lost():
        return
    worker = world.acquire("n0", KEYS[0], ttl=S)
    if not world.run_until(lambda: worker.state == "held", 10 * S):
        raise Violation(f"L12: {worker} cannot be granted under {world.newest}, seed {seed}")


def mistaken(seed: int, faults: Changes) -> RosterWorld:
    """The operator vouches for what is not so: a roster is in use that all who answer have forgotten. Both grant, until they
    meet; then one does."""
    cast = Cast(seed, faults)
    world, dice = cast.world, cast.dice
    world.run(S)
    if not change_unheard(cast):
        return world
    for name in cast.most:
        world.crash(name)
        world.after(100 * MS, partial(world.start, name))
    world.run(2 * S)
    operator = Operator(world, cast.near[-1], tuple(cast.few))
    world.run(dice.randrange(3 * S, 9 * S))
    if not operator.done or len(world.decided) < 3:
        return world
    world.heal()
    world.loss = 0
    world.run(cast.lapse + 9 * S)
    return ended(cast, Users(world, dice))


def five(seed: int, faults: Changes, *, max_ttl: int = 3) -> Cast:
    """Five voters, of which two will be cut off."""
    return Cast(seed, faults, voters=5, R=5, max_ttl=max_ttl)


def both_sides(seed: int, faults: Changes) -> RosterWorld:
    """An operator on either side gives up the other one; only the side with a majority of the names may be reset."""
    cast = five(seed, faults)
    world = cast.world
    users = Users(world, cast.dice)
    world.run(S)
    cast.part()
    cast.forget()
    Operator(world, cast.most[0], tuple(cast.few))
    Operator(world, cast.few[0], tuple(cast.most))
    world.run(cast.lapse + 8 * S)
    return ended(cast, users)


def gone_over(seed: int, faults: Changes) -> RosterWorld:
    """A voter that has accepted the reset, hears no more and cannot complete it finds those that were given up: three of five,
    with memory."""
    cast = five(seed, faults)
    world = cast.world
    users = Users(world, cast.dice)
    world.run(S)
    cast.part()
    stays, forgets, goes = cast.most
    world.crash(forgets)
    world.start(forgets)
    world.run(S)

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        if a == goes and isinstance(message, RosterAccepted):
            world.after(world.latency[1], partial(go_over, cast, goes))
        return (a == goes and isinstance(message, ResetPrepare)) or (to == goes and isinstance(message, ChainIs))

    world.lose = lose
    Operator(world, stays, tuple(cast.few))
    world.run(cast.lapse + 10 * S)
    world.lose = None
    return ended(cast, users)


def half_way(seed: int, faults: Changes) -> RosterWorld:
    """A mistaken operator's reset gets no further than its promises, while the roster that he does not know of is in use."""
    cast = five(seed, faults)
    world = cast.world
    world.run(S)
    if not change_unheard(cast):
        return world
    for name in cast.most:
        world.crash(name)
        world.after(100 * MS, partial(world.start, name))
    world.run(2 * S)
    world.lose = lambda number, a, to, message: isinstance(message, RosterPromise)
    Users(world, cast.dice)
    Operator(world, cast.near[-1], tuple(cast.few), times=1)
    world.run(10 * S)
    return world


def fresh_forgetters(seed: int, faults: Changes) -> RosterWorld:
    """A lease is kept by those who forget, and held on by one that is cut off, while the others are reset and asked for it."""
    cast = five(seed, faults, max_ttl=8)
    world = cast.world
    world.run(S)
    holder = world.acquire(cast.far[-1], KEYS[0], ttl=8 * S, renew=False)
    world.run_until(lambda: holder.state == "held", 2 * S)
    if holder.state != "held":
        return world  # some of them abstain: they found the roster
    keep = [name for name in cast.roster.voters if keeps(world, name)]
    rest = [name for name in cast.roster.voters if name not in keep]
    if not rest:
        return world
    cast.most = [rest[0], *keep[:2]]
    cast.few = [name for name in cast.roster.voters if name not in cast.most]
    cast.far, cast.near = [*cast.few, cast.far[-1]], [*cast.most, cast.near[-1]]
    cast.part()
    for name in keep[:2]:
        world.crash(name)
        world.start(name)
    Operator(world, rest[0], tuple(cast.few), times=1)
    for _ in range(20):
        world.acquire(cast.near[-1], KEYS[0], ttl=S, wait=False)
        world.run(S // 2)
    return world


def keeps(world: RosterWorld, name: str) -> bool:
    parts = world.nodes[name].parts
    register = parts.acceptor.register(KEYS[0]) if parts is not None else None
    return register is not None and bool(register.leases)
