"""A holder's requests until they are granted or given up: to whom each goes, when it goes again, and what is said if nothing
comes of it.

  - Each attempt and refresh has a new serial. Unanswered for 250 ms, it goes also to the next in rank.
  - No quorum is said only after 2 s in which nobody had q answers, with a roster known and no abstention pending; never
    because an owner is silent, and never because this process itself slept: such time is not counted. Who has answered
    meanwhile is not named as silent. (The operator looks after the wrong node.)"""

from __future__ import annotations

from collections import Counter

from coordination.agreed.holding.keeper import Keeper
from coordination.agreed.holding.leavings import LeavingKey, Leavings
from coordination.agreed.holding.requests import Request, State
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import Busy, OtherLimit, Released, RenewFailed, Unavailable
from coordination.agreed.vocabulary.messages import Acquire, Declined, Occupied, Waiting
from coordination.agreed.vocabulary.placement import Group, Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.tickets import refresh_interval
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Boot, Directive, Emit, Send

__all__ = ["Asking"]

MS = 1_000_000
ANSWER_WITHIN = 250 * MS
SLEPT = 100 * MS
"""A timer that is later than this says that this process did not run."""
UNAVAILABLE_AFTER = 2 * NANOSECONDS
TAKEN_OVER_WITHIN = NANOSECONDS
"""How long a silent owner leaves the next one, whatever is known of q by then. With the pause before one that has answered is
asked again it is less than those two seconds."""


class Asking:
    """The lower layer of `Holder`."""

    def __init__(
        self,
        identity: Identity,
        view: View,
        roster: RosterSource,
        boots: BootRecord | None = None,
    ) -> None:
        self._identity = identity
        self._view = view
        self._source = roster
        self._boots = boots or BootRecord(identity, view)
        self._roster: RosterValue | None = None
        self._placement: Placement | None = None
        self._next = 0
        self._requests: dict[int, Request] = {}
        self._wires: dict[int, Request] = {}
        self._agenda: Agenda[int | LeavingKey] = Agenda("ask")
        self._counts: Counter[str] = Counter()
        self._leavings = Leavings(identity, view, self._agenda, self._boots, self._counts)
        self._keeper = Keeper(identity, view, self._boots, self._counts)

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
        if not record.silent_at:
            record.silent_at = now.mono
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
            if record.silent_at:
                record.silent_at = min(now.mono, record.silent_at + late)
            record.due = now.mono

    def _ask_again(self, record: Request, now: Instant, out: list[Directive]) -> None:
        if record.group is not None:
            self._mind_sleep(record, now)
            if now.mono < record.abstaining:
                record.quorum_at = now.mono
            if now.mono >= self._given_up_at(record):
                missing = record.missing or record.group.silent(record.owners, record.quorum_at)
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
        record.due = max(now.mono + 1, min(record.ask_at, self._given_up_at(record)))
        self._agenda.at(record.wire, record.due, out)

    @staticmethod
    def _given_up_at(record: Request) -> int:
        """An owner that answers says how long ago q have answered it. It reads once a second and is asked twice, so that may be
        1.5 s though all is well: what is left of the 2 s is too short for another one to take over, if it dies then."""
        return max(record.quorum_at + UNAVAILABLE_AFTER, record.silent_at + TAKEN_OVER_WITHIN if record.silent_at else 0)

    def _on_waiting(self, answer: Waiting, now: Instant, out: list[Directive]) -> None:
        record = self._wanted(answer.boot, answer.request)
        if record is None or record.state is not State.ASKING or record.group is None:
            return
        self._mind_sleep(record, now)
        if answer.quorum_age >= 0:
            heard = now.mono - answer.quorum_age
            if heard >= record.quorum_at - ANSWER_WITHIN:  # else it has just begun to act as the owner, and knows no better
                record.silent_at = 0
            record.quorum_at = max(record.quorum_at, heard)
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
            record.owners[answer.owner] = now.mono
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

    # --- another roster -----------------------------------------------------------------------------------------------

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

    # --- given up -----------------------------------------------------------------------------------------------------

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
