"""The life of a probe: ping; if no ack comes in time, ask helpers and try a stream; if nothing comes of that, a
verdict.

Three kinds run side by side:
  - the *round* asks one member after the other, in random order; its failure is grounds for suspicion;
  - an *evidence* probe follows a refused datagram or a reset stream. It asks directly and through helpers at once. If
    two distinct members (one, if there are only two) were refused by the target's operating system, and nothing of the
    target was heard by anyone, the process is dead: no suspicion is needed. Short of that it is an ordinary failure.
    Evidence starts a probe and counts within it; alone it convicts nobody. It asks again, after waits that double, until
    its verdict: a process that dies closes one socket after another, and whoever asked between the first and the last was
    not refused. On a busy machine that takes some tenths of a second;
  - a *told* probe follows a rumour of a death of which nothing was known here (`hearing`). It pings first, and asks
    otherwise if there is no answer at once. Whoever answers was never dead. A refusal is the second witness, and so is
    silence: then the rumour is believed.

The stream that a round tries is the one that is open already, if there is one (`lifelines`): a ping on it costs a frame each
way, a new stream ten packets. That it is open says nothing, for the far end's machine may have lost its power: only an ack
counts, and if none has come in half of the time that is left a new stream is dialled after all. An evidence probe dials at
once: there a refusal is what is asked for.

An ack counts only for its own probe: sequence, target's session and source must agree. Do not judge by a probe of
before a pause: `void` drops them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from mesh.directives import Address, Close, Dial, Source, Write
from mesh.membership.actions import Actions
from mesh.membership.health import Health
from mesh.membership.member import Member, State
from mesh.membership.messages import Ack, Confirmed, Nack, Ping, PingRequest
from mesh.membership.profile import Profile
from mesh.membership.ring import Ring
from mesh.membership.rtt import RoundTrips
from mesh.membership.table import Table

__all__ = ["DIAL", "EVIDENCE_SPACING", "MAX_PROBES", "Probe", "Prober", "Verdict"]

DIAL = "membership"
"""The first element of the tag of every stream that membership dials."""

EVIDENCE_SPACING = 1_000_000_000
"""At most one evidence probe of a member in so many ns, whoever forges whatever."""

MAX_PROBES = 64
"""In flight at once."""

REFUSALS = 2
"""Distinct members that must have been refused, where there are so many."""

PAIR = 2

SEQUENCES = 1 << 32


class Verdict(NamedTuple):
    """A probe failed: nobody could reach the member."""

    member: Member
    dead: bool
    """Its process has died for certain; otherwise it is suspect."""


@dataclass(slots=True)
class Probe:
    sequence: int
    member: Member
    sent: int
    evidence: bool
    told: bool = False
    """Others say that the member is dead: if this fails, it is."""
    helpers: dict[bytes, bool] = field(default_factory=dict)
    """Session of each helper, and whether it has answered with a nack."""
    refused: dict[bytes, None] = field(default_factory=dict)
    """Sessions of helpers that were refused."""
    refused_here: int = 0
    """How often this node was."""
    asked_again: int = 0
    on_line: bool = False
    """It was asked on a stream that was open already, and no new one was dialled yet."""


class Prober:
    __slots__ = (
        "_actions",
        "_evidence",
        "_health",
        "_line_to",
        "_probes",
        "_profile",
        "_random",
        "_sequence",
        "_table",
        "ring",
        "trips",
    )

    def __init__(
        self,
        table: Table,
        health: Health,
        profile: Profile,
        random: Random,
        actions: Actions,
        line_to: Callable[[bytes], int | None],
    ) -> None:
        self._table = table
        self._health = health
        self._profile = profile
        self._random = random
        self._actions = actions
        self._line_to = line_to
        """An open stream to a process, if there is one."""
        self._probes: dict[int, Probe] = {}
        self._evidence: dict[str, int] = {}
        self._sequence = random.randrange(SEQUENCES)
        self.ring = Ring(table, random)
        self.trips = RoundTrips()

    # --- sending ---------------------------------------------------------------------------------------------------

    def next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % SEQUENCES
        return self._sequence

    def round(self, now: int) -> None:
        """Begin the probe of this round."""
        member = self.ring.next()
        if member is not None:
            self._begin(member, now, evidence=False)

    def evidence(self, member: Member, refused: bool, now: int) -> None:
        """Something says that the member's process may have died."""
        last = self._evidence.get(member.name)
        if last is not None and now - last < EVIDENCE_SPACING:
            return
        probe = self._begin(member, now, evidence=True)
        if probe is not None:
            self._actions.count("evidence")
            self._evidence[member.name] = now
            probe.refused_here = int(refused)
            self._ask_otherwise(probe)

    def inquire(self, member: Member, now: int) -> bool:
        """Others say that the member is dead: ask it. False if it cannot be asked now, or is being asked."""
        session = member.boot.session
        if any(probe.told and probe.member.boot.session == session for probe in self._probes.values()):
            return False
        probe = self._begin(member, now, evidence=True)
        if probe is None:
            return False
        probe.told = True
        return True

    def _begin(self, member: Member, now: int, evidence: bool) -> Probe | None:
        if len(self._probes) >= MAX_PROBES:
            self._actions.count("probes_dropped")
            return None
        sequence, session = self.next_sequence(), member.boot.session
        probe = self._probes[sequence] = Probe(sequence, member, now, evidence)
        self._actions.send(session, Ping(sequence, session))
        stretch = self._health.multiplier
        if evidence:
            self._actions.arm(("probe", sequence), now + self._profile.probe_timeout_floor)
            self._actions.arm(("verdict", sequence), now + stretch * self._profile.probe_timeout)
            return probe
        timeout = self.trips.timeout(session, self._profile.probe_timeout_floor, self._profile.probe_timeout)
        self._actions.arm(("probe", sequence), now + stretch * timeout)
        self._actions.arm(("verdict", sequence), now + stretch * self._profile.probe_interval)
        return probe

    def _ask_otherwise(self, probe: Probe) -> None:
        """Through others, and by a stream, whose refusal would be evidence too."""
        session = probe.member.boot.session
        able = [
            other.boot.session
            for other in self._table.others()
            if other.state is State.ALIVE and other.name != probe.member.name
        ]
        for helper in self._random.sample(able, min(self._profile.indirect, len(able))):
            probe.helpers[helper] = False
            self._actions.send(helper, PingRequest(probe.sequence, session))
        line = None if probe.evidence else self._line_to(session)
        if line is None:
            self._dial(probe)
        else:
            probe.on_line = True
            self._actions.add(Write(line, Ping(probe.sequence, session)))

    def _dial(self, probe: Probe) -> None:
        self._actions.add(Dial(probe.member.address, (DIAL, "probe", probe.sequence)))

    def _ask_again(self, probe: Probe) -> None:
        """The same ones, but for helpers that have answered."""
        session = probe.member.boot.session
        probe.asked_again += 1
        self._actions.send(session, Ping(probe.sequence, session))
        for helper, answered in probe.helpers.items():
            if not answered:
                self._actions.send(helper, PingRequest(probe.sequence, session))
        self._dial(probe)

    # --- what comes back -------------------------------------------------------------------------------------------

    def on_timeout(self, sequence: int, now: int) -> None:
        """No ack in time; it may be that only datagrams are blocked, or only those between these two."""
        probe = self._probes[sequence]
        if probe.evidence and (probe.helpers or not probe.told):
            self._ask_again(probe)
        elif probe.on_line:
            probe.on_line = False
            self._dial(probe)
        else:
            self._ask_otherwise(probe)
        verdict = self._actions.due[("verdict", sequence)]
        if probe.evidence:
            again = now + (self._profile.probe_timeout_floor << probe.asked_again)
        elif probe.on_line:
            again = (now + verdict) // 2
        else:
            return
        if again < verdict:
            self._actions.arm(("probe", sequence), again)

    def on_verdict(self, sequence: int) -> Verdict | None:
        """The time for answers is over."""
        probe = self._probes[sequence]
        self._end(sequence)
        missing = sum(not answered for answered in probe.helpers.values())
        if not probe.evidence:
            self._health.worsen(missing if probe.helpers else 1)
        return self._judge(probe)

    def on_ack(self, ack: Ack, source: Source, now: int) -> int | None:
        """The round trip in ns, or None if the ack answers no probe of this node's; 0 if nobody knows which of two pings it
        answers (Karn and Partridge, 1987) or it came on a stream, so that it is no measure."""
        probe = self._probes.get(ack.sequence)
        if probe is None or probe.member.boot.session != source.session:
            return None
        trip = now - probe.sent
        self._answered(probe)
        if source.channel is not None:
            self._actions.count("probes_saved_by_line")
            return 0
        if probe.asked_again:
            return 0
        self.trips.sample(source.session, trip)
        return trip

    def on_confirmed(self, message: Confirmed, source: Source) -> None:
        probe = self._probes.get(message.sequence)
        if probe is not None and source.session in probe.helpers and probe.member.boot.session == message.target:
            self._answered(probe)

    def on_nack(self, nack: Nack, source: Source) -> Verdict | None:
        probe = self._probes.get(nack.sequence)
        if probe is None or source.session not in probe.helpers:
            return None
        probe.helpers[source.session] = True
        if nack.refused:
            probe.refused[source.session] = None
        return self._early(probe)

    def on_refused(self, address: Address) -> tuple[Verdict, ...]:
        """The operating system refused a datagram of this node's: it counts in every probe of that address."""
        verdicts = []
        for probe in list(self._probes.values()):
            if probe.member.address == address:
                probe.refused_here += 1
                verdict = self._early(probe)
                if verdict is not None:
                    verdicts.append(verdict)
        return tuple(verdicts)

    def on_stream(self, sequence: int, channel: int, session: bytes) -> None:
        """The fallback stream is up: its handshake has proven who is there."""
        self._actions.add(Close(channel))
        probe = self._probes.get(sequence)
        if probe is not None and probe.member.boot.session == session:
            self._actions.count("probes_saved_by_stream")
            self._answered(probe)

    def void(self) -> None:
        """This node was away: no probe of before says anything."""
        for sequence in list(self._probes):
            self._end(sequence)

    def forget(self, member: Member) -> None:
        """The member's process is known to be dead, gone or replaced."""
        for sequence, probe in list(self._probes.items()):
            if probe.member.boot.session == member.boot.session:
                self._end(sequence)
        self._evidence.pop(member.name, None)
        self.trips.forget(member.boot.session)

    def _answered(self, probe: Probe) -> None:
        """The target lives: whatever else is in flight about that process is settled too."""
        self._health.improve()
        for sequence, other in list(self._probes.items()):
            if other.member.boot.session == probe.member.boot.session:
                self._end(sequence)

    def _end(self, sequence: int) -> None:
        del self._probes[sequence]
        self._actions.disarm(("probe", sequence))
        self._actions.disarm(("verdict", sequence))

    # --- judging ---------------------------------------------------------------------------------------------------

    def _early(self, probe: Probe) -> Verdict | None:
        """Nothing more is to be awaited: everyone asked has answered, and the ping of this probe itself was refused."""
        if probe.told:
            if not probe.refused_here and not probe.refused:
                return None
            self._end(probe.sequence)
            return self._judge(probe)
        if not probe.evidence or probe.refused_here < REFUSALS or not all(probe.helpers.values()):
            return None
        verdict = self._judge(probe)
        if verdict is None or not verdict.dead:
            return None  # helpers were met by silence: an answer may still be under way
        self._end(probe.sequence)
        return verdict

    def _judge(self, probe: Probe) -> Verdict | None:
        member = self._table.get(probe.member.name)
        if member is None or member.boot != probe.member.boot or not member.reachable:
            return None
        refused = len(probe.refused) + (probe.refused_here > 0)
        needed = 1 if self._table.standing <= PAIR else REFUSALS
        return Verdict(member, probe.told or (probe.evidence and refused >= needed))
