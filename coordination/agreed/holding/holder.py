"""The holder: what asks for leases, believes in them, renews and releases them. It runs wherever the asking program
runs, also alone in a thin client.

The life of a request:

    ASKING       acquire sent, and sent again, until something comes of it (`asking`)
    CONFIRMING   a grant after a wait that cannot be relied on before its first, short term has been renewed (`keeper`)
    HELD         believed until the deadline (`belief`)
    gone         released, cancelled, ended: the wire request is never used again

  - What cannot be confirmed in time is asked for again, and nobody is told; but a party of a barrier is told that its presence
    has ended. (It may have completed a round, in which the others go on without it: it would be in the next one, or alone.)
  - Only the addressee ends a grant. A grant for a request that is not wanted (any more) is answered with its release;
    one that is merely too old is left alone. (A cancelled waiter would hold the lock for a term.)
  - A lease that ran out here unreleased is not given back by the way, if a delay follows it: a grant of it that is told once
    more is left alone. (A ticket that went round between owners has the old grant told again, the answer ends it, and whoever
    comes next is let in on what the body may have left behind.)
  - The belief ends when a release is *issued*; `leavings` sees to it that it arrives."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from coordination.agreed.holding.asking import Asking
from coordination.agreed.holding.keeper import TICK_TIMER
from coordination.agreed.holding.requests import Request, State
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import Ended, Ending, Released, RenewFailed, RosterDecided
from coordination.agreed.vocabulary.messages import (
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
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.values import LeaseId, lease_text
from coordination.agreed.voting.learner import Decided
from crdt.clock import Instant
from mesh.directives import Directive, Directives, Emit, Event, Message, Source

__all__ = ["Holder"]

RAN_OUT_CAP = 1024


class Holder(Asking):
    name = "holder"
    messages = (Grant, Waiting, Occupied, Declined, ReleaseDone, CancelDone, Dropped, RenewAnswer)
    hears = (RosterDecided, Decided)

    def __init__(
        self,
        identity: Identity,
        view: View,
        roster: RosterSource,
        boots: BootRecord | None = None,
    ) -> None:
        super().__init__(identity, view, roster, boots)
        self._ran_out: dict[LeaseId, int] = {}
        """Leases that a delay follows, and until when (monotonic ns)."""
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
        if record is not None:
            self._leave(record, now, out, tell=True)
        elif not self._leavings.tells(request):
            out.append(Emit(Released(request)))
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
        record.bind_asked = record.belief.serial + 1
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

    def stats(self) -> dict[str, int]:
        return {"requests": len(self._requests), "held": len(self._keeper), "leaving": len(self._leavings), **self._counts}

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
            if record.mode.together:
                out.append(Emit(Ended(record.name, "no majority of the voters confirmed it before its first term was over")))
                return
            again = record.again(now)
            again.wire = self.next_request()
            self._requests[record.name] = self._wires[again.wire] = again
            self._ask(again, now, out)
            if record.group is not None:
                # The silence goes on.
                again.quorum_at = again.silent_at = record.heard(record.group.quorum)
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
