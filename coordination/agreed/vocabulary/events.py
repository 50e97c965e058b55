"""What the agreed state tells the other parts and the API."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Event
from mesh.frozen import frozen

__all__ = [
    "Busy",
    "CallFailed",
    "Called",
    "Ended",
    "Ending",
    "Explained",
    "Explanation",
    "Failure",
    "Granted",
    "LeaseOver",
    "Listed",
    "OtherLimit",
    "Released",
    "RenewFailed",
    "Renewed",
    "ResetOver",
    "RosterConflict",
    "RosterDecided",
    "SealMet",
    "Surveyed",
    "Unavailable",
    "Voter",
]


@frozen
class Granted(Event):
    """The request holds its lease; a handed-over one that nobody will renew has been confirmed by q acceptors."""

    request: int
    token: int
    deadline: int
    """Boot-time ns at which the belief ends, unless renewed."""


@frozen
class Busy(Event):
    """A request that would not wait found another holder."""

    request: int
    holder_name: str


@frozen
class OtherLimit(Event):
    """The register has another limit than the request named. The request is over."""

    request: int
    limit: int
    """The register's."""


@frozen
class Unavailable(Event):
    """No quorum of the register's group was reached for 2 s, and none is abstaining. The request is over."""

    request: int
    missing: tuple[str, ...]
    reason: str


@frozen
class Ending(Event):
    """The lease is about to end: whatever runs under it must be cancelled now."""

    request: int


@frozen
class Ended(Event):
    """The lease is over and is never believed again."""

    request: int
    reason: str


@frozen
class Renewed(Event):
    request: int
    deadline: int


@frozen
class RenewFailed(Event):
    request: int
    reason: str


@frozen
class Released(Event):
    """The release is confirmed, or what was released has run out."""

    request: int


@frozen
class RosterDecided(Event):
    roster: RosterValue


@frozen
class RosterConflict(Event):
    """A member of another mesh was met: its roster is not this one, and neither can be a change of the other."""

    own: RosterValue
    other: RosterValue
    name: str


@frozen
class SealMet(Event):
    """A voter refused a register because it is sealed, and nothing is known of a decision yet."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Voter:
    """What a voter says of itself."""

    name: str
    answered: bool
    memory: bool
    """Whether it knows what its name has promised about the next roster."""
    sealed: bool
    """Whether a change of the roster is under way for it, and it serves nothing."""
    abstains: float
    """Seconds for which it gives no vote because it restarted."""


@dataclass(frozen=True, slots=True)
class Surveyed(Event):
    """What the voters of the newest roster that this node knows say of themselves."""

    query: int
    roster: RosterValue | None
    voters: tuple[Voter, ...]
    newer: str
    """Who knows a newer roster; empty if nobody does."""


@dataclass(frozen=True, slots=True)
class ResetOver(Event):
    """What came of a reset: a roster, or why there is none."""

    query: int
    refusal: str
    roster: RosterValue | None


@frozen
class LeaseOver(Event):
    """A lease that binds something has ended, decided by q: its end cell may be written, by anyone, repeatedly."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Called(Event):
    """A call of an atomic register has been done."""

    call: int
    outcome: bytes | int | bool | None
    """Of a read the value, as CBOR; of an add the sum; of a compare-and-set whether it was set; of a set None."""
    epoch: int = 1
    """Of the roster whose voters have accepted it."""


class Failure(StrEnum):
    UNAVAILABLE = "unavailable"
    """No quorum answered for 2 s, and it was not sent as a change: it has certainly not happened."""
    UNKNOWN = "unknown"
    """It may or may not have happened, now or later."""
    MEMORY = "memory"
    """A majority of the register's group has lost its memory, and with it the register."""
    NOT_INTEGER = "not an integer"
    """An add to something else; nothing was changed."""
    TOO_LARGE = "too large"
    """The sum is no integer that travels; nothing was changed."""


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    call: int
    why: Failure
    names: tuple[str, ...]
    """Voters that were silent, or have no memory."""
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    key: str
    group: tuple[str, ...]
    owner: str | None
    holder: str | None
    token: int | None
    remaining: float | None
    """Seconds, the most that any acceptor waits."""
    ballots: tuple[tuple[str, str, str], ...]
    """(acceptor, promised, accepted)."""
    queue: tuple[str, ...]
    abstaining: tuple[tuple[str, float], ...]
    """(voter, seconds left)."""
    missing: tuple[str, ...]
    """Of the group, those that did not answer."""
    note: str
    kind: str = ""
    """lock, rwlock, semaphore, election, barrier, lease or atomic."""
    holders: tuple[tuple[str, int, float, int], ...] = ()
    """Of each lease that is live: (holder, token, seconds as `remaining`, permits; 0: it is alone)."""
    limit: int = 0
    """Permits that there are; 0: no limit, or never used."""
    shut: bool = False
    """Of a barrier: its round is complete, and has not left yet."""
    waiting: tuple[tuple[str, float, int], ...] = ()
    """Those in the queue: (name, seconds that it has waited, permits)."""
    decided: bool = False
    """Whether a majority of the group, of voters that vote, has accepted the very same."""
    state: bytes = b""
    """Of an atomic register: what was accepted last, as it is kept."""
    epoch: int = 0
    """Of the newest roster that the asked node knows."""
    rosters: tuple[tuple[int, tuple[str, ...], float], ...] = ()
    """The chain, oldest first: (epoch, voters, seconds since when it is known to be decided)."""
    standings: tuple[tuple[str, int, str, int], ...] = ()
    """Of each of the group, in an elastic roster: (voter, epoch that it goes by, why it serves nothing or empty, epoch under
    which it has started the register)."""
    moved: bool = True
    """Whether a quorum has started the register in the newest roster: else the next change moves it, or it is free."""

    def beside(self, note: str) -> Explanation:
        """With one more note, if it is not empty."""
        return replace(self, note=f"{self.note}; {note}" if self.note else note) if note else self


@dataclass(frozen=True, slots=True)
class Listed(Event):
    """What the voters know of locks that somebody holds."""

    query: int
    locks: tuple[tuple[str, tuple[tuple[str, int, float, int], ...]], ...]
    """(register, its holders as in `Explanation.holders`), by register."""
    missing: tuple[str, ...]
    """Voters that did not answer."""
    quorum: bool
    """Whether a majority of the voters did."""


@frozen
class Explained(Event):
    query: int
    explanation: Explanation
