"""What a holder keeps of each request, and of what it is giving back."""

from __future__ import annotations

from enum import Enum

from coordination.agreed.ballot import ZERO, Ballot
from coordination.agreed.belief import Belief
from coordination.agreed.placement import Group
from coordination.agreed.values import FREE, LeaseId, Value
from crdt.clock import Instant
from mesh.directives import Boot

__all__ = ["Leaving", "LeavingKey", "Request", "State"]

LeavingKey = LeaseId | tuple[int]
"""A release by its identity, a cancel by its wire number."""


class State(Enum):
    ASKING = 0
    CONFIRMING = 1
    HELD = 2


class Request:
    """One request of the API, under its present wire number."""

    __slots__ = (
        "abstaining",
        "answered",
        "asked",
        "ballot",
        "belief",
        "bind_asked",
        "binds",
        "boots",
        "ending_told",
        "group",
        "key",
        "lease",
        "missing",
        "name",
        "owner",
        "queued_at",
        "quorum_at",
        "rank",
        "renew",
        "renew_asked",
        "renew_at",
        "sent_at",
        "state",
        "ttl",
        "value",
        "wait",
        "wire",
    )  # fmt: skip

    def __init__(self, name: int, key: str, ttl: int, now: Instant, *, wait: bool, renew: bool, binds: bool) -> None:
        self.name = name
        self.wire = name
        self.key = key
        self.ttl = ttl
        self.wait = wait
        self.renew = renew
        self.binds = binds
        self.bind_asked = False
        self.state = State.ASKING
        self.belief = Belief()
        self.group: Group | None = None
        self.asked: dict[str, None] = {}
        self.owner = ""
        self.rank = 0
        self.answered = False
        self.sent_at = 0
        self.queued_at = 0
        self.quorum_at = now.mono
        self.missing: tuple[str, ...] = ()
        self.abstaining = 0
        self.lease: LeaseId | None = None
        self.ballot: Ballot = ZERO
        self.value: Value = FREE
        self.boots: tuple[Boot, ...] = ()
        self.renew_at = 0
        self.renew_asked = 0
        self.ending_told = False


class Leaving:
    """A release, or a cancel of a request whose identity is not known, until it is confirmed or has run out."""

    __slots__ = ("acks", "asked", "asker", "binds", "group", "key", "lease", "names", "tries", "until")

    def __init__(self, request: Request, until: int, *, tell: bool) -> None:
        self.key = request.key
        self.lease = request.lease
        self.asker = request.wire
        self.names = [request.name] if tell else []
        self.group = request.group
        self.asked = request.asked
        self.binds = request.binds
        self.acks: dict[str, None] = {}
        self.tries = 0
        self.until = until
