"""The owner: serialises one register's acquires and releases, and proposes what comes of them.

Every member of a group can act as the owner, and two at once are slow, never unsafe: the acceptors alone decide. Per
key one round is under way at a time (`_pump`), and what to do next follows from what is asked and what is known
(`_step`):

    asked      tickets (queue), ends and cancels by their holders, checks of leases, a mend
    known      `ready` (the ballot of the next accept) and the register as the last prepare or accept showed it

  - Without `ready`, prepare first. Any refusal takes `ready` away. (A decided value is lost.)
  - Ended by its own holder: an accept at `ready` may drop it, and grant the next waiter in the same round.
  - Ended by time: only after a fresh prepare in which no reply of the quorum calls it live.
  - A live register is completed if an acceptor is behind, and else left alone; it is read again after
    min(what remains, 1 s), for as long as someone waits. Conflicting live identities are never merged.
  - A retry of a request whose identity stands is a new accept with the new serial and the same token, while that
    token is in the window and the highest known; else it waits until the identity is no longer live. (A memorised
    answer may only name the serial that it answered.)
  - A token is max(highest + 1, clock), the clock being the q-th largest of the promises', or the own one at `ready`.
  - Refused by a proposer's higher ballot while the register is live: its tickets go to that proposer, with their age.
  - A grant to a ticket that was told to wait is a hand-over with a short first term. (A dead waiter costs 2 s, not a
    ttl.)"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from coordination.agreed.acceptor import Acceptor, Expired
from coordination.agreed.agenda import Agenda
from coordination.agreed.ballot import Ballot
from coordination.agreed.boots import BootRecord
from coordination.agreed.desk import Change, Desk, GrantMade, Reading
from coordination.agreed.events import LeaseOver, RosterDecided
from coordination.agreed.messages import (
    Accept,
    Accepted,
    Acquire,
    Cancel,
    CancelDone,
    Freed,
    Grant,
    Mend,
    Occupied,
    Prepare,
    Promise,
    Reason,
    Rejected,
    Release,
    ReleaseDone,
    Waiting,
)
from coordination.agreed.placement import Placement
from coordination.agreed.ports import Identity, RosterSource, View
from coordination.agreed.proposer import Answer, Round
from coordination.agreed.roster import RosterValue
from coordination.agreed.tickets import Ticket
from coordination.agreed.values import Holding, LeaseId, Value, lease_text, parse_lease
from crdt.clock import HybridClock, Instant
from mesh.directives import NANOSECONDS, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Owner"]

MS = 1_000_000
RESEND = 60 * MS
"""First repetition of an unanswered round; then doubled up to the next."""
RESEND_LONGEST = 250 * MS
ROUND_LASTS = NANOSECONDS
"""A round without a quorum after this long starts again with a prepare."""
READ_EVERY = NANOSECONDS
"""An owner with waiters reads a live register at least this often."""
READ_PAUSE = 5 * MS
COLLECT = 50 * MS
"""A new owner collects the tickets of an older one for this long before it grants."""
FIRST_TERM = 2 * NANOSECONDS
FIRST_TERM_TRIPS = 8
BACKOFF = 10 * MS
BACKOFF_DOUBLINGS = 5
STAMP_SHIFT = 16


class Owner:
    name = "owner"
    messages = (Acquire, Release, Cancel, Mend, Promise, Accepted, Rejected, Freed)

    def __init__(
        self, identity: Identity, view: View, roster: RosterSource, clock: HybridClock, random: random.Random,
        boots: BootRecord, acceptor: Acceptor,
    ) -> None:  # fmt: skip
        self._identity = identity
        self._view = view
        self._source = roster
        self._clock = clock
        self._random = random
        self._boots = boots
        self._acceptor = acceptor
        self._roster: RosterValue | None = None
        self._placement: Placement | None = None
        self._desks: dict[str, Desk] = {}
        self._agenda: Agenda[str] = Agenda("desk")
        self._floor = 0
        """No ballot counter of a forgotten desk was above it."""
        self._trip = MS
        """Smoothed ns from a round's start to its quorum."""
        self._counts: Counter[str] = Counter()
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Acquire: self._on_acquire,
            Release: self._on_release,
            Cancel: self._on_cancel,
            Mend: self._on_mend,
            Freed: self._on_freed,
            Promise: self._on_answer,
            Accepted: self._on_answer,
            Rejected: self._on_answer,
        }

    # --- part -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._load()
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        self._handlers[type(message)](message, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        for key in self._agenda.take(now.mono):
            desk = self._desks.get(key)
            if desk is not None:
                self._due(desk, now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            self._load()
        elif isinstance(event, Expired):
            out: list[Directive] = []
            desk = self._desk(event.key, now)
            if desk is not None:
                desk.mend = True
                if desk.round is None:
                    desk.ready = None
                self._pump(desk, now, out)
            return out
        return ()

    def stats(self) -> dict[str, int]:
        return {"desks": len(self._desks), **self._counts}

    def desk(self, key: str) -> Desk | None:
        return self._desks.get(key)

    def recheck(self, lease_ids: Iterable[str], now: Instant) -> Directives:
        """Ask the registers of those leases whose owner this node is: what its register does not hold is over."""
        out: list[Directive] = []
        for text in lease_ids:
            parsed = parse_lease(text)
            if parsed is None:
                continue
            key, lease = parsed
            desk = self._desk(key, now) if self._is_owner(key) else None
            if desk is not None:
                desk.checks[lease] = None
                if desk.round is None:
                    desk.ready = None
                self._pump(desk, now, out)
        return out

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _on_acquire(self, ask: Acquire, now: Instant, out: list[Directive]) -> None:
        desk = self._desk(ask.key, now)
        roster = self._roster
        if desk is None or roster is None:
            return
        if not 0 < ask.ttl <= roster.max_ttl:
            self._counts["bad_ttl"] += 1
            return
        asker = (ask.name, ask.boot, ask.request)
        for lease in ask.ended:
            if lease.name == ask.name and lease.boot == ask.boot:
                desk.ends[lease] = None
        ticket = desk.queue.get(asker)
        if ticket is None:
            if not desk.wanted() and desk.ready is None and ask.age:
                desk.collect = now.mono + COLLECT
            ticket = Ticket(asker, ask.serial, ask.ttl, wait=ask.wait, binds=ask.binds, now=now.mono, age=ask.age)
            desk.queue.add(ticket)
            known = False
        else:
            known = ask.serial > ticket.serial
            if known:
                ticket.serial = ask.serial
                ticket.refreshed = now.mono
        self._pump(desk, now, out)
        if desk.queue.get(asker) is ticket and (known or ask.age or desk.round is None):
            self._tell_waiting(desk, ticket, now, out)

    def _on_release(self, ask: Release, now: Instant, out: list[Directive]) -> None:
        desk = self._desk(ask.key, now)
        if desk is None:
            return
        if ask.lease in desk.ended and ask.lease not in desk.ends and not desk.base.has(ask.lease):
            out.append(Send(ask.lease.name, ReleaseDone(ask.key, ask.lease)))
            return
        desk.ends[ask.lease] = None
        if ask.binds:
            desk.binding[ask.lease] = None
        self._pump(desk, now, out)

    def _on_cancel(self, ask: Cancel, now: Instant, out: list[Directive]) -> None:
        desk = self._desk(ask.key, now)
        if desk is None:
            return
        asker = (ask.name, ask.boot, ask.request)
        desk.queue.remove(asker)
        desk.cancels[asker] = None
        self._pump(desk, now, out)

    def _on_mend(self, ask: Mend, now: Instant, out: list[Directive]) -> None:
        desk = self._desk(ask.key, now)
        if desk is None or desk.mend:
            return
        desk.mend = True
        if desk.round is None:
            desk.ready = None
        self._pump(desk, now, out)

    def _on_freed(self, ask: Freed, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.get(ask.key)
        if desk is None or not len(desk.queue) or desk.round is not None:
            return
        desk.ready = None
        self._pump(desk, now, out)

    def _on_answer(self, answer: Answer, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.get(answer.key)
        if desk is None or answer.name not in desk.group:
            return
        self._take(desk, answer, now, out)
        self._pump(desk, now, out)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _take(self, desk: Desk, answer: Answer, now: Instant, out: list[Directive]) -> None:
        if answer.boots:
            self._boots.learn(desk.group, answer.boots)
        if isinstance(answer, Rejected):
            self._heed(desk, answer, now)
        else:
            desk.heard[answer.name] = now.mono
            desk.abstaining.pop(answer.name, None)
            if isinstance(answer, Promise):
                self._clock.merge(answer.clock, now)
        round_ = desk.round
        if round_ is None or not round_.add(answer):
            if isinstance(answer, Rejected) and answer.ballot == desk.ballot and answer.reason != Reason.ABSTAIN:
                desk.ready = None
            return
        if isinstance(answer, Rejected) and answer.reason == Reason.LIVE and isinstance(round_.message, Accept):
            known = tuple([kept.lease for kept in answer.leases if kept.lease in desk.ended and kept.remaining])
            missed = [lease for lease in known if lease not in round_.message.ends]
            if (
                missed
                and answer.name not in round_.answers
                and all(
                    kept.lease in desk.ended or round_.message.value.has(kept.lease) or not kept.remaining
                    for kept in answer.leases
                )
            ):
                # It missed an end. The same value, and its holder's word with it.
                told = round_.message
                again = Accept(
                    told.key, told.ballot, told.boots, told.rests, told.value, told.waits, told.granting,
                    told.ends + tuple(missed),
                )  # fmt: skip
                round_.refusals.pop(answer.name, None)
                self._deliver(desk, answer.name, again, now, out)

    def _heed(self, desk: Desk, answer: Rejected, now: Instant) -> None:
        if answer.reason == Reason.ABSTAIN:
            desk.abstaining[answer.name] = now.mono + answer.left
            return
        desk.heard[answer.name] = now.mono
        desk.abstaining.pop(answer.name, None)
        desk.counter = max(desk.counter, answer.promised.counter)
        self._clock.merge(answer.clock, now)

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        while True:
            round_ = desk.round
            if round_ is not None:
                if round_.reached():
                    self._reached(desk, round_, now, out)
                elif round_.hopeless():
                    self._lost(desk, round_, now, out)
                else:
                    return
            elif not self._step(desk, now, out):
                return

    def _launch(self, desk: Desk, message: Prepare | Accept, now: Instant, out: list[Directive]) -> None:
        round_ = desk.round = Round(message, desk.group, now.mono)
        desk.counter = max(desk.counter, message.ballot.counter)
        own = self._identity.name
        for name in desk.group:
            if name != own:
                out.append(Send(name, message))
        self._agenda.at(desk.key, now.mono + RESEND, out)
        if own in desk.group:
            self._deliver(desk, own, message, now, out)
        desk.used = round_.started

    def _deliver(self, desk: Desk, to: str, message: Prepare | Accept, now: Instant, out: list[Directive]) -> None:
        if to != self._identity.name:
            out.append(Send(to, message))
            return
        # The own vote is a call: no message, no second step.
        answer: Answer | None
        if isinstance(message, Accept):
            answer = self._acceptor.accept(message, now, out)
        else:
            answer = self._acceptor.prepare(message, now, out)
        if answer is not None:
            self._take(desk, answer, now, out)

    def _prepare(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        assert self._roster is not None
        desk.ready = None
        register = self._acceptor.register(desk.key)
        promised = register.promised.counter if register is not None else 0
        desk.counter = max(desk.counter, self._floor, promised) + 1
        ballot = Ballot(self._roster.epoch, desk.counter, self._identity.name, self._identity.boot)
        self._launch(desk, Prepare(desk.key, ballot, self._boots.group(desk.group)), now, out)

    def _propose(
        self, desk: Desk, value: Value, change: Change, now: Instant, out: list[Directive], granting: int = -1
    ) -> None:
        assert desk.ready is not None
        waits = []
        for index, holding in enumerate(value.holdings):
            waits.append(holding.term if index == granting else desk.waits.get(holding.lease, 0))
        ballot, desk.ready = desk.ready, None
        desk.clock = 0
        desk.change = change
        desk.mend = False
        message = Accept(
            desk.key, ballot, desk.boots, desk.rests, value, tuple(waits), granting, change.ends
        )  # fmt: skip
        self._launch(desk, message, now, out)

    def _reached(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> None:
        desk.round = None
        desk.losses = 0
        self._trip += (now.mono - round_.started - self._trip) // 8
        desk.boots, desk.rests = round_.grounds()
        message = round_.message
        if isinstance(message, Prepare):
            promises = [answer for answer in round_.counted() if isinstance(answer, Promise)]
            desk.learn(Reading(promises, desk.group.quorum, (*desk.ended, *desk.ends)), now.mono)
            desk.ready = message.ballot
            return
        change, desk.change = desk.change, None
        assert change is not None
        desk.ready = None if round_.refused() else message.ballot.next()
        desk.ballot = message.ballot
        desk.base = message.value
        desk.dead = {}
        desk.foreign = {}
        desk.behind = False
        desk.waits = dict(zip((holding.lease for holding in message.value.holdings), message.waits, strict=True))
        desk.live_until = now.mono + max(message.waits, default=0)
        desk.read_at = now.mono
        self._ended(desk, change, now, out)
        if change.granted is not None:
            self._granted(desk, change.granted, change.handed, message, now, out)

    def _ended(self, desk: Desk, change: Change, now: Instant, out: list[Directive]) -> None:
        """q have accepted that these are over."""
        desk.remember_ended(change.ends)
        for lease in change.ends:
            if desk.ends.pop(lease, lease) is None:
                out.append(Send(lease.name, ReleaseDone(desk.key, lease)))
        for lease in (*change.ends, *change.expired):
            if lease in desk.binding:
                del desk.binding[lease]
                out.append(Emit(LeaseOver(lease_text(desk.key, lease))))

    def _granted(self, desk: Desk, holding: Holding, handed: bool, message: Accept, now: Instant, out: list[Directive]) -> None:
        desk.highest = max(desk.highest, holding.lease.token)
        if holding.binds:
            desk.binding[holding.lease] = None
        asker = holding.lease.asker
        if asker in desk.cancels:
            return
        desk.made = GrantMade(holding, message.ballot, message.value, desk.boots, now.mono, handed=handed)
        ticket = desk.queue.get(asker)
        if ticket is not None:
            desk.queue.remove(asker)
        self._send_grant(desk, desk.made, out)
        self._counts["grants"] += 1

    def _send_grant(self, desk: Desk, made: GrantMade, out: list[Directive]) -> None:
        holding = made.holding
        grant = Grant(
            desk.key, holding.lease, holding.serial, holding.term, made.handed, made.ballot, made.value, made.boots,
            self._identity.name,
        )  # fmt: skip
        out.append(Send(holding.lease.name, grant))

    def _lost(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> None:
        desk.round = None
        desk.change = None
        desk.ready = None
        refusals = list(round_.refusals.values())
        higher = [refusal for refusal in refusals if refusal.reason == Reason.BALLOT]
        desk.losses = min(desk.losses + 1, BACKOFF_DOUBLINGS)
        pause = self._random.randrange(1, BACKOFF << desk.losses)
        if all(refusal.reason == Reason.ABSTAIN for refusal in refusals):
            pause = RESEND_LONGEST
        lefts = [refusal.left for refusal in refusals if refusal.reason == Reason.LIVE]
        if lefts:
            pause = max(pause, min(min(lefts), READ_EVERY))
        desk.backoff = now.mono + pause
        self._agenda.at(desk.key, desk.backoff, out)
        if higher:
            winner = max(higher, key=lambda refusal: refusal.promised).promised.name
            if any(refusal.left for refusal in higher):
                self._forward(desk, winner, now, out)

    def _forward(self, desk: Desk, winner: str, now: Instant, out: list[Directive]) -> None:
        """A live register has another owner: one queue is better than two."""
        if winner == self._identity.name or winner not in desk.group or not self._view.is_alive(winner):
            return
        for ticket in desk.queue.all():
            if not ticket.wait:
                continue
            name, boot, request = ticket.asker
            age = max(1, now.mono - ticket.arrived)
            acquire = Acquire(
                desk.key, name, boot, request, ticket.serial, True, ticket.binds, ticket.ttl, age, ()
            )  # fmt: skip
            if ticket.fresh(now.mono):
                out.append(Send(winner, acquire))
            self._tell_waiting(desk, ticket, now, out, owner=winner)
            desk.queue.remove(ticket.asker)
            self._counts["forwarded"] += 1

    # --- the next step ------------------------------------------------------------------------------------------------

    def _step(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        """Start the next round, if there is a reason for one. No round is under way."""
        mono = now.mono
        if not desk.wanted() or self._roster is None:
            return False
        wait = max(desk.backoff, desk.collect)
        if mono < wait:
            self._agenda.sooner(desk.key, wait, out)
            return False
        if desk.ready is None:
            self._prepare(desk, now, out)
            return True
        base = desk.base
        alive, ends, expired = [], [], []
        for holding in base.holdings:
            if desk.is_ended(holding.lease):
                ends.append(holding.lease)
            elif holding.lease in desk.dead:
                expired.append(holding.lease)
            else:
                alive.append(holding)
        blocked = False
        for lease in desk.foreign:
            if desk.is_ended(lease):
                ends.append(lease)
            else:
                blocked = True
        change = Change(tuple(ends), tuple(expired))
        if alive or blocked:
            return self._while_live(desk, alive, blocked, change, now, out)
        ticket = desk.queue.first_fresh(mono)
        if ticket is not None:
            self._grant(desk, ticket, change, now, out)
            return True
        if ends or expired or desk.behind:
            self._propose(desk, Value((), base.state), change, now, out)
            return True
        self._settle(desk, (), out)
        desk.mend = False
        self._look_again(desk, now, out)
        return False

    def _while_live(
        self, desk: Desk, alive: list[Holding], blocked: bool, change: Change, now: Instant, out: list[Directive]
    ) -> bool:
        mono = now.mono
        for holding in alive:
            ticket = desk.queue.get(holding.lease.asker)
            if ticket is None or not ticket.fresh(mono):
                continue
            made = desk.made
            if made is not None and made.holding.lease == holding.lease and mono - made.at < made.holding.term // 4:
                # The refresh crossed its grant. The answer names the serial that it is for.
                self._send_grant(desk, made, out)
                desk.queue.remove(holding.lease.asker)
            elif not blocked and self._may_retry(desk, holding.lease, now):
                self._grant_again(desk, alive, holding, ticket, change, now, out)
                return True
        if alive and (desk.behind or change.ends or change.expired) and not blocked:
            self._propose(desk, Value(tuple(alive), desk.base.state), change, now, out)
            return True
        read = False
        if not blocked:
            desk.mend = False
            self._settle(desk, alive, out)
        for ticket in desk.queue.impatient():
            if ticket.refreshed <= desk.read_at and alive and alive[0].lease.asker != ticket.asker:
                name, boot, request = ticket.asker
                occupied = Occupied(desk.key, name, boot, request, ticket.serial, alive[0].lease.name)
                out.append(Send(name, occupied))
                desk.queue.remove(ticket.asker)
            elif ticket.refreshed > desk.read_at:
                read = True
        if not desk.wanted():
            return False
        again = max(min(desk.live_until, desk.read_at + READ_EVERY), desk.read_at + READ_PAUSE)
        if read or mono >= again:
            self._prepare(desk, now, out)
            return True
        self._agenda.at(desk.key, again, out)
        return False

    def _grant(self, desk: Desk, ticket: Ticket, change: Change, now: Instant, out: list[Directive]) -> None:
        assert desk.ready is not None
        name, boot, request = ticket.asker
        clock = desk.clock if desk.clock and desk.read_at == now.mono else self._clock.read(now)
        lease = LeaseId(max(desk.highest + 1, clock), name, boot, request)
        term = ticket.ttl
        if ticket.told:
            term = min(term, max(FIRST_TERM, FIRST_TERM_TRIPS * self._trip))
        change.granted = Holding(lease, ticket.serial, ticket.ttl, term, ticket.binds)
        change.handed = ticket.told
        self._propose(desk, Value((change.granted,), desk.base.state), change, now, out, granting=0)

    def _may_retry(self, desk: Desk, lease: LeaseId, now: Instant) -> bool:
        """Whether the acceptors would still take this token as one that is being granted."""
        assert self._roster is not None
        # An acceptor's clock may be max_drift ahead of the own one: its window is M/4.
        slack = self._roster.abstention // 4 - self._roster.max_drift
        oldest = self._clock.read(now) - (max(0, slack) // MS << STAMP_SHIFT)
        return lease.token >= max(desk.highest, oldest)

    def _grant_again(
        self, desk: Desk, alive: list[Holding], holding: Holding, ticket: Ticket, change: Change, now: Instant,
        out: list[Directive],
    ) -> None:  # fmt: skip
        again = Holding(holding.lease, ticket.serial, holding.ttl, holding.term, holding.binds)
        change.granted = again
        change.handed = ticket.told or again.term < again.ttl
        holdings = tuple([again if other is holding else other for other in alive])
        self._propose(desk, Value(holdings, desk.base.state), change, now, out, granting=alive.index(holding))

    def _settle(self, desk: Desk, alive: list[Holding] | tuple[()], out: list[Directive]) -> None:
        """Answer what needs no change: the register as it is known does not hold it."""
        for lease in list(desk.ends):
            desk.remember_ended((lease,))
            del desk.ends[lease]
            out.append(Send(lease.name, ReleaseDone(desk.key, lease)))
            if desk.binding.pop(lease, lease) is None:
                out.append(Emit(LeaseOver(lease_text(desk.key, lease))))
        for name, boot, request in desk.cancels:
            out.append(Send(name, CancelDone(desk.key, name, boot, request, self._identity.name)))
        desk.cancels.clear()
        held = [holding.lease for holding in alive]
        for lease in desk.checks:
            if lease not in held:
                out.append(Emit(LeaseOver(lease_text(desk.key, lease))))
        desk.checks.clear()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _due(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        mono = now.mono
        desk.queue.forget_stale(mono)
        for ticket in desk.queue.all():
            if ticket.told_serial < ticket.serial:
                self._tell_waiting(desk, ticket, now, out)
        round_ = desk.round
        if round_ is not None:
            if not desk.wanted() and isinstance(round_.message, Prepare):
                desk.round = None
            elif mono - round_.started >= ROUND_LASTS:
                self._lost(desk, round_, now, out)
            else:
                for name in round_.silent():
                    self._deliver(desk, name, round_.message, now, out)
                round_.resent += 1
                self._agenda.at(desk.key, mono + min(RESEND << round_.resent, RESEND_LONGEST), out)
        self._pump(desk, now, out)
        self._look_again(desk, now, out)

    def _look_again(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        """Keep a time for every desk: a waiting one soon, an idle one when it may be forgotten."""
        if desk.wanted() or desk.round is not None:
            self._agenda.sooner(desk.key, now.mono + RESEND_LONGEST, out)
            return
        assert self._roster is not None
        end = desk.used + self._roster.abstention
        if now.mono < end:
            self._agenda.sooner(desk.key, end, out)
        else:
            self._floor = max(self._floor, desk.counter + 1)
            self._agenda.drop(desk.key)
            self._desks.pop(desk.key, None)

    # --- help ---------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        self._roster = self._source.roster
        if self._roster is not None:
            self._placement = Placement(self._roster)

    def _is_owner(self, key: str) -> bool:
        if self._placement is None:
            return False
        for name in self._placement.group(key):
            if name == self._identity.name:
                return True
            if self._view.is_alive(name):
                return False
        return False

    def _desk(self, key: str, now: Instant) -> Desk | None:
        desk = self._desks.get(key)
        if desk is None:
            if self._placement is None:
                self._counts["no_roster"] += 1
                return None
            group = self._placement.group(key)
            if self._identity.name not in group:
                self._counts["misrouted"] += 1
                return None
            desk = self._desks[key] = Desk(key, group)
        desk.used = now.mono
        return desk

    def _tell_waiting(self, desk: Desk, ticket: Ticket, now: Instant, out: list[Directive], *, owner: str = "") -> None:
        name, boot, request = ticket.asker
        ticket.told = True
        ticket.told_serial = ticket.serial
        holder = desk.base.holdings[0].lease.name if desk.base.holdings else ""
        waiting = Waiting(
            desk.key, name, boot, request, ticket.serial, owner or self._identity.name, desk.quorum_age(now.mono),
            desk.missing(now.mono), desk.abstainers(now.mono), holder,
        )  # fmt: skip
        out.append(Send(name, waiting))
