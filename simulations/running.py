"""What a scenario is, and one way to run any: `Scenario.run(seed)` answers with a `Result`, whatever happens inside.

What it does is a function (seed, plan, nodes, seen) at the top of its module, so that it reaches the processes of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from simulations.checkers import Violation
from simulations.faults import Fault
from simulations.plans.plan_json import PlanError, check_plan
from simulations.plans.profiles import profile_of
from simulations.world import World

__all__ = ["Go", "GoFor", "Result", "Scenario"]


class Go(Protocol):
    def __call__(
        self, seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
    ) -> Mapping[str, int]:  # fmt: skip
        """Run it; call `seen` with the world before anything happens. What was reached, and how often.

        Raises
        ------
        Violation, or what a node raised
        """


class GoFor(Protocol):
    def __call__(
        self, seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, duration: int
    ) -> Mapping[str, int]:  # fmt: skip
        """As `Go`, with a safety phase of `duration` ns."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run. Equal digests: the same run, to the last byte."""

    scenario: str
    seed: int
    nodes: int
    plan: tuple[Fault, ...]
    digest: str
    violation: str | None
    """One line: the property, and how it was broken."""
    reached: Mapping[str, int] = field(default_factory=dict)
    lines: int = 0
    """Of the trace."""
    virtual: int = 0
    """True ns that went by."""
    trace: str = ""
    """The last lines before the violation."""
    duration: int | None = None
    """ns in which faults could begin; None: the scenario's own."""

    @property
    def law(self) -> str | None:
        """What was broken: L1, C15, or the class of an error."""
        return None if self.violation is None else self.violation.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Parameters
    ----------
    name: of the registry, or "package.module:NAME".
    checks: the properties that it looks at, in a line.
    go: what it does; with `shortest` it takes a `duration` too.
    nodes, fewest: how many nodes, and how few it can do with.
    duration: ns in which faults may begin.
    profile: of the plan, unless told otherwise.
    sometimes: what a sweep must reach at least once.
    shortest: how few ns in which faults may begin it can do with; None: its duration is fixed.
    """

    name: str
    checks: str
    go: Go | GoFor
    nodes: int
    fewest: int
    duration: int
    profile: str = "hostile"
    sometimes: tuple[str, ...] = ()
    shortest: int | None = None

    def names(self, nodes: int | None = None) -> list[str]:
        return [f"n{number}" for number in range(nodes or self.nodes)]

    def draw(self, seed: int, *, nodes: int | None = None, profile: str | None = None) -> list[Fault]:
        """The plan of a seed."""
        return profile_of(profile or self.profile).plan(seed, self.names(nodes), self.duration)

    def run(
        self,
        seed: int,
        plan: Sequence[Fault] | None = None,
        *,
        nodes: int | None = None,
        profile: str | None = None,
        duration: int | None = None,
        seen: Callable[[World], object] | None = None,
    ) -> Result:
        """One run, under this plan or the one that the profile draws. `seen` may follow the world's trace.

        Raises
        ------
        ValueError: too few nodes, too short, no such profile, or (PlanError) a plan that cannot happen to these nodes, or then.
        TypeError: `go` did not call `seen` once; what it raises before that is passed on.
        """
        nodes = nodes or self.nodes
        if nodes < self.fewest:
            raise ValueError(f"{self.name} needs {self.fewest} nodes at least, not {nodes}")
        faults = tuple(self.draw(seed, nodes=nodes, profile=profile) if plan is None else plan)
        check_plan(faults, self.names(nodes))
        self._check_duration(duration, faults)
        worlds: list[World] = []

        def begun(world: World) -> None:
            worlds.append(world)
            if seen is not None:
                seen(world)

        reached: Mapping[str, int] = {}
        violation = None
        try:
            if self.shortest is None:
                reached = cast(Go, self.go)(seed, faults, nodes, begun)
            else:
                reached = cast(GoFor, self.go)(seed, faults, nodes, begun, duration=duration or self.duration)
        except Violation as broken:
            violation = str(broken)
        except Exception as problem:  # a node must not raise, whatever befalls it
            if not worlds:
                raise
            violation = f"{type(problem).__name__}: {problem}".partition("\n")[0]
        if len(worlds) != 1:
            raise TypeError(f"{self.name} must show its one world to `seen`, and showed {len(worlds)}")
        (world,) = worlds
        trace = "" if violation is None else world.trace.last(40)
        digest = world.trace.digest()
        world.over()
        return Result(
            self.name, seed, nodes, faults, digest, violation, reached, world.trace.lines, world.now, trace, duration
        )  # fmt: skip

    def _check_duration(self, duration: int | None, plan: Sequence[Fault]) -> None:
        if duration is None:
            return
        if self.shortest is None:
            raise ValueError(f"{self.name} takes its own time: it cannot be told a duration")
        if duration < self.shortest:
            raise ValueError(f"{self.name} needs {self.shortest / 1e9} s at least, not {duration / 1e9}")
        for number, fault in enumerate(plan):
            if fault.at >= duration:
                raise PlanError(f"plan[{number}].at", f"{fault.at} is behind the end of the faults, at {duration}")
