"""The wire messages of holders, owners and voters (numbers 60 to 79, and 87).

Replies for a holder go to the holder's name in the message, never to the frame's sender: a thin client's holder asks
through its sponsor. Durations are ns and relative, so that no message carries one clock's reading to another clock;
`clock` fields alone are hybrid logical stamps."""

from __future__ import annotations

from typing import NamedTuple

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.values import LeaseId, Value
from mesh.directives import Boot, Message
from mesh.wire import message

__all__ = [
    "Accept",
    "Accepted",
    "Acquire",
    "Cancel",
    "CancelDone",
    "Declined",
    "Drop",
    "Dropped",
    "Freed",
    "Grant",
    "Live",
    "Mend",
    "Occupied",
    "Prepare",
    "Promise",
    "Reason",
    "Rejected",
    "Release",
    "ReleaseDone",
    "Renew",
    "RenewAnswer",
    "RenewItem",
    "RenewResult",
    "Voted",
    "Waiting",
]


class Reason:
    """Why an acceptor refused. Plain numbers: an unknown one from a newer version is just a refusal."""

    OK = 0
    BALLOT = 1
    """Promised to a higher ballot."""
    LIVE = 2
    """A live identity would be lost."""
    TOKEN = 3
    """The token being granted is outside the window of this acceptor's clock, or not above the highest."""
    BOOT = 4
    """The proposal rests on a promise of another process of this name."""
    ABSTAIN = 5
    """Restarted without memory: no vote until M has passed."""
    OVER = 6
    """A renewal of an identity that has expired or ended here."""
    EPOCH = 7
    """Another roster."""
    BEHIND = 8
    """A renewal of an identity that is not known here, without the value in which it was granted."""
    MEMORY = 9
    """Has no memory of this atomic register, and so is no voter of it: until it has read it back, if ever."""
    SEALED = 10
    """A successor of the roster has been accepted here, and is not decided yet."""
    UNCONFIRMED = 11
    """No majority of the voters has said of late that this roster is the newest."""
    FORGOTTEN = 12
    """Restarted without memory: not yet told by enough voters what became of the roster."""
    UNSTARTED = 13
    """A renewal of a register that nobody has moved to this roster yet."""


# --- holder and owner -----------------------------------------------------------------------------------------------


@message(60)
class Acquire(Message):
    """An attempt, or a waiter's refresh: the highest serial of a request stands for it."""

    key: str
    name: str
    boot: Boot
    request: int
    serial: int
    wait: bool
    binds: bool
    ttl: int
    age: int
    """How long it has been in a queue (ns), 0 for one that was never answered: its place with a new owner."""
    ended: tuple[LeaseId, ...]
    """This holder's unconfirmed releases of this key."""
    permits: int = 0
    limit: int = 0
    together: bool = False
    """The mode, see `modes.Mode`."""
    delay: int = 0
    """ns that the lock stays closed after it has run out unreleased."""


@message(61)
class Grant(Message):
    """`lease` was accepted by q, in `value`, at `ballot`: what the holder's renewals carry."""

    key: str
    lease: LeaseId
    serial: int
    term: int
    handed: bool
    """It had to wait: its first term is short, and the holder renews it soon, or before it tells anyone (`keeper`)."""
    ballot: Ballot
    value: Value
    boots: tuple[Boot, ...]
    owner: str


@message(62)
class Waiting(Message):
    """In the queue of `owner`, to whom the next refresh goes."""

    key: str
    name: str
    boot: Boot
    request: int
    serial: int
    owner: str
    quorum_age: int
    """ns since q acceptors last answered the owner; -1 if they never did."""
    missing: tuple[str, ...]
    abstaining: tuple[tuple[str, int], ...]
    """(voter, ns left)."""
    holder: str


@message(63)
class Occupied(Message):
    key: str
    name: str
    boot: Boot
    request: int
    serial: int
    holder: str


@message(64)
class Release(Message):
    """Only the holder of `lease` sends it: its word is what `ends` rests on."""

    key: str
    lease: LeaseId
    binds: bool


@message(65)
class ReleaseDone(Message):
    key: str
    lease: LeaseId


@message(66)
class Cancel(Message):
    key: str
    name: str
    boot: Boot
    request: int


@message(67)
class CancelDone(Message):
    key: str
    name: str
    boot: Boot
    request: int
    owner: str


@message(69)
class Declined(Message):
    """A request that can never be granted as it is: the register has another limit."""

    key: str
    name: str
    boot: Boot
    request: int
    serial: int
    limit: int


@message(68)
class Mend(Message):
    """An acceptor refused a renewal for a promise: re-propose the register's value at a higher ballot."""

    key: str


# --- proposer and acceptor ------------------------------------------------------------------------------------------


class Live(NamedTuple):
    """What an acceptor keeps of one identity."""

    lease: LeaseId
    serial: int
    remaining: int
    """ns that it still waits; 0: not live here."""
    binds: bool


@message(70)
class Prepare(Message):
    key: str
    ballot: Ballot
    boots: tuple[Boot, ...]
    """The proposer's record of the group's boots, in the group's order."""


@message(71)
class Promise(Message):
    key: str
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    """The acceptor's record, where it differs from the one asked with; else empty."""
    accepted: Ballot
    value: Value
    leases: tuple[Live, ...]
    ended: tuple[LeaseId, ...]
    highest: int
    clock: int


@message(72)
class Accept(Message):
    key: str
    ballot: Ballot
    boots: tuple[Boot, ...]
    rests: int
    """Bit i is set if the proposal rests on a promise (or the previous ack) of the group's i-th voter, by boots[i]."""
    value: Value
    waits: tuple[int, ...]
    """For each holding, how long an acceptor that is new to (lease, serial) waits (ns)."""
    granting: int
    """Which holding is being granted, or -1: the only one whose token is checked."""
    ends: tuple[LeaseId, ...]
    voted: int = 0
    """Whether the proposer's own acceptor has accepted it, and how it was granted: see `learner`."""
    floor: int = 0
    """The highest token that is known of the register, if it may have been moved and the value does not name it; else 0."""


@message(73)
class Accepted(Message):
    key: str
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    learns: bool = False
    """The proposer's vote came with it, or is waited for: what it grants or ends here need not be told. See `learner`."""


@message(87)
class Voted(Message):
    """The vote of one acceptor for one ballot, now that it is durable: to whoever may learn by it that it is decided."""

    key: str
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    """As in `Accepted`."""


@message(74)
class Rejected(Message):
    key: str
    ballot: Ballot
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    reason: int
    promised: Ballot
    leases: tuple[Live, ...]
    """Of a LIVE refusal: what is live here."""
    left: int
    """ns until the abstention ends; of other refusals, until what is live here has run out (0: nothing is)."""
    clock: int
    asked_clock: int
    """Of a TOKEN refusal: the token, beside the acceptor's own clock."""


class RenewItem(NamedTuple):
    key: str
    lease: LeaseId
    serial: int
    ttl: int
    binds: bool
    ballot: Ballot
    value: Value
    boots: tuple[Boot, ...]


class RenewResult(NamedTuple):
    key: str
    request: int
    serial: int
    reason: int
    boots: tuple[Boot, ...]


@message(75)
class Renew(Message):
    """From the holder straight to an acceptor, for all its leases there."""

    name: str
    boot: Boot
    items: tuple[RenewItem, ...]
    epoch: int = 1
    """Of the roster whose groups the holder counts by."""


@message(76)
class RenewAnswer(Message):
    name: str
    boot: Boot
    holder: str
    holder_boot: Boot
    results: tuple[RenewResult, ...]
    epoch: int = 1
    """Of the acceptor's roster."""


@message(77)
class Freed(Message):
    """To a proposer that found the register live: it may be free now."""

    key: str


@message(78)
class Drop(Message):
    """A release straight to an acceptor: the identity no longer counts as live there."""

    key: str
    lease: LeaseId
    epoch: int = 0
    """Of the roster by which its sender counts notes; 0 from an earlier version."""


@message(79)
class Dropped(Message):
    """This acceptor has noted the end."""

    key: str
    lease: LeaseId
    acceptor: str
    epoch: int = 0
    """Of the roster as whose voter it has; 0 from an earlier version, whose note does not count."""
    boot: Boot = NO_BOOT
    boots: tuple[Boot, ...] = ()
    """What it knows of the group's, if any of them may have begun since the lease was granted."""
