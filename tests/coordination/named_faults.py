"""Planted faults that belong to the table of `mutations` and nowhere else, and the stories that show two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.messages import Accept
from coordination.agreed.vocabulary.modes import Mode
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Directive
from tests.coordination.agreed_world import MS, Changes, S, Violation, World

__all__ = [
    "AdoptsHigher",
    "DropsAtMajority",
    "GrantsToTheDead",
    "TokenEverywhere",
    "ViewForQuorum",
    "dead_waiters",
    "long_holder",
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


def ready(seed: int, clients: int, faults: Changes) -> World:
    world = World(seed, clients=clients, latency=(MS, 2 * MS), faults=faults)
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
