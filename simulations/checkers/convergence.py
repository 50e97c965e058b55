"""C15, M8: after faults stop, everyone sees everyone and all stores are equal, within a bound."""

from __future__ import annotations

from simulations.checkers.base import Checker
from simulations.checkers.stores import agree, differences
from simulations.cluster import Cluster
from simulations.world import MS, SECOND

__all__ = ["Convergence"]

LOOK_EVERY = 100 * MS
SHOWN = 5
"""Lines of each sort that a failure shows."""


class Convergence(Checker):
    """Parameters
    ----------
    within: ns of true time, from `run` on.
    suspects: whether a suspicion counts as alive: under loss there is always one somewhere.
    """

    def __init__(self, cluster: Cluster, within: int, *, suspects: bool = True) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._within = within
        self._suspects = suspects

    def reached(self) -> bool:
        return self._cluster.whole(suspects=self._suspects) and agree(self._cluster.living())

    def run(self) -> int:
        """Let the world go on until it is reached; the ns that it took, to a tenth of a second.

        Raises
        ------
        Violation: M8 or C15, the bound went by: with who is not seen as he is, and where the stores differ. C5: two claim the
        same and differ.
        """
        took = self.world.run_until(self.reached, self._within, LOOK_EVERY)
        if took is None:
            unseen = self._cluster.unseen(suspects=self._suspects)
            law = "M8" if unseen or not self._cluster.whole(suspects=self._suspects) else "C15"
            self.fail(law, f"not converged {self._within / SECOND:g} s after the last fault: {'; '.join(self.describe())}")
        return took

    def describe(self) -> list[str]:
        """What is still wrong, a few lines of each sort."""
        cluster = self._cluster
        lines = [f"{name} is not running" for name in cluster.names if not _runs(cluster, name)][:SHOWN]
        unseen = cluster.unseen(suspects=self._suspects)
        lines += [f"{observer} sees {name} as {how}" for observer, name, how in unseen[:SHOWN]]
        lines += [
            f"{peer.name} knows no roster" for peer in cluster.living() if peer.assembly.agreed.birth.roster is None
        ][:SHOWN]  # fmt: skip
        differ = differences(cluster.living())
        lines += differ[:SHOWN]
        left = max(0, len(unseen) - SHOWN) + max(0, len(differ) - SHOWN)
        return [*lines, f"and {left} more"] if left else lines


def _runs(cluster: Cluster, name: str) -> bool:
    peer = cluster.peers.get(name)
    return peer is not None and peer.process.running
