"""The proposer: sends a register's rounds, takes their answers in, repeats them, and gives them up.

What a round is for is the owner's concern. Rules:

  - One round a register at a time; a ballot is used once. `desk.ready` is the ballot that the next accept may use, and
    is taken away by its use and by every refusal.
  - Whatever an answer says is learned, also if it is late: newer boots, higher counters, clocks as far as they may be
    merged, who is heard and who abstains.
  - An acceptor that refuses a value for a lease which that lease's own holder has ended is told of the end: the same
    ballot, the same value, and the holder's word with it.
  - Where one roster follows another an accept says what the highest token is, if its value does not. (That lease was given
    back while the register was moved: only voters of the old roster know its token, and the next one is lower.)
  - An accept goes to few at first (`sparing`), and to all as soon as one of them refuses or is silent. (One voter whose
    clock is off, and who refuses every token, costs a round each time.)
  - Completing what is alive for one that is behind, it goes to all at once. (That one counts on no lease that the value would
    lose, so it was spared once more, refused every renewal, and the lease was lost with the next voter.)
  - A round with a refusal is not worth waiting for the silent: it is given up at the first repetition. (Each change of
    the owner would cost a second while one voter of three is down.)
  - After a lost round comes a random pause, doubled with each one until an accept succeeds; a prepare that succeeds is no
    success. (Two proposers outbid each other for ever.) The next prepare tells for how long to wait for a lease that was in
    the way.
  - Where rounds take longer than the longest of those pauses, who was overtaken again by one that ranks before it in the group
    leaves that one the time for a round: its accept arrives before the next prepare does. (Where disks took 400 ms, which is
    slow and not broken, no pause was ever long enough, and two proposers granted nothing.) But only every second time, for the
    other one may hear too few to get anything accepted; and not the first time, for that may be a refusal of long ago.
    (Somebody asked for a lock, and was told that there is no quorum, while its owner paused for one that had died.)"""

from __future__ import annotations

import random
from dataclasses import replace

from coordination.agreed.owning.desk import Change, Desk
from coordination.agreed.owning.round import NO_VOTE, Answer, Round
from coordination.agreed.owning.search import Search
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Accept, Accepted, Prepare, Promise, Reason, Rejected, Voted
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.succession_messages import Look, Seen
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.learner import COMES, HANDED, VOTED, learner_of
from coordination.agreed.voting.standing import Standing
from crdt.clock import HybridClock, Instant
from mesh.directives import NANOSECONDS, Act, Directive, Send

__all__ = ["RESEND_LONGEST", "Proposer"]

MS = 1_000_000
RESEND = 60 * MS
"""First repetition of an unanswered round; then doubled up to the next."""
RESEND_LONGEST = 250 * MS
ROUND_LASTS = NANOSECONDS
"""A round without a quorum after this long starts again with a prepare."""
BACKOFF = 10 * MS
BACKOFF_DOUBLINGS = 4
LOST_KEPT = 4
"""Rounds that another proposer has overtaken, of one desk, whose votes are still waited for."""
GIVES_WAY_LONGEST = 750 * MS
"""With the random pause and a round it is less than the 2 s after which askers take it that there is no quorum."""
SLOW_COUNTS = 5 * NANOSECONDS
"""How long it counts that a round was slow: it may have been a moment's standstill."""
SPARE_LEAST = 20 * MS
"""Those that an accept was not sent to at first get it after this long at the earliest. (By then most rounds are over and have
been followed by others. With 5 ms a busy node was woken 280 times a second for nothing, at 80 us each.)"""
NOT_SERVING = frozenset((Reason.SEALED, Reason.UNCONFIRMED, Reason.FORGOTTEN, Reason.MEMORY, Reason.EPOCH))
"""Such a voter is as good as silent."""
PATIENCE_TRIPS = 3
"""With a refusal, so many smoothed round trips are waited for the others' answers, and as long as the slowest of late."""


class Proposer:
    """The rounds of all desks of one node."""

    __slots__ = (
        "_acceptor", "_agenda", "_boots", "_clock", "_identity", "_random", "_slow", "_slow_at", "_standing",
        "floor", "longest", "trip",
    )  # fmt: skip

    def __init__(
        self,
        identity: Identity,
        standing: Standing,
        clock: HybridClock,
        random: random.Random,
        boots: BootRecord,
        acceptor: Acceptor,
        agenda: Agenda[str],
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._clock = clock
        self._random = random
        self._boots = boots
        self._acceptor = acceptor
        self._agenda = agenda
        self.floor = 0
        """No ballot counter of a forgotten desk was above it."""
        self.longest = 0
        """max_ttl of the roster: beyond it no acceptor waits."""
        self.trip = MS
        """Smoothed ns from a round's start to its quorum."""
        self._slow = 0
        """The slowest of late; it falls by an eighth with each round."""
        self._slow_at = 0

    # --- sending ------------------------------------------------------------------------------------------------------

    def prepare(self, desk: Desk, epoch: int, now: Instant, out: list[Directive]) -> None:
        desk.ready = None
        register = self._acceptor.register(desk.key)
        promised = register.promised.counter if register is not None else 0
        desk.counter = max(desk.counter, self.floor, promised) + 1
        ballot = Ballot(epoch, desk.counter, self._identity.name, self._identity.boot)
        desk.search = None
        self._launch(desk, Prepare(desk.key, ballot, self._boots.group(desk.group)), now, out)
        if epoch > 1 and (register is None or register.accepted.epoch < epoch):
            # Most likely it was not moved yet: no need to wait for the promises before the earlier groups are asked.
            self.search(desk, now, out)

    def search(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        """Ask the register's earlier groups what they hold; False if there are none that count."""
        round_ = desk.round
        levels = self._standing.past(desk.key, now)
        if not levels or round_ is None:
            return False
        if desk.search is None:
            desk.search = Search(levels, self._boots)
            self._look(desk.search, desk.key, round_, now, out)
        return True

    def _look(self, search: Search, key: str, round_: Round, now: Instant, out: list[Directive]) -> None:
        look = Look(key, round_.message.ballot)
        for name in search.silent():
            if name != self._identity.name or self._acceptor.remembers:
                out.append(Send(name, look))
            elif (seen := self._acceptor.look(look, now, out)) is not None:
                search.add(seen)

    def propose(self, desk: Desk, value: Value, change: Change, now: Instant, out: list[Directive], granting: int = -1) -> None:
        """Have `value` accepted at the ballot that is ready; `granting` is the index of the holding that is granted."""
        assert desk.ready is not None
        # What a prepare of this very moment showed. What is older may have been renewed since, for all that it is worth.
        known = desk.waits if desk.read_at == now.mono else {}
        waits = []
        for holding in value.holdings:
            if holding is change.granted:
                # Nobody has believed in a grant that is handed over yet: no delay follows it.
                waits.append(holding.term + (0 if change.handed else holding.delay))
            else:
                waits.append(min(self.longest, known.get(holding.lease, holding.worth)))
        ballot, desk.ready = desk.ready, None
        desk.change = change
        kept = any(holding is not change.granted for holding in value.holdings)
        whole = kept and (desk.mend is not None or (desk.behind and granting < 0))
        if desk.mending(desk.as_of):
            desk.mend = None
        voted = HANDED if change.handed else 0
        if self._identity.name in desk.group:
            # The own acceptor is asked first: it is a call, unless it writes its promises down.
            voted |= COMES if self._acceptor.remembers else VOTED
        register = self._acceptor.register(desk.key)
        if register is not None:
            desk.sparing.look(desk.base, register)
        ends = change.ends
        if owed := desk.sparing.owed(value, desk.ended):
            ends = (*ends, *[lease for lease in owed if lease not in ends])
        floor = desk.highest if ballot.epoch > 1 else 0
        if floor and any(holding.lease.token >= floor for holding in value.holdings):
            floor = 0
        message = Accept(desk.key, ballot, desk.boots, desk.rests, value, tuple(waits), granting, ends, voted, floor)
        self._launch(desk, message, now, out, whole=whole)

    def repeat(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> bool:
        """The round has been under way for a while; False if it is to be given up."""
        running = now.mono - round_.started
        patience = max(min(PATIENCE_TRIPS * self.trip, RESEND_LONGEST), self.slow(now))
        if running >= ROUND_LASTS or (round_.refused() and running >= patience):
            return False
        for name in round_.silent():
            self._deliver(desk, name, round_.message, now, out)
        round_.spared = ()
        if desk.search is not None:
            self._look(desk.search, desk.key, round_, now, out)
        round_.resent += 1
        self._agenda.at(desk.key, now.mono + min(RESEND << round_.resent, RESEND_LONGEST), out)
        return True

    def _launch(
        self, desk: Desk, message: Prepare | Accept, now: Instant, out: list[Directive], *, whole: bool = False
    ) -> None:
        """Begin a round; with `whole` nobody is spared."""
        desk.round = Round(message, desk.group, now.mono)
        desk.counter = max(desk.counter, message.ballot.counter)
        desk.used = now.mono
        own = self._identity.name
        if own in desk.group:
            self._deliver(desk, own, message, now, out)
        few = None
        if isinstance(message, Accept):
            if message.voted & VOTED and not desk.round.votes(own):  # it has refused, or knows more
                desk.round.message = message = replace(message, voted=message.voted & ~VOTED)
            if not whole and (message.voted & VOTED or (self._acceptor.remembers and own in desk.group)):
                few = desk.sparing.few(message, desk.base, desk.group, desk.heard, own, now.mono)
                if few is not None:
                    desk.round.spared = tuple([name for name in desk.group if name != own and name not in few])
        for name in few or desk.group:
            if name != own:
                self._deliver(desk, name, message, now, out)
        first = RESEND if few is None else min(RESEND, max(SPARE_LEAST, PATIENCE_TRIPS * self.trip))
        self._agenda.at(desk.key, now.mono + first, out)

    def _deliver(self, desk: Desk, to: str, message: Prepare | Accept, now: Instant, out: list[Directive]) -> None:
        own = self._identity.name
        if to != own:
            if isinstance(message, Accept):
                if message.voted & COMES and desk.round is not None and desk.round.votes(own):
                    message = replace(message, voted=message.voted | VOTED)  # it is durable by now
                desk.sparing.sent(to, message)
            out.append(Send(to, message))
            return
        acceptor = self._acceptor
        told: list[Directive] = []
        answer = acceptor.accept(message, now, told) if isinstance(message, Accept) else acceptor.prepare(message, now, told)
        if acceptor.remembers and answer is not None:
            # The own vote counts once it is durable, as every other one: so it comes as a message, too, behind the record.
            told.append(Send(to, answer))
            if isinstance(message, Accept) and isinstance(answer, Accepted):
                self._tell_vote(desk, message, answer, told)
            answer = None
        if told:
            out.append(Act(acceptor, told))
        if answer is not None:
            self.take(desk, answer, now, out)  # a call: no message, no second step

    def _tell_vote(self, desk: Desk, message: Accept, answer: Accepted, told: list[Directive]) -> None:
        """To the node that is granted the lease, as to the own proposer: so it need not be told of the grant."""
        if learner := learner_of(message, desk.group):
            told.append(Send(learner, Voted(answer.key, answer.ballot, answer.name, answer.boot, answer.boots)))

    # --- answers ------------------------------------------------------------------------------------------------------

    def take(self, desk: Desk, answer: Answer, now: Instant, out: list[Directive]) -> None:
        """Take an answer in, whether it belongs to the round under way or is late."""
        if answer.boots:
            self._boots.learn(desk.group, answer.boots)
        round_ = desk.round
        if isinstance(answer, Rejected):
            self._heed(desk, answer, now)
        else:
            desk.heard[answer.name] = now.mono
            if desk.abstaining:
                desk.abstaining.pop(answer.name, None)
            if isinstance(answer, Promise):
                self._clock.merge(answer.clock, now)
                desk.sparing.promised(answer.name, answer.ballot, answer.leases)
            else:
                desk.sparing.accepted(answer.name, answer.ballot)
        if round_ is None or not round_.add(answer):
            if desk.lost:
                self._late(desk, answer, now)
            late = isinstance(answer, Rejected) and answer.ballot == desk.ballot and answer.reason not in NO_VOTE
            if late and desk.ready is not None:
                desk.refused()
            return
        if isinstance(answer, Rejected):
            # One of the few will not do: then the others have to.
            spared, round_.spared = round_.spared, ()
            for name in spared:
                self._deliver(desk, name, round_.message, now, out)
            if answer.reason == Reason.LIVE:
                self._tell_ends(desk, round_, answer, now, out)

    def seen(self, desk: Desk, answer: Seen) -> None:
        round_ = desk.round
        if desk.search is not None and round_ is not None and answer.ballot == round_.message.ballot:
            desk.search.add(answer)

    def _heed(self, desk: Desk, answer: Rejected, now: Instant) -> None:
        if answer.reason == Reason.ABSTAIN:
            desk.abstaining[answer.name] = now.mono + answer.left
            return
        if answer.reason in NOT_SERVING:
            return
        desk.heard[answer.name] = now.mono
        desk.abstaining.pop(answer.name, None)
        if answer.reason == Reason.LIVE:
            desk.sparing.refused(answer.name, answer.ballot, answer.leases)
        else:
            desk.sparing.unsure(answer.name)
        desk.counter = max(desk.counter, answer.promised.counter)
        self._clock.merge(answer.clock, now)

    def _tell_ends(self, desk: Desk, round_: Round, answer: Rejected, now: Instant, out: list[Directive]) -> None:
        told = round_.message
        if not isinstance(told, Accept) or answer.name in round_.answers:
            return
        missed: list[LeaseId] = []
        for kept in answer.leases:
            if not kept.remaining or told.value.has(kept.lease) or kept.lease in told.ends:
                continue
            if kept.lease not in desk.ended:
                return
            missed.append(kept.lease)
        if missed:
            again = replace(told, ends=told.ends + tuple(missed))
            round_.refusals.pop(answer.name, None)
            self._deliver(desk, answer.name, again, now, out)

    def gained(self, round_: Round, now: Instant) -> None:
        """A round has its quorum: so long do they take."""
        took = now.mono - round_.started
        self.trip += (took - self.trip) // 8
        self._slow -= self._slow // 8
        self._measure(took, now)

    def _late(self, desk: Desk, answer: Answer, now: Instant) -> None:
        """An answer to a round that was given up: with it that one may have its quorum."""
        for past in desk.lost:
            if past.add(answer) and past.reached():
                desk.lost = tuple([other for other in desk.lost if other is not past])
                self._measure(now.mono - past.started, now)
                return

    def _measure(self, took: int, now: Instant) -> None:
        """So long has a quorum taken. Beyond what a round lasts that is no measure: somebody stood still, or was cut off."""
        if took < ROUND_LASTS and (took > self._slow or now.mono - self._slow_at > SLOW_COUNTS):
            self._slow, self._slow_at = took, now.mono

    def slow(self, now: Instant) -> int:
        """What a quorum has taken at the longest of late, in ns, also one that came when the round had been given up; 0 if no
        random pause is too short for that."""
        return self._slow if self._slow > BACKOFF << BACKOFF_DOUBLINGS and now.mono - self._slow_at <= SLOW_COUNTS else 0

    def lost(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> str:
        """Give the round up, and pause. The name of a proposer that has overtaken it while the register is live, or ``."""
        desk.round = None
        desk.change = None
        desk.ready = None
        refusals = list(round_.refusals.values())
        desk.losses = min(desk.losses + 1, BACKOFF_DOUBLINGS)
        pause = self._random.randrange(1, BACKOFF << desk.losses)
        if all(refusal.reason in NO_VOTE for refusal in refusals):
            pause = RESEND_LONGEST
        higher = [refusal for refusal in refusals if refusal.reason == Reason.BALLOT]
        winner = ""
        if higher:
            desk.lost = (*desk.lost[1 - LOST_KEPT :], round_)
            winner = max(higher, key=lambda refusal: refusal.promised).promised.name
            if desk.losses > 1 and desk.group.outranks(winner, self._identity.name):
                desk.gives_way = not desk.gives_way
                if desk.gives_way:
                    slow = self.slow(now)
                    pause += min(slow + slow // 2, GIVES_WAY_LONGEST)
        desk.backoff = now.mono + pause
        self._agenda.at(desk.key, desk.backoff, out)
        return winner if any(refusal.left for refusal in higher) else ""
