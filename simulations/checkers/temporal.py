"""Conditions over time, looked at after everything that happens in a world: a boot, a death, an event, a step.

Between two looks nothing changes but time. A checker adds nothing to the world: that a bound went by is noticed at the first
look after it, or by `check` at the end. Observers are called in the order in which they were made, so make these after those
that their conditions read. A law is the name of the property, for the failure to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable

from mesh.directives import Event
from simulations.checkers.base import Checker
from simulations.machine.process import Process
from simulations.world import SECOND, World

__all__ = ["Always", "Eventually", "LeadsTo"]


class _Watching(Checker, ABC):
    @abstractmethod
    def look(self) -> None: ...

    def booted(self, process: Process) -> None:
        self.look()

    def died(self, process: Process) -> None:
        self.look()

    def published(self, process: Process, event: Event) -> None:
        self.look()

    def stepped(self, process: Process) -> None:
        self.look()


class Always(_Watching):
    """`condition` holds at every look, from now on."""

    def __init__(self, world: World, law: str, condition: Callable[[], bool]) -> None:
        super().__init__(world)
        self._law = law
        self._condition = condition

    def look(self) -> None:
        if not self._condition():
            self.fail(self._law, "must always hold, and does not")


class Eventually(_Watching):
    """`condition` holds at one look at least, at most `within` ns from now."""

    def __init__(self, world: World, law: str, condition: Callable[[], bool], within: int) -> None:
        super().__init__(world)
        self._law = law
        self._condition = condition
        self._begun = world.now
        self._within = within
        self.held: int | None = None
        """After how many ns it held first."""

    def look(self) -> None:
        if self.held is not None:
            return
        waited = self.world.now - self._begun
        if waited > self._within:
            self.fail(self._law, f"did not hold within {self._within / SECOND} s")
        if self._condition():
            self.held = waited

    def check(self) -> None:
        """At the end: it must have held. A world that ended before the bound shows nothing, and fails too."""
        self.look()
        if self.held is None:
            self.fail(self._law, f"has not held yet, after {(self.world.now - self._begun) / SECOND} s: run for longer")


class LeadsTo(_Watching):
    """Whatever `causes` yields at a look (subjects of any kind: names, claims), `effect` of it holds at that look or at a later
    one, at most `within` ns after."""

    def __init__(
        self,
        world: World,
        law: str,
        causes: Callable[[], Iterable[Hashable]],
        effect: Callable[[Hashable], bool],
        within: int,
    ) -> None:
        super().__init__(world)
        self._law = law
        self._causes = causes
        self._effect = effect
        self._within = within
        self._since: dict[Hashable, int] = {}
        """When the effect of each was owed first, and still is."""
        self.met = 0
        """How often an effect came: if it stays at 0, the run has shown nothing."""

    def look(self) -> None:
        now = self.world.now
        for subject in self._causes():
            self._since.setdefault(subject, now)
        for subject, since in list(self._since.items()):
            if now - since > self._within:
                self.fail(self._law, f"{subject} has not led to it within {self._within / SECOND} s")
            if self._effect(subject):
                del self._since[subject]
                self.met += 1

    def check(self) -> None:
        """At the end: nothing is overdue. What became due so late that its bound is not over yet is not held against it."""
        self.look()
