"""The owner: serialises one register's acquires and releases, and proposes what comes of them.

Every member of a group can act as the owner, and two at once are slow, never unsafe: the acceptors alone decide. Per
key one round is under way at a time (`_pump`), and what to do next follows from what is asked and what is known
(`_step`):

    asked      tickets (queue), ends and cancels by their holders, checks of leases, a mend
    known      `ready` (the ballot of the next accept) and the register as the last prepare or accept showed it

  - Without `ready`, prepare first. Any refusal takes `ready` away. (A decided value is lost.)
  - Ended by its own holder: an accept at `ready` may drop it, and grant the next waiter in the same round.
  - Ended by time: only after a fresh prepare in which no reply of the quorum calls it live.
  - A live register is completed if an acceptor is behind, and else left alone; it is read again after min(what
    remains, 1 s), for as long as someone waits, no sooner. (An acceptor that keeps to another lease stays behind, and
    the owner completes in a loop.) Conflicting live identities are never merged.
  - A free register that has not been moved to the newest roster is moved if somebody asks for it, `Mend`. (Who reads it there
    learns nothing, however often.)
  - A lease is granted beside others only if it fits to all that may be alive of the value which the accept changes (`modes`).
  - "Released" and "occupied" are answered from what a round showed that began after the question, or from a change that
    the answer is about. (An owner that was overtaken denies a lease that it has never seen, and its holder stops
    repeating the release.)
  - For waiters that have stopped asking nothing is read. (Their desk would go on outbidding the one that they went to.)
  - Refused by a proposer's higher ballot while the register is live: its tickets go to that proposer, with their age; also
    where it would read for them, and that one is at work. (What it grants passes by those who wait here.)
    A question goes there at once, if that proposer is at work and this node is not, but only once. (Where a round trip
    takes long, every question comes to two nodes, answers cross, and the two outbid each other.)"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.atomics.calls import Call
from coordination.agreed.owning.concluding import Concluding
from coordination.agreed.owning.desk import ASKED_CAP, Change, Desk
from coordination.agreed.owning.noting import note_end
from coordination.agreed.owning.round import Answer
from coordination.agreed.owning.usher import TELL_WITHIN
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import RosterDecided, SealMet
from coordination.agreed.vocabulary.messages import (
    Accepted,
    Acquire,
    Cancel,
    Freed,
    Mend,
    Prepare,
    Promise,
    Reason,
    Rejected,
    Release,
)
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode, fills
from coordination.agreed.vocabulary.placement import placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.succession_messages import Seen
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.vocabulary.values import Holding, LeaseId, parse_lease
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.keeping import Expired
from coordination.agreed.voting.standing import Standing
from crdt.clock import HybridClock, Instant
from mesh.directives import Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Owner"]

READ_PAUSE = 5_000_000
ASKED = frozenset({Acquire, Release, Cancel, Mend, Freed, Call})
"""Of a register; the rest are answers to its proposer."""
COLLECT = 50_000_000
"""A new owner collects the tickets of an older one for this long before it grants."""


class Owner(Concluding):
    name = "owner"
    messages = (Acquire, Release, Cancel, Mend, Promise, Accepted, Rejected, Freed, Call, Seen)
    hears = (RosterDecided, Expired)

    def __init__(
        self,
        identity: Identity,
        view: View,
        roster: RosterSource,
        clock: HybridClock,
        random: random.Random,
        boots: BootRecord,
        acceptor: Acceptor,
        standing: Standing | None = None,
    ) -> None:
        super().__init__(identity, view, roster, clock, random, boots, acceptor, standing)
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Release: self._on_release,
            Cancel: self._on_cancel,
            Mend: self._on_mend,
            Freed: self._on_freed,
            Call: self._on_call,
            Promise: self._on_answer,
            Accepted: self._on_answer,
            Rejected: self._on_answer,
            Seen: self._on_seen,
        }

    # --- part -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._load()
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if type(message) in ASKED and is_atomic(message.key) != isinstance(message, Call):  # type: ignore[attr-defined]
            self._counts["misrouted"] += 1
        elif type(message) is Acquire:
            # From the asker itself or its sponsor, or passed on by another owner?
            own = source.name is None or source.name == message.name.rpartition("@")[2]
            self._on_acquire(message, now, out, passed_on=not own)
        else:
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
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._load()
            self._regroup(now, out)
        elif isinstance(event, Expired):
            desk = self._desks.open(event.key, now)
            if desk is not None:
                desk.mend = True
                if desk.round is None:
                    desk.ready = None
                self._pump(desk, now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {"desks": len(self._desks), **self._counts}

    def desk(self, key: str) -> Desk | None:
        return self._desks.get(key)

    def recheck(self, lease_ids: Iterable[str], now: Instant) -> Directives:
        """Ask the registers of those leases whose owner this node is: what its register does not hold is over.

        To be called with the ids of all leases that bind something visible, each max_ttl: `LeaseOver` may be lost with
        the node that decided it, and after a restart of every voter no register knows what had been bound. A lease
        that is live at this node's own acceptor costs nothing, any other one prepare."""
        out: list[Directive] = []
        for text in lease_ids:
            parsed = parse_lease(text)
            if parsed is None:
                continue
            key, lease = parsed
            register = self._acceptor.register(key)
            if register is not None and register.is_live(lease, now.mono):
                continue
            desk = self._desks.open(key, now) if self._desks.acts_for(key, self._view) else None
            if desk is not None and len(desk.checks) < ASKED_CAP:
                desk.checks[lease] = None
                if desk.round is None:
                    desk.ready = None
                self._pump(desk, now, out)
        return out

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _on_acquire(self, ask: Acquire, now: Instant, out: list[Directive], *, passed_on: bool) -> None:
        desk = self._desks.open(ask.key, now)
        roster = self._roster
        if desk is None or roster is None:
            return
        if not 0 < ask.ttl <= ask.ttl + ask.delay <= roster.max_ttl:
            self._counts["bad_ttl"] += 1
            return
        mode = Mode(ask.permits, ask.limit, ask.together) if ask.permits or ask.limit or ask.together else EXCLUSIVE
        if mode.permits < 0 or mode.limit < 0 or (mode.limit and not 0 < mode.permits <= mode.limit):
            self._counts["bad_mode"] += 1
            return
        asker = (ask.name, ask.boot, ask.request)
        if not (passed_on or asker in desk.made or desk.wanted()) and (busy := self._usher.at_work(desk, now)):
            out.append(Send(busy, replace(ask, age=ask.age or 1)))
            self._counts["passed_on"] += 1
            return
        for lease in ask.ended:
            if lease.name == ask.name and lease.boot == ask.boot:
                self._end(desk, lease, now)
        ticket = desk.queue.get(asker)
        if ticket is None:
            if ask.age and desk.ready is None and not desk.wanted():
                desk.collect = now.mono + COLLECT
            wait, binds = ask.wait, ask.binds
            ticket = Ticket(
                asker, ask.serial, ask.ttl, wait=wait, binds=binds, now=now.mono, age=ask.age, mode=mode, delay=ask.delay
            )
            if len(desk.queue) >= ASKED_CAP:
                self._counts["queue_full"] += 1
                self._replies.waiting(desk, ticket, now.mono, out)
                return
            desk.queue.add(ticket)
            known = False
        else:
            known = ask.serial > ticket.serial
            if known:
                ticket.serial = ask.serial
                ticket.refreshed = now.mono
                ticket.binds = ticket.binds or ask.binds
        self._pump(desk, now, out)
        if desk.queue.get(asker) is ticket:
            if known or ask.age or desk.round is None:
                self._replies.waiting(desk, ticket, now.mono, out)
            elif not desk.tell_at:
                desk.tell_at = now.mono + TELL_WITHIN

    def _on_release(self, ask: Release, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.open(ask.key, now)
        if desk is None:
            return
        if ask.lease in desk.ended and ask.lease not in desk.ends and not desk.base.has(ask.lease):
            self._replies.release_done(desk, ask.lease, out, binds=ask.binds)
            return
        if note_end(desk, ask, self._identity, self._acceptor, now, out):
            self._counts["noted"] += 1
            return
        if self._end(desk, ask.lease, now) and ask.binds:
            desk.binding[ask.lease] = None
        self._pump(desk, now, out)

    def _end(self, desk: Desk, lease: LeaseId, now: Instant) -> bool:
        if len(desk.ends) >= ASKED_CAP:
            self._counts["ends_full"] += 1
            return False
        desk.ends.setdefault(lease, now.mono)
        return True

    def _on_cancel(self, ask: Cancel, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.open(ask.key, now)
        if desk is None:
            return
        asker = (ask.name, ask.boot, ask.request)
        desk.queue.remove(asker)
        if len(desk.cancels) < ASKED_CAP:
            desk.cancels[asker] = None
        self._pump(desk, now, out)

    def _on_mend(self, ask: Mend, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.open(ask.key, now)
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
        desk.known_until = 0
        self._pump(desk, now, out)

    def _on_call(self, call: Call, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.open(call.key, now)
        waiting = self._server.ask(desk, call, now, out) if desk is not None else None
        if desk is None or waiting is None:
            return
        self._pump(desk, now, out)
        self._server.reassure(desk, waiting, now.mono, out)

    def _on_answer(self, answer: Answer, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.get(answer.key)
        roster = self._roster
        if desk is None or roster is None or answer.name not in desk.group or answer.ballot.epoch != roster.epoch:
            return
        if isinstance(answer, Rejected) and answer.reason == Reason.SEALED:
            out.append(Emit(SealMet(roster.epoch)))
        self._proposer.take(desk, answer, now, out)
        self._pump(desk, now, out)

    def _on_seen(self, seen: Seen, now: Instant, out: list[Directive]) -> None:
        desk = self._desks.get(seen.key)
        if desk is not None:
            self._proposer.seen(desk, seen)
            self._pump(desk, now, out)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        if desk.tell_at and now.mono >= desk.tell_at:
            self._usher.tell(desk, now, out)
            self._server.tell_all(desk, now.mono, out)
        while True:
            round_ = desk.round
            if round_ is not None:
                if round_.reached():
                    if not self._reached(desk, round_, now, out):
                        return
                elif round_.hopeless():
                    self._lost(desk, round_, now, out)
                else:
                    return
            elif not self._step(desk, now, out):
                if desk.tell_at and desk.queue.tickets:
                    self._agenda.sooner(desk.key, desk.tell_at, out)
                return

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
        epoch = self._roster.epoch
        if desk.ready is None:
            if not desk.has_errand() and not desk.calls and desk.queue.first_fresh(mono) is None:
                self._desks.look_again(desk, now, out)
                return False
            if mono < desk.known_until and desk.only_waited_for(mono):
                self._agenda.sooner(desk.key, desk.known_until, out)
                return False
            self._proposer.prepare(desk, epoch, now, out)
            return True
        if desk.calls:
            return self._server.propose(desk, now, out)
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
        if alive and self._answer_again(desk, alive, blocked, change, now, out):
            return True
        mistaken = self._usher.decline(desk, alive, out)
        if not blocked:
            ticket = desk.queue.next_for(base, alive, mono)
            if ticket is not None:
                if fills(alive, ticket.mode) and alive and desk.learnt_at != mono:
                    # Whoever has died since would be counted to a round that it takes no part in.
                    self._proposer.prepare(desk, epoch, now, out)
                else:
                    self._grants.first(desk, alive, ticket, change, now, out)
                return True
        if alive or blocked:
            return self._while_live(desk, alive, blocked, mistaken, change, now, out)
        if ends or expired or desk.behind or (desk.mend and desk.unmoved):
            self._proposer.propose(desk, base.keeping(()), change, now, out)
            return True
        if mistaken or desk.unread():
            self._proposer.prepare(desk, epoch, now, out)
            return True
        self._replies.settle(desk, (), out)
        desk.mend = False
        self._desks.look_again(desk, now, out)
        return False

    def _answer_again(
        self, desk: Desk, alive: list[Holding], blocked: bool, change: Change, now: Instant, out: list[Directive]
    ) -> bool:
        """See to those that ask although they have been granted it; True if that began a round."""
        mono, roster = now.mono, self._roster
        assert roster is not None
        if not len(desk.queue):
            return False
        for index, holding in enumerate(alive):
            ticket = desk.queue.get(holding.lease.asker)
            if ticket is None or not ticket.fresh(mono):
                continue
            made = desk.made.get(holding.lease.asker)
            if made is not None and made.holding.lease == holding.lease and mono - made.at < made.holding.term // 4:
                # The refresh crossed its grant. The answer names the serial that it is for.
                self._replies.grant(desk, made, out)
                desk.queue.remove(holding.lease.asker)
            elif not blocked and self._grants.may_retry(desk, holding.lease, roster, now):
                self._grants.again(desk, alive, index, ticket, change, now, out)
                return True
        return False

    def _while_live(
        self,
        desk: Desk,
        alive: list[Holding],
        blocked: bool,
        mistaken: bool,
        change: Change,
        now: Instant,
        out: list[Directive],
    ) -> bool:
        mono, roster = now.mono, self._roster
        assert roster is not None
        if alive and (desk.behind or change.ends or change.expired) and not blocked:
            self._proposer.propose(desk, desk.base.keeping(tuple(alive)), change, now, out)
            return True
        read = mistaken or desk.unread()
        if not blocked:
            desk.mend = False
            self._replies.settle(desk, alive, out)
        read |= self._usher.occupied(desk, alive, out)
        if not desk.wanted():
            return False
        again = max(desk.stands_until(), desk.read_at + READ_PAUSE)
        if not read and mono >= again and (busy := self._usher.at_work(desk, now)):
            # Two owners, each with a queue: what the other one grants passes by those who wait here.
            self._usher.forward(desk, busy, now, out)
            self._desks.look_again(desk, now, out)
            return False
        if read or mono >= again:
            self._proposer.prepare(desk, roster.epoch, now, out)
            return True
        self._agenda.at(desk.key, again, out)
        return False

    # --- time ---------------------------------------------------------------------------------------------------------

    def _due(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        mono = now.mono
        desk.queue.forget_stale(mono)
        self._server.forget_stale(desk, mono)
        round_ = desk.round
        if round_ is not None:
            if not desk.wanted() and isinstance(round_.message, Prepare):
                desk.round = None
            elif not self._proposer.repeat(desk, round_, now, out):
                self._lost(desk, round_, now, out)
        self._pump(desk, now, out)
        self._desks.look_again(desk, now, out)

    # --- help ---------------------------------------------------------------------------------------------------------

    def _regroup(self, now: Instant, out: list[Directive]) -> None:
        """Another roster counts. Whoever waits here for what other nodes keep now is passed on, with its age."""
        for desk in self._desks.regroup():
            if self._identity.name in desk.group:
                self._pump(desk, now, out)
            else:
                self._usher.dismiss(desk, now, out)
                self._desks.leave(desk)

    def _load(self) -> None:
        self._roster = self._source.roster
        if self._roster is not None:
            self._desks.placement = placement_of(self._roster)
            self._proposer.longest = self._roster.max_ttl
