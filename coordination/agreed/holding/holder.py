"""The holder: what asks for leases, believes in them, renews and releases them. It runs wherever the asking program
runs, also alone in a thin client.

The life of a request:

    ASKING       acquire sent; each attempt and refresh has a new serial. Unanswered for 250 ms, it goes also to the
                 next in rank
    CONFIRMING   a grant after a wait that cannot be relied on before its first, short term has been renewed (`keeper`)
    HELD         believed until the deadline (`belief`)
    gone         released, cancelled, ended: the wire request is never used again

  - Only the addressee ends a grant. A grant for a request that is not wanted (any more) is answered with its release;
    one that is merely too old is left alone. (A cancelled waiter would hold the lock for a term.)
  - A lease that ran out here unreleased is not given back by the way, if a delay follows it: a grant of it that is told once
    more is left alone. (A ticket that went round between owners has the old grant told again, the answer ends it, and whoever
    comes next is let in on what the body may have left behind.)
  - The belief ends when a release is *issued*; `leavings` sees to it that it arrives.
  - No quorum is said only after 2 s in which nobody had q answers, with a roster known and no abstention pending; never
    because an owner is silent, and never because this process itself slept: such time is not counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable

from coordination.agreed.holding.keeper import TICK_TIMER, Keeper
from coordination.agreed.holding.leavings import LeavingKey, Leavings
from coordination.agreed.holding.requests import Request, State
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import (
    Busy,
    Ended,
    Ending,
    OtherLimit,
    Released,
    RenewFailed,
    RosterDecided,
    Unavailable,
)
from coordination.agreed.vocabulary.messages import (
    Acquire,
    CancelDone,
    Declined,
    Dropped,
    Grant,
    Occupied,
    ReleaseDone,
    RenewAnswer,
    Waiting,
)
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.agreed.vocabulary.placement import Group, Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.tickets import refresh_interval
from coordination.agreed.vocabulary.values import LeaseId, lease_text
from coordination.agreed.voting.learner import Decided
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Boot, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Holder"]

MS = 1_000_000
ANSWER_WITHIN = 250 * MS
SLEPT = 100 * MS
"""A timer that is later than this says that this process did not run."""
UNAVAILABLE_AFTER = 2 * NANOSECONDS
RAN_OUT_CAP = 1024


class Holder:
    name = "holder"
    messages = (Grant, Waiting, Occupied, Declined, ReleaseDone, CancelDone, Dropped, RenewAnswer)
    hears = (RosterDecided, Decided)

    def __init__(
        self,
        identity: Identity,
        view: View,
        roster: RosterSource,
        random: random.Random,
        boots: BootRecord | None = None,
    ) -> None:
        self._identity = identity
        self._view = view
        self._source = roster
        self._random = random
        self._boots = boots or BootRecord(identity, view)
        self._roster: RosterValue | None = None
        self._placement: Placement | None = None
        self._next = 0
        self._requests: dict[int, Request] = {}
        self._wires: dict[int, Request] = {}
        self._agenda: Agenda[int | LeavingKey] = Agenda("ask")
        self._counts: Counter[str] = Counter()
        self._ran_out: dict[LeaseId, int] = {}
        """Leases that a delay follows, and until when (monotonic ns)."""
        self._leavings = Leavings(identity, view, self._agenda, self._boots, self._counts)
        self._keeper = Keeper(identity, view, self._boots, self._counts)
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Grant: self._on_grant,
            Waiting: self._on_waiting,
            Occupied: self._on_occupied,
            Declined: self._on_declined,
            ReleaseDone: self._leavings.on_release_done,
            CancelDone: self._leavings.on_cancel_done,
            Dropped: self._leavings.on_dropped,
            RenewAnswer: self._on_renew_answer,
        }

    # --- commands -----------------------------------------------------------------------------------------------------

    def next_request(self) -> int:
        self._next += 1
        return self._next

    def acquire(
        self,
        request: int,
        key: str,
        *,
        kind: str,
        ttl: int,
        wait: bool,
        renew: bool,
        now: Instant,
        mode: Mode = EXCLUSIVE,
        delay: int = 0,
    ) -> Directives:
        """Ask for a lease of register `key`; `kind` is `lock` or `lease` (which binds something from the start).

        After it has run out unreleased nobody else is granted it for `delay` ns; `ttl + delay` is at most max_ttl."""
        out: list[Directive] = []
        record = Request(request, key, ttl, now, wait=wait, renew=renew, binds=kind == "lease", mode=mode, delay=delay)
        self._requests[request] = self._wires[request] = record
        self._ask(record, now, out)
        return out

    def cancel(self, request: int, now: Instant) -> Directives:
        """Stop wanting it, in whatever state it is. Nothing stays held, and no ghost in a queue."""
        out: list[Directive] = []
        record = self._requests.get(request)
        if record is not None:
            self._leave(record, now, out, tell=False)
        return out

    def release(self, request: int, now: Instant) -> Directives:
        """Give it back. Belief ends now; `Released` follows."""
        out: list[Directive] = []
        record = self._requests.get(request)
        if record is None:
            out.append(Emit(Released(request)))
        else:
            self._leave(record, now, out, tell=True)
        return out

    def renew(self, request: int, now: Instant) -> Directives:
        """Renew once, now: answered by `Renewed` or `RenewFailed`."""
        out: list[Directive] = []
        record = self._requests.get(request)
        if record is None or record.state is not State.HELD or not record.belief.valid(now.boot):
            out.append(Emit(RenewFailed(request, "it has ended")))
            return out
        self._keeper.renew_now(record, now, out)
        return out

    def bind(self, request: int, now: Instant) -> Directives:
        """The lease binds something from now on: its end has to be written as a cell.

        Nothing, if the voters know that; else `Renewed` follows once q of them do, or `RenewFailed`."""
        out: list[Directive] = []
        record = self._requests.get(request)
        if record is None or (record.binds and not record.bind_asked):
            return out
        record.binds = True
        record.bind_asked = now.boot
        if record.state is not State.ASKING:
            self._keeper.renew_now(record, now, out)
        return out

    def lease(self, request: int) -> LeaseId | None:
        """What it has been granted; None if nothing, or if that is over."""
        record = self._requests.get(request)
        return None if record is None else record.lease

    def deadline(self, request: int) -> int | None:
        record = self._requests.get(request)
        return None if record is None or record.state is not State.HELD else record.belief.deadline

    def valid(self, request: int, now: Instant) -> bool:
        record = self._requests.get(request)
        return record is not None and record.state is State.HELD and record.belief.valid(now.boot)

    def lease_id(self, request: int) -> str:
        record = self._requests.get(request)
        if record is None or record.lease is None:
            raise LookupError(f"request {request} holds no lease")
        return lease_text(record.key, record.lease)

    # --- part ---------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._load()
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        self._handlers[type(message)](message, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if timer == TICK_TIMER:
            for record in self._keeper.tick(now, out):
                self._over(record, now, out)
            self._keeper.ticked(now, out)
            return out
        for due in self._agenda.take(now.mono):
            if not isinstance(due, int):
                self._leavings.repeat(due, now, out)
                continue
            asking = self._wires.get(due)
            if asking is not None and asking.state is State.ASKING:
                self._ask_again(asking, now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, Decided):
            if event.grant is not None:
                self._on_grant(event.grant, now, out)
            for lease in event.ended:
                self._leavings.over(lease, out)
        elif isinstance(event, RosterDecided):
            self._load()
            for record in list(self._wires.values()):
                self._regroup(record, now, out)
            self._keeper.regroup(now, out)
            self._leavings.regroup(self._placement)
        return out

    def _regroup(self, record: Request, now: Instant, out: list[Directive]) -> None:
        """There is a roster, or another one."""
        if record.group is None:
            if record.state is State.ASKING:
                record.quorum_at = now.mono
                self._ask(record, now, out)
        elif self._placement is not None:
            record.group = self._placement.group(record.key)
            if record.state is State.ASKING:
                record.owner = ""
                self._ask(record, now, out)
            elif record.owner not in record.group:
                record.owner = record.group[0]

    def stats(self) -> dict[str, int]:
        return {"requests": len(self._requests), "held": len(self._keeper), "leaving": len(self._leavings), **self._counts}

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, record: Request, now: Instant, out: list[Directive]) -> None:
        if self._placement is None:
            self._load()
        if self._placement is None:
            self._agenda.at(record.wire, now.mono + ANSWER_WITHIN, out)
            return
        if record.group is None:
            longest = self._placement.roster.max_ttl
            if record.ttl + record.delay > longest:
                self._forget(record)
                what = "its ttl and lock_delay together are" if record.delay else "its ttl is"
                reason = f"{what} above {longest / NANOSECONDS:g} s, the longest that this mesh was founded with"
                out.append(Emit(Unavailable(record.name, (), reason)))
                return
            record.group = self._placement.group(record.key)
            record.quorum_at = now.mono
        group = record.group
        if not record.owner:
            record.owner = self._first_alive(group)
            record.rank = group.index(record.owner)
        targets = [record.owner]
        if record.belief.serial and not record.answered:
            # The owner may be dead, whatever the view says: also the next in rank.
            record.rank = (record.rank + 1) % len(group)
            record.owner = group[record.rank]
            if record.owner not in targets:
                targets.append(record.owner)
        record.answered = False
        record.sent_at = now.mono
        record.ask_at = now.mono + ANSWER_WITHIN
        serial = record.belief.sending(now.boot)
        age = max(1, now.mono - record.queued_at) if record.queued_at else 0
        ask = Acquire(
            record.key,
            self._identity.name,
            self._identity.boot,
            record.wire,
            serial,
            record.wait,
            record.binds,
            record.ttl,
            age,
            self._leavings.unconfirmed(record.key),
            *record.mode,
            record.delay,
        )
        for name in targets:
            record.asked[name] = None
            out.append(Send(name, ask))
        self._look_again(record, now, out)

    @staticmethod
    def _mind_sleep(record: Request, now: Instant) -> None:
        """Time in which this process did not run is nobody's silence."""
        late = now.mono - record.due
        if late > SLEPT:
            record.quorum_at = min(now.mono, record.quorum_at + late)
            record.due = now.mono

    def _ask_again(self, record: Request, now: Instant, out: list[Directive]) -> None:
        if record.group is not None:
            self._mind_sleep(record, now)
            if now.mono < record.abstaining:
                record.quorum_at = now.mono
            if now.mono - record.quorum_at >= UNAVAILABLE_AFTER:
                missing = record.missing or tuple(record.group)
                self._leave(record, now, out, tell=False)
                reason = f"fewer than {record.group.quorum} of {len(record.group)} voters answered for 2 s"
                out.append(Emit(Unavailable(record.name, missing, reason)))
                return
            if now.mono < record.ask_at:
                self._look_again(record, now, out)
                return
        self._ask(record, now, out)

    def _look_again(self, record: Request, now: Instant, out: list[Directive]) -> None:
        """When it is to be asked again, or, if that is sooner, when nobody will have had a quorum for 2 s."""
        record.due = max(now.mono + 1, min(record.ask_at, record.quorum_at + UNAVAILABLE_AFTER))
        self._agenda.at(record.wire, record.due, out)

    def _on_waiting(self, answer: Waiting, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING or record.group is None:
            return
        self._mind_sleep(record, now)
        if answer.quorum_age >= 0:
            record.quorum_at = max(record.quorum_at, now.mono - answer.quorum_age)
        record.missing = answer.missing
        if answer.abstaining:
            record.abstaining = max(record.abstaining, now.mono + max(left for _, left in answer.abstaining))
        if answer.serial < record.belief.serial:
            return
        record.answered = True
        if not record.queued_at:
            record.queued_at = now.mono
        if answer.owner in record.group:
            record.owner = answer.owner
            record.rank = record.group.index(answer.owner)
            record.asked[answer.owner] = None
        record.ask_at = max(record.sent_at + refresh_interval(record.ttl), now.mono + 1)
        self._look_again(record, now, out)

    def _on_occupied(self, answer: Occupied, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING or record.wait:
            return
        self._leave(record, now, out, tell=False)
        out.append(Emit(Busy(record.name, answer.holder)))

    def _on_declined(self, answer: Declined, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING:
            return
        self._leave(record, now, out, tell=False)
        out.append(Emit(OtherLimit(record.name, answer.limit)))

    # --- grants -------------------------------------------------------------------------------------------------------

    def _on_grant(self, grant: Grant, now: Instant, out: list[Directive]) -> None:
        lease = grant.lease
        if lease.name != self._identity.name or lease.boot != self._identity.boot:
            return
        record = self._wires.get(lease.request)
        if record is None or (record.lease is not None and record.lease != lease):
            if now.mono < self._ran_out.get(lease, 0):
                self._counts["told_again"] += 1
            else:
                self._refuse(grant, now, out)
            return
        roster = self._roster
        if roster is None or record.group is None or grant.key != record.key:
            return
        if not record.belief.grant(grant.serial, grant.term, roster, now.boot):
            return
        if record.state is not State.ASKING:
            return
        record.lease = lease
        record.quorum_at = now.mono
        record.ballot = grant.ballot
        record.value = grant.value
        record.owner = grant.owner
        if grant.ballot.epoch == roster.epoch:  # else they are of another group
            self._boots.learn(record.group, grant.boots)
        self._agenda.drop(record.wire)
        self._keeper.keep(record, now, out, handed=grant.handed or grant.term < record.ttl)

    def _refuse(self, grant: Grant, now: Instant, out: list[Directive]) -> None:
        """A grant that nobody here wants: it is ended by this node's word, and repeated like any release."""
        self._counts["unwanted"] += 1
        if grant.lease in self._leavings:
            return
        ghost = Request(grant.lease.request, grant.key, grant.term, now, wait=False, renew=False, binds=False)
        ghost.lease = grant.lease
        ghost.owner = grant.owner
        ghost.binds = any(holding.binds for holding in grant.value.holdings if holding.lease == grant.lease)
        ghost.group = self._placement.group(grant.key) if self._placement is not None else None
        self._leavings.start(ghost, now, out, tell=False)
        self._leavings.done((grant.lease.request,), out)

    # --- renewals -----------------------------------------------------------------------------------------------------

    def _on_renew_answer(self, answer: RenewAnswer, now: Instant, out: list[Directive]) -> None:
        if answer.holder_boot != self._identity.boot or self._roster is None or answer.epoch != self._roster.epoch:
            return
        for result in answer.results:
            record = self._wires.get(result.request)
            if record is not None and record.group is not None and record.key == result.key:
                record.voices[answer.name] = now.mono
                self._keeper.answered(record, record.group, answer, result, self._roster, now, out)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _over(self, record: Request, now: Instant, out: list[Directive]) -> None:
        """The deadline has passed."""
        confirming = record.state is State.CONFIRMING
        if confirming:
            # It was never told to anyone: ask again, under a new number, and let go of this identity.
            record.belief.end()
            self._forget(record)
            self._leavings.start(record, now, out, tell=False)
            again = record.again(now)
            again.wire = self.next_request()
            self._requests[record.name] = self._wires[again.wire] = again
            self._ask(again, now, out)
            if record.group is not None:
                # The silence goes on.
                again.quorum_at = record.heard(record.group.quorum)
                self._look_again(again, now, out)
            return
        if not record.ending_told:
            out.append(Emit(Ending(record.name)))
        if record.renew_asked:
            out.append(Emit(RenewFailed(record.name, "it ended before enough voters answered")))
        if record.delay and record.lease is not None:
            self._keep_closed(record.lease, record.delay, now)
        self._forget(record)
        out.append(Emit(Ended(record.name, "its time ran out before it could be renewed")))

    def _keep_closed(self, lease: LeaseId, delay: int, now: Instant) -> None:
        for old, until in list(self._ran_out.items()):
            if now.mono >= until or len(self._ran_out) >= RAN_OUT_CAP:
                del self._ran_out[old]
        self._ran_out[lease] = now.mono + 2 * delay  # more than any clock makes of it

    def _forget(self, record: Request) -> None:
        if self._requests.get(record.name) is record:
            del self._requests[record.name]
        self._wires.pop(record.wire, None)
        self._keeper.drop(record.wire)
        self._agenda.drop(record.wire)

    def _leave(self, record: Request, now: Instant, out: list[Directive], *, tell: bool) -> None:
        record.belief.end()
        if record.renew_asked:
            out.append(Emit(RenewFailed(record.name, "it was released")))
        self._forget(record)
        if record.group is None:
            if tell:
                out.append(Emit(Released(record.name)))
            return
        self._leavings.start(record, now, out, tell=tell)

    # --- help ---------------------------------------------------------------------------------------------------------

    def _first_alive(self, group: Group) -> str:
        """Of a register's group: who acts for it, as far as this node sees."""
        for name in group:
            if self._view.is_alive(name):
                return name
        return group[0]

    def _wanted(self, boot: Boot, request: int) -> Request | None:
        return self._wires.get(request) if boot == self._identity.boot else None

    def _load(self) -> None:
        self._roster = self._source.roster
        if self._roster is not None:
            self._placement = placement_of(self._roster)
            self._keeper.epoch = self._leavings.epoch = self._roster.epoch
