"""The keeper: what a holder holds, kept alive until it is given back or its time is over.

- Renewals go straight to the group, up to 32 that are due in one message an acceptor: each ttl/3, repeated each ttl/12 until
  q have answered. Whatever was not sent for half of its ttl/3 goes with them, so what was granted one after the other is soon
  renewed together: few messages for all leases of a node. (Never before ttl/6: voters that are `sparing` count on ttl/8, and
  beside a short lease whose renewals are repeated a long one would be repeated as often.)
- What is repeated goes in a message of its own, and so as a datagram, which takes as many as fit. (Several are too large for
  one, and go over a stream. One that was cut off sends again when TCP does, after 0.2, 0.4, 0.8 s and so on, and whatever is
  repeated waits behind it: after seconds of silence all leases of a node could end though datagrams came through.)
- A handed-over grant has a short first term. If somebody goes on renewing it, it is told at once, and is renewed for the first
  time after 50 ms, then each 50 ms until q have answered: a body that is over by then costs no renewal. (A renewal on receipt
  is a round trip and two messages for each voter, for a lease that is given back a millisecond later.) Until then a process
  that stands still has the first term alone.
- It is confirmed in the same way first, from its receipt on, if nobody would renew it (it has to last its ttl from the start),
  if so much of its term is over that the body would soon be cancelled, if a delay follows it (none is waited for before its
  first renewal), and if it binds something.
- An acceptor that refuses one for a promise, or for what is live there, is behind: the owner is asked to mend it, or the next
  in rank if that one has answered no renewal for half a ttl. (The view may take half a minute to see a death, and the dead
  owner was asked to the end: the lease was lost though a majority was there.)
- A tick comes within 100 ms, sooner if something is due: at 5 % of the term before the deadline the body has to be
  cancelled (`Ending`), at the deadline it is over. The deadline counts in boot time, ticks in monotonic time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coordination.agreed.holding.requests import Request, State
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import Ending, Granted, Renewed
from coordination.agreed.vocabulary.messages import Mend, Reason, Renew, RenewAnswer, RenewItem, RenewResult
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.tickets import FIRST_RENEWAL
from coordination.agreed.vocabulary.values import FREE
from crdt.clock import Instant
from mesh.directives import Arm, Directive, Emit, Send

__all__ = ["TICK_TIMER", "Keeper"]

MS = 1_000_000
TICK_TIMER = "tick"
TICK = 100 * MS
CONFIRM_EVERY = FIRST_RENEWAL
MARGIN_PERCENT = 5
VALUES_SENT = 8
"""A renewal quotes the value that granted it, up to so many leases in it. (With 64 it is 8 KiB, for each of 64 holders, to each
acceptor, each third of a ttl.) An acceptor that has not heard of the lease says so then, and is mended."""
ITEMS_A_MESSAGE = 32
"""Renewals in one message: about 10 KiB, 60 KiB if keys and names are of the longest and each quotes its value. (Without a
bound 12,600 leases are more than a stream's frame holds, 4 MiB: all of them would be dropped, and dropped again.)"""
RENEWALS_PER_TTL = 3
LEFT_OF_TERM = 2
"""Of a first term at least this part has to be left for a body to begin on it."""
RENEW_RETRIES_PER_TTL = 12
SILENT_PER_TTL = 2
"""Whoever has answered no renewal for this part of its ttl, more than from one to the next, is not asked to mend anything."""
COMPANY_PER_TTL = 6
"""What was not sent for this part of its ttl goes with what is due."""
REFUSALS = {
    Reason.BALLOT: "renewal_refused_ballot",
    Reason.LIVE: "renewal_refused_live",
    Reason.ABSTAIN: "renewal_refused_abstaining",
    Reason.OVER: "renewal_refused_over",
    Reason.BEHIND: "renewal_refused_behind",
    Reason.EPOCH: "renewal_refused_epoch",
    Reason.SEALED: "renewal_refused_sealed",
    Reason.UNSTARTED: "renewal_refused_unstarted",
}


class Keeper:
    """Requests that are being confirmed or are held, by wire number."""

    __slots__ = ("_boots", "_counts", "_held", "_identity", "_tick_at", "_view", "epoch")

    def __init__(self, identity: Identity, view: View, boots: BootRecord, counts: Counter[str]) -> None:
        self._identity = identity
        self._view = view
        self._boots = boots
        self._counts = counts
        self._held: dict[int, Request] = {}
        self._tick_at = 0
        self.epoch = 1
        """Of the roster by whose groups renewals are counted."""

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, record: Request, now: Instant, out: list[Directive], *, handed: bool) -> None:
        """A grant that is believed has come."""
        self._held[record.wire] = record
        record.handed = handed
        if handed and not self._enough(record, now):
            record.state = State.CONFIRMING
            self.renew((record,), now, out)
        else:
            self._hold(record, now, out)
        self._arm((record,), now, out)

    def drop(self, wire: int) -> None:
        self._held.pop(wire, None)

    def regroup(self, now: Instant, out: list[Directive]) -> None:
        """Another roster counts: renew everything there at once."""
        for record in self._held.values():
            record.belief.regroup()
            record.grouped_at = now.mono
            record.renew_at = now.boot
        self.renew(self._held.values(), now, out)
        self._arm(self._held.values(), now, out)

    def renew_now(self, record: Request, now: Instant, out: list[Directive]) -> None:
        """Renew it at once, whether it is due or not; `Renewed` follows once q have answered to this or a later sending."""
        record.renew_asked = record.belief.serial + 1
        record.renew_at = now.boot
        self.renew((record,), now, out)
        self._arm((record,), now, out)

    def renew(self, records: Iterable[Request], now: Instant, out: list[Directive], *, company: bool = False) -> None:
        """Send the renewals that are due among these; with `company` also those that were not sent for a while."""
        batches: dict[str, list[RenewItem]] = {}
        boot = now.boot
        for record in records:
            confirming = record.state is State.CONFIRMING
            due = record.renew_at
            if company and not record.handed:
                due = min(due, record.renewed_at + record.ttl // COMPANY_PER_TTL)
            if boot < due or not (confirming or record.renew or record.renew_asked or record.bind_asked):
                continue
            if record.lease is None or record.group is None or not record.belief.valid(boot):
                continue
            record.renewed_at = boot
            record.renew_at = boot + (CONFIRM_EVERY if record.handed else record.ttl // RENEW_RETRIES_PER_TTL)
            item = RenewItem(
                record.key,
                record.lease,
                record.belief.sending(boot),
                record.ttl + record.delay,
                record.binds,
                record.ballot,
                record.value if len(record.value.holdings) <= VALUES_SENT else FREE,
                self._boots.group(record.group),
            )
            if record.unanswered:
                again = self._message([item])
                out.extend([Send(name, again) for name in record.group])
                continue
            record.unanswered = True
            for name in record.group:
                batches.setdefault(name, []).append(item)
        for name, items in batches.items():
            for first in range(0, len(items), ITEMS_A_MESSAGE):
                out.append(Send(name, self._message(items[first : first + ITEMS_A_MESSAGE])))

    def _message(self, items: list[RenewItem]) -> Renew:
        return Renew(self._identity.name, self._identity.boot, tuple(items), self.epoch)

    def answered(
        self,
        record: Request,
        group: Group,
        answer: RenewAnswer,
        result: RenewResult,
        roster: RosterValue,
        now: Instant,
        out: list[Directive],
    ) -> None:
        """One acceptor's answer to a renewal of `record`."""
        if record.lease is None or answer.name not in group:
            return
        if result.boots:
            self._boots.learn(group, result.boots)
        if result.reason != Reason.OK:
            self._counts[REFUSALS.get(result.reason, "renewal_refused")] += 1
            if result.reason in (Reason.BALLOT, Reason.LIVE, Reason.BEHIND, Reason.UNSTARTED):
                out.append(Send(self._mender(record, group, answer.name, now.mono), Mend(record.key)))
            return
        named = dict(zip(group, result.boots or self._boots.group(group), strict=False))
        belief = record.belief
        moved = belief.renewed(answer.name, answer.boot, named, result.serial, record.ttl, roster, group.quorum, now.boot)
        if not moved and not belief.valid(now.boot):
            return
        start, serial = belief.confirmed(group.quorum)
        if moved:
            record.ending_told = record.handed = record.unanswered = False
            if record.state is State.CONFIRMING:
                self._hold(record, now, out)
        # Also without a move: what was asked for in the moment of another sending ends no later than that.
        if record.bind_asked and serial >= record.bind_asked:
            record.bind_asked = 0
        if record.renew_asked and serial >= record.renew_asked:
            record.renew_asked = 0
            out.append(Emit(Renewed(record.name, belief.deadline)))
        if moved:
            record.renew_at = max(record.renew_at, start + record.ttl // RENEWALS_PER_TTL)
            self._arm((record,), now, out)

    def tick(self, now: Instant, out: list[Directive]) -> list[Request]:
        """The timer fired. Those whose time is over, which the caller sees to."""
        self._tick_at = 0
        over = []
        due = False
        for record in self._held.values():
            due = due or (now.boot >= record.renew_at and record.renew)
            if not record.belief.valid(now.boot):
                over.append(record)
            elif record.state is State.HELD and not record.ending_told and now.boot >= self._ending_at(record):
                record.ending_told = True
                out.append(Emit(Ending(record.name)))
        self.renew(self._held.values(), now, out, company=due)
        return over

    def ticked(self, now: Instant, out: list[Directive]) -> None:
        """After a tick, once what was over is gone."""
        self._arm(self._held.values(), now, out)

    def _hold(self, record: Request, now: Instant, out: list[Directive]) -> None:
        assert record.lease is not None
        record.state = State.HELD
        record.renewed_at = now.boot
        record.renew_at = now.boot + (FIRST_RENEWAL if record.handed else record.ttl // RENEWALS_PER_TTL)
        out.append(Emit(Granted(record.name, record.lease.token, record.belief.deadline)))
        self._counts["granted"] += 1

    def _mender(self, record: Request, group: Group, refuser: str, mono: int) -> str:
        """Who acts for the register, as far as that shows: the first that is alive in the view and has answered a renewal of
        late, but the one that refuses now at the latest."""
        since = max(record.quorum_at, record.grouped_at)
        for name in group:
            if name == refuser:
                break
            if self._view.is_alive(name) and mono - record.voices.get(name, since) <= record.ttl // SILENT_PER_TTL:
                return name
        return refuser

    @staticmethod
    def _enough(record: Request, now: Instant) -> bool:
        """Whether a body may begin on the first term of what was handed over, and rely on its renewal."""
        if not record.renew or record.delay or record.binds:
            return False
        return record.belief.deadline - now.boot >= record.belief.term // LEFT_OF_TERM

    @staticmethod
    def _ending_at(record: Request) -> int:
        return record.belief.deadline - record.belief.term * MARGIN_PERCENT // 100

    def _arm(self, records: Iterable[Request], now: Instant, out: list[Directive]) -> None:
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
            out.append(Arm(TICK_TIMER, at))
