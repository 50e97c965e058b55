"""What a voter learns of its own node's leases by the votes that it hears of: see `learner` for the rules.

A vote that is told before it is durable may be lost with its process; so both come as messages behind their records, the own
one to the own name, and it is decided when the second one has come."""

from __future__ import annotations

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Accept, Voted
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.learner import Undecided, learn
from coordination.agreed.voting.register import Register
from coordination.agreed.voting.renewing import Renewing
from crdt.clock import Instant
from mesh.directives import Directive, Emit, Send

__all__ = ["Learning"]


class Learning(Renewing):
    """The upper layer of `Acceptor`."""

    def _keep_undecided(self, register: Register, ask: Accept, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        """What has just been accepted grants a lease of this node, and the proposer's vote is not durable yet."""
        own = self._identity
        register.undecided = Undecided(ask, bound, here=self._memory is None)
        if self._memory is not None:
            out.append(Send(own.name, Voted(ask.key, ask.ballot, own.name, own.boot, ())))

    def _voted(self, vote: Voted, now: Instant, out: list[Directive]) -> None:
        """A vote is durable, this node's own or the proposer's, for what grants a lease of this node."""
        register = self._registers.get(vote.key)
        undecided = register.undecided if register is not None else None
        if register is None or undecided is None or undecided.ask.ballot != vote.ballot:
            self._counts["votes_astray"] += 1
            return
        group = self._admit(vote.key, vote.ballot, now, out)
        if group is None:
            register.undecided = None
            return
        self._boots.learn(group, vote.boots)
        if vote.name == self._identity.name:
            undecided.here = True
        elif (vote.name, vote.boot) == (vote.ballot.name, vote.ballot.boot):
            undecided.there = True
        if undecided.here and undecided.there:
            register.undecided = None
            if not self._boots.superseded():
                self._learn(undecided.ask, group, undecided.bound, out)

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
