"""Yielding: of two meshes of one founder each (`expect=1`) that meet, one goes over to the other.

Both have decided a roster, and neither can be a change of the other: one of them has to give its own up. Each rule with what
breaks without it:

  - Only the one that was founded later yields, by its ballot, and only to one that has said that it is not itself yielding.
    (Both yield, and nobody keeps a lock any more.)
  - Only with nobody else in its mesh, and with no atomic register. (Others go on with a roster that its only voter has left; a
    value that was decided is lost.)
  - From that decision it grants nothing, extends nothing, and tells its roster to nobody. (A lease outlives the mesh it is of.)
  - From then on it admits nobody either: it votes on no other roster, and does not yield while one is half decided. (It is one
    of several, so it cannot leave, and serves nothing for ever.)
  - It joins M later, when nothing that it has granted is believed. (Two holders of one lock, in one mesh.)
  - If by then others are there again, it stays, and goes on with its roster. (They were only cut off, and ask it for ever.)

Else `DifferentMesh` ends one of them, for two rosters in one mesh would grant the same locks: a lone founder among the members
of a larger mesh; of two lone ones that which has its roster from its disk, and has been confirmed by nobody; else the later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

from coordination.agreed.rosters.birth import Birth
from coordination.agreed.rosters.candidates import HEARD_FOR
from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.succession_messages import LoneIs, YieldAsk, YieldOk
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.standing import Standing
from coordination.errors import DifferentMesh
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Act, Arm, Directive, Directives, Event, Message, Send, Source, Stop

__all__ = ["Yielding"]

CALL_EVERY = NANOSECONDS
CALL_WIDTH = 64
GIVE_UP = 2 * HEARD_FOR
"""A lone founder that cannot yield waits for so long: the other one may be gone again."""


class Stuck(NamedTuple):
    """This node can neither stay beside the other one nor go over."""

    name: str
    voters: tuple[str, ...]
    """Of its roster; none, if it is not alone, and has not said who they are."""
    until: int
    """Monotonic ns."""


class Yielding:
    name = "yielding"
    messages = (LoneIs, YieldAsk, YieldOk)
    hears = (RosterDecided,)

    def __init__(
        self,
        identity: Identity,
        view: View,
        birth: Birth,
        succession: Succession,
        acceptor: Acceptor,
        standing: Standing,
        *,
        networked: bool,
    ) -> None:
        self._identity = identity
        self._view = view
        self._birth = birth
        self._succession = succession
        self._acceptor = acceptor
        self._standing = standing
        self._networked = networked
        self._stuck: Stuck | None = None
        self._elder = ""
        """To whom it yields."""
        self._counts: Counter[str] = Counter()

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return (Arm("call", now.mono + CALL_EVERY),) if self._lone() else ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return (Arm("call", now.mono + CALL_EVERY),) if isinstance(event, RosterDecided) and self._lone() else ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        if timer == "join":
            return self._join(now)
        if not self._lone():
            return ()
        stuck = self._stuck
        if stuck is not None and not self._view.is_alive(stuck.name):
            stuck = self._stuck = None
        if stuck is not None and now.mono >= stuck.until:
            return (Stop(DifferentMesh((self._identity.name,), stuck.voters, stuck.name)),)
        others = [name for name in self._view.names_alive() if name != self._identity.name][:CALL_WIDTH]
        call = LoneIs(self._identity.name, self._standing.origin, False)
        return (*(Send(name, call) for name in others), Arm("call", now.mono + CALL_EVERY))

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        own = self._identity.name
        if isinstance(message, LoneIs):
            return self._on_lone(message, now)
        if isinstance(message, YieldAsk):
            if self._lone() and not self._standing.yielding and later(message.origin, self._standing.origin):
                return (Send(message.name, YieldOk(own, self._standing.origin)),)
            return ()
        assert isinstance(message, YieldOk)
        if not later(self._standing.origin, message.origin) or not self._free(message.name):
            return ()
        self._elder = message.name
        return self._decide(now)

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    # --- help -------------------------------------------------------------------------------------------------------------

    def _lone(self) -> bool:
        rosters = self._standing.rosters
        return self._networked and len(rosters) == 1 and rosters[0].voters == (self._identity.name,)

    def _decide(self, now: Instant) -> Directives:
        roster = self._standing.roster
        if roster is None or not self._lone() or self._standing.yielding:
            return ()
        self._standing.yielding = True
        self._stuck = None  # it goes over, and does not end
        self._counts["yielded"] += 1
        return (Arm("join", now.mono + roster.abstention),)

    def _free(self, to: str) -> bool:
        """Whether there is nobody else, nor will be, and nothing that would be lost."""
        others = [name for name in self._view.names_alive() if name not in (self._identity.name, to)]
        return not others and self._succession.accepted() is None and not self._acceptor.has_atomic()

    def _on_lone(self, call: LoneIs, now: Instant) -> Directives:
        standing, own = self._standing, self._identity.name
        if standing.roster is None or call.origin == standing.origin or call.name == own:
            return ()
        if not self._lone():
            return (Send(call.name, LoneIs(own, ZERO, True)),)
        if standing.yielding:
            return ()
        if not call.origin.counter:
            self._stick(call, GIVE_UP, now)
        elif later(call.origin, standing.origin):
            if call.stays and self._birth.doubted:
                self._stick(call, GIVE_UP, now)
        elif self._free(call.name):
            return (Send(call.name, YieldAsk(own, standing.origin)),)
        elif self._birth.doubted:
            self._stick(call, GIVE_UP, now)
        else:
            self._stick(call, 2 * GIVE_UP, now)
            return (Send(call.name, LoneIs(own, standing.origin, True)),)
        return ()

    def _stick(self, call: LoneIs, patience: int, now: Instant) -> None:
        """It cannot stay beside the other one, and cannot go over."""
        if self._stuck is None:
            self._counts["stuck"] += 1
            self._stuck = Stuck(call.name, (call.name,) if call.origin.counter else (), now.mono + patience)

    def _join(self, now: Instant) -> list[Directive]:
        out: list[Directive] = []
        if self._standing.yielding and not self._free(self._elder):
            self._standing.yielding = False
            self._counts["stayed"] += 1
        elif self._standing.yielding and self._lone():
            self._acceptor.forget_all(out)
            self._succession.begin_anew(out)
            out.append(Act(self._birth, self._birth.join_another(now)))
        return out


def later(a: Ballot, b: Ballot) -> bool:
    """Whether the mesh of the first founding ballot is the younger one."""
    return (a.boot, a.name) > (b.boot, b.name)
