"""Planted faults that belong to the table of `mutations` and nowhere else, and the stories that show three of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.messages import Accept, Accepted, Prepare, Promise
from coordination.agreed.vocabulary.modes import Mode
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.roster import Parameters
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Directive
from tests.coordination.agreed_nodes import PARAMETERS
from tests.coordination.agreed_world import MS, Changes, S, Violation, World

__all__ = [
    "AdoptsHigher",
    "DropsAtMajority",
    "GrantsToTheDead",
    "TokenEverywhere",
    "ViewForQuorum",
    "dead_waiters",
    "long_holder",
    "three_proposers",
]

LOCK = "lock/x"
SEMAPHORE = "semaphore/x"


class ViewForQuorum(Owner):
    """A majority of those that it sees alive is enough for it: Hazelcast 3.8."""

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        seen = Group(tuple(desk.group))
        seen.quorum = sum(self._view.is_alive(name) for name in seen) // 2 + 1
        desk.group = seen
        super()._pump(desk, now, out)


class Deathless(Ticket):
    __slots__ = ()

    def fresh(self, now: int) -> bool:
        return True


class GrantsToTheDead(Owner):
    """Whoever has asked is granted it, whether it still asks or not."""

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        for ticket in desk.queue.all():
            ticket.__class__ = Deathless
        super()._pump(desk, now, out)


class TokenEverywhere(Acceptor):
    """Has every lease of every value in its window, not the one that is being granted alone."""

    def accept(self, ask: Accept, now: Instant, out: list[Directive]) -> Any:
        for index in range(len(ask.value.holdings)):
            answer = super().accept(replace(ask, granting=index), now, out)
            if type(answer).__name__ == "Rejected":
                return answer
        return super().accept(ask, now, out)


class AdoptsHigher(Owner):
    """Of two leases it keeps the one of the higher ballot, and ends the other one by its own word."""

    def _step(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        if desk.ready is not None and desk.foreign:
            desk.remember_ended(desk.foreign)
        return super()._step(desk, now, out)


class DropsAtMajority(Standing):
    """Asks no earlier group any more, as soon as a majority of the newest roster is at work."""

    __slots__ = ()

    def past(self, key: str, now: Instant) -> list[tuple[int, Group]]:
        return [] if self.confirmed > 0 else super().past(key, now)


Told = Callable[[int, Changes], None]
Way = tuple[type[Any], str, str]
"""A kind of message, from, to."""


def ready(seed: int, clients: int, faults: Changes, parameters: Parameters = PARAMETERS) -> World:
    world = World(seed, clients=clients, latency=(MS, 2 * MS), faults=faults, parameters=parameters)
    if not world.run_until(world.founded, 20 * S):
        raise Violation(f"birth: no roster, seed {seed}")
    world.run(S)
    return world


def dead_waiters(seed: int, faults: Changes) -> None:
    """Three that wait die; whoever comes after them is granted the lock at once when it is given back (L6)."""
    world = ready(seed, 5, faults)
    holder = world.acquire("n3", LOCK, ttl=3 * S)
    world.run(100 * MS)
    for name in ("n4", "n5", "n6"):
        world.acquire(name, LOCK, ttl=3 * S)
    world.run(100 * MS)
    for name in ("n4", "n5", "n6"):
        world.crash(name)
    world.run(700 * MS)  # more than 1.5 of their intervals, and less than it takes to forget them
    last = world.acquire("n7", LOCK, ttl=3 * S)
    world.run(100 * MS)
    world.command(holder, "release")
    if not world.run_until(lambda: last.state == "held", 500 * MS):
        raise Violation(f"L6: {last} waits behind the dead, seed {seed}")


def long_holder(seed: int, faults: Changes) -> None:
    """One of three permits is held for long: the others can be had all the time (L12)."""
    world = ready(seed, 2, faults)
    held = world.acquire("n3", SEMAPHORE, ttl=S, mode=Mode(1, 3))
    world.run(4 * S)
    second = world.acquire("n4", SEMAPHORE, ttl=S, mode=Mode(1, 3))
    if not world.run_until(lambda: second.state == "held", S) or held.state != "held":
        raise Violation(f"L12: {second} is not to be had beside {held}, seed {seed}")


def three_proposers(seed: int, faults: Changes) -> None:
    """Of the leases of two others the first proposer sees the one on a voter each, and the one of the lower ballot is granted
    by the third proposer at that moment: whoever holds it has it alone until it gives it back (L1)."""
    world = ready(seed, 3, faults, PARAMETERS._replace(max_ttl=15 * S))  # so a token of a second ago is not too old yet
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    first, second, third = Placement(parts.birth.roster).group(LOCK)
    asked: list[Way] = []
    lost: set[Way] = {(Accept, first, second), (Accept, first, third)}

    def lose(number: int, a: str, to: str, message: object) -> bool:
        asked.append((type(message), a, to))
        return asked[-1] in lost

    world.lose = lose
    lower = world.acquire("n3", LOCK, ttl=3 * S)  # accepted by the first proposer alone
    world.run(20 * MS)
    for name in (first, second):
        world.cut("n3", name)
    waits = world.acquire("n5", LOCK, ttl=3 * S)
    lost |= {(Prepare, second, first), (Accept, second, first), (Accept, second, third)}
    world.lies["n4"] = world.lies[second] = {first}
    higher = world.acquire("n4", LOCK, ttl=3 * S)  # at a higher ballot, accepted by the second alone
    world.run(20 * MS)
    lost -= {(Accept, first, third)}
    lost |= {(Prepare, first, third), (Promise, second, first), (Prepare, third, second), (Accept, third, second)}
    asked.clear()
    if not world.run_until(lambda: (Prepare, first, second) in asked, S):
        raise AssertionError(f"the first was not refused, seed {seed}")
    world.lies["n3"] = world.lies[third] = {first, second}
    if not world.run_until(lambda: (Accepted, first, third) in asked, S):
        raise AssertionError(f"the third has not carried {lower} through, seed {seed}")
    lost -= {(Promise, second, first)}  # the two leases, as they were when it asked
    world.run(400 * MS)
    lost.clear()
    world.heal()
    if not world.run_until(lambda: lower.state == "held", S):
        raise Violation(f"L13: {lower} was to be held, seed {seed}")
    world.run(2 * S)
    world.command(lower, "release")
    if not world.run_until(lambda: "held" in (higher.state, waits.state), 5 * S):
        raise Violation(f"L12: {higher} and {waits} wait for nobody, seed {seed}")
