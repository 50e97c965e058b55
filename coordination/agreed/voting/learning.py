"""What a voter learns of its own node's leases by the votes that it hears of: see `learner` for the rules.

A vote that is told before it is durable may be lost with its process; so both come as messages behind their records, the own
one to the own name, and it is decided when the second one has come. The proposer's may come before its accept, and is kept for
that. (On a fast disk and a slow network it often does. The owner has told it, and says nothing more.)"""

from __future__ import annotations

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Accept, Voted
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.ports import Identity, RosterSource
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.learner import Undecided, learn
from coordination.agreed.voting.register import Register
from coordination.agreed.voting.renewing import Renewing
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import HybridClock, Instant
from mesh.directives import Directive, Emit, Send

__all__ = ["Learning"]

EARLY_CAP = 256
"""Votes that wait for their accepts; beyond it the oldest is dropped, and its lease told of when it is asked for again."""


class Learning(Renewing):
    """The upper layer of `Acceptor`."""

    def __init__(
        self,
        identity: Identity,
        roster: RosterSource,
        clock: HybridClock,
        boots: BootRecord,
        memory: VoterMemory | None = None,
        standing: Standing | None = None,
    ) -> None:
        super().__init__(identity, roster, clock, boots, memory, standing)
        self._early: dict[str, Voted] = {}
        """By key: the last vote that came for what has not been accepted here."""

    def _keep_undecided(
        self, register: Register, ask: Accept, bound: tuple[LeaseId, ...], now: Instant, out: list[Directive]
    ) -> None:
        """What has just been accepted grants a lease of this node, and the proposer's vote did not come with it."""
        own = self._identity
        register.undecided = Undecided(ask, bound, here=self._memory is None)
        if self._memory is not None:
            out.append(Send(own.name, Voted(ask.key, ask.ballot, own.name, own.boot, ())))
        early = self._early.pop(ask.key, None)
        if early is not None:
            self._voted(early, now, out)  # it is for this, or for what comes yet

    def _voted(self, vote: Voted, now: Instant, out: list[Directive]) -> None:
        """A vote is durable, this node's own or the proposer's, for what grants a lease of this node."""
        group = self._admit(vote.key, vote.ballot, now, out)
        if group is None:
            return
        self._boots.learn(group, vote.boots)
        register = self._registers.get(vote.key)
        undecided = register.undecided if register is not None else None
        if register is None or undecided is None or undecided.ask.ballot != vote.ballot:
            if register is None or register.accepted < vote.ballot:
                self._keep_early(vote)
            else:
                self._counts["votes_late"] += 1
            return
        if vote.name == self._identity.name:
            undecided.here = True
        elif (vote.name, vote.boot) == (vote.ballot.name, vote.ballot.boot):
            undecided.there = True
        if undecided.here and undecided.there:
            register.undecided = None
            lease = undecided.ask.value.holdings[undecided.ask.granting].lease
            # What is over has been told by the owner and given back: told again, it would be refused, and given back again.
            if lease in register.leases and lease not in register.ended and not self._boots.superseded():
                self._learn(undecided.ask, group, undecided.bound, out)

    def _keep_early(self, vote: Voted) -> None:
        self._early.pop(vote.key, None)
        self._early[vote.key] = vote
        if len(self._early) > EARLY_CAP:
            del self._early[next(iter(self._early))]
            self._counts["votes_dropped"] += 1

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
