"""What pings, acks, refusals and streams tell of members, and what this node judges by it: who is suspected, who is dead.

Here the parts of membership are put together, for a sign goes from one to the next: an ack is that of a probe, of a helper or
of a check; a refused dial is evidence for all that have to do with its address; a stream that ends may have been a lifeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import Address, ChannelDown, ChannelUp, Source, Write
from mesh.membership.actions import Actions
from mesh.membership.checks import Check, Checks, Rumoured
from mesh.membership.health import Health
from mesh.membership.hearing import Hearing
from mesh.membership.identity import Identity
from mesh.membership.join import Joiner
from mesh.membership.lateness import Lateness
from mesh.membership.lifelines import Lifelines
from mesh.membership.lost import Lost
from mesh.membership.member import State
from mesh.membership.messages import Ack, Confirmed, Nack, News, Ping, PingRequest, entry_of
from mesh.membership.probe import DIAL, Prober, Verdict
from mesh.membership.profile import Profile
from mesh.membership.registry import Registry
from mesh.membership.relays import Relays
from mesh.membership.rumours import Rumours
from mesh.membership.table import Table

__all__ = ["ROUND", "Judging"]

ACQUAINTANCE_SPACING = 1_000_000_000
"""At most one stranger's ping in so many ns makes this node exchange tables with it."""

NS_PER_MS = 1_000_000

ROUND = ("round",)
"""The timer of the next probe."""


class Judging:
    """The lower layer of `Membership`."""

    def __init__(
        self,
        identity: Identity,
        seeds: Sequence[Address],
        random: Random,
        clock: HybridClock,
        profile: Profile,
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
