"""What a holder keeps of each request."""

from __future__ import annotations

from enum import Enum

from coordination.agreed.holding.belief import Belief
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.values import FREE, LeaseId, Value
from crdt.clock import Instant

__all__ = ["Request", "State"]


class State(Enum):
    ASKING = 0
    CONFIRMING = 1
    HELD = 2


class Request:
    """One request of the API, under its present wire number."""

    __slots__ = (
        "abstaining",
        "answered",
        "ask_at",
        "asked",
        "ballot",
        "belief",
        "bind_asked",
        "binds",
        "delay",
        "due",
        "ending_told",
        "group",
        "grouped_at",
        "handed",
        "key",
        "lease",
        "missing",
        "mode",
        "name",
        "owner",
        "owners",
        "queued_at",
        "quorum_at",
        "rank",
        "renew",
        "renew_asked",
        "renew_at",
        "renewed_at",
        "sent_at",
        "silent_at",
        "state",
        "ttl",
        "unanswered",
        "value",
        "voices",
        "wait",
        "wire",
    )

    def __init__(
        self,
        name: int,
        key: str,
        ttl: int,
        now: Instant,
        *,
        wait: bool,
        renew: bool,
        binds: bool,
        mode: Mode = EXCLUSIVE,
        delay: int = 0,
    ) -> None:
        self.name = name
        self.wire = name
        self.key = key
        self.ttl = ttl
        self.mode = mode
        self.delay = delay
        """ns for which acceptors wait beyond the ttl: never believed."""
        self.wait = wait
        self.renew = renew
        self.binds = binds
        self.bind_asked = 0
        """The first serial that says that it binds something, until q acceptors have answered that or a later one; else 0."""
        self.state = State.ASKING
        self.belief = Belief()
        self.group: Group | None = None
        self.asked: dict[str, None] = {}
        self.owner = ""
        self.rank = 0
        self.answered = False
        self.sent_at = 0
        self.ask_at = 0
        """Monotonic ns at which it is to be sent again, if it is not answered otherwise."""
        self.due = 0
        """Monotonic ns at which it should be looked at again: later means that this process has slept."""
        self.queued_at = 0
        self.quorum_at = now.mono
        self.silent_at = 0
        """Monotonic ns at which it was sent first since somebody said as much of q as is known; 0: it has been answered."""
        self.voices: dict[str, int] = {}
        """When each acceptor last answered a renewal, whatever it said (monotonic ns)."""
        self.grouped_at = 0
        """Monotonic ns since when it is renewed with another group than granted it; else 0."""
        self.missing: tuple[str, ...] = ()
        self.owners: dict[str, int] = {}
        """When each that acts for it last said that it waits (monotonic ns)."""
        self.abstaining = 0
        self.lease: LeaseId | None = None
        self.ballot: Ballot = ZERO
        self.value: Value = FREE
        self.handed = False
        """Whether only its short first term is granted so far: it is renewed soon, and often, until q have answered."""
        self.renew_at = 0
        self.renewed_at = 0
        """When it was last sent to be renewed, or granted (boot time)."""
        self.unanswered = False
        """It has been sent to be renewed, and q have not answered since."""
        self.renew_asked = 0
        """The first serial that answers who asked for a renewal, until q have; else 0."""
        self.ending_told = False

    def again(self, now: Instant) -> Request:
        """The same request, to be asked under a new wire number."""
        flags = {"wait": self.wait, "renew": self.renew, "binds": self.binds}
        again = Request(self.name, self.key, self.ttl, now, **flags, mode=self.mode, delay=self.delay)
        again.queued_at = self.queued_at
        return again

    def heard(self, quorum: int) -> int:
        """When q acceptors were last known to answer: since the grant, which they made, or since."""
        times = sorted(self.voices.values(), reverse=True)
        return max(self.quorum_at, times[quorum - 1]) if len(times) >= quorum else self.quorum_at
