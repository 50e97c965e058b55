"""Faults, as data: what, when, whom, how long. A plan is a sequence of them, and any subset of a plan is a plan.

Times are ns of true time, counted from the moment at which the plan is set. Faults may overlap: a machine is down while any
fault keeps it down, a link is cut while any rule cuts it, the latest rate counts. A fault whose victim is in no state for it
(a pause of what does not run) does nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simulations.network import Conditions, Rule
from simulations.process import Process
from simulations.world import World

__all__ = [
    "Crash",
    "Cut",
    "Fault",
    "Faults",
    "Isolate",
    "OneWay",
    "Partition",
    "Pause",
    "Rate",
    "Suspend",
    "WallDrift",
    "WallStep",
    "Weather",
]


@dataclass(frozen=True, slots=True)
class Partition:
    """`side` and the rest do not hear each other."""

    at: int
    lasts: int
    side: tuple[str, ...]

    def rules(self, world: World) -> tuple[Rule, ...]:
        side = frozenset(self.side)
        rest = frozenset(world.machines) - side
        return Rule(side, rest), Rule(rest, side)


@dataclass(frozen=True, slots=True)
class Isolate:
    """One machine hears nobody, and nobody hears it."""

    at: int
    lasts: int
    whom: str

    def rules(self, world: World) -> tuple[Rule, ...]:
        return Rule(frozenset((self.whom,)), None), Rule(None, frozenset((self.whom,)))


@dataclass(frozen=True, slots=True)
class OneWay:
    """Nothing from any of `sources` reaches any of `targets`; the other direction is as before."""

    at: int
    lasts: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def rules(self, world: World) -> tuple[Rule, ...]:
        return (Rule(frozenset(self.sources), frozenset(self.targets)),)


@dataclass(frozen=True, slots=True)
class Cut:
    """Two machines do not hear each other; everyone else hears both."""

    at: int
    lasts: int
    one: str
    other: str

    def rules(self, world: World) -> tuple[Rule, ...]:
        one, other = frozenset((self.one,)), frozenset((self.other,))
        return Rule(one, other), Rule(other, one)


@dataclass(frozen=True, slots=True)
class Weather:
    """The links from `sources` to `targets` (None: all) have other conditions."""

    at: int
    lasts: int
    conditions: Conditions
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None

    def rules(self, world: World) -> tuple[Rule, ...]:
        sources = None if self.sources is None else frozenset(self.sources)
        targets = None if self.targets is None else frozenset(self.targets)
        return (Rule(sources, targets, self.conditions),)


@dataclass(frozen=True, slots=True)
class Crash:
    """The process is killed and started again after `lasts` ns (0: at once)."""

    at: int
    lasts: int
    whom: str
    power: bool = False
    """The machine loses its power: nobody is told by it."""
    wipe: bool = False
    """It comes back with an empty disk."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The process is stopped for a while (SIGSTOP)."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """The machine sleeps: as a pause, and its monotonic clock stands still meanwhile; its boot-time clock does not. A crash
    meanwhile ends it: a sleeping machine starts nothing."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The monotonic clock gains so many parts per million."""

    at: int
    lasts: int
    whom: str
    ppm: int


@dataclass(frozen=True, slots=True)
class WallStep:
    """The wall clock is set forward by `ms` (back, if negative), and set right again after `lasts` ns."""

    at: int
    lasts: int
    whom: str
    ms: int


@dataclass(frozen=True, slots=True)
class WallDrift:
    """The wall clock gains so many parts per million; what it gained stays."""

    at: int
    lasts: int
    whom: str
    ppm: int


Fault = (
    Partition | Isolate | OneWay | Cut | Weather | Crash | Pause | Suspend | Rate | WallStep | WallDrift
)  # fmt: skip


class Faults:
    """Lets plans happen to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begun: Counter[str] = Counter()
        """How many of each kind have begun."""
        self._down: Counter[str] = Counter()
        self._rules: dict[int, tuple[Rule, ...]] = {}
        self._paused: dict[int, tuple[Process, int]] = {}
        self._paces: dict[tuple[type, str], dict[int, int]] = {}
        """The rates and drifts in force, by fault."""
        self._numbers = 0
        self._running: dict[int, Fault] = {}

    def set(self, plan: Sequence[Fault]) -> None:
        """Let a plan happen from now on."""
        for fault in plan:
            self._numbers += 1
            self.world.after(fault.at, self._begin, self._numbers, fault)

    def heal(self) -> None:
        """End every fault that has begun, now; those to come still come. What is down starts again."""
        for number, fault in list(self._running.items()):
            self._end(number, fault)

    def _begin(self, number: int, fault: Fault) -> None:
        world = self.world
        kind = type(fault).__name__
        world.trace.add(world.now, getattr(fault, "whom", "*"), "fault", repr(fault))
        self.begun[kind] += 1
        self._running[number] = fault
        match fault:
            case Crash(whom=whom):
                self._down[whom] += 1
                if world.machines[whom].process is not None or fault.power:
                    world.kill(whom, power=fault.power, wipe=fault.wipe)
            case Pause(whom=whom) | Suspend(whom=whom):
                process = world.pause(whom)
                if process is not None:
                    self._paused[number] = process, world.now
            case Rate() | WallDrift():
                self._paces.setdefault((type(fault), fault.whom), {})[number] = fault.ppm
                self._pace(fault)
            case WallStep():
                world.machines[fault.whom].clocks.step_wall(fault.ms)
            case _:
                rules = self._rules[number] = fault.rules(world)
                world.network.add(*rules)
        world.after(fault.lasts, self._end, number, fault)

    def _end(self, number: int, fault: Fault) -> None:
        if self._running.pop(number, None) is None:
            return
        world = self.world
        world.trace.add(world.now, getattr(fault, "whom", "*"), "fault", f"end of {type(fault).__name__}")
        match fault:
            case Crash(whom=whom):
                self._down[whom] -= 1
                if not self._down[whom] and world.machines[whom].process is None:
                    world.boot(whom)
            case Pause() | Suspend():
                process, since = self._paused.pop(number, (None, 0))
                if process is not None:
                    world.resume(process, slept=world.now - since if isinstance(fault, Suspend) else 0)
            case Rate() | WallDrift():
                del self._paces[type(fault), fault.whom][number]
                self._pace(fault)
            case WallStep():
                world.machines[fault.whom].clocks.step_wall(-fault.ms)
            case _:
                world.network.remove(*self._rules.pop(number))

    def _pace(self, fault: Rate | WallDrift) -> None:
        ppm = ([0, *self._paces[type(fault), fault.whom].values()])[-1]
        if isinstance(fault, Rate):
            self.world.set_rate(fault.whom, ppm)
        else:
            self.world.machines[fault.whom].clocks.drift_wall(ppm, self.world.now)
