"""The constants of membership, by the kind of network. Durations are nanoseconds.

Each constant says by which formula it acts, with a worked number for `lan` and 30 members in good health; the same numbers for
the other profiles stand below at each, and in docs/membership.md for more sizes (a test computes them anew).

Rules that bind the constants to each other, for any profile:
  - probe_timeout_floor < probe_timeout < probe_interval: helpers are asked, and can answer, before the verdict;
  - a helper that meets silence says so before the asker counts it as missing (`nack_after`);
  - suspicion_floor >= 2 x probe_interval: the accused hears of it by gossip, and its refutation goes round, in less."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, log10

__all__ = ["LAN", "LOCAL", "PROFILES", "WAN", "Profile"]

MS = 1_000_000
SECOND = 1_000 * MS

EXCHANGE_SCALE = 32
"""Members up to which the exchange interval is as stated. Beyond, it grows with log2, lest a node's load does."""

REDIAL_SCALE = 32
"""Members that may dial the dead at the stated rate; more share that rate, so that the mesh's total is bounded."""


NACK_PERMILLE = 800
"""Of the time that the asker leaves its helpers (Lifeguard: 80 %)."""


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    probe_interval: int
    """One member is probed per interval, times the health multiplier. A silent death is first noticed after e/(e-1) = 1.58
    intervals in the mean, whatever N (SWIM, section 3.1): 1.58 s; by 2N-1 = 59 intervals at the latest."""
    probe_timeout: int
    """Longest wait for a direct ack before others are asked: min(this, max(floor, mean + 4 deviations of the measured round
    trips)), times the health multiplier. Unmeasured: 500 ms; at 1 ms, plus or minus 0.2: 1.8 ms, so the floor, 100 ms."""
    probe_timeout_floor: int
    """Never less: the scheduling delay of a busy machine."""
    gossip_interval: int
    """While there are rumours to tell, to `gossip_fanout` random members each time. A rumour reaches all in about
    log(N) / log(1 + fanout) intervals, plus as much for the last few: 2 x 2.5 x 100 ms = 0.5 s."""
    exchange_interval: int
    """Full exchange of tables with a random member: this x (1 + ceil(log2(N / 32))) from 32 members on, so that what a node
    sends and reads of tables (N entries each) grows with N / log N and not with N: 30 s; at 1,000 members 180 s."""
    redial_first: int
    """Between attempts while this node is alone, at first, growing by half each time: 1, 1.5, 2.25 s ..."""
    redial_last: int
    """... up to this; also between dials of one dead member or missing seed while not alone: this x max(1, N // 32), 10 s."""
    suspicion_floor: int
    """No suspicion is shorter, however few the members are."""
    suspicion_factor: int = 4
    """The fully confirmed window is max(floor, factor x log10(N+1) x interval) (Lifeguard's alpha): 4 x 1.49 x 1 s = 6.0 s."""
    suspicion_stretch: int = 6
    """The unconfirmed window over the fully confirmed one (Lifeguard's beta): 6 x 6.0 = 36 s. 1: windows do not shrink, as
    in SWIM."""
    confirmations: int = 3
    """Distinct accusers beside the first that shrink the window fully (Lifeguard's K): after 0, 1, 2, 3 of them it is 36, 21,
    12 and 6 s. Among fewer than K + 2 members there are not enough: then the shortest window applies at once."""
    health_worst: int = 8
    """Highest score of the own health (Lifeguard's S): probes and windows are stretched up to 1 + this times, an interval of
    9 s. 0: a node never doubts itself, as in SWIM."""
    indirect: int = 3
    """Members that are asked to probe in our stead. A live target goes unheard if all ways lose: with 5 % of datagrams lost
    each way 0.0975 x 0.185^3 = 6 in 10,000 probes, before the fallback stream (SWIM, section 3.1)."""
    gossip_fanout: int = 3
    retransmit: int = 6
    """One rumour is told ceil(this x log10(N+1)) times by one node: ceil(6 x 1.49) = 9, which leave any one member out with
    (1 - 9/29)^28 = 3 in 100,000 (tellings go round, so they meet as many members)."""
    forget_after: int = 24 * 3_600 * SECOND
    """The dead and the left are listed for so long."""
    busy_poll: int = 0
    """How long a loop that is answered at once looks for the next datagram before it sleeps (`mesh.shell.polling`): between
    machines a round trip takes longer than that, or a core is better used otherwise."""

    def __post_init__(self) -> None:
        if not 0 < self.probe_timeout_floor < self.probe_timeout < self.probe_interval:
            raise ValueError("a probe needs 0 < probe_timeout_floor < probe_timeout < probe_interval")
        if self.suspicion_floor < 2 * self.probe_interval:
            raise ValueError("a suspicion needs two probe intervals at least, for a refutation to be heard")
        if min(self.suspicion_stretch, self.confirmations, self.gossip_fanout, self.retransmit) < 1 or self.health_worst < 0:
            raise ValueError(
                "suspicion_stretch, confirmations, gossip_fanout and retransmit are 1 or more, health_worst 0 or more"
            )

    def transmissions(self, members: int) -> int:
        """How often one rumour is sent by one node."""
        return ceil(self.retransmit * log10(members + 1))

    def suspicion(self, members: int) -> tuple[int, int, int]:
        """(shortest window, longest window, expected confirmations) among so many members.

        Where there are too few to confirm, nobody is waited for: the window is the shortest from the start."""
        shortest = max(self.suspicion_floor, int(self.suspicion_factor * log10(members + 1) * self.probe_interval))
        expected = min(self.confirmations, max(0, members - 2))
        if expected < self.confirmations:
            return shortest, shortest, 0
        return shortest, self.suspicion_stretch * shortest, expected

    def exchange_after(self, members: int) -> int:
        return self.exchange_interval * max(1, ceil(log2(max(1, members) / EXCHANGE_SCALE)) + 1)

    def redial_after(self, members: int) -> int:
        return self.redial_last * max(1, members // REDIAL_SCALE)

    @property
    def nack_after(self) -> int:
        """When a helper says that it has heard nothing so far: 80 % of the time between the asking and the verdict, 400 ms.

        Taken from the timeout alone it came too late wherever that is more than half of the interval (`wan`): every dead
        member of unknown distance cost its asker three points of health."""
        return (self.probe_interval - self.probe_timeout) * NACK_PERMILLE // 1000

    @property
    def lateness(self) -> int:
        """A timer that fires so late means that this node itself was paused or starved."""
        return self.probe_interval // 2


LAN = Profile(
    name="lan",
    probe_interval=1 * SECOND,
    probe_timeout=500 * MS,
    probe_timeout_floor=100 * MS,
    gossip_interval=100 * MS,
    exchange_interval=30 * SECOND,
    redial_first=1 * SECOND,
    redial_last=10 * SECOND,
    suspicion_floor=2 * SECOND,
)
"""One data centre. 30 members: first notice of a silent death 1.58 s in the mean, windows of 36 to 6.0 s. Of a killed process
streams tell at once, in every profile (`lifelines`)."""

LOCAL = Profile(
    name="local",
    probe_interval=500 * MS,
    probe_timeout=250 * MS,
    probe_timeout_floor=50 * MS,
    gossip_interval=50 * MS,
    exchange_interval=15 * SECOND,
    redial_first=500 * MS,
    redial_last=5 * SECOND,
    suspicion_floor=1 * SECOND,
    suspicion_factor=3,
    busy_poll=400_000,
)
"""One machine. 30 members: first notice 0.79 s, windows of 3 x 1.49 x 0.5 s = 2.2 s, unconfirmed 13 s; nacks after 200 ms;
lateness from 250 ms on. Two processes that ask and answer take 50 to 300 us for a round trip."""

WAN = Profile(
    name="wan",
    probe_interval=3 * SECOND,
    probe_timeout=2 * SECOND,
    probe_timeout_floor=300 * MS,
    gossip_interval=300 * MS,
    exchange_interval=60 * SECOND,
    redial_first=2 * SECOND,
    redial_last=30 * SECOND,
    suspicion_floor=8 * SECOND,
    suspicion_factor=6,
)
"""Across continents. 30 members: first notice 4.7 s, windows of 6 x 1.49 x 3 s = 27 s, unconfirmed 161 s; nacks after 800 ms;
lateness from 1.5 s on; a round trip of 150 ms, plus or minus 30, is waited for 300 ms."""

PROFILES = {profile.name: profile for profile in (LAN, LOCAL, WAN)}
