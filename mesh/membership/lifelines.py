"""Idle streams between neighbours: a process that is killed ends its streams at once, whoever is writing to it or not.

Each node keeps one to its `SUCCESSORS` in hash order, and has one of each of its predecessors; a stream serves both its ends,
so nobody dials whom it is held by already. Nothing is said on one after it has been announced, unless a round of probes finds
no other way to its far end (`probe`). Rules:
  - an end without a goodbye before it, and a dial that is refused, are evidence: they start a confirmation, and are never a
    verdict. A middlebox may reset what it likes;
  - who ends a stream on purpose says goodbye on it first: one who leaves, and one who has other successors now;
  - what breaks while its far end lives is dialled again after a wait that doubles, unless it had lasted; news of the ring is
    let settle before anything is dialled for it. Both waits are jittered, so that a break of all is not mended by all at once;
  - streams of other purposes are evidence too, to who dialled: who dialled may close when it likes, who was dialled closes
    only when its process ends, or says goodbye."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from heapq import nsmallest
from random import Random

from mesh.directives import ChannelDown, ChannelUp, Close, Dial, Source, Write
from mesh.membership.actions import Actions
from mesh.membership.identity import Identity
from mesh.membership.member import Member
from mesh.membership.messages import Goodbye, Lifeline, News
from mesh.membership.probe import DIAL
from mesh.membership.profile import Profile
from mesh.membership.table import MAX_MEMBERS, Table

__all__ = ["MAX_HELD", "SUCCESSORS", "Lifelines", "place"]

SUCCESSORS = 3
"""Three, so that one that dies is noticed although another neighbour has just died or is paused; six notice with the
predecessors."""

MAX_HELD = 256
"""Streams that others may announce to this node; further ones are no evidence here."""

PLACES = 1 << 64
LIFELINE = Lifeline()
GOODBYE = Goodbye()


@lru_cache(maxsize=MAX_MEMBERS)
def place(name: str) -> int:
    """Of a member in the ring: the same at every node, and for every process of the name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"lifelines").digest(), "big")


@dataclass(frozen=True, slots=True)
class Line:
    """One end of an idle stream that is up."""

    session: bytes
    """The process at the far end."""
    dialled: bool
    since: int
    """Monotonic ns."""


@dataclass(slots=True)
class Wait:
    """Before a successor is dialled again."""

    lasts: int
    until: int
    """Monotonic ns."""


class Lifelines:
    __slots__ = (
        "_accepted",
        "_actions",
        "_dialling",
        "_identity",
        "_lines",
        "_over",
        "_profile",
        "_random",
        "_table",
        "_waits",
    )

    def __init__(self, identity: Identity, table: Table, profile: Profile, random: Random, actions: Actions) -> None:
        self._identity = identity
        self._table = table
        self._profile = profile
        self._random = random
        self._actions = actions
        self._lines: dict[int, Line] = {}
        self._accepted: dict[int, bytes] = {}
        """Every stream that others have dialled, and whose it is."""
        self._over: dict[int, None] = {}
        """Streams whose end is coming and says nothing: one of both ends wants it."""
        self._dialling: dict[bytes, None] = {}
        self._waits: dict[bytes, Wait] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def successors(self) -> list[Member]:
        """The members behind this node in the ring, nearest first."""
        own = place(self._identity.name)
        return nsmallest(
            SUCCESSORS, self._table.others(), key=lambda member: ((place(member.name) - own) % PLACES, member.name)
        )  # fmt: skip

    def line_to(self, session: bytes) -> int | None:
        """A stream to this process that is up here; what it is at the far end nobody knows before something comes back."""
        for channel, line in self._lines.items():
            if line.session == session and channel not in self._over:
                return channel
        return None

    def holds(self, channel: int) -> bool:
        """Whether this stream is one of them."""
        return channel in self._lines

    # --- tending -------------------------------------------------------------------------------------------------------

    def plan(self, now: int) -> None:
        """The ring has changed, or a stream has ended: look at it soon, once for all that happens meanwhile."""
        at = now + int(self._profile.probe_interval * self._random.uniform(0.5, 1.5))
        if at < self._actions.due.get(("tend",), at + 1):
            self._actions.arm(("tend",), at)

    def tend(self, now: int) -> None:
        """Dial the successors that nothing leads to, and close what leads elsewhere."""
        if not self._identity.admitted:
            self.plan(now)
            return
        wanted = {member.boot.session: member for member in self.successors()}
        for channel, line in list(self._lines.items()):
            if line.dialled and line.session not in wanted:
                del self._lines[channel]
                self._actions.add(Write(channel, GOODBYE))
                self._close(channel)
        self._waits = {session: wait for session, wait in self._waits.items() if session in wanted}
        there = {line.session for line in self._lines.values()}
        for session, member in wanted.items():
            if session in there or session in self._dialling:
                continue
            wait = self._waits.get(session)
            if wait is None or wait.until <= now:
                self._dialling[session] = None
                self._actions.add(Dial(member.address, (DIAL, "lifeline", session)))
            elif wait.until < self._actions.due.get(("tend",), wait.until + 1):
                self._actions.arm(("tend",), wait.until)

    def _close(self, channel: int) -> None:
        self._over[channel] = None
        self._actions.add(Close(channel))

    def _lost(self, session: bytes, now: int) -> None:
        """A stream that this node dialled has ended, or did not come up."""
        known = self._waits.get(session)
        lasts = min(self._profile.redial_last, 2 * known.lasts) if known is not None else self._profile.redial_first
        self._waits[session] = Wait(lasts, now + int(lasts * self._random.uniform(0.75, 1.25)))
        self.plan(now)

    # --- what happens to streams ---------------------------------------------------------------------------------------

    def on_accepted(self, up: ChannelUp) -> None:
        self._accepted[up.channel] = up.session

    def on_up(self, session: bytes, up: ChannelUp, now: int) -> None:
        """A stream that this node dialled is up, perhaps to another process than was meant."""
        self._dialling.pop(session, None)
        if up.session != session:
            self._close(up.channel)
            self._lost(session, now)
            return
        self._lines[up.channel] = Line(session, True, now)
        self._actions.add(Write(up.channel, LIFELINE))

    def on_announced(self, source: Source, now: int) -> None:
        """The far end keeps this stream to be told of an end, and lets this node do the same."""
        if source.channel is None or source.channel not in self._accepted or source.channel in self._lines:
            self._actions.count("unexpected")
        elif sum(not line.dialled for line in self._lines.values()) >= MAX_HELD:
            self._actions.count("lifelines_dropped")
        else:
            self._lines[source.channel] = Line(source.session, False, now)

    def on_goodbye(self, source: Source, now: int) -> None:
        """The far end is about to end this stream on purpose."""
        if source.channel is None:
            self._actions.count("unexpected")
            return
        self._over[source.channel] = None
        if self._lines.pop(source.channel, None) is not None:
            self.plan(now)

    def on_down(self, down: ChannelDown, now: int) -> Member | None:
        """A stream has ended; the member whose process may have died, if that is what it says."""
        match down.tag:
            case (tag, "lifeline", bytes(session)) if tag == DIAL and down.session is None:
                self._dialling.pop(session, None)
                self._lost(session, now)
        accepted = self._accepted.pop(down.channel, None) is not None
        line = self._lines.pop(down.channel, None)
        if line is not None:
            self._actions.count("lifelines_broken")
            if line.dialled:
                if now - line.since >= self._profile.redial_last:
                    self._waits.pop(line.session, None)
                self._lost(line.session, now)
            else:
                self.plan(now)
        if down.channel in self._over:
            del self._over[down.channel]
            return None
        telling = down.reason == "reset" or (down.reason == "closed" and (line is not None or not accepted))
        member = None if down.session is None or not telling else self._table.by_session(down.session)
        return member if member is not None and member.reachable and member.name != self._identity.name else None

    def farewell(self, word: News) -> None:
        """This process ends on purpose, and its streams with it: say why to everyone who would take their end for a death."""
        heard = [channel for channel, session in self._accepted.items() if self._table.by_session(session) is not None]
        for channel in dict.fromkeys([*self._lines, *heard]):
            self._actions.add(Write(channel, word))
            self._actions.add(Write(channel, GOODBYE))
