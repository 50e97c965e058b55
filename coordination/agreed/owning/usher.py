"""What those in an owner's queue are told without a round: wait, ask over there, it is occupied, it can never be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.replies import Replies
from coordination.agreed.vocabulary.messages import Acquire
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.values import Holding
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import Instant
from mesh.directives import Directive, Send

__all__ = ["TELL_WITHIN", "Usher"]

TELL_WITHIN = 60_000_000
"""Whoever is not served by then is told that it waits: also while one round follows the other without a pause."""

ACTIVE = 200_000_000
"""Another proposer that this node's acceptor has heard within this time is at work: less than a holder waits for it."""


class Usher:
    __slots__ = ("_acceptor", "_counts", "_identity", "_replies", "_view")

    def __init__(self, identity: Identity, view: View, acceptor: Acceptor, replies: Replies, counts: Counter[str]) -> None:
        self._identity = identity
        self._view = view
        self._acceptor = acceptor
        self._replies = replies
        self._counts = counts

    def at_work(self, desk: Desk, now: Instant) -> str:
        """The other proposer that is acting for this register at this moment, or ``."""
        register = self._acceptor.register(desk.key)
        if register is None or now.mono - register.proposed > ACTIVE or not register.promised.counter:
            return ""
        name = register.promised.name
        return name if name != self._identity.name and name in desk.group and self._view.is_alive(name) else ""

    def tell(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        """Tell those that they wait who asked a while ago and have not been told."""
        desk.tell_at = 0
        for ticket in desk.queue.all():
            if ticket.told_serial < ticket.serial:
                due = ticket.refreshed + TELL_WITHIN
                if due <= now.mono:
                    self._replies.waiting(desk, ticket, now.mono, out)
                elif not desk.tell_at or due < desk.tell_at:
                    desk.tell_at = due

    def forward(self, desk: Desk, winner: str, now: Instant, out: list[Directive]) -> None:
        """A live register has another owner: one queue is better than two."""
        if winner == self._identity.name or winner not in desk.group or not self._view.is_alive(winner):
            return
        for ticket in desk.queue.all():
            if not ticket.wait:
                continue
            name, boot, request = ticket.asker
            acquire = Acquire(
                desk.key,
                name,
                boot,
                request,
                ticket.serial,
                True,
                ticket.binds,
                ticket.ttl,
                max(1, now.mono - ticket.arrived),
                (),
                ticket.mode.permits,
                ticket.mode.limit,
                ticket.mode.together,
                ticket.delay,
            )
            if ticket.fresh(now.mono):
                out.append(Send(winner, acquire))
            self._replies.waiting(desk, ticket, now.mono, out, owner=winner)
            desk.queue.remove(ticket.asker)
            self._counts["forwarded"] += 1

    def dismiss(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        """Another group keeps the register now, without this node."""
        self.forward(desk, next((name for name in desk.group if self._view.is_alive(name)), ""), now, out)

    def decline(self, desk: Desk, alive: Sequence[Holding], out: list[Directive]) -> bool:
        """Turn away who names another limit; True if the register has to be read first, for the limit may be a new one."""
        read = False
        for ticket in desk.queue.mistaken(desk.base, alive):
            if ticket.refreshed > desk.as_of:
                read = True
            else:
                self._replies.declined(desk, ticket, out)
                desk.queue.remove(ticket.asker)
        return read

    def occupied(self, desk: Desk, alive: Sequence[Holding], out: list[Directive]) -> bool:
        """Answer those that would rather not wait; True if the register has to be read first: "occupied" has to be true at some
        moment after they asked."""
        read = False
        for ticket in desk.queue.impatient():
            if ticket.refreshed > desk.as_of:
                read = True
            elif alive and all(holding.lease.asker != ticket.asker for holding in alive):
                self._replies.occupied(desk, ticket, alive[0].lease.name, out)
                desk.queue.remove(ticket.asker)
        return read
