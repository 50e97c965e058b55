"""The one way by which news changes what this node knows, with all that follows from a change.

A change of an entry re-wires the node (`Know`, `Forget`), starts, confirms or ends a suspicion, ends what is in flight
about a process that is no more, is told on, and is an event if users can see it. Everything that changed an entry here
is new to others too: it is gossiped within a budget that grows with log N, and rides on whatever datagram leaves
anyway."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import Forget, Know
from mesh.membership.actions import Actions
from mesh.membership.events import MemberChanged, MemberForgotten
from mesh.membership.health import Health
from mesh.membership.identity import Identity
from mesh.membership.lifelines import Lifelines
from mesh.membership.lost import Lost
from mesh.membership.member import ALIVE, Member, State
from mesh.membership.messages import Gossip, News, entry_of
from mesh.membership.probe import Prober
from mesh.membership.profile import Profile
from mesh.membership.ring import Ring
from mesh.membership.rumours import Rumours
from mesh.membership.suspicion import Suspicion
from mesh.membership.table import Table

__all__ = ["FIRST_GOSSIP", "Registry"]

FIRST_GOSSIP = 2_000_000
"""Nanoseconds for which fresh news waits for more, when nothing has been told lately."""

GOSSIP = Gossip()


class Registry:
    __slots__ = (
        "_actions",
        "_clock",
        "_gossiped",
        "_health",
        "_identity",
        "_lifelines",
        "_lost",
        "_prober",
        "_profile",
        "_ring",
        "_rumours",
        "_suspicions",
        "_table",
    )

    def __init__(
        self,
        identity: Identity,
        table: Table,
        rumours: Rumours,
        prober: Prober,
        health: Health,
        lost: Lost,
        lifelines: Lifelines,
        clock: HybridClock,
        profile: Profile,
        random: Random,
        actions: Actions,
    ) -> None:
        self._identity = identity
        self._table = table
        self._rumours = rumours
        self._prober = prober
        self._health = health
        self._lost = lost
        self._lifelines = lifelines
        self._clock = clock
        self._profile = profile
        self._ring = Ring(table, random)
        self._actions = actions
        self._suspicions: dict[str, Suspicion] = {}
        self._gossiped = 0

    # --- applying --------------------------------------------------------------------------------------------------

    def apply(self, news: Member, now: Instant, accuser: str = "") -> bool:
        """Take in news; False if it changes nothing."""
        if self._table.full and self._table.get(news.name) is None and news.state is State.ALIVE:
            evicted = self._table.room()
            if evicted is None:
                self._actions.count("members_dropped")
                return False
            self._remove(evicted)
        change = self._table.apply(news, now.mono)
        if change is None:
            return False
        member, previous = change
        if member.name != self._identity.name:
            self._rewire(member, previous, now)
        if member.state is not State.SUSPECT and self._suspicions.pop(member.name, None) is not None:
            self._actions.disarm(("suspicion", member.name))
        if member.reachable:
            self._lost.found(member.address)
        else:
            self._prober.forget(member)
            self._clock.forget(member.name)
        self.tell(member, accuser, now)
        if change.visible:
            self._actions.emit(MemberChanged(member, previous))
        return True

    def _rewire(self, member: Member, previous: Member | None, now: Instant) -> None:
        """Let the node know which process has the name now, and where."""
        if previous is not None and previous.boot.session != member.boot.session:
            self._prober.forget(previous)
            self._actions.add(Forget(previous.boot.session))
        if previous is None or (previous.boot, previous.address) != (member.boot, member.address):
            self._actions.add(Know(member.name, member.boot, member.address))
        if member.reachable and (previous is None or not previous.reachable):
            self._prober.ring.add(member.name)
            self._ring.add(member.name)
        was = previous.boot.session if previous is not None and previous.reachable else None
        if was != (member.boot.session if member.reachable else None):
            self._lifelines.plan(now.mono)

    def forget_the_gone(self, now: Instant) -> None:
        """Drop those that have long been dead or left."""
        for member in self._table.all():
            if member.reachable or self._table.pinned(member.name) or member.name == self._identity.name:
                continue
            if now.mono - self._table.since(member.name) >= self._profile.forget_after:
                self._remove(member)

    def _remove(self, member: Member) -> None:
        self._table.remove(member.name)
        self._rumours.forget(member.name)
        self._prober.forget(member)
        if member.state is State.DEAD:
            self._lost.add(member.address)
        self._actions.add(Forget(member.boot.session))
        self._actions.emit(MemberForgotten(member))

    # --- suspicion -------------------------------------------------------------------------------------------------

    def suspect(self, accused: Member, accuser: str, now: Instant) -> bool:
        """`accused` is in state suspect; `accuser` has said so of its own observation, or is empty if nobody is known to.
        False if something later is known."""
        if self.apply(accused, now, accuser):
            shortest, longest, expected = self._profile.suspicion(self._table.standing)
            stretch = self._health.multiplier
            running = Suspicion(accused.boot, accused.incarnation, now.mono, stretch * shortest, stretch * longest, expected)
            running.accuse(accuser)
            self._suspicions[accused.name] = running
        else:
            known = self._suspicions.get(accused.name)
            if known is None or (known.boot, known.incarnation) != (accused.boot, accused.incarnation):
                return False
            if not known.accuse(accuser):
                return True
            running = known
            self.tell(accused, accuser, now)
        self._actions.arm(("suspicion", accused.name), max(now.mono, running.deadline()))
        return True

    def feared(self, member: Member, now: Instant) -> bool:
        """Whether the member has been suspect for so long that its death is no surprise."""
        running = self._suspicions.get(member.name)
        return running is not None and 2 * (now.mono - running.started) >= running.shortest

    def convict(self, name: str, now: Instant) -> None:
        """A suspicion has run out."""
        member = self._table.get(name)
        assert member is not None and member.state is State.SUSPECT
        assert self._suspicions[name].deadline() <= now.mono
        self._actions.count("deaths_by_suspicion")
        self.apply(replace(member, state=State.DEAD), now)

    def excuse(self, pause: int) -> None:
        """This node was away for `pause` ns: whoever is suspect has had no chance to be heard."""
        for name, suspicion in self._suspicions.items():
            suspicion.shift(pause + self._profile.probe_interval)
            self._actions.arm(("suspicion", name), suspicion.deadline())

    def give_way(self, other: Member) -> None:
        """This process must stop, for its name is another's: its neighbours are told whose, and see one change and no death."""
        self._lifelines.farewell(News(entry_of(other), None))

    # --- telling ---------------------------------------------------------------------------------------------------

    def tell(self, member: Member, accuser: str, now: Instant) -> None:
        """Tell the others; of this process itself not before it is admitted, for another may hold its name."""
        if member.name == self._identity.name and not self._identity.admitted:
            return
        self._rumours.tell(member, accuser or None)
        if ("gossip",) not in self._actions.due:
            at = max(now.mono + FIRST_GOSSIP, self._gossiped + self._profile.gossip_interval)
            self._actions.arm(("gossip",), at)

    def gossip(self, now: Instant) -> None:
        """Give rumours an occasion to travel; they ride on whatever leaves, so the message itself is empty. Who would be told
        of itself alone is told nothing.

        One after the other in random order, as with probes: tellings that are drawn anew each time leave out more
        members."""
        if not len(self._rumours) or self._table.standing < 2:
            return
        self._gossiped = now.mono
        heard: dict[str, None] = {}
        for _ in range(self._profile.gossip_fanout):
            member = self._ring.next()
            if member is None or member.name in heard:
                continue
            heard[member.name] = None
            if member.state is not ALIVE or self._rumours.concern_others(member.name):
                self._actions.send(member.name, GOSSIP)
        self._actions.arm(("gossip",), now.mono + self._profile.gossip_interval)
