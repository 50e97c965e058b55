"""Explain one register: every voter of its group is asked what it keeps, and whoever is silent is named.

What is *decided* is what q voters, which do not abstain, have accepted at one and the same ballot. Whatever was decided before
they were asked is that, or older; so an answer may be given as soon as q agree, whoever is silent. (What one voter alone has
accepted may never be decided: a leader would be told that nobody elected.) If all have answered and no q agree, a change was
given up half-way: the first of the group that has answered is asked to complete it. (The owner has died, perhaps, and is alive
in the view for many seconds yet: nothing is completed, and a majority that is up is called none.)

In an elastic roster an answer counts only of a voter that serves the asked one's newest roster at that moment, and only under a
ballot of that roster, as long as an earlier one may keep something: q such answers say that it had not been left when they were
asked. (Of a register that has not been moved yet the new voters know nothing: nobody would hold what somebody holds. Those that
have been replaced tell of whoever held it last.) What has not been moved that one is asked to move, and it is looked at again;
whoever goes by another roster is told, or tells.

A lease that is given back without a round is noted by q voters, one after the other (see `noting`). Who is told of the end by
fewer passes the holder's word on to those that had not heard of it, and asks them again, before it answers that nobody holds
it: so does the reader of an atomic register with a value that it found at fewer than a majority (Attiya, Bar-Noy and Dolev,
1995). (The next one that asks meets those that have not noted it, and is told that the former holder leads.)

An answer names the process that asked. (It waits for the voter's disk, and goes to whoever has the asker's name by then. That
one counts its questions from 1 as well: with q answers to the first question of the process before it, it is told of a holder
that has given the lock back since. Only a voter of an earlier version names none.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.owning.owner import Owner
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.events import Explained, Explanation
from coordination.agreed.vocabulary.messages import Drop, Mend, Reason
from coordination.agreed.vocabulary.placement import Group, placement_of
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.registers import split_register
from coordination.agreed.vocabulary.succession_messages import EpochAsk, ExplainStanding
from coordination.agreed.vocabulary.telling_messages import ExplainAnswer, ExplainAsk, Waiter
from coordination.agreed.vocabulary.values import FREE, LeaseId
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Arm, Directive, Directives, Disarm, Emit, Event, Message, Send, Source

__all__ = ["Inspector"]

ANSWER_WITHIN = NANOSECONDS // 2
QUEUE_SHOWN = 16
CLOSED = {
    Reason.SEALED: "a change of the roster is under way",
    Reason.UNCONFIRMED: "no majority has said of late that its roster is the newest",
    Reason.FORGOTTEN: "it has forgotten what it promised about the next roster",
}
REASONS = {
    Reason.BALLOT: "it has promised to a higher ballot",
    Reason.LIVE: "a lease that the value lacks is live there",
    Reason.TOKEN: "the token is off its clock, or too low",
    Reason.BOOT: "the proposal rests on a promise of an earlier process",
    Reason.ABSTAIN: "it does not vote yet",
    Reason.EPOCH: "it goes by another roster",
}


class Question:
    __slots__ = ("answers", "early", "epoch", "group", "key", "moved", "passed_on", "standings")

    def __init__(self, key: str, group: Group, *, early: bool, epoch: int = 0, moved: bool = True) -> None:
        self.key = key
        self.group = group
        self.early = early
        self.epoch = epoch
        """Of the elastic roster that its voters have to serve; 0: it matters to nobody."""
        self.moved = moved
        """Whether no earlier roster can keep anything of it."""
        self.answers: dict[str, ExplainAnswer] = {}
        self.standings: dict[str, ExplainStanding] = {}
        self.passed_on = False
        """Those that had not noted an end have been told of it, and asked again."""

    def decided(self) -> ExplainAnswer | None:
        """An answer that q give alike."""
        ballots = self._alike()
        for answer in self.answers.values():
            if ballots[answer.accepted] >= self.group.quorum:
                return answer
        return None

    def _alike(self) -> Counter[Ballot]:
        """How many of those that count have accepted what."""
        return Counter([answer.accepted for answer in self.answers.values() if remembers(answer) and self._serves(answer)])

    def _serves(self, answer: ExplainAnswer) -> bool:
        """Whether its voter serves the roster that counts, and what it says is of that one."""
        if not self.epoch:
            return True
        standing = self.standings.get(answer.voter)
        serves = standing is not None and standing.epoch == self.epoch and standing.closed == Reason.OK
        return serves and (self.moved or answer.accepted.epoch == self.epoch)

    def done(self) -> bool:
        heard = sum([not self.epoch or name in self.standings for name in self.answers])
        if heard == len(self.group):
            return True
        if self.epoch and max(self._alike().values(), default=0) + len(self.group) - heard < self.group.quorum:
            return True  # whatever the others say
        decided = self.decided() if self.early else None
        return decided is not None and all(self._clear(holding.lease) for holding in decided.value.holdings)

    def _clear(self, lease: LeaseId) -> bool:
        """Whether those that have not answered make no difference to whether it is held. (Its end may have been noted by q, and
        one that answers missed it.)"""
        return self.ended(lease) or len(self.told(lease)) >= self.group.quorum or not self.may_hold(lease)

    def may_hold(self, lease: LeaseId) -> bool:
        """Whether q may still wait for it: who has not answered might, who has forgotten may have told its holder so, and who
        has not heard of it may since."""
        waits = len(self.told(lease))
        for name in self.group:
            answer = self.answers.get(name)
            waits += answer is None or (
                not waits_for(answer, lease) and (not remembers(answer) or self._unheard(answer, lease))
            )
        return waits >= self.group.quorum

    def _unheard(self, answer: ExplainAnswer, lease: LeaseId) -> bool:
        """Whether its voter may come to wait for a lease of which it says nothing: it was passed over when that was granted, or
        has learned of it by another one's renewal (`Renewing`). A renewal of its own, or a change that completes the register,
        tells it. Who has let it run out refuses it for ever, and who has accepted a later value without it knows that it was
        over. (Such a one answers, then the holder is renewed there, and then one answers that has let it run out: q that do
        not wait, and nobody was told to hold what was held all the time.)"""
        if lease in answer.ended or any(live.lease == lease for live in answer.leases):
            return False
        named = [other.accepted for other in self.answers.values() if other.value.has(lease)]
        return answer.value.has(lease) or answer.accepted < max(named, default=ZERO)

    def unknown(self) -> bool:
        """Whether q may wait for a lease of the decided value, and nobody that answered does: a change has to tell."""
        decided = self.decided()
        held = decided.value.holdings if decided is not None else ()
        return any(not self.ended(each.lease) and not self.told(each.lease) and self.may_hold(each.lease) for each in held)

    def ended(self, lease: LeaseId) -> bool:
        """Whether anyone knows that it was given back. Of the q that noted it one is among any q that answer, and
        nobody believes in it any more."""
        return any(lease in answer.ended for answer in self.answers.values())

    def unsure(self) -> tuple[LeaseId, ...]:
        """What has ended of the decided value by the word of fewer than q."""
        decided = self.decided()
        held = decided.value.holdings if decided is not None else ()
        return tuple([each.lease for each in held if self.ended(each.lease) and not self._surely(each.lease)])

    def _surely(self, lease: LeaseId) -> bool:
        return len(self.noted(lease)) >= self.group.quorum

    def noted(self, lease: LeaseId) -> list[str]:
        """Who said that it was given back, and keeps that in mind."""
        return [name for name, each in self.answers.items() if remembers(each) and lease in each.ended]

    def told(self, lease: LeaseId) -> list[int]:
        """The ns that those who have answered still wait for it, if they do."""
        return [left for answer in self.answers.values() if (left := waits_for(answer, lease))]


def waits_for(answer: ExplainAnswer, lease: LeaseId) -> int:
    """ns."""
    return next((live.remaining for live in answer.leases if live.lease == lease), 0)


def remembers(answer: ExplainAnswer) -> bool:
    """Whether it speaks for all that its name has ever accepted or promised."""
    return answer.firm and not answer.abstaining


class Inspector:
    name = "inspector"
    messages = (ExplainAsk, ExplainAnswer, ExplainStanding)
    hears: tuple[type[Event], ...] = ()

    def __init__(
        self,
        identity: Identity,
        view: View,
        birth: Birth,
        acceptor: Acceptor,
        owner: Owner,
        memory: VoterMemory | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._standing = standing or Standing(identity)
        self._identity = identity
        self._view = view
        self._birth = birth
        self._acceptor = acceptor
        self._owner = owner
        self._memory = memory
        self._questions: dict[int, Question] = {}
        self._counts: Counter[str] = Counter()

    def explain(self, query: int, key: str, now: Instant, *, early: bool = False) -> Directives:
        """Answered by `Explained(query, ...)` once all of the group answered, or after 0.5 s; `early`: once q agree."""
        roster = self._birth.roster
        if roster is None:
            waiting = self._birth.waiting_for()
            note = f"there is no roster yet; known founders: {', '.join(waiting)}"
            return (Emit(Explained(query, Explanation(key, (), None, None, None, None, (), (), (), (), note))),)
        group = placement_of(roster).group(key)
        epoch = roster.epoch if early and roster.elastic else 0
        moved = not epoch or not self._standing.past(key, now)
        self._questions[query] = Question(key, group, early=early, epoch=epoch, moved=moved)
        ask = ExplainAsk(query, self._identity.name, key, self._identity.boot)
        return (*(Send(name, ask) for name in group), Arm(query, now.mono + ANSWER_WITHIN))

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if isinstance(message, ExplainAsk):
            out: list[Directive] = []
            if self._memory is not None and not self._memory.trouble(now.mono):
                self._memory.rest(out)
            self._stand(message, now, out)
            out.append(Send(message.name, self._answer(message, now)))
            return out
        if isinstance(message, ExplainStanding | ExplainAnswer) and message.asker not in (self._identity.boot, NO_BOOT):
            self._counts["outdated"] += 1
            return ()
        if isinstance(message, ExplainStanding):
            asked = self._questions.get(message.query)
            if asked is None or message.voter not in asked.group:
                return ()
            asked.standings[message.voter] = message
            return (*self._differ(message, now), *self._settle_if_done(message.query, asked, now))
        if isinstance(message, ExplainAnswer):
            question = self._questions.get(message.query)
            if question is not None and message.voter in question.group and message.key == question.key:
                question.answers[message.voter] = message
                return self._settle_if_done(message.query, question, now)
        return ()

    def _settle_if_done(self, query: int, question: Question, now: Instant) -> Directives:
        return self._settle(query, question, now) if question.done() else ()

    def _differ(self, voter: ExplainStanding, now: Instant) -> Directives:
        """One that was asked goes by another roster: whoever is behind is told."""
        standing = self._standing
        if voter.epoch < standing.epoch:
            return (Send(voter.voter, standing.chain(now)),)
        if voter.epoch > standing.epoch:
            return (Send(voter.voter, EpochAsk(standing.epoch, 0, self._identity.name)),)
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return self._conclude(timer, now) if isinstance(timer, int) and timer in self._questions else ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    def _settle(self, query: int, question: Question, now: Instant) -> Directives:
        """Enough have answered. If they know of an end by too few, the others are told of it first, once."""
        unsure = question.unsure() if question.early else ()
        if not unsure or (len(question.answers) == len(question.group) and question.passed_on):
            return (Disarm(query), *self._conclude(query, now))
        if question.passed_on:
            return ()
        question.passed_on = True
        self._counts["ends_passed_on"] += 1
        out: list[Directive] = []
        for name in question.group:
            missed = [lease for lease in unsure if name not in question.noted(lease)]
            if missed:
                question.answers.pop(name, None)
                question.standings.pop(name, None)
                out.extend([Send(name, Drop(question.key, lease, self._standing.epoch)) for lease in missed])
                out.append(Send(name, ExplainAsk(query, self._identity.name, question.key, self._identity.boot)))
        return out

    def _stand(self, ask: ExplainAsk, now: Instant, out: list[Directive]) -> None:
        standing = self._standing
        roster = standing.roster
        if roster is not None and roster.elastic:
            register = self._acceptor.register(ask.key)
            started = register.accepted.epoch if register is not None else 0
            closed = standing.closed(now)
            own = self._identity.name
            out.append(Send(ask.name, ExplainStanding(ask.query, own, roster.epoch, closed, started, ask.boot)))

    def _answer(self, ask: ExplainAsk, now: Instant) -> ExplainAnswer:
        register = self._acceptor.register(ask.key)
        desk = self._owner.desk(ask.key)
        waiting: tuple[Waiter, ...] = ()
        called: tuple[str, ...] = ()
        trouble = self._memory.trouble(now.mono) if self._memory is not None else ""
        firm = not trouble
        notes = [f"does not vote: {trouble}"] if trouble else []
        if desk is not None:
            # Who is in the value does not wait, though the owner may not have heard yet that it is accepted.
            held = [holding.lease.asker for holding in register.value.holdings] if register is not None else []
            shown = [each for each in desk.queue.all() if each.asker not in held][:QUEUE_SHOWN]
            waiting = tuple([Waiter(each.asker[0], now.mono - each.arrived, each.mode.permits) for each in shown])
            if desk.round is not None:
                for name, refusal in desk.round.refusals.items():
                    notes.append(f"{name} refused: {REASONS.get(refusal.reason, f'reason {refusal.reason}')}")
            called = tuple([each.call.name for each in desk.calls.all()][:QUEUE_SHOWN])
        promised = accepted = ZERO
        value = FREE
        live = []
        ended: tuple[LeaseId, ...] = ()
        if register is not None:
            promised, accepted, value = register.promised, register.accepted, register.value
            ended = tuple(register.ended)
            live = register.live(now.mono)
        left = self._acceptor.abstaining(ask.key, now)
        if is_atomic(ask.key):
            left = 0  # no matter of time: it votes once it has read the register back
            if not self._acceptor.atomic.remembers(ask.key):
                firm = False
                notes.append("has no memory of it")
        return ExplainAnswer(
            ask.query,
            ask.key,
            self._identity.name,
            promised,
            accepted,
            value,
            tuple(live),
            left,
            (*[each.name for each in waiting], *called),
            "; ".join(notes),
            waiting,
            firm,
            ended,
            ask.boot,
        )

    def _conclude(self, query: int, now: Instant) -> list[Directive]:
        question = self._questions.pop(query)
        standings = [question.standings[name] for name in question.group if name in question.standings]
        answers = [question.answers[name] for name in question.group if name in question.answers]
        decided = question.decided() if not (question.early and (question.unsure() or question.unknown())) else None
        best = decided or max(answers, key=lambda answer: answer.accepted, default=None)
        value = best.value if best is not None else FREE
        owner = next((name for name in question.group if self._view.is_alive(name)), None)
        holders = []
        for holding in value.holdings:
            lease = holding.lease
            told = question.told(lease)
            left = max(told, default=0)
            # One that was not told of a release keeps to the lease for a ttl, and so might all who have not answered.
            if left and not question.ended(lease) and question.may_hold(lease):
                holders.append((lease.name, lease.token, left / NANOSECONDS, holding.permits))
        holder, token, remaining, _ = holders[0] if holders else (None, None, None, 0)
        queue = max((answer.queue for answer in answers), key=len, default=())
        waiting = max((answer.waiting for answer in answers), key=len, default=())
        explanation = Explanation(
            question.key,
            tuple(question.group),
            owner,
            holder,
            token,
            remaining,
            tuple((answer.voter, _text(answer.promised), _text(answer.accepted)) for answer in answers),
            queue,
            tuple((answer.voter, answer.abstaining / NANOSECONDS) for answer in answers if answer.abstaining),
            tuple(name for name in question.group if name not in question.answers),
            "; ".join(f"{answer.voter}: {answer.note}" for answer in answers if answer.note),
            split_register(question.key)[0],
            tuple(holders),
            value.limit,
            value.shut and bool(holders),
            tuple((each.name, each.age / NANOSECONDS, each.permits) for each in waiting),
            decided is not None,
            value.state,
            self._standing.epoch,
            self._standing.told(now),
            tuple((each.voter, each.epoch, _closed(each.closed), each.started) for each in standings),
            not standings or sum(each.started >= self._standing.epoch for each in standings) >= question.group.quorum,
        )
        out: list[Directive] = [Emit(Explained(query, explanation))]
        if decided is None and len(answers) >= question.group.quorum:
            out.append(Send(answers[0].voter, Mend(question.key)))
        return out


def _text(ballot: Ballot) -> str:
    return f"{ballot.epoch}.{ballot.counter} by {ballot.name}" if ballot.counter else "none"


def _closed(reason: int) -> str:
    return CLOSED.get(reason, f"reason {reason}") if reason else ""
