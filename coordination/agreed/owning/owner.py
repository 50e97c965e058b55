"""The owner: serialises one register's acquires and releases, and proposes what comes of them.

Every member of a group can act as the owner, and two at once are slow, never unsafe: the acceptors alone decide. Per
key one round is under way at a time, and what to do next follows from what is asked and what is known:

    asked      tickets (queue), ends and cancels by their holders, checks of leases, a mend
    known      `ready` (the ballot of the next accept) and the register as the last prepare or accept showed it

Here is what is asked; the next step is taken in `stepping`, and what comes of a round in `concluding`.

A question goes to another proposer at once if that one is at work and this node is not, but only once. (Where a round trip
takes long, every question comes to two nodes, answers cross, and the two outbid each other.)"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.atomics.calls import Call
from coordination.agreed.owning.desk import ASKED_CAP, Desk
from coordination.agreed.owning.noting import note_end
from coordination.agreed.owning.round import Answer
from coordination.agreed.owning.stepping import Stepping
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
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.agreed.vocabulary.placement import placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.succession_messages import Seen
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.vocabulary.values import LeaseId, parse_lease
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.keeping import Expired
from coordination.agreed.voting.standing import Standing
from crdt.clock import HybridClock, Instant
from mesh.directives import Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Owner"]

ASKED = frozenset({Acquire, Release, Cancel, Mend, Freed, Call})
"""Of a register; the rest are answers to its proposer."""
COLLECT = 50_000_000
"""A new owner collects the tickets of an older one for this long before it grants."""


class Owner(Stepping):
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
                self._mend(desk, now, out)
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
                desk.checks.setdefault(lease, now.mono)
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
        if desk is not None and desk.mend is None:
            self._mend(desk, now, out)

    def _mend(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        if desk.mend is None:
            desk.mend = now.mono
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
