"""Who leads the rounds that become cuts (see docs/cuts.md), through one atomic register.

    read      the register: the newest cut, and the round that is open
    open      the next round, or this one anew with more ends, by compare-and-set; then everyone is asked to report
    decide    with all reports, by compare-and-set from that very opening

The owner of the register leads, about once a minute; two leaders at once disturb each other and harm nothing, as only one
compare-and-set succeeds. Ended are: older processes and older lives of a name that is alive, who has left, who has been dead
for `end_after` or was given up by an operator (`mesh end`), and what returning members name. Without a quorum there is no
cut, and nothing is forgotten.

Who was cut off for longer than that, and is back, asks the leader for the cuts that its old store waits for, and these follow
each other closely. (What it wrote and acknowledged there is seen by nobody meanwhile, itself included: at the usual pace for
two minutes.) Rounds are safe at any pace; so that nobody can have them all the time, only so many in a row.

Whom the open round has ended is told so by whoever leads; a leader that was cut off for long reads it in the register, and
starts anew like the others. If nobody is left whom the round has to count, one whose store had been counted goes on from it
(`Standing.take_over`), and the round is opened anew with those that are alive. As the leader may be a process with nothing,
whoever has waited for long to be welcomed leads, too. A leader that had not been counted goes on only if nobody else can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Protocol

from coordination.agreed.atomics.atomic import MAX_ATOMIC_BYTES, NOTHING, Op, OpKind
from coordination.agreed.atomics.caller import Caller
from coordination.agreed.vocabulary.events import Called, CallFailed, RosterDecided
from coordination.agreed.vocabulary.placement import Placement, placement_of
from coordination.errors import BadConfig
from coordination.stillness import Stillness, stillness
from crdt.clock import COUNTER_BITS, Instant
from crdt.cuts import NO_CUT, Cut, End, Opening, Report, make_cut
from mesh.directives import NANOSECONDS, Act, Arm, Directive, Directives, Event, Message, Send, Source
from mesh.membership import Member, State
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
END_AFTER = 600 * NANOSECONDS
NAMES_KEPT = 4_096
GIVEN_UP_FOR = 120 * NANOSECONDS
"""For which an operator's word is repeated to whoever leads."""
LIVES_TRIED = 16
PATIENCE = 45 * NANOSECONDS
"""For which a leader whose store no cut had counted waits for another one to take over."""
FORGET_AFTER_MS = 7 * 86_400_000
"""For which the slots of counters of whoever a cut has ended stay apart."""


class Members(Protocol):
    def get(self, name: str) -> Member | None: ...


class View(Protocol):
    def names_alive(self) -> Sequence[str]:
        """The same object as long as nothing has changed of those that are alive."""

    def session(self, name: str) -> bytes | None: ...


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
        self.end_after = END_AFTER
        """ns after which a member that is dead is ended."""
        self._own = own
        self._replication = replication
        self._standing: Standing = replication.standing
        self._caller = caller
        self._view = view
        self._members = members
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
        self._named: dict[bytes, tuple[str, bytes]] = {}
        """Of actors that were alive: name and session."""
        self._missing: dict[bytes, int] = {}
        """Since when an actor that has to report is not alive (mono ns)."""
        self._given_up: dict[bytes, int] = {}
        """Sessions that an operator has given up, and until when that is repeated (mono ns)."""
        self._seen: tuple[Sequence[str], bytes, int] = ((), b"", -1)
        """Who was alive, under which actor, and how many lives had been noted, when `_living` was made."""
        self._living: dict[bytes, tuple[str, bytes]] = {}
        self._noted: dict[bytes, tuple[str, bytes]] = {}
        """Those alive whose names were noted last."""
        self._counts: Counter[str] = Counter()

    def give_up(self, name: str, now: Instant) -> Directives:
        """An operator's word that a member which is dead will not come back: the next cut ends it, and not only after
        `end_after`. If it does come back, it joins as any that was ended, and brings back what nobody has seen.

        Raises
        ------
        BadConfig: there is no such member, or it is alive.
        """
        member = self._members.get(name)
        if member is None:
            raise BadConfig(f"there is no member {name!r}: `mesh members` lists them")
        if name == self._own or member.reachable:
            raise BadConfig(f"{name!r} is {member.state.value}: stop it first, or have it leave with `mesh leave`")
        self._given_up[member.boot.session] = now.mono + GIVEN_UP_FOR
        self._counts["given_up"] += 1
        out: list[Directive] = []
        self._pass_on(self._leader(), now, out)
        return out

    def _pass_on(self, leader: str | None, now: Instant, out: list[Directive]) -> None:
        """The operator's word, to whoever leads."""
        cut = self._standing.cut
        for session, until in list(self._given_up.items()):
            if now.mono > until or not any(cut.counts(actor) for actor in self._actors_of(session)):
                del self._given_up[session]
            elif leader == self._own:
                self._hurry()
            elif leader is not None:
                out.append(Send(leader, GivenUp(session)))

    def _actors_of(self, session: bytes) -> tuple[bytes, ...]:
        return session, actor_of(session, self._standing.lives.get(session, 0))

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
            alive = [session for _, session in self._alive().values()]
            if message.session not in alive:
                self._given_up[message.session] = now.mono + GIVEN_UP_FOR
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = [Arm("tick", now.mono + TICK)]
        self._note_alive(now)
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
        standing, alive = self._standing, self._alive()
        leader = self._leader()
        opening = self._state.opening
        waited_for = {*standing.cut.counted} - {*alive}
        if leader == self._own and self._phase == "reports" and opening is not None:
            ended = {end.actor for end in opening.ends}
            waited_for = {*self._state.cut.counted, *opening.members} - ended - {*self._reports}
        voters = () if self._placement is None else self._placement.group(REGISTER)
        names = {name for name, _ in alive.values()}
        return stillness(self._own, voters, leader, names, standing.open, waited_for, self._name_of)

    def _name_of(self, actor: bytes) -> str:
        name, _ = self._named.get(actor, ("", b""))
        return name or f"a process that is gone ({actor.hex()[:8]})"

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

    def _alive(self) -> dict[bytes, tuple[str, bytes]]:
        """The actors of those alive, this node among them. Not to be changed: it is made anew when one of them has changed."""
        standing = self._standing
        names, actor = self._view.names_alive(), standing.actor
        seen, own, noted = self._seen
        if names is seen and actor == own and noted == standing.noted:
            return self._living
        alive = {actor: (self._own, standing.session)}
        for name in names:
            session = self._view.session(name)
            if session is not None:
                alive[actor_of(session, standing.lives.get(session, 0))] = (name, session)
        self._seen, self._living = (names, actor, standing.noted), alive
        return alive

    def _note_alive(self, now: Instant) -> None:
        alive = self._alive()
        if alive is not self._noted:
            self._noted = alive
            self._named.update(alive)
            while len(self._named) > NAMES_KEPT:
                del self._named[next(iter(self._named))]
                self._noted = {}  # it may have been one of them
        if self._missing:
            for actor in [actor for actor in self._missing if actor in alive]:
                del self._missing[actor]

    def _ends(self, now: Instant) -> dict[bytes, End]:
        cut, opening = self._state.cut, self._state.opening
        standing = self._standing
        gone = {each.actor for each in cut.retired}
        ends = {end.actor: end for end in (opening.ends if opening is not None else cut.ended)}
        summary = self._replication.store.dots.summary()
        wanted = {*cut.counted, *[actor for actor, _ in (*summary.vector, *summary.extras)], *standing.joiners}
        wanted.update(opening.members if opening is not None else ())
        for report in self._reports.values():
            wanted.update(report.joiners)
        self._recognise(wanted - gone - {*ends} - {*self._alive()})
        alive = self._alive()
        for actor in sorted(wanted - gone - {*ends} - {*alive}):
            end = self._ended(actor, alive, now)
            if end is not None:
                ends[actor] = end
        for actor in self._strangers:
            if actor not in gone and actor not in ends and actor not in alive:
                ends[actor] = End(actor, lost=True)
        for actor in [actor for actor in self._missing if actor not in wanted]:
            del self._missing[actor]
        for actor in [actor for actor in self._named if actor in gone]:
            del self._named[actor]
            self._noted = {}
        return ends

    def _recognise(self, strangers: set[bytes]) -> None:
        """Some may be later lives of those that are alive: what life a member leads is told by its frames, and in a large mesh
        most have sent this one none yet. (They were taken for dead, ended, and began anew again and again.)"""
        standing = self._standing
        for actor in sorted(strangers - {*self._named}):
            for _, session in self._alive().values():
                known = standing.lives.get(session, 0)
                for life in range(known + 1, known + 1 + LIVES_TRIED if session != standing.session else 0):
                    if actor_of(session, life) == actor:
                        standing.note_life(session, life)

    def _ended(self, actor: bytes, alive: dict[bytes, tuple[str, bytes]], now: Instant) -> End | None:
        name, session = self._named.get(actor, ("", b""))
        successor = next((other for other in alive.values() if other[0] == name), None) if name else None
        if successor is not None:
            return End(actor, lost=successor[1] == session)  # a new life of one process may bring something back
        member = self._members.get(name) if name else None
        if member is not None and member.state is State.LEFT:
            return End(actor, lost=False)
        if any(actor in self._actors_of(each) for each in self._given_up):
            return End(actor, lost=True)
        since = self._missing.setdefault(actor, now.mono)
        return End(actor, lost=True) if now.mono - since >= self.end_after else None

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
        ends = self._ends(now)
        if standing.actor in ends:
            self._rest(now.mono + RETRY)
            return
        if opening is not None and {*ends} == {end.actor for end in opening.ends}:
            self._gather(now, out)
            return
        members: tuple[bytes, ...] = opening.members if opening is not None else ()
        if {*cut.counted, *members} <= {*ends}:
            members = tuple(sorted(self._alive()))
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
        over = not (named - ended) & {*self._alive()}
        if over and (standing.led in named or not self._another_can(named) or standing.waits(now.mono) >= PATIENCE):
            out.append(Act(self._replication, self._replication.take_over(cut, ended, now)))
        elif standing.open and standing.actor in ended:
            out.append(Act(self._replication, self._replication.start_anew(now)))
        elif standing.open:
            out.append(Act(self._replication, self._replication.meet(cut, now)))
        return not standing.open or standing.actor in ended or standing.cut.round != cut.round

    def _another_can(self, named: set[bytes]) -> bool:
        """Whether somebody else is alive who was counted in an earlier life: its store is the better one to go on from."""
        standing = self._standing
        for _, session in self._alive().values():
            last = standing.lives.get(session, 0)
            lives = range(max(0, last - LIVES_TRIED), last + 1)
            if session != standing.session and any(actor_of(session, life) in named for life in lives):
                return True
        return False

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
        for actor, (name, _) in self._alive().items():
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
