"""Who leads the rounds that become cuts (see docs/cuts.md), through one atomic register.

    read      the register: the newest cut, and the round that is open
    open      the next round, or this one anew with more ends, by compare-and-set; then everyone is asked to report
    decide    with all reports, by compare-and-set from that very opening

The owner of the register leads, about once a minute; two leaders at once disturb each other and harm nothing, as only one
compare-and-set succeeds. Whom they end is told by `attendance`. Without a quorum there is no cut, and nothing is forgotten.

Who was cut off for longer than `end_after`, and is back, asks the leader for the cuts that its old store waits for, and these
follow each other closely. (What it wrote and acknowledged there is seen by nobody meanwhile, itself included: at the usual
pace for two minutes.) Rounds are safe at any pace; so that nobody can have them all the time, only so many in a row.

Whom the open round has ended is told so by whoever leads; a leader that was cut off for long reads it in the register, and
starts anew like the others. If nobody is left whom the round has to count, one whose store had been counted goes on from it
(`Standing.take_over`), and the round is opened anew with those that are alive. As the leader may be a process with nothing,
whoever has waited for long to be welcomed leads, too. A leader that had not been counted goes on only if nobody else can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.atomics.atomic import MAX_ATOMIC_BYTES, NOTHING, Op, OpKind
from coordination.agreed.atomics.caller import Caller
from coordination.agreed.vocabulary.events import Called, CallFailed, RosterDecided
from coordination.agreed.vocabulary.placement import Placement, placement_of
from coordination.attendance import Attendance, Members, View
from coordination.stillness import Stillness, stillness
from crdt.clock import COUNTER_BITS, Instant
from crdt.cuts import NO_CUT, Cut, Opening, Report, make_cut
from mesh.directives import NANOSECONDS, Act, Arm, Directive, Directives, Event, Message, Send, Source
from mesh.replication import Replication
from mesh.replication.applying import LIFE_BITS, actor_of
from mesh.replication.cut_messages import CutNews, GivenUp, Open, Reported, Returning, RoundState
from mesh.replication.standing import STRANDED, Standing
from mesh.values import decode_value, encode_value
from mesh.wire import WireError, decode, encode

__all__ = ["Rounds"]

REGISTER = "atomic/\0cut"
TICK = NANOSECONDS
INTERVAL = 60 * NANOSECONDS
RETRY = 5 * NANOSECONDS
HURRIED = 2 * NANOSECONDS
"""From one cut to the next that somebody waits for."""
IN_A_ROW = 12
"""Hurried rounds, until one has come at the usual pace."""
PATIENCE = 45 * NANOSECONDS
"""For which a leader whose store no cut had counted waits for another one to take over."""
FORGET_AFTER_MS = 7 * 86_400_000
"""For which the slots of counters of whoever a cut has ended stay apart."""


class Rounds:
    """Parameters
    ----------
    own: this node's name.
    """

    name = "rounds"
    messages: tuple[type[Message], ...] = (Reported, Returning, GivenUp)
    hears = (RosterDecided, Called, CallFailed)

    def __init__(self, own: str, replication: Replication, caller: Caller, view: View, members: Members) -> None:
        assert replication.standing is not None
        self.interval = INTERVAL
        self.attendance = Attendance(own, replication, view, members)
        """Who has to report, and whom the next cut ends."""
        self._own = own
        self._replication = replication
        self._standing: Standing = replication.standing
        self._caller = caller
        self._view = view
        self._placement: Placement | None = None
        self._next = 0
        self._decided_at = 0
        self._hurried = 0
        self._phase = ""
        """What is waited for: `read`, `open`, `reports`, `decide`, or nothing."""
        self._call = 0
        self._since = 0
        self._raw = NOTHING
        """What the register holds, encoded, as it was read or set last."""
        self._state = RoundState(NO_CUT, None)
        self._wanted: tuple[RoundState, bytes] | None = None
        self._reports: dict[bytes, Report] = {}
        self._strangers: dict[bytes, None] = {}
        self._counts: Counter[str] = Counter()

    def give_up(self, name: str, now: Instant) -> Directives:
        """An operator's word (`mesh end`) that a member which is dead will not come back: the next cut ends it, and not only
        after `end_after`. If it does come back, it joins as any that was ended, and brings back what nobody has seen.

        Raises
        ------
        BadConfig: there is no such member, or it is alive.
        """
        self.attendance.give_up(name, now)
        self._counts["given_up"] += 1
        out: list[Directive] = []
        self._pass_on(self._leader(), now, out)
        return out

    def _pass_on(self, leader: str | None, now: Instant, out: list[Directive]) -> None:
        """The operator's word, to whoever leads."""
        for session in self.attendance.given_up(now):
            if leader == self._own:
                self._hurry()
            elif leader is not None:
                out.append(Send(leader, GivenUp(session)))

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._next = now.mono + self.interval
        return (Arm("tick", now.mono + TICK),)

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, Reported):
            self._reported(message, source, now, out)
        elif isinstance(message, Returning) and source.name is not None and message.round <= self._state.cut.round:
            self._hurry()
        elif isinstance(message, GivenUp) and source.name is not None:
            self.attendance.give_up_session(message.session, now)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = [Arm("tick", now.mono + TICK)]
        self.attendance.note()
        leader = self._leader()
        if self._standing.held and self._standing.open:
            if leader == self._own:
                self._hurry()
            elif leader is not None:
                out.append(Send(leader, Returning(self._standing.cut.round)))
        self._pass_on(leader, now, out)
        if leader is None or (leader != self._own and self._standing.waits(now.mono) < STRANDED):
            self._rest(now.mono + self.interval)
        elif not self._phase:
            if now.mono >= self._next:
                self._ask("read", None, now, out)
        elif self._phase == "reports":
            if now.mono - self._since > self.interval:
                self._ask("read", None, now, out)  # whom to end may have changed
            else:
                self._spread(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._placement = placement_of(event.roster)
        elif isinstance(event, CallFailed) and event.call == self._call:
            self._counts["rounds_failed"] += 1
            self._rest(now.mono + RETRY)
        elif isinstance(event, Called) and event.call == self._call:
            self._called(event, now, out)
        return out

    @property
    def state(self) -> RoundState:
        """What the register held when it was read or set last."""
        return self._state

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    def stillness(self) -> Stillness:
        """Why no cut is made, for whoever waits for one."""
        standing, alive = self._standing, self.attendance.alive()
        leader = self._leader()
        opening = self._state.opening
        waited_for = {*standing.cut.counted} - {*alive}
        if leader == self._own and self._phase == "reports" and opening is not None:
            ended = {end.actor for end in opening.ends}
            waited_for = {*self._state.cut.counted, *opening.members} - ended - {*self._reports}
        voters = () if self._placement is None else self._placement.group(REGISTER)
        names = {name for name, _ in alive.values()}
        return stillness(self._own, voters, leader, names, standing.open, waited_for, self.attendance.name_of)

    # --- who ---------------------------------------------------------------------------------------------------------

    def _leader(self) -> str | None:
        if self._placement is None:
            return None
        alive = self._view.names_alive()
        for name in self._placement.group(REGISTER):
            if name == self._own or name in alive:
                return name
        return None

    def _hurry(self) -> None:
        """Somebody waits for the next cut."""
        soon = self._decided_at + min(HURRIED, self.interval)
        if not self._phase and soon < self._next and self._hurried < IN_A_ROW:
            self._next = soon
            self._hurried += 1
            self._counts["rounds_hurried"] += 1

    # --- one round ---------------------------------------------------------------------------------------------------

    def _rest(self, until: int) -> None:
        self._phase, self._next, self._call = "", until, 0

    def _ask(self, phase: str, op: Op | None, now: Instant, out: list[Directive]) -> None:
        self._phase, self._since = phase, now.mono
        self._call = self._caller.next_call()
        out.append(Act(self._caller, self._caller.call(self._call, REGISTER, op, now)))

    def _set(self, phase: str, state: RoundState, now: Instant, out: list[Directive]) -> None:
        raw = encode_value(encode(state))
        if len(raw) > MAX_ATOMIC_BYTES:
            self._counts["rounds_too_large"] += 1
            self._rest(now.mono + self.interval)
            return
        self._wanted = (state, raw)
        self._ask(phase, Op(OpKind.CAS, raw, self._raw), now, out)

    def _called(self, event: Called, now: Instant, out: list[Directive]) -> None:
        phase, self._call = self._phase, 0
        if phase == "read":
            assert isinstance(event.outcome, bytes)
            self._raw = event.outcome
            state = _decoded(event.outcome)
            if state is None:
                self._counts["rounds_unreadable"] += 1
                self._rest(now.mono + self.interval)
            else:
                self._state = state
                self._begin(now, out)
            return
        if not event.outcome:
            self._rest(now.mono + TICK)  # another leader was faster
            return
        assert self._wanted is not None
        self._state, self._raw = self._wanted
        if phase == "open":
            self._gather(now, out)
        else:
            self._decided(self._state.cut, now, out)

    def _begin(self, now: Instant, out: list[Directive]) -> None:
        cut = self._state.cut
        standing = self._standing
        if cut.round < standing.cut.round:  # the register was lost, and begun anew
            self._state = RoundState(cut := standing.cut, None)
        opening = self._state.opening
        if self._falls_out(cut, opening, now, out):
            self._rest(now.mono + RETRY)
            return
        ends = self.attendance.ends(self._state, self._reports.values(), self._strangers, now)
        if standing.actor in ends:
            self._rest(now.mono + RETRY)
            return
        if opening is not None and {*ends} == {end.actor for end in opening.ends}:
            self._gather(now, out)
            return
        members: tuple[bytes, ...] = opening.members if opening is not None else ()
        if {*cut.counted, *members} <= {*ends}:
            members = tuple(sorted(self.attendance.alive()))
        attempt = 1 if opening is None else opening.attempt + 1
        opening = Opening(cut.round + 1, attempt, tuple([ends[actor] for actor in sorted(ends)]), members)
        self._set("open", RoundState(cut, opening), now, out)

    def _falls_out(self, cut: Cut, opening: Opening | None, now: Instant, out: list[Directive]) -> bool:
        """Apply the newest cut; whether this member cannot go on with it."""
        standing = self._standing
        ended = {end.actor for end in opening.ends} if opening is not None else set()
        named = {*cut.counted, *(opening.members if opening is not None else ())}
        if standing.open and standing.actor not in ended and standing.cut.round == cut.round:
            return False
        over = not (named - ended) & {*self.attendance.alive()}
        if over and (standing.led in named or not self.attendance.another_can(named) or standing.waits(now.mono) >= PATIENCE):
            out.append(Act(self._replication, self._replication.take_over(cut, ended, now)))
        elif standing.open and standing.actor in ended:
            out.append(Act(self._replication, self._replication.start_anew(now)))
        elif standing.open:
            out.append(Act(self._replication, self._replication.meet(cut, now)))
        return not standing.open or standing.actor in ended or standing.cut.round != cut.round

    def _gather(self, now: Instant, out: list[Directive]) -> None:
        self._phase, self._since = "reports", now.mono
        self._reports.clear()
        self._strangers.clear()
        self._spread(out)

    def _spread(self, out: list[Directive]) -> None:
        """Ask whoever has not reported."""
        opening = self._state.opening
        assert opening is not None
        message = Open(opening)
        for actor, (name, _) in self.attendance.alive().items():
            if actor not in self._reports:
                out.append(Send(name, message))

    def _reported(self, message: Reported, source: Source, now: Instant, out: list[Directive]) -> None:
        opening = self._state.opening
        report = message.report
        life = source.mark & ((1 << LIFE_BITS) - 1) if source.session != self._standing.session else self._standing.life
        if self._phase != "reports" or opening is None or report.actor != actor_of(source.session, life):
            return
        if (message.round, message.attempt) != (opening.round, opening.attempt):
            return
        self._reports[report.actor] = report
        self._strangers.update(dict.fromkeys(message.strangers))
        cut = make_cut(self._state.cut, opening, self._reports, FORGET_AFTER_MS << COUNTER_BITS)
        if cut is not None:
            self._set("decide", RoundState(cut, None), now, out)

    def _decided(self, cut: Cut, now: Instant, out: list[Directive]) -> None:
        self._counts["cuts_decided"] += 1
        if now.mono - self._decided_at >= self.interval:
            self._hurried = 0
        self._decided_at = now.mono
        self._rest(now.mono + self.interval)
        out.append(Act(self._replication, self._replication.meet(cut, now)))
        message = CutNews(cut)
        for name in self._view.names_alive():
            out.append(Send(name, message))


def _decoded(raw: bytes) -> RoundState | None:
    """What the register holds; None if this version cannot read it."""
    if raw == NOTHING:
        return RoundState(NO_CUT, None)
    try:
        data = decode_value(raw)
        state = decode(data) if isinstance(data, bytes) else None
    except WireError:
        return None
    return state if isinstance(state, RoundState) else None
