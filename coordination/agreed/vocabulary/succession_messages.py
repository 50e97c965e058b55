"""The wire messages by which rosters follow each other (numbers 120 to 139)."""

from __future__ import annotations

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.messages import Live
from coordination.agreed.vocabulary.roster import Joined, RosterValue
from coordination.agreed.vocabulary.values import LeaseId, Value
from mesh.directives import Boot, Message
from mesh.wire import U64, message

__all__ = [
    "ChainIs",
    "EpochAsk",
    "EpochOk",
    "ExplainStanding",
    "LoneIs",
    "Look",
    "MemoryAsk",
    "MemoryIs",
    "ResetPrepare",
    "RosterAccept",
    "RosterAccepted",
    "RosterPrepare",
    "RosterPromise",
    "RosterRefused",
    "Seen",
    "Standby",
    "SurveyAnswer",
    "SurveyAsk",
    "YieldAsk",
    "YieldOk",
]


@message(120)
class RosterPrepare(Message):
    """`ballot.epoch` is the epoch of the roster that is to be decided, by the voters of the one before."""

    ballot: Ballot


@message(121)
class RosterPromise(Message):
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    """This voter's record of the voters' boots, in the roster's order."""
    accepted: Ballot
    roster: RosterValue | None


@message(122)
class RosterAccept(Message):
    ballot: Ballot
    roster: RosterValue
    rests: tuple[Joined, ...]
    """The processes whose promises it rests on: a majority."""


@message(123)
class RosterAccepted(Message):
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]


@message(124)
class RosterRefused(Message):
    ballot: Ballot
    promised: Ballot


@message(125)
class ChainIs(Message):
    """Decided rosters, oldest first: all that may still keep something that was not moved."""

    origin: Ballot
    """At which the first roster of this mesh was founded: no two meshes share it."""
    rosters: tuple[RosterValue, ...]
    ages: tuple[int, ...]
    """ns for which each of them has been known to be decided, at least."""

    def well_formed(self) -> bool:
        return 0 < len(self.rosters) == len(self.ages)


@message(126)
class EpochAsk(Message):
    """Is this the newest roster? A newer one is answered with the chain; serial 0 asks for nothing else."""

    epoch: int
    serial: int
    name: str


@message(127)
class EpochOk(Message):
    """By a voter that has accepted no successor."""

    epoch: int
    serial: int
    name: str
    age: U64 | None = None
    """ns since when, at the most, a majority was known here to have accepted none; only in large rosters."""


@message(128)
class MemoryAsk(Message):
    """From a voter that has forgotten what it promised about the successor of this roster."""

    epoch: int
    name: str
    boot: Boot


@message(129)
class MemoryIs(Message):
    """From a voter that has not."""

    epoch: int
    name: str
    boot: Boot
    promised: Ballot
    accepted: Ballot
    roster: RosterValue | None
    boots: tuple[Boot, ...] = ()
    """The answerer's record of the voters' boots, in the roster's order, the asker's among them; empty: an earlier version."""


@message(130)
class Look(Message):
    """What do you hold of this register? Of nodes of its earlier groups, by a proposer of `ballot`."""

    key: str
    ballot: Ballot


@message(131)
class Seen(Message):
    """What a node holds of a register in rosters that it no longer serves. It will never add to it."""

    key: str
    ballot: Ballot
    name: str
    boot: Boot
    epoch: int
    """Of its newest roster: it is sealed for all before."""
    whole: int
    """The first roster of which it remembers everything."""
    accepted: Ballot
    value: Value
    leases: tuple[Live, ...]
    ended: tuple[LeaseId, ...]
    highest: int
    by_word: bool = False
    """That it remembers its leases is the word of an operator, and M has not passed."""


@message(132)
class Standby(Message):
    """From a member that would vote; or, `leaving`, from a voter that would not any more."""

    name: str
    boot: Boot
    leaving: bool


@message(133)
class SurveyAsk(Message):
    """Who is there of the voters of this roster, and who remembers? Asks for nothing else."""

    query: int
    name: str
    epoch: int
    boot: Boot = NO_BOOT


@message(134)
class SurveyAnswer(Message):
    query: int
    epoch: int
    """Of the newest roster that this node knows."""
    name: str
    boot: Boot
    memory: bool
    """Whether it knows what its name has promised about the next roster."""
    sealed: bool
    """Whether it has accepted a successor, or promised to a reset."""
    left: int
    """ns for which it gives no vote because it restarted."""
    asker: Boot = NO_BOOT
    """The process that asked."""


@message(135)
class ResetPrepare(Message):
    """By an operator's word: as `RosterPrepare`, to voters of `epoch` that may have forgotten what they promised. It seals."""

    ballot: Ballot
    epoch: int
    roster: RosterValue
    """What is wanted, for whoever has to complete it."""


@message(136)
class ExplainStanding(Message):
    """Beside an `ExplainAnswer`, in an elastic roster: how far this voter may serve that register."""

    query: int
    voter: str
    epoch: int
    """Of the newest roster that it knows."""
    closed: int
    """Why it serves nothing, a `Reason`; OK if it serves."""
    started: int
    """The roster under which it has accepted the register's value; 0 if it holds nothing."""
    asker: Boot = NO_BOOT
    """The process that asked."""


@message(137)
class LoneIs(Message):
    """From the only voter of a mesh to whoever it sees: it has founded alone."""

    name: str
    origin: Ballot
    """At which it was founded. Zero in the answer of a member of a larger mesh."""
    stays: bool
    """It ought to yield, and cannot."""


@message(138)
class YieldAsk(Message):
    """From the younger of two that have founded alone: do you stay?"""

    name: str
    origin: Ballot


@message(139)
class YieldOk(Message):
    """The elder stays."""

    name: str
    origin: Ballot
