"""Who is in the mesh, and how they are: SWIM with Lifeguard, as one part of the node.

This file composes, and holds the commands, the inputs and the timers. Each idea stands in its own: `member` (the one
order of news), `hearing` (what a piece of news may do), `registry` (what follows from a change), `table`, `rumours`,
`probe`, `relays`, `suspicion`, `health`, `lateness`, `join`, `checks`.

A node whose own timers fire late was away: before it handles anything else it drops its probes and grants every
suspicion the time that it missed (`lateness`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import (
    Address,
    Boot,
    Bye,
    ChannelDown,
    ChannelUp,
    Directives,
    Event,
    Message,
    Refused,
    Source,
    Write,
)
from mesh.membership.actions import Actions
from mesh.membership.checks import Check, Checks, Rumoured
from mesh.membership.health import Health
from mesh.membership.hearing import Hearing
from mesh.membership.identity import Identity, Tags, valid_tags
from mesh.membership.join import Joiner
from mesh.membership.lateness import Lateness
from mesh.membership.lifelines import Lifelines
from mesh.membership.lost import Lost
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
from mesh.membership.messages import (
    Table as TableMessage,
)
from mesh.membership.probe import DIAL, Prober, Verdict
from mesh.membership.profile import LAN, Profile
from mesh.membership.registry import Registry
from mesh.membership.relays import Relays
from mesh.membership.rumours import Rumours
from mesh.membership.table import Table
from mesh.wire import encode

__all__ = ["FAREWELLS", "Membership"]

FAREWELLS = 16
"""Members that are told directly of a leave; the others hear it from them."""

ACQUAINTANCE_SPACING = 1_000_000_000
"""At most one stranger's ping in so many ns makes this node exchange tables with it."""

NS_PER_MS = 1_000_000

ROUND = ("round",)
"""The timer of the next probe."""


class Membership:
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
        self.identity = identity
        self.profile = profile
        self._random = random
        self._clock = clock
        self._actions = Actions()
        self._table = Table(identity.name)
        self._health = Health(profile.health_worst)
        self._rumours = Rumours()
        self._lateness = Lateness(profile.lateness)
        self._lifelines = Lifelines(identity, self._table, profile, random, self._actions)
        line_to = self._lifelines.line_to
        self._prober = Prober(self._table, self._health, profile, random, self._actions, line_to)
        self._relays = Relays(self._table, profile, self._actions)
        self._checks = Checks(profile, self._actions)
        lost = Lost()
        self._registry = Registry(
            identity,
            self._table,
            self._rumours,
            self._prober,
            self._health,
            lost,
            self._lifelines,
            clock,
            profile,
            random,
            self._actions,
        )
        self._hearing = Hearing(
            identity,
            self._table,
            self._registry,
            self._checks,
            self._prober,
            self._health,
            clock,
            profile,
            self._actions,
        )
        self._joiner = Joiner(identity, seeds, self._table, self._checks, lost, self._hearing, profile, random, self._actions)
        self._acquainted = -ACQUAINTANCE_SPACING
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

    # --- probes and verdicts ---------------------------------------------------------------------------------------

    def _round(self, now: Instant) -> None:
        self._lateness.on_time(now.mono)
        self._prober.round(now.mono)
        self._actions.arm(ROUND, now.mono + self._health.multiplier * self.profile.probe_interval)

    def _on_ping(self, ping: Ping, source: Source, now: Instant) -> None:
        if ping.target != self.identity.boot.session:
            self._actions.count("pings_for_others")
            return
        ack = Ack(ping.sequence, max(0, now.wall))
        if source.channel is None:
            self._actions.send(source.session, ack)
            if source.name is None and now.mono - self._acquainted >= ACQUAINTANCE_SPACING:
                # It counts this node among its members, so it is one, and the news of it was missed.
                self._acquainted = now.mono
                self._joiner.acquaint(source.address)
        else:
            if not self._lifelines.holds(source.channel):  # who dialled to check a rumour wants to know what is true
                self._actions.add(Write(source.channel, News(entry_of(self._table.own()), None)))
            self._actions.add(Write(source.channel, ack))

    def _on_ack(self, ack: Ack, source: Source, now: Instant) -> None:
        trip = self._prober.on_ack(ack, source, now.mono)
        if trip is not None:
            if source.name is not None and trip > 0:
                offset = ack.wall + trip / (2 * NS_PER_MS) - self._clock.physical_ms(now)
                self._clock.sample(source.name, offset)
            return
        if self._relays.on_ack(ack.sequence, source):
            return
        check = self._checks.on_ack(ack, source)
        if check is not None:
            self._checked(check, True, now)
        else:
            self._actions.count("acks_late")

    def _on_ping_request(self, request: PingRequest, source: Source, now: Instant) -> None:
        self._relays.on_request(request, source, self._prober.next_sequence(), now.mono)

    def _on_nack(self, nack: Nack, source: Source, now: Instant) -> None:
        self._judged(self._prober.on_nack(nack, source), now)

    def _on_confirmed(self, message: Confirmed, source: Source, now: Instant) -> None:
        self._prober.on_confirmed(message, source)

    def _on_refused(self, address: Address, now: Instant) -> None:
        helping = self._relays.on_refused(address)
        for verdict in self._prober.on_refused(address):
            self._judged(verdict, now)
        if not helping:
            for member in self._table.at(address):
                if member.reachable and member.name != self.identity.name:
                    self._prober.evidence(member, True, now.mono)

    def _judged(self, verdict: Verdict | None, now: Instant) -> None:
        if verdict is None:
            return
        member = verdict.member
        if verdict.dead:
            self._actions.count("deaths_by_evidence")
            self._registry.apply(replace(member, state=State.DEAD), now)
        else:
            self._registry.suspect(replace(member, state=State.SUSPECT), self.identity.name, now)

    # --- streams ---------------------------------------------------------------------------------------------------

    def _on_channel_up(self, purpose: object, what: object, up: ChannelUp, now: Instant) -> None:
        if purpose == "join" and isinstance(what, str):
            self._joiner.on_up(what, up, now)
        elif purpose == "probe" and isinstance(what, int):
            self._prober.on_stream(what, up.channel, up.session)
            self._meet(up)
        elif purpose == "lifeline" and isinstance(what, bytes):
            self._lifelines.on_up(what, up, now.mono)
            self._meet(up)
        elif purpose == "check" and isinstance(what, int):
            checked = self._checks.on_up(what, up)
            if checked is not None:
                self._checked(*checked, now)

    def _meet(self, up: ChannelUp) -> None:
        """A member was dialled. If it has died and another process lives there, that one may know nobody here."""
        if self._table.by_session(up.session) is None:
            self._joiner.acquaint(up.address)

    def _on_channel_down(self, down: ChannelDown, now: Instant) -> None:
        bereaved = self._lifelines.on_down(down, now.mono)
        if self._joiner.on_channel_down(down.channel, down.reason):
            return
        match down.tag:
            case (tag, "join", str(address)) if tag == DIAL:
                self._joiner.on_down(address, down.reason)
            case (tag, "check", int(number)) if tag == DIAL:
                check = self._checks.on_down(number, down.reason)
                if check is not None:
                    self._checked(check, False, now)
            case (tag, "probe" | "lifeline", _) if tag == DIAL and down.reason == "refused":
                self._on_refused(down.address, now)
            case (tag, "probe", int()) if tag == DIAL:
                pass  # it had done its work, or its probe goes on without it
            case _ if bereaved is not None:
                self._prober.evidence(bereaved, False, now.mono)

    def _checked(self, check: Check, lives: bool, now: Instant) -> None:
        if not isinstance(check.reason, Rumoured):
            self._joiner.on_checked(check, lives)
        elif not lives:
            self._actions.count("rumours_refuted")

    # --- lateness --------------------------------------------------------------------------------------------------

    def _notice_lateness(self, due: int | None, now: Instant) -> None:
        """Before anything is judged: was this node itself away since `due`?"""
        if due is None or now.mono - due <= self._lateness.threshold:
            return
        pause = self._lateness.observe(due, now.mono)
        if pause == 0:
            return
        self._health.worsen()
        if not self._lateness.excuses:
            return
        self._prober.void()
        self._relays.clear()
        self._registry.excuse(pause)
        self._actions.arm(ROUND, now.mono + 1)
