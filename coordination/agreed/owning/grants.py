"""Grants: the token, the term and the serial that a lease is granted with.

- A token is max(highest + 1, clock), the clock being the q-th largest of the last prepare's replies, carried on by the
  own one. (With the own one alone, an owner whose clock is an hour ahead has its own acceptor take such a token, and must
  exceed it from then on, which nobody else accepts.)
- A grant to a ticket that was told to wait is a hand-over with a short first term. (A dead waiter costs 2 s, not a
  ttl.)
- A retry of a request whose identity stands is a new accept with the new serial and the same token, while that token
  is in the window and not under the highest known (but for one that stands beside it in the value); else it waits until
  the identity is no longer live. (A memorised answer may only name the serial that it answered.)"""

from __future__ import annotations

from collections.abc import Sequence

from coordination.agreed.owning.desk import Change, Desk
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.vocabulary.modes import fills
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.vocabulary.values import Holding, LeaseId, Value
from crdt.clock import HybridClock, Instant
from mesh.directives import NANOSECONDS, Directive

__all__ = ["Grants"]

MS = 1_000_000
FIRST_TERM = 2 * NANOSECONDS
FIRST_TERM_TRIPS = 8
STAMP_SHIFT = 16


class Grants:
    __slots__ = ("_clock", "_proposer")

    def __init__(self, clock: HybridClock, proposer: Proposer) -> None:
        self._clock = clock
        self._proposer = proposer

    def first(
        self, desk: Desk, alive: Sequence[Holding], ticket: Ticket, change: Change, now: Instant, out: list[Directive]
    ) -> None:
        """Grant a register to a ticket, under a new token, beside those that are alive."""
        name, boot, request = ticket.asker
        lease = LeaseId(max(desk.highest + 1, self._clock.read(now) + desk.skew), name, boot, request)
        term = ticket.ttl
        if ticket.told:
            term = min(term, max(FIRST_TERM, FIRST_TERM_TRIPS * self._proposer.trip))
        mode = ticket.mode
        change.granted = Holding(lease, ticket.serial, ticket.ttl, term, ticket.binds, mode.permits, ticket.delay)
        change.handed = ticket.told
        value = Value((*alive, change.granted), desk.base.state, mode.limit, fills(alive, mode))
        self._proposer.propose(desk, value, change, now, out, granting=len(alive))

    def may_retry(self, desk: Desk, lease: LeaseId, roster: RosterValue, now: Instant) -> bool:
        """Whether the acceptors would still take this token as one that is being granted."""
        # An acceptor's clock may be max_drift ahead of the own one: its window is M/4.
        slack = roster.abstention // 4 - roster.max_drift
        oldest = self._clock.read(now) + desk.skew - (max(0, slack) // MS << STAMP_SHIFT)
        highest = desk.highest
        if not desk.behind and any(holding.lease.token == highest for holding in desk.base.holdings):
            highest = 0  # whoever has accepted the highest token knows this lease too
        return lease.token >= max(highest, oldest)

    def again(
        self,
        desk: Desk,
        alive: Sequence[Holding],
        index: int,
        ticket: Ticket,
        change: Change,
        now: Instant,
        out: list[Directive],
    ) -> None:
        """Grant `alive[index]` once more, for the newer serial of its ticket."""
        old = alive[index]
        change.granted = again = old._replace(serial=ticket.serial, binds=old.binds or ticket.binds)
        change.handed = ticket.told or again.term < again.ttl
        holdings = tuple([again if at == index else other for at, other in enumerate(alive)])
        self._proposer.propose(desk, desk.base.keeping(holdings), change, now, out, granting=index)
