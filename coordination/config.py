"""The numbers of a mesh. They count at its founding only: later nodes follow what the roster says."""

from __future__ import annotations

from dataclasses import dataclass

from coordination.agreed.vocabulary.roster import Parameters
from coordination.errors import BadConfig
from mesh.directives import NANOSECONDS

__all__ = ["MeshConfig"]


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """What the founders agree on.

    Parameters
    ----------
    R: voters that keep each lock and lease, 1 to 9; a majority of them must answer.
    max_ttl: the longest lease, seconds, 1 to 3600. A voter that restarts without memory abstains for as long, or until the
        others have told it what it may have promised.
    rho: bound of the rate error of any node's monotonic clock, a fraction below 0.1.
    max_drift: seconds by which wall clocks may differ; each must be within half of it.
    elastic: whether peers with a name of their own are made voters, and voters that are gone are evicted; else the founders
        vote for ever. A voter of an elastic mesh should have a `state_dir`: if a majority restarts without memory at once, no
        lock is granted any more.

    Raises
    ------
    BadConfig: one of them is out of range.
    """

    R: int = 5
    max_ttl: float = 15.0
    rho: float = 0.01
    max_drift: float = 0.5
    elastic: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.R, int) or isinstance(self.R, bool) or not 1 <= self.R <= 9:
            raise BadConfig(f"R={self.R!r} is out of range: 1 to 9 voters keep each lock")
        if not number(self.max_ttl) or not 1 <= self.max_ttl <= 3600:
            raise BadConfig(f"max_ttl={self.max_ttl!r} s is out of range: 1 to 3600 s")
        if not number(self.rho) or not 0.001 <= self.rho < 0.1:
            raise BadConfig(f"rho={self.rho!r} is out of range: a rate error from 0.001 to 0.1")
        if not number(self.max_drift) or not 0.01 <= self.max_drift <= 60:
            raise BadConfig(f"max_drift={self.max_drift!r} s is out of range: 0.01 to 60 s")
        if not isinstance(self.elastic, bool):
            raise BadConfig(f"elastic={self.elastic!r} is refused: True or False")

    def parameters(self) -> Parameters:
        """As the roster holds them: ns, and the rate in permille."""
        return Parameters(
            R=self.R,
            max_ttl=round(self.max_ttl * NANOSECONDS),
            rho=round(self.rho * 1000),
            max_drift=round(self.max_drift * NANOSECONDS),
            elastic=self.elastic,
        )


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
