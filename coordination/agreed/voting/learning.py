"""What a voter learns of its own node's leases by the votes that it hears of: see `learner` for the rules.

A vote that is told before it is durable may be lost with its process; so both come as messages behind their records, the own
one to the own name, and it is decided when the second one has come. The proposer's may come before its accept, and is kept for
that. (On a fast disk and a slow network it often does. The owner has told it, and says nothing more.)"""

from __future__ import annotations

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Accept, Voted
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.learner import VOTED, Decided, Undecided, learn
from coordination.agreed.voting.renewing import Renewing
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Directive, Emit, Send

__all__ = ["Learning"]

UNDECIDED_CAP = 1_024
"""Accepts that wait for votes, and votes that wait for accepts, each."""
UNDECIDED_LASTS = NANOSECONDS
"""Then an accept has lost its vote, and its lease was told of when it was asked for again."""


class Learning(Renewing):
    """The upper layer of `Acceptor`."""

    def _keep_undecided(self, ask: Accept, bound: tuple[LeaseId, ...], now: Instant, out: list[Directive]) -> bool:
        """What has just been accepted grants a lease of this node, and the proposer's vote did not come with it. False if it
        will not be waited for here: then the proposer tells what comes of it."""
        own, about, undecided = self._identity, (ask.key, ask.ballot), self._undecided
        early = self._early.pop(about, None)
        if len(undecided) >= UNDECIDED_CAP:
            oldest = next(iter(undecided))
            if now.mono - undecided[oldest].since < UNDECIDED_LASTS:
                self._counts["undecided_full"] += 1
                return False
            del undecided[oldest]
        undecided[about] = Undecided(ask, bound, now.mono, here=self._memory is None)
        if self._memory is not None:
            out.append(Send(own.name, Voted(ask.key, ask.ballot, own.name, own.boot, ())))
        if early is not None:
            self._voted(early, now, out)
        return True

    def _learn_again(self, ask: Accept, group: Group, out: list[Directive]) -> bool:
        """What is accepted already has come again. Whether this node learns all that it does to leases of its own.

        What a lease bound that it ends is not known any more, if the accept was not kept: then that is left to the proposer."""
        about = (ask.key, ask.ballot)
        learned = about in self._undecided or self._registers[ask.key].learned == ask.ballot
        if not ask.voted & VOTED:
            return learned
        undecided = self._undecided.pop(about, None)
        self._learn_late(ask, group, ask.ends if undecided is None else undecided.bound, out)
        own = self._identity
        return learned or not any(lease.name == own.name and lease.boot == own.boot for lease in ask.ends)

    def _voted(self, vote: Voted, now: Instant, out: list[Directive]) -> None:
        """A vote is durable, this node's own or the proposer's, for what grants a lease of this node."""
        group = self._admit(vote.key, vote.ballot, now, out)
        if group is None:
            return
        self._boots.learn(group, vote.boots)
        about = (vote.key, vote.ballot)
        undecided = self._undecided.get(about)
        if vote.name == self._identity.name:
            if undecided is not None:
                undecided.here = True
        elif (vote.name, vote.boot) == (vote.ballot.name, vote.ballot.boot):
            if undecided is not None:
                undecided.there = True
            else:
                register = self._registers.get(vote.key)
                if register is None or register.accepted < vote.ballot:
                    self._keep_early(about, vote)
        if undecided is None or not (undecided.here and undecided.there):
            return
        del self._undecided[about]
        if not self._boots.superseded():
            self._learn_late(undecided.ask, group, undecided.bound, out)
            if (register := self._registers.get(vote.key)) is not None:
                register.learned = vote.ballot

    def _keep_early(self, about: tuple[str, Ballot], vote: Voted) -> None:
        """Beyond the bound the oldest is dropped, and its lease told of when it is asked for again."""
        self._early[about] = vote
        if len(self._early) > UNDECIDED_CAP:
            del self._early[next(iter(self._early))]
            self._counts["early_votes_dropped"] += 1

    def _learn_late(self, ask: Accept, group: Group, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        """It was accepted some time ago: what it granted may be over. (Told again, it would be given back again.)"""
        register = self._registers.get(ask.key)
        decided = learn(ask, group, self._identity, self._boots, bound)
        if decided is None or register is None:
            return
        grant = decided.grant
        if grant is not None and (grant.lease not in register.leases or grant.lease in register.ended):
            decided = Decided(None, decided.ended)
        if decided.grant is not None or decided.ended:
            out.append(Emit(decided))

    def _learn(self, ask: Accept, group: Group, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        decided = learn(ask, group, self._identity, self._boots, bound)
        if decided is not None:
            out.append(Emit(decided))

    def _admit(self, key: str, ballot: Ballot, now: Instant, out: list[Directive]) -> Group | None:
        """The register's group, if this node is of it in the ballot's epoch."""
        if self._roster is None or ballot.epoch != self._roster.epoch:
            self._counts["other_epoch"] += 1
            self._differ(ballot.epoch, ballot.name, now, out)
            return None
        return self._group(key)
