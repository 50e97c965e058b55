"""A proposer's side of the instance that decides the next roster: one ballot at a time.

- It asks for promises first, and goes on only with Q of them; it takes the highest roster that any of them has accepted,
  its own only if there is none. (Two rosters e+1 are decided: the mesh forks.)
- Only answers of the newest process of each voter count, as far as any of the answers knows. (A voter restarts, forgets
  its promise, is asked again, and both proposals are decided.)
- What an operator's reset finds accepted by any voter of a majority is completed, whatever the operator wants. (The roster
  e+1 is decided, and both go on.)
- A round that was refused, or lasts too long, is given up. What may have been accepted is completed at a higher ballot.
- Whoever completes what it has accepted wants that itself, if no promise tells of anything. (Its own promise waits for its
  disk, a majority of the others promises first, and has accepted nothing: it gives up each time, and stays sealed for ever.)"""

from __future__ import annotations

from collections import Counter

from coordination.agreed.rosters.confirming import REPEAT
from coordination.agreed.rosters.roster_vote import RosterVote
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import Joined, RosterValue
from coordination.agreed.vocabulary.succession_messages import (
    ResetPrepare,
    RosterAccept,
    RosterAccepted,
    RosterPrepare,
    RosterPromise,
    RosterRefused,
)
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Message, Send

__all__ = ["RosterRound"]

ROUND_LASTS = 1_000_000_000
"""ns."""


class RosterRound:
    """`agenda` brings up "round", and "complete"."""

    def __init__(
        self,
        identity: Identity,
        standing: Standing,
        vote: RosterVote,
        boots: BootRecord,
        agenda: Agenda[str],
        counts: Counter[str],
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._vote = vote
        self._boots = boots
        self._agenda = agenda
        self._counts = counts
        self._ballot: Ballot | None = None
        self._begun = 0
        self._wanted: RosterValue | None = None
        self._proposing: RosterAccept | None = None
        self._resetting: RosterValue | None = None
        """What this ballot is to reset to, if it is one of those."""
        self._promises: dict[str, RosterPromise] = {}
        self._accepts: dict[str, Boot] = {}
        self._named: dict[str, Boot] = {}

    def clear(self) -> None:
        """Another roster is the newest."""
        self._ballot = None
        self._wanted = self._proposing = None

    def propose(self, voters: tuple[str, ...], now: Instant, out: list[Directive]) -> None:
        """Have these voters follow the newest roster, if no other proposal has been accepted yet."""
        roster = self._elastic()
        if roster is None or not voters or not self._standing.votes() or self._ballot is not None:
            return
        names = tuple(sorted(voters))
        joined = tuple([Joined(name, self._boots.of(name)) for name in names if name not in roster.voters])
        self._wanted = roster._replace(epoch=roster.epoch + 1, voters=names, joined=joined)
        self._begin(now, out)

    def reset(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        """By an operator's word, have this roster follow the newest one, whatever its voters have forgotten."""
        current = self._elastic()
        if current is not None and current.may_be_reset_to(roster):
            self._wanted = roster
            self._begin(now, out, roster)

    def complete(self, now: Instant, out: list[Directive]) -> None:
        """See to it that what this voter has accepted is decided."""
        if self._elastic() is not None and self._standing.votes():
            if self._ballot is None:
                self._counts["completed"] += 1
                self._begin(now, out)
            if self._vote.to_complete():
                self._agenda.sooner("complete", now.mono + self._vote.pause(), out)

    def repeat(self, now: Instant, out: list[Directive]) -> None:
        """Ask those that have not answered, if there is a round."""
        ballot, roster = self._ballot, self._elastic()
        if ballot is None or roster is None:
            return
        if now.mono - self._begun >= ROUND_LASTS:
            self._retreat(now, out)
            return
        reset = self._resetting
        prepare = RosterPrepare(ballot) if reset is None else ResetPrepare(ballot, roster.epoch, reset)
        message: Message = self._proposing or prepare
        done = self._promises if self._proposing is None else self._accepts
        out.extend(Send(name, message) for name in roster.voters if name not in done)
        self._agenda.at("round", now.mono + REPEAT, out)

    def _begin(self, now: Instant, out: list[Directive], reset: RosterValue | None = None) -> None:
        roster, vote = self._elastic(), self._vote
        assert roster is not None
        if reset is None and self._standing.is_reset(vote.promised.epoch):
            reset = vote.roster or vote.reset
            if reset is None:
                return  # promised by an earlier process: others have to complete it
            self._wanted = reset
        elif self._wanted is None:
            self._wanted = vote.roster
        vote.counter += 1
        epoch = roster.epoch + 1 if reset is None else max(reset.epoch, vote.promised.epoch)
        self._ballot = Ballot(epoch, vote.counter, self._identity.name, self._identity.boot)
        self._resetting = reset
        self._begun = now.mono
        self._proposing = None
        self._promises.clear()
        self._accepts.clear()
        self._named.clear()
        self.repeat(now, out)

    def _retreat(self, now: Instant, out: list[Directive]) -> None:
        """Give the round up. What may have been accepted is completed; what was only wanted is wanted again by whoever
        wanted it."""
        self._ballot = None
        self._agenda.drop("round")
        self._wanted = self._proposing = None
        if self._vote.to_complete():
            self._agenda.sooner("complete", now.mono + self._vote.pause(), out)

    # --- messages ---------------------------------------------------------------------------------------------------------

    def on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        roster = self._elastic()
        if promise.ballot != self._ballot or self._proposing is not None or roster is None or promise.name not in roster.voters:
            return
        self._promises[promise.name] = promise
        self._name(roster, promise.name, promise.boot, promise.boots)
        counted = [each for name, each in self._promises.items() if each.boot >= self._named[name]]
        if len(counted) < roster.majority:
            return
        best = max(counted, key=lambda each: each.accepted)
        value = best.roster if best.roster is not None else self._wanted
        if value is None:
            self._retreat(now, out)  # nothing to complete
            return
        rests = tuple([Joined(each.name, each.boot) for each in counted])
        self._proposing = RosterAccept(promise.ballot, value, rests)
        self.repeat(now, out)

    def on_accepted(self, answer: RosterAccepted) -> RosterValue | None:
        """The roster that is decided by this answer, if one is."""
        roster, proposal = self._elastic(), self._proposing
        if answer.ballot != self._ballot or proposal is None or roster is None or answer.name not in roster.voters:
            return None
        self._accepts[answer.name] = answer.boot
        self._name(roster, answer.name, answer.boot, answer.boots)
        if sum(boot >= self._named[name] for name, boot in self._accepts.items()) < roster.majority:
            return None
        return proposal.roster

    def on_refused(self, answer: RosterRefused, now: Instant, out: list[Directive]) -> None:
        if answer.promised.epoch > self._standing.epoch:
            self._vote.counter = max(self._vote.counter, answer.promised.counter)
        if answer.ballot == self._ballot:
            self._retreat(now, out)

    def _name(self, roster: RosterValue, name: str, boot: Boot, boots: tuple[Boot, ...]) -> None:
        for voter, known in (*zip(roster.voters, boots, strict=False), (name, boot)):
            if known > self._named.get(voter, Boot(0, b"")):
                self._named[voter] = known

    def _elastic(self) -> RosterValue | None:
        """The newest roster, if it can be followed by another."""
        return self._standing.elastic
