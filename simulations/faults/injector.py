"""Lets plans of faults happen to a world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from simulations.faults.clocks import ClockFault, Rate, WallDrift, WallStep
from simulations.faults.disks import Damage, DiskFault, FullDisk, OldDisk, SlowDisk, Torn
from simulations.faults.links import LinkFault
from simulations.faults.nodes import Blackout, Crash, NodeFault, Pause, Slow, Suspend
from simulations.machine.disk import Snapshot
from simulations.machine.process import Process
from simulations.machine.slowness import Service
from simulations.network.network import Pairs, Rule
from simulations.world import World

__all__ = ["Fault", "Faults"]

Fault = LinkFault | NodeFault | ClockFault | DiskFault


class Faults:
    """Lets plans happen to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begun: Counter[str] = Counter()
        """How many of each kind have begun."""
        self._down: Counter[str] = Counter()
        self._rules: dict[int, tuple[Rule | Pairs, ...]] = {}
        self._paused: dict[int, tuple[Process, int]] = {}
        self._paces: dict[tuple[type, str], dict[int, int]] = {}
        """The rates and drifts in force, by fault."""
        self._slow: dict[str, dict[int, Service]] = {}
        """By machine, of the faults in force."""
        self._backups: dict[int, Snapshot] = {}
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
        world.trace.add(world.now, getattr(fault, "whom", "*"), "fault", f"plan[{number - 1}] {fault!r}")
        self.begun[kind] += 1
        self._running[number] = fault
        match fault:
            case Crash(whom=whom):
                self._fell(whom, power=fault.power, wipe=fault.wipe)
            case Blackout():
                for whom in fault.side:
                    self._fell(whom, power=True)
            case Damage(whom=whom):
                self._fell(whom)
                world.machines[whom].disk.damaged = True
            case Torn(whom=whom):
                self._down[whom] += 1
                world.machines[whom].disk.tears = partial(self._torn, number, whom)
            case SlowDisk(whom=whom):
                world.machines[whom].disk.slower[number] = fault.adds
            case FullDisk(whom=whom):
                world.machines[whom].disk.full += 1
            case OldDisk(whom=whom):
                self._backups[number] = world.machines[whom].disk.snapshot()
            case Pause(whom=whom) | Suspend(whom=whom):
                process = world.pause(whom)
                if process is not None:
                    self._paused[number] = process, world.now
            case Rate() | WallDrift():
                self._paces.setdefault((type(fault), fault.whom), {})[number] = fault.ppm
                self._pace(fault)
            case WallStep():
                world.machines[fault.whom].clocks.step_wall(fault.ms)
            case Slow():
                self._slow.setdefault(fault.whom, {})[number] = fault.service
                world.set_service(fault.whom, fault.service)
            case _:
                self._rules[number] = fault.rules(world.machines)
                world.network.add(*self._rules[number])
        world.after(fault.lasts, self._end, number, fault)

    def _end(self, number: int, fault: Fault) -> None:
        if self._running.pop(number, None) is None:
            return
        world = self.world
        world.trace.add(world.now, getattr(fault, "whom", "*"), "fault", f"end of plan[{number - 1}] {type(fault).__name__}")
        match fault:
            case Crash(whom=whom) | Damage(whom=whom):
                self._rises(whom)
            case Torn(whom=whom):
                world.machines[whom].disk.tears = None
                self._rises(whom)
            case Blackout():
                for whom in fault.side:
                    self._rises(whom)
            case SlowDisk(whom=whom):
                del world.machines[whom].disk.slower[number]
            case FullDisk(whom=whom):
                world.machines[whom].disk.full -= 1
            case OldDisk(whom=whom):
                self._fell(whom)
                world.machines[whom].disk.restore(self._backups.pop(number))
                self._rises(whom)
            case Pause() | Suspend():
                process, since = self._paused.pop(number, (None, 0))
                if process is not None:
                    world.resume(process, slept=world.now - since if isinstance(fault, Suspend) else 0)
            case Rate() | WallDrift():
                del self._paces[type(fault), fault.whom][number]
                self._pace(fault)
            case WallStep():
                world.machines[fault.whom].clocks.step_wall(-fault.ms)
            case Slow():
                del self._slow[fault.whom][number]
                world.set_service(fault.whom, ([None, *self._slow[fault.whom].values()])[-1])
            case _:
                world.network.remove(*self._rules.pop(number))

    def _fell(self, whom: str, *, power: bool = False, wipe: bool = False) -> None:
        self._down[whom] += 1
        if self.world.machines[whom].process is not None or power:
            self.world.kill(whom, power=power, wipe=wipe)

    def _rises(self, whom: str) -> None:
        self._down[whom] -= 1
        if not self._down[whom] and self.world.machines[whom].process is None:
            self.world.boot(whom)

    def _torn(self, number: int, whom: str) -> None:
        """A commit has come to its middle."""
        if number in self._running and self.world.machines[whom].process is not None:
            self.world.kill(whom, power=True)

    def _pace(self, fault: Rate | WallDrift) -> None:
        ppm = ([0, *self._paces[type(fault), fault.whom].values()])[-1]
        if isinstance(fault, Rate):
            self.world.set_rate(fault.whom, ppm)
        else:
            self.world.machines[fault.whom].clocks.drift_wall(ppm, self.world.now)
