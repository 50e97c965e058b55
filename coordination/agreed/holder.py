"""The holder: what asks for leases, believes in them, renews and releases them. It runs wherever the asking program
runs, also alone in a thin client.

The life of a request:

    ASKING       acquire sent; each attempt and refresh has a new serial. Unanswered for 250 ms, it goes also to the
    next in rank CONFIRMING   a grant after a wait: its first term is short, so it is renewed, each max(50 ms, RTT),
    until q answer HELD         believed until the deadline (`belief`) gone         released, cancelled, ended: the
    wire request is never used again

  - Only the addressee ends a grant. A grant for a request that is not wanted (any more) is answered with its release;
    one that is merely too old is left alone. (A cancelled waiter would hold the lock for a term.)
  - The belief ends when a release is *issued*. The release is repeated until q or the owner confirm it, or the lease
    has run out, and the next acquire of that key carries it.
  - Renewals go straight to the group, all leases of this node in one message an acceptor.
  - No quorum is said only after 2 s in which nobody had q answers, with a roster known and no abstention pending; never
    because an owner is silent, and never because this process itself slept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable

from coordination.agreed.agenda import Agenda
from coordination.agreed.boots import BootRecord
from coordination.agreed.events import (
    Busy,
    Ended,
    Ending,
    Granted,
    Released,
    Renewed,
    RenewFailed,
    RosterDecided,
    Unavailable,
)
from coordination.agreed.messages import (
    Acquire,
    Cancel,
    CancelDone,
    Drop,
    Dropped,
    Grant,
    Mend,
    Occupied,
    Reason,
    Release,
    ReleaseDone,
    Renew,
    RenewAnswer,
    RenewItem,
    RenewResult,
    Waiting,
)
from coordination.agreed.placement import Group, Placement
from coordination.agreed.ports import Identity, RosterSource, View
from coordination.agreed.requests import Leaving, LeavingKey, Request, State
from coordination.agreed.roster import RosterValue
from coordination.agreed.tickets import refresh_interval
from coordination.agreed.values import LeaseId, lease_text
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Arm, Boot, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Holder"]

MS = 1_000_000
ANSWER_WITHIN = 250 * MS
TICK = 100 * MS
CONFIRM_EVERY = 50 * MS
UNAVAILABLE_AFTER = 2 * NANOSECONDS
MARGIN_PERCENT = 5
RENEWALS_PER_TTL = 3
RENEW_RETRIES_PER_TTL = 12
LEAVING_CAP = 4096
"""Releases and cancels that are still repeated; beyond it the oldest is left to run out."""


class Holder:
    name = "holder"
    messages = (Grant, Waiting, Occupied, ReleaseDone, CancelDone, Dropped, RenewAnswer)

    def __init__(
        self, identity: Identity, view: View, roster: RosterSource, random: random.Random,
        boots: BootRecord | None = None,
    ) -> None:  # fmt: skip
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
        self._held: dict[int, Request] = {}
        """CONFIRMING and HELD, by wire number."""
        self._leaving: dict[LeavingKey, Leaving] = {}
        self._agenda: Agenda[int | LeavingKey] = Agenda("ask")
        self._tick_at = 0
        self._counts: Counter[str] = Counter()
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Grant: self._on_grant,
            Waiting: self._on_waiting,
            Occupied: self._on_occupied,
            ReleaseDone: self._on_release_done,
            CancelDone: self._on_cancel_done,
            Dropped: self._on_dropped,
            RenewAnswer: self._on_renew_answer,
        }

    # --- commands -----------------------------------------------------------------------------------------------------

    def next_request(self) -> int:
        self._next += 1
        return self._next

    def acquire(self, request: int, key: str, *, kind: str, ttl: int, wait: bool, renew: bool, now: Instant) -> Directives:
        """Ask for a lease of register `key`; `kind` is `lock` or `lease` (which binds something from the start)."""
        out: list[Directive] = []
        record = Request(request, key, ttl, now, wait=wait, renew=renew, binds=kind == "lease")
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
        record.renew_asked = now.boot
        record.renew_at = now.boot
        self._renew_due(now, out)
        self._arm_tick(now, out, record)
        return out

    def bind(self, request: int, now: Instant) -> Directives:
        """The lease binds something from now on: its end has to be written as a cell."""
        out: list[Directive] = []
        record = self._requests.get(request)
        if record is None or record.binds:
            return out
        record.binds = record.bind_asked = True
        if record.state is not State.ASKING:
            record.renew_at = now.boot
            self._renew_due(now, out)
        return out

    def token(self, request: int) -> int | None:
        record = self._requests.get(request)
        return None if record is None or record.lease is None else record.lease.token

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
        if timer == "tick":
            self._tick(now, out)
            return out
        for due in self._agenda.take(now.mono):
            if not isinstance(due, int):
                if due in self._leaving:
                    self._leave_again(due, now, out)
                continue
            record = self._wires.get(due)
            if record is not None and record.state is State.ASKING:
                self._ask_again(record, now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._load()
            for record in list(self._wires.values()):
                if record.state is State.ASKING and record.group is None:
                    record.quorum_at = now.mono
                    self._ask(record, now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {
            "requests": len(self._requests), "held": len(self._held), "leaving": len(self._leaving), **self._counts
        }  # fmt: skip

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, record: Request, now: Instant, out: list[Directive]) -> None:
        if self._placement is None:
            self._load()
        if self._placement is None:
            self._agenda.at(record.wire, now.mono + ANSWER_WITHIN, out)
            return
        if record.group is None:
            record.group = self._placement.group(record.key)
            record.quorum_at = now.mono
        group = record.group
        if not record.owner:
            record.owner = next((name for name in group if self._view.is_alive(name)), group[0])
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
        serial = record.belief.sending(now.boot)
        age = max(1, now.mono - record.queued_at) if record.queued_at else 0
        ended: tuple[LeaseId, ...] = ()
        if self._leaving:
            ended = tuple(
                [leaving.lease for leaving in self._leaving.values() if leaving.lease and leaving.key == record.key][:8]
            )
        ask = Acquire(
            record.key, self._identity.name, self._identity.boot, record.wire, serial, record.wait, record.binds,
            record.ttl, age, ended,
        )  # fmt: skip
        for name in targets:
            record.asked[name] = None
            out.append(Send(name, ask))
        self._agenda.at(record.wire, now.mono + ANSWER_WITHIN, out)

    def _ask_again(self, record: Request, now: Instant, out: list[Directive]) -> None:
        if record.group is not None:
            late = now.mono - record.sent_at - ANSWER_WITHIN - refresh_interval(record.ttl)
            if late > ANSWER_WITHIN:
                # This process itself has slept: that is nobody's silence.
                record.quorum_at = max(record.quorum_at, now.mono - ANSWER_WITHIN)
            if now.mono < record.abstaining:
                record.quorum_at = now.mono
            if now.mono - record.quorum_at >= UNAVAILABLE_AFTER:
                missing = record.missing or tuple(record.group)
                self._leave(record, now, out, tell=False)
                reason = f"fewer than {record.group.quorum} of {len(record.group)} voters answered for 2 s"
                out.append(Emit(Unavailable(record.name, missing, reason)))
                return
        self._ask(record, now, out)

    def _on_waiting(self, answer: Waiting, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING or record.group is None:
            return
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
        again = max(record.sent_at + refresh_interval(record.ttl), now.mono + 1)
        self._agenda.at(record.wire, again, out)

    def _on_occupied(self, answer: Occupied, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING or record.wait:
            return
        self._leave(record, now, out, tell=False)
        out.append(Emit(Busy(record.name, answer.holder)))

    # --- grants -------------------------------------------------------------------------------------------------------

    def _on_grant(self, grant: Grant, now: Instant, out: list[Directive]) -> None:
        lease = grant.lease
        if lease.name != self._identity.name or lease.boot != self._identity.boot:
            return
        record = self._wires.get(lease.request)
        if record is None or (record.lease is not None and record.lease != lease):
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
        record.ballot = grant.ballot
        record.value = grant.value
        record.boots = grant.boots
        record.owner = grant.owner
        self._held[record.wire] = record
        self._agenda.drop(record.wire)
        if grant.handed or grant.term < record.ttl:
            record.state = State.CONFIRMING
            record.renew_at = now.boot
            self._renew_due(now, out)
        else:
            self._hold(record, now, out)
        self._arm_tick(now, out, record)

    def _hold(self, record: Request, now: Instant, out: list[Directive]) -> None:
        assert record.lease is not None
        record.state = State.HELD
        record.renew_at = now.boot + record.ttl // RENEWALS_PER_TTL
        out.append(Emit(Granted(record.name, record.lease.token, record.belief.deadline)))
        self._counts["granted"] += 1

    def _refuse(self, grant: Grant, now: Instant, out: list[Directive]) -> None:
        """A grant that nobody here wants: it is ended by this node's word, and repeated like any release."""
        self._counts["unwanted"] += 1
        if grant.lease in self._leaving:
            return
        cancelled = self._leaving.get((grant.lease.request,))
        ghost = Request(grant.lease.request, grant.key, grant.term, now, wait=False, renew=False, binds=False)
        ghost.lease = grant.lease
        ghost.owner = grant.owner
        ghost.binds = any(holding.binds for holding in grant.value.holdings if holding.lease == grant.lease)
        ghost.group = self._placement.group(grant.key) if self._placement is not None else None
        self._start_leaving(ghost, now, out, tell=False)
        if cancelled is not None:
            self._left((grant.lease.request,), out)

    # --- renewals -----------------------------------------------------------------------------------------------------

    def _renew_due(self, now: Instant, out: list[Directive]) -> None:
        """Send the renewals that are due, all for one acceptor in one message."""
        batches: dict[str, list[RenewItem]] = {}
        for record in self._held.values():
            if now.boot < record.renew_at or not (
                record.renew or record.renew_asked or record.bind_asked or record.state is State.CONFIRMING
            ):
                continue
            if record.lease is None or record.group is None or not record.belief.valid(now.boot):
                continue
            retry = CONFIRM_EVERY if record.state is State.CONFIRMING else record.ttl // RENEW_RETRIES_PER_TTL
            record.renew_at = now.boot + retry
            serial = record.belief.sending(now.boot)
            item = RenewItem(
                record.key, record.lease, serial, record.ttl, record.binds, record.ballot, record.value,
                self._boots.group(record.group),
            )  # fmt: skip
            for name in record.group:
                batches.setdefault(name, []).append(item)
        for name, items in batches.items():
            out.append(Send(name, Renew(self._identity.name, self._identity.boot, tuple(items))))

    def _on_renew_answer(self, answer: RenewAnswer, now: Instant, out: list[Directive]) -> None:
        if answer.holder_boot != self._identity.boot or self._roster is None:
            return
        for result in answer.results:
            record = self._wires.get(result.request)
            if record is not None and record.group is not None and record.key == result.key:
                self._renewal(record, record.group, answer, result, self._roster, now, out)

    def _renewal(
        self, record: Request, group: Group, answer: RenewAnswer, result: RenewResult, roster: RosterValue,
        now: Instant, out: list[Directive],
    ) -> None:  # fmt: skip
        if record.lease is None or answer.name not in group:
            return
        if result.boots:
            self._boots.learn(group, result.boots)
        if result.reason != Reason.OK:
            self._counts[f"renewal_refused_{result.reason}"] += 1
            if result.reason in (Reason.BALLOT, Reason.LIVE):
                target = next((name for name in group if self._view.is_alive(name)), group[0])
                out.append(Send(target, Mend(record.key)))
            return
        named = dict(zip(group, result.boots or self._boots.group(group), strict=False))
        moved = record.belief.renewed(
            answer.name, answer.boot, named, result.serial, record.ttl, roster, group.quorum, now.boot
        )
        if not moved:
            return
        start = record.belief.confirmed_since(group.quorum)
        record.ending_told = False
        record.bind_asked = False
        if record.state is State.CONFIRMING:
            self._hold(record, now, out)
        if record.renew_asked and start >= record.renew_asked:
            record.renew_asked = 0
            out.append(Emit(Renewed(record.name, record.belief.deadline)))
        record.renew_at = max(record.renew_at, start + record.ttl // RENEWALS_PER_TTL)
        self._arm_tick(now, out, record)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _tick(self, now: Instant, out: list[Directive]) -> None:
        self._tick_at = 0
        for record in list(self._held.values()):
            if not record.belief.valid(now.boot):
                self._over(record, now, out)
            elif now.boot >= self._ending_at(record) and not record.ending_told and record.state is State.HELD:
                record.ending_told = True
                out.append(Emit(Ending(record.name)))
        self._renew_due(now, out)
        self._arm_tick(now, out, *self._held.values())

    def _over(self, record: Request, now: Instant, out: list[Directive]) -> None:
        """The deadline has passed."""
        confirming = record.state is State.CONFIRMING
        if confirming:
            # It was never told to anyone: ask again, under a new number, and let go of this identity.
            record.belief.end()
            self._forget(record)
            self._start_leaving(record, now, out, tell=False)
            again = Request(record.name, record.key, record.ttl, now, wait=record.wait, renew=record.renew, binds=record.binds)
            again.wire = self.next_request()
            again.queued_at = record.queued_at
            again.quorum_at = record.quorum_at
            self._requests[record.name] = self._wires[again.wire] = again
            self._ask(again, now, out)
            return
        if not record.ending_told:
            out.append(Emit(Ending(record.name)))
        if record.renew_asked:
            out.append(Emit(RenewFailed(record.name, "it ended before enough voters answered")))
        self._forget(record)
        out.append(Emit(Ended(record.name, "its time ran out before it could be renewed")))

    def _ending_at(self, record: Request) -> int:
        return record.belief.deadline - record.belief.term * MARGIN_PERCENT // 100

    def _arm_tick(self, now: Instant, out: list[Directive], *records: Request) -> None:
        """See to it that a tick comes within 100 ms, or sooner if one of `records` needs it."""
        if not self._held:
            return
        soonest = now.boot + TICK
        for record in records:
            if record.state is State.CONFIRMING:
                soonest = min(soonest, record.renew_at, record.belief.deadline)
                continue
            soonest = min(soonest, record.belief.deadline if record.ending_told else self._ending_at(record))
            if record.renew or record.renew_asked or record.bind_asked:
                soonest = min(soonest, record.renew_at)
        at = now.mono + max(soonest - now.boot, MS)
        if not self._tick_at or at < self._tick_at:
            self._tick_at = at
            out.append(Arm("tick", at))

    def _forget(self, record: Request) -> None:
        if self._requests.get(record.name) is record:
            del self._requests[record.name]
        self._wires.pop(record.wire, None)
        self._held.pop(record.wire, None)
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
        self._start_leaving(record, now, out, tell=tell)

    def _start_leaving(self, record: Request, now: Instant, out: list[Directive], *, tell: bool) -> None:
        if len(self._leaving) >= LEAVING_CAP:
            self._left(next(iter(self._leaving)), out)
        # By then every acceptor has let go of it by itself.
        leaving = Leaving(record, now.mono + record.ttl + record.ttl // 8, tell=tell)
        key: LeavingKey = record.lease if record.lease is not None else (record.wire,)
        self._leaving[key] = leaving
        me, boot = self._identity.name, self._identity.boot
        if record.lease is not None:
            target = record.owner or (record.group[0] if record.group else me)
            out.append(Send(target, Release(record.key, record.lease, record.binds)))
        else:
            for name in record.asked:
                out.append(Send(name, Cancel(record.key, me, boot, record.wire)))
        self._agenda.at(key, now.mono + ANSWER_WITHIN, out)

    def _leave_again(self, key: LeavingKey, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving[key]
        if now.mono >= leaving.until:
            self._left(key, out)
            return
        leaving.tries += 1
        if leaving.lease is not None and leaving.group is not None:
            target = next((name for name in leaving.group if self._view.is_alive(name)), leaving.group[0])
            out.append(Send(target, Release(leaving.key, leaving.lease, leaving.binds)))
            for name in leaving.group:
                if name not in leaving.acks:
                    out.append(Send(name, Drop(leaving.key, leaving.lease)))
        elif leaving.lease is None:
            cancel = Cancel(leaving.key, self._identity.name, self._identity.boot, leaving.asker)
            for name in leaving.asked:
                if name not in leaving.acks:
                    out.append(Send(name, cancel))
        self._agenda.at(key, now.mono + ANSWER_WITHIN * min(4, leaving.tries), out)

    def _on_release_done(self, answer: ReleaseDone, now: Instant, out: list[Directive]) -> None:
        if answer.lease in self._leaving:
            self._left(answer.lease, out)

    def _on_dropped(self, answer: Dropped, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving.get(answer.lease)
        if leaving is None or leaving.group is None:
            return
        if answer.acceptor in leaving.group:
            leaving.acks[answer.acceptor] = None
            if len(leaving.acks) >= leaving.group.quorum:
                self._left(answer.lease, out)

    def _on_cancel_done(self, answer: CancelDone, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving.get((answer.request,))
        if leaving is None or answer.boot != self._identity.boot:
            return
        leaving.acks[answer.owner] = None
        if all(name in leaving.acks for name in leaving.asked):
            self._left((answer.request,), out)

    def _left(self, key: LeavingKey, out: list[Directive]) -> None:
        leaving = self._leaving.pop(key)
        self._agenda.drop(key)
        for name in leaving.names:
            out.append(Emit(Released(name)))

    # --- help ---------------------------------------------------------------------------------------------------------

    def _wanted(self, boot: Boot, request: int) -> Request | None:
        return self._wires.get(request) if boot == self._identity.boot else None

    def _load(self) -> None:
        self._roster = self._source.roster
        if self._roster is not None:
            self._placement = Placement(self._roster)
