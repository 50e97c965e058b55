"""The two phases of a run.

    safety     things happen, among them the plan's faults; checkers look at every step
    liveness   every fault has been ended, and what must come has to come within a stated bound

What was reached, and how long liveness took, is counted in `reached`, which a scenario answers with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from simulations.checkers import Convergence, Violation
from simulations.cluster import Cluster
from simulations.faults import Fault, Faults
from simulations.world import MS, SECOND

__all__ = ["Phases"]


class Phases:
    """Safety begins now: the plan is set.

    Parameters
    ----------
    duration: ns of the safety phase, which the plan fills.
    """

    def __init__(self, cluster: Cluster, plan: Sequence[Fault], duration: int) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.faults = Faults(self.world)
        self.reached: Counter[str] = Counter()
        self._until = self.world.now + duration
        self.faults.set(plan)

    def heal(self) -> None:
        """Let the rest of the safety phase go by, and end every fault: liveness begins."""
        if self.world.now < self._until:
            self.world.run_to(self._until)
        self.faults.heal()
        self.reached.update(self.faults.begun)

    def converge(self, within: int, *, suspects: bool = True) -> int:
        """Everyone sees everyone and all stores are equal, within so many ns; it took `converged_ms`.

        Raises
        ------
        Violation: M8, C15, C5 (see `Convergence`).
        """
        took = Convergence(self.cluster, within, suspects=suspects).run()
        self.reached["converged_ms"] += took // MS
        return took

    def must(
        self, law: str, what: str, condition: Callable[[], bool], within: int, *, count: str = "", step: int = 10 * MS
    ) -> int:
        """Let the world go on until the condition holds; the ns that it took, which are counted as `count` in ms.

        Raises
        ------
        Violation: the bound went by.
        """
        took = self.world.run_until(condition, within, step)
        if took is None:
            bound = f"{within / SECOND:g} s"
            raise Violation(f"{law}: {what} not within {bound} (seed {self.world.seed}, at {self.world.now / SECOND:.6f} s)")
        if count:
            self.reached[count] += took // MS
        return took
