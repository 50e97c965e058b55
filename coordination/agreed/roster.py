"""The roster: who votes, and the parameters that all of them must share.

Safety rests on this value alone, never on a gossip view. The parameters are part of it because differing ones are
unsafe: another R makes disjoint groups, another max_ttl or max_drift makes abstentions shorter than leases, another
rho makes a holder believe for longer than the acceptors wait. A node's own differing configuration is ignored."""

from __future__ import annotations

from typing import NamedTuple

from mesh.directives import NANOSECONDS

__all__ = ["DEFAULT_PARAMETERS", "PLACEMENT_VERSION", "Parameters", "RosterValue"]

PLACEMENT_VERSION = 1
MIN_ABSTENTION_DRIFTS = 4
"""M is at least this many max_drift, so that the token window (M/4 below the clock) holds every honest clock."""


class Parameters(NamedTuple):
    """What a founder brings; counts at founding only."""

    R: int = 5
    """Size of a register's group."""
    max_ttl: int = 15 * NANOSECONDS
    rho: int = 10
    """Bound of the clocks' rate error, in permille."""
    max_drift: int = NANOSECONDS // 2


DEFAULT_PARAMETERS = Parameters()


class RosterValue(NamedTuple):
    epoch: int
    voters: tuple[str, ...]
    """Sorted names."""
    R: int
    max_ttl: int
    """ns."""
    rho: int
    """Permille."""
    max_drift: int
    """ns."""
    placement: int

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    @property
    def abstention(self) -> int:
        """M: no lease that was promised before a restart is believed this long after it (ns)."""
        return max(self.max_ttl, MIN_ABSTENTION_DRIFTS * self.max_drift)

    def believed(self, term: int) -> int:
        """How long a holder may believe in a term that acceptors wait in full: slowest clock against fastest."""
        return term * (1000 - self.rho) // (1000 + self.rho)


def found(voters: tuple[str, ...], parameters: Parameters) -> RosterValue:
    return RosterValue(1, tuple(sorted(voters)), *parameters, PLACEMENT_VERSION)
