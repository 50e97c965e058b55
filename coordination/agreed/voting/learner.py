"""The learner: who accepts a value may know in the same moment that it is decided.

An accept says whether the proposer's own acceptor has accepted it already. Where q is two, whoever accepts it as well makes a
quorum with that one, and so has learned what the proposer will learn one hop later: that a lease of this node is granted, or
that one which it gave back is over. An uncontended acquire takes two hops in place of four, and the grant needs no message.

- It is the same quorum, counted in another place: both acknowledgements have to be as new as every boot that is known of the
  two. (A vote of a process that has been replaced counts.)
- A proposer that writes its promises down cannot say so yet: its vote is none before it is durable. So it sends the accept at
  once, and its vote behind the record, to whom the lease is granted, who keeps the accept until both votes are durable. (A
  grant takes two hops more.)
- The end of a lease that binds something is left to the owner, who has to tell everyone. (Its holder stops repeating its
  release, the owner dies, and nobody tells.)

Lamport, "Fast Paxos" (2006), section 2.2: any process may be a learner of the phase 2b messages that it knows of."""

from __future__ import annotations

from collections.abc import Mapping

from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Accept, Accepted, Grant, Promise
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.values import LeaseId
from mesh.directives import Boot, Event
from mesh.frozen import frozen

__all__ = ["COMES", "HANDED", "VOTED", "Decided", "Undecided", "learn", "learned_by", "learner_of"]

VOTED = 1
"""In `Accept.voted`: the proposer's own acceptor has accepted it, durably."""
HANDED = 2
"""The lease that it grants was waited for."""
COMES = 4
"""That vote is told on its own, once it is durable."""
QUORUM = 2


@frozen
class Decided(Event):
    """To the holder part of the same node."""

    grant: Grant | None
    ended: tuple[LeaseId, ...]


class Undecided:
    """What the acceptor of this node has accepted, as long as it does not know of both votes that they are durable."""

    __slots__ = ("ask", "bound", "here", "since", "there")

    def __init__(self, ask: Accept, bound: tuple[LeaseId, ...], since: int, *, here: bool) -> None:
        self.ask = ask
        self.since = since
        """Monotonic ns at which it was accepted."""
        self.bound = bound
        """Of the leases that it ends, those that bind something."""
        self.here = here
        """Its own."""
        self.there = False
        """The proposer's."""


def learn(ask: Accept, group: Group, identity: Identity, boots: BootRecord, bound: tuple[LeaseId, ...]) -> Decided | None:
    """What the acceptor of this node knows of its own leases once it and that of the proposer have accepted `ask`. `bound` bind
    something."""
    ballot = ask.ballot
    if group.quorum > QUORUM or ballot.name == identity.name or boots.of(ballot.name) > ballot.boot:
        return None
    grant = None
    if ask.granting >= 0:
        holding = ask.value.holdings[ask.granting]
        lease = holding.lease
        if lease.name == identity.name and lease.boot == identity.boot:
            handed = bool(ask.voted & HANDED)
            grant = Grant(ask.key, lease, holding.serial, holding.term, handed, ballot, ask.value, ask.boots, ballot.name)
    ended: tuple[LeaseId, ...] = ()
    if ask.ends:
        ended = tuple([lease for lease in ask.ends if _own(lease, identity.name, identity.boot) and lease not in bound])
    return Decided(grant, ended) if grant is not None or ended else None


def learner_of(ask: Accept, group: Group) -> str:
    """To whom the proposer's own vote for `ask` is told, once it is durable: to whom the lease is granted; or ``."""
    if ask.granting < 0 or group.quorum > QUORUM:
        return ""
    name = ask.value.holdings[ask.granting].lease.name
    return name if name in group and name != ask.ballot.name else ""


def learned_by(ask: Accept, group: Group, answers: Mapping[str, Promise | Accepted], lease: LeaseId) -> bool:
    """Whether the node of a lease learns what `ask` did to it: it has accepted it, and the proposer's vote came with it, or is
    on its way, and it waits for that. (If that vote is lost, it is told when it asks again, as if a grant is.)"""
    if group.quorum > QUORUM or lease.name == ask.ballot.name:
        return False
    answer = answers.get(lease.name)
    if not isinstance(answer, Accepted) or not _own(lease, answer.name, answer.boot):
        return False
    return bool(ask.voted & VOTED) or (answer.learns and ask.ballot.name in answers)


def _own(lease: LeaseId, name: str, boot: Boot) -> bool:
    return lease.name == name and lease.boot == boot
