"""The constants of membership, by the kind of network. Durations are nanoseconds.

Worked numbers are for `lan`, 30 members, a node in good health:
  - first detection by probes: e/(e-1) = 1.6 intervals in the mean, 1.6 s;
  - suspicion, fully confirmed: max(floor, factor x log10(N+1) x interval) = 4 x 1.49 x 1 s = 6.0 s;
  - suspicion, unconfirmed: stretch x that = 36 s;
  - tellings of one rumour by one node: ceil(retransmit x log10(N+1)) = ceil(6 x 1.49) = 9, which leave any one member out
    with (1 - 9/29)^28 = 3 in 100,000 (tellings go round, so they meet as many members);
  - every member probed by every other within 2N-1 intervals = 59 s.
An evidence round (a refused datagram, a reset stream) bypasses suspicion and takes one or two round trips."""

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


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    probe_interval: int
    """One member is probed per interval, times the health multiplier."""
    probe_timeout: int
    """Longest wait for a direct ack before others are asked; shorter when the measured round trips are."""
    probe_timeout_floor: int
    """Never less: the scheduling delay of a busy machine."""
    gossip_interval: int
    """While there are rumours to tell, to `gossip_fanout` random members each time."""
    exchange_interval: int
    """Full exchange of tables with a random member."""
    redial_first: int
    """Between attempts while this node is alone, at first, growing by half each time."""
    redial_last: int
    """At most; also between dials of one dead member or missing seed while not alone."""
    suspicion_floor: int
    suspicion_factor: int = 4
    suspicion_stretch: int = 6
    """The unconfirmed window over the fully confirmed one (Lifeguard's beta)."""
    confirmations: int = 3
    """Distinct accusers beside the first that shrink the window fully (Lifeguard's K)."""
    indirect: int = 3
    """Members that are asked to probe in our stead."""
    gossip_fanout: int = 3
    retransmit: int = 6
    forget_after: int = 24 * 3_600 * SECOND
    """The dead and the left are listed for so long."""

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
"""One data centre."""

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
)
"""One machine."""

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
"""Across continents."""

PROFILES = {profile.name: profile for profile in (LAN, LOCAL, WAN)}
