"""The roster: who votes, and the parameters that all of them must share.

Safety rests on this value alone, never on a gossip view. The parameters are part of it because differing ones are
unsafe: another R makes disjoint groups, another max_ttl or max_drift makes abstentions shorter than leases, another
rho makes a holder believe for longer than the acceptors wait. A node's own differing configuration is ignored.

A roster is *elastic* if it may be followed by another one (see `succession`): that, too, is agreed, because a voter of a
fixed roster may serve where one of an elastic roster has to ask first whether it still is one."""

from __future__ import annotations

from typing import NamedTuple

from mesh.directives import NANOSECONDS, Boot

__all__ = ["DEFAULT_PARAMETERS", "PLACEMENT_VERSION", "RESET_SHIFT", "Joined", "Parameters", "RosterValue", "reset_epoch"]

PLACEMENT_VERSION = 1
MIN_ABSTENTION_DRIFTS = 4
"""M is at least this many max_drift, so that the token window (M/4 below the clock) holds every honest clock."""


RESET_SHIFT = 20
RESET_BYTES = 4


class Parameters(NamedTuple):
    """What a founder brings; counts at founding only."""

    R: int = 5
    """Size of a register's group."""
    max_ttl: int = 15 * NANOSECONDS
    rho: int = 10
    """Bound of the clocks' rate error, in permille."""
    max_drift: int = NANOSECONDS // 2
    elastic: bool = False
    """Voters are admitted and evicted."""


DEFAULT_PARAMETERS = Parameters()


class Joined(NamedTuple):
    """A voter that its roster admits, as the very process that asked: nothing was ever promised under this boot before."""

    name: str
    boot: Boot


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
    elastic: bool = False
    joined: tuple[Joined, ...] = ()
    """Of the voters, those that the roster before this one did not have."""

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    @property
    def quorum(self) -> int:
        """Of a register's group."""
        return min(self.R, len(self.voters)) // 2 + 1

    def may_be_followed(self, roster: RosterValue) -> bool:
        """Whether that is a proper proposal for the next one: other voters, the same numbers."""
        names = list(roster.voters)
        same = self._replace(epoch=self.epoch + 1, voters=roster.voters, joined=roster.joined)
        return roster == same and bool(names) and names == sorted(set(names))

    def may_be_reset_to(self, roster: RosterValue) -> bool:
        """Whether that is a proper reset: some of the same voters, the same numbers, an epoch that no change reaches."""
        same = self._replace(epoch=self.epoch + 1, voters=roster.voters, joined=roster.joined)
        later = roster.epoch > self.epoch + 1
        return later and self.may_be_followed(roster._replace(epoch=same.epoch)) and set(roster.voters) <= set(self.voters)

    @property
    def abstention(self) -> int:
        """M: no lease that was promised before a restart is believed this long after it (ns)."""
        return max(self.max_ttl, MIN_ABSTENTION_DRIFTS * self.max_drift)

    @property
    def lapse(self) -> int:
        """ns after the decision of the next roster, by which every lease that this one alone knows is over.

        A voter serves for less than a max_ttl after a majority of this roster was last heard unsealed, and what it
        extends then lasts a max_ttl more."""
        return 2 * self.abstention

    @property
    def served(self) -> int:
        """ns for which a voter of an elastic roster serves after a majority said that it is the newest."""
        return self.believed(self.max_ttl)

    def believed(self, term: int) -> int:
        """How long a holder may believe in a term that acceptors wait in full: slowest clock against fastest."""
        return term * (1000 - self.rho) // (1000 + self.rho)

    def stretched(self, age: int) -> int:
        """The longest, by one clock, that may have passed while another one counted `age` ns: fastest against slowest."""
        return -(-age * (1000 + self.rho) // (1000 - self.rho))


def reset_epoch(wall_ms: int, session: bytes, epoch: int) -> int:
    """Of a roster that an operator puts in the place of one of `epoch`: above whatever follows that, which counts by one, and
    above every reset before it. No two processes draw the same."""
    drawn = (wall_ms << RESET_SHIFT) + int.from_bytes(session[:RESET_BYTES]) % (1 << RESET_SHIFT)
    return max(drawn, epoch + (1 << RESET_SHIFT))


def found(voters: tuple[str, ...], parameters: Parameters) -> RosterValue:
    return RosterValue(
        1,
        tuple(sorted(voters)),
        parameters.R,
        parameters.max_ttl,
        parameters.rho,
        parameters.max_drift,
        PLACEMENT_VERSION,
        parameters.elastic,
    )
