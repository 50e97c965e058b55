"""Planted faults of leases that stand beside each other. Each must be caught by a checker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordination.agreed.holding.holder import Holder
from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.modes import differs, fits
from coordination.agreed.vocabulary.tickets import Queue, Ticket
from coordination.agreed.vocabulary.values import Holding, Value
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import Instant
from mesh.directives import Directive, Directives
from tests.coordination.agreed_world import Changes

__all__ = ["FAULTS", "CountsTheDead", "LetsPass", "with_queue"]


class LetsPass(Queue):
    """Whoever fits is served, whoever waits before it."""

    __slots__ = ()

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        askers = [each.lease.asker for each in alive]
        for ticket in self.all():
            mistaken = differs(value, alive, ticket.mode)
            if ticket.fresh(now) and ticket.asker not in askers and not mistaken and fits(value, alive, ticket.mode):
                return ticket
        return None


class ReadsBesideWriters(Queue):
    __slots__ = ()

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        tame = [each._replace(permits=1) for each in alive]
        return super().next_for(value, tame, now)


class WritesBesideReaders(Queue):
    __slots__ = ()

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        rest = [each for each in alive if each.permits == 0]
        return super().next_for(value, rest, now)


class OneTooMany(Queue):
    """Counts permits from one, not from none."""

    __slots__ = ()

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        return super().next_for(
            value, [each._replace(permits=max(0, each.permits - (not n))) or each for n, each in enumerate(alive)], now
        )


class LimitOfTheRequest(Queue):
    __slots__ = ()

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        first = self.first_fresh(now)
        return super().next_for(value._replace(limit=first.mode.limit) if first else value, alive, now)

    def mistaken(self, value: Value, alive: Sequence[Holding]) -> list[Ticket]:
        return []


def with_queue(queue: type[Queue]) -> type[Owner]:
    class Careless(Owner):
        def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
            if type(desk.queue) is Queue:
                desk.queue.__class__ = queue
            super()._pump(desk, now, out)

    return Careless


class NoDelay(Holder):
    def acquire(self, *arguments: Any, **how: Any) -> Directives:
        return super().acquire(*arguments, **{**how, "delay": 0})


class ForgetsAtRenewal(Acceptor):
    """Waits for the delay after a grant, but not after a renewal."""

    def _extend(self, item: Any, now: Instant, out: list[Directive]) -> int:
        return super()._extend(item._replace(ttl=item.ttl * 2 // 3), now, out)


class CountsTheDead(Owner):
    def _step(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        desk.learnt_at = now.mono
        return super()._step(desk, now, out)


FAULTS: dict[str, tuple[Changes, tuple[str, ...], str]] = {
    "a reader is granted beside a writer": (((Owner, with_queue(ReadsBesideWriters)),), (), "L1"),
    "a writer is granted beside readers": (((Owner, with_queue(WritesBesideReaders)),), (), "L1"),
    "permits are counted off by one": (((Owner, with_queue(OneTooMany)),), (), "L1"),
    "the limit is taken from the request": (((Owner, with_queue(LimitOfTheRequest)),), (), "L1"),
    "the delay is ignored": (((Holder, NoDelay),), ("crash",), "delay"),
    "the delay is forgotten at renewals": (((Acceptor, ForgetsAtRenewal),), ("crash", "isolate"), ""),
}
