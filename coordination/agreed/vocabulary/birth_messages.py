"""The wire messages by which a mesh is founded (numbers 80 to 86): Paxos for one value, the first roster."""

from __future__ import annotations

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Boot, Message
from mesh.wire import message

__all__ = ["BirthAccept", "BirthAccepted", "BirthPrepare", "BirthPromise", "BirthRefused", "Candidate", "RosterIs"]


@message(80)
class Candidate(Message):
    """From a node that has no roster: who it is, what it could found, and what it has accepted so far."""

    name: str
    boot: Boot
    expect: int
    founder: bool
    accepted: Ballot
    voters: tuple[str, ...]
    fresh: bool = False
    """Its operator's word that no lease of this mesh is alive."""


@message(81)
class BirthPrepare(Message):
    ballot: Ballot
    voters: tuple[str, ...]


@message(82)
class BirthPromise(Message):
    ballot: Ballot
    name: str
    boot: Boot
    accepted: Ballot
    roster: RosterValue | None


@message(83)
class BirthAccept(Message):
    ballot: Ballot
    roster: RosterValue


@message(84)
class BirthAccepted(Message):
    ballot: Ballot
    name: str
    boot: Boot


@message(85)
class BirthRefused(Message):
    ballot: Ballot
    promised: Ballot


@message(86)
class RosterIs(Message):
    """The decided roster, and the ballot at which it was decided."""

    roster: RosterValue
    ballot: Ballot
