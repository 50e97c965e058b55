"""Who is in the mesh, and how they are: SWIM with Lifeguard, as one part of the node.

This file holds what others read, the commands, the inputs and the timers. Each idea stands in its own: `judging` (what probes
and streams tell), `member` (the one order of news), `hearing` (what a piece of news may do), `registry` (what follows from a
change), `table`, `rumours`, `probe`, `relays`, `suspicion`, `health`, `lateness`, `join`, `checks`.

A node whose own timers fire late was away: before it handles anything else it drops its probes and grants every
suspicion the time that it missed (`lateness`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import Address, Boot, Bye, ChannelDown, ChannelUp, Directives, Event, Message, Refused, Source
from mesh.membership.identity import Identity, Tags, valid_tags
from mesh.membership.judging import ROUND, Judging
from mesh.membership.member import ALIVE, LEFT, Member, State
from mesh.membership.messages import (
    Ack,
    Confirmed,
    Goodbye,
    Gossip,
    Join,
    Lifeline,
    Nack,
    News,
    Ping,
    PingRequest,
    Refuse,
    Welcome,
    entry_of,
)
from mesh.membership.messages import Table as TableMessage
from mesh.membership.probe import DIAL
from mesh.membership.profile import LAN, Profile
from mesh.wire import encode

__all__ = ["FAREWELLS", "Membership"]

FAREWELLS = 16
"""Members that are told directly of a leave; the others hear it from them."""


class Membership(Judging):
    """The part.

    Parameters
    ----------
    identity: shared with the node; its boot is provisional until `Joined` is emitted.
    seeds: addresses to join through; the own one among them is recognised. None: this node founds.
    random: for protocol choices.
    clock: stamps the boot, and takes samples of the peers' wall clocks.
    profile: the constants.
    """

    name = "membership"
    messages: tuple[type[Message], ...] = (
        Ping,
        Ack,
        PingRequest,
        Nack,
        Confirmed,
        News,
        Join,
        Welcome,
        Refuse,
        TableMessage,
        Gossip,
        Lifeline,
        Goodbye,
    )

    hears = (Refused, ChannelUp, ChannelDown, Bye)

    def __init__(
        self,
        identity: Identity,
        seeds: Sequence[Address],
        random: Random,
        clock: HybridClock,
        profile: Profile = LAN,
    ) -> None:
        super().__init__(identity, seeds, random, clock, profile)
        self._tellings = (0, 0)
        """How many stand, and how often each of so many tells a rumour."""
        self._filled: str | None = None
        """Whose datagram is being filled."""
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Ping: self._on_ping,
            Ack: self._on_ack,
            PingRequest: self._on_ping_request,
            Nack: self._on_nack,
            Confirmed: self._on_confirmed,
            News: self._hearing.on_news,
            Join: self._joiner.on_join,
            Welcome: self._joiner.on_welcome,
            Refuse: self._joiner.on_refuse,
            TableMessage: self._joiner.on_table,
            Gossip: self._on_gossip,
            Lifeline: lambda message, source, now: self._lifelines.on_announced(source, now.mono),
            Goodbye: lambda message, source, now: self._lifelines.on_goodbye(source, now.mono),
        }

    @property
    def admitted(self) -> bool:
        """Whether this node has its name and its final boot: a founder from its start, a joiner from its first
        welcome."""
        return self.identity.admitted

    # --- what others read ------------------------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Everyone, this node included, one entry a name (its newest boot), sorted by name."""
        return self._table.all()

    def get(self, name: str) -> Member | None:
        return self._table.get(name)

    def boot(self, name: str) -> Boot | None:
        """The newest boot of a name."""
        member = self._table.get(name)
        return None if member is None else member.boot

    def by_session(self, session: bytes) -> Member | None:
        """The member whose newest process has this session, whatever its state."""
        return self._table.by_session(session)

    def is_alive(self, name: str) -> bool:
        """Whether the member is alive or suspect: accused perhaps, but not convicted, so still worth asking."""
        member = self._table.get(name)
        return member is not None and member.reachable

    def names_alive(self) -> tuple[str, ...]:
        """Those of which `is_alive` holds, this node included, sorted."""
        return self._table.names_alive()

    def rtt(self, name: str) -> int:
        """Nanoseconds of a round trip to the member, smoothed; a fourth of the probe timeout where none was
        measured."""
        member = self._table.get(name)
        mean = None if member is None else self._prober.trips.mean(member.boot.session)
        return self.profile.probe_timeout // 4 if mean is None else mean

    def stats(self) -> dict[str, int]:
        counts = dict(sorted(self._actions.counts.items()))
        states = [member.state for member in self._table.all()]
        for state in State:
            counts[state.value] = states.count(state)
        counts["lifelines"] = len(self._lifelines)
        counts["rumours"] = len(self._rumours)
        counts["rumours_replaced"] = self._rumours.replaced
        counts["health"] = self._health.multiplier - 1
        counts["late_rounds"] = self._lateness.total
        return counts

    # --- commands --------------------------------------------------------------------------------------------------

    def leave(self, now: Instant) -> Directives:
        """Say goodbye: this node is `left` everywhere, at once or by rumour. It takes part in nothing afterwards."""
        if not self._hearing.gone:
            self._hearing.gone = True
            own = replace(self._table.own(), state=State.LEFT)
            self._registry.apply(own, now)
            farewell = News(entry_of(own), None)
            others = self._table.others() if self.admitted else ()  # a name that may be another's is not this one's to leave
            for member in self._random.sample(others, min(FAREWELLS, len(others))):
                self._actions.send(member.name, farewell)
            self._lifelines.farewell(farewell)
            for timer in list(self._actions.due):
                self._actions.disarm(timer)
        return self._taken()

    def set_tags(self, tags: Tags, now: Instant) -> Directives:
        """Replace this node's tags; they travel with its next incarnation, if they are others than it has.

        Raises
        ------
        ValueError: they are too large, unsorted or not unique.
        """
        if not valid_tags(tags):
            raise ValueError("tags are pairs sorted by key, no key twice, at most 512 bytes in all")
        if not self._hearing.gone and tags != self.identity.tags:
            self.identity.tags = tags
            self._hearing.renew(now)
        return self._taken()

    def pin(self, names: Iterable[str]) -> None:
        """These names (voters) are never forgotten, however long dead."""
        self._table.pin(names)

    def eager(self, to: str) -> bool:
        """Whether there is a rumour, or this member is accused. The node asks before it fills a datagram."""
        self._filled = None
        return bool(self._rumours.subjects) or self._accused(to) is not None

    def _accused(self, name: str) -> Member | None:
        member = self._table.get(name)
        if member is None or member.state is ALIVE or member.state is LEFT or self._hearing.gone:
            return None
        return member

    def piggyback(self, to: str, budget: int) -> list[bytes]:
        """Encoded rumours for a datagram to `to`, of at most `budget` bytes together.

        Who is accused here is told so first, whatever else is to be said: it alone can refute. The node may ask twice for one
        datagram; nothing rides on it twice."""
        more, self._filled = self._filled == to, to
        told: list[bytes] = []
        accused = None if more else self._accused(to)
        if accused is not None:
            accusation = encode(News(entry_of(accused), None))
            if len(accusation) <= budget:
                budget -= len(accusation)
                told.append(accusation)
        if self._rumours.subjects:
            standing = self._table.standing
            if standing != self._tellings[0]:
                self._tellings = (standing, self.profile.transmissions(standing))
            told += self._rumours.fill(budget, self._tellings[1], to, more)
        return told

    # --- inputs ----------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        identity = self.identity
        own = Member(identity.name, identity.boot, identity.incarnation, State.ALIVE, identity.address, identity.tags)
        self._registry.apply(own, now)
        self._joiner.start(now)
        self._actions.arm(ROUND, now.mono + self._random.randrange(self.profile.probe_interval))
        self._joiner.plan_exchange(now)
        return self._taken()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if self._hearing.gone:
            return ()
        due = self._actions.due.get(ROUND)
        if due is not None and now.mono - due > self._lateness.threshold:
            self._notice_lateness(due, now)
        self._handlers[type(message)](message, source, now)
        return self._taken()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        due = self._actions.due.get(timer)
        if self._hearing.gone or due is None:
            return ()
        if now.mono - due > self._lateness.threshold:
            self._notice_lateness(due, now)
            if self._actions.due.get(timer) != due:  # lateness may have dropped or moved it
                return self._taken()
        del self._actions.due[timer]
        self._on_due(timer, now)
        return self._taken()

    def on_event(self, event: Event, now: Instant) -> Directives:
        if self._hearing.gone:
            return ()
        self._notice_lateness(self._actions.due.get(ROUND), now)
        match event:
            case Refused(address):
                self._on_refused(address, now)
            case ChannelUp(tag=None):
                self._lifelines.on_accepted(event)
            case ChannelUp(tag=(tag, purpose, what)) if tag == DIAL:
                self._on_channel_up(purpose, what, event, now)
            case ChannelDown():
                self._on_channel_down(event, now)
            case Bye():
                return self.leave(now)
        return self._taken()

    def _taken(self) -> Directives:
        self._filled = None
        actions = self._actions
        taken = actions.directives
        if taken:
            actions.directives = []
        return taken

    def _on_due(self, timer: Hashable, now: Instant) -> None:
        match timer:
            case ("gossip",):
                self._registry.gossip(now)
            case ("round",):
                self._round(now)
            case ("relay", int(sequence)):
                self._relays.on_timer(sequence, now.mono)
            case ("probe", int(sequence)):
                self._prober.on_timeout(sequence, now.mono)
            case ("verdict", int(sequence)):
                self._judged(self._prober.on_verdict(sequence), now)
            case ("suspicion", str(name)):
                self._registry.convict(name, now)
            case ("refute",):
                self._hearing.renew(now)
            case ("check", int(number)):
                check = self._checks.on_timer(number, now.mono)
                if check is not None:
                    self._checked(check, False, now)
            case ("redial",):
                self._joiner.on_redial(now)
            case ("exchange",):
                self._joiner.exchange(now)
                self._registry.forget_the_gone(now)
            case ("admit",):
                self._joiner.on_admit(now)
            case ("tend",):
                self._lifelines.tend(now.mono)
            case ("talk", int(channel)):
                self._joiner.on_talk_over(channel)

    def _on_gossip(self, message: Gossip, source: Source, now: Instant) -> None:
        """The rumours beside it in the frame are messages of their own."""
