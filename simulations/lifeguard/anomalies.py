"""What befalls the slow: three ways to be too late, at random intervals.

  - *blocked*, as in the paper (section V-A): the process runs and its timers are on time, but what it receives waits before it
    is read, and what it sends waits before it leaves;
  - *paused*: nothing of it runs (SIGSTOP, a garbage collection, a virtual machine that is moved);
  - *starved*: each input costs it a tenth of a second, and now and then half a second more, one after another.

Durations and intervals are the paper's (table II): some 0.1 to 33 s of trouble, some 1 ms to 16 s without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

from mesh.directives import Address, Event
from simulations.machine.process import Process, Wire
from simulations.machine.slowness import Service
from simulations.world import MS, World

__all__ = ["Anomaly", "Blockable", "Kind", "draw", "inflict"]

DURATIONS = [128 * MS, 512 * MS, 2_048 * MS, 8_192 * MS, 16_384 * MS, 32_768 * MS]
INTERVALS = [1 * MS, 4 * MS, 16 * MS, 64 * MS, 256 * MS, 1_024 * MS, 4_096 * MS, 16_384 * MS]
STARVED = Service(100 * MS, stall=500 * MS, stalls=0.1)


class Kind(StrEnum):
    BLOCKED = "blocked"
    PAUSED = "paused"
    STARVED = "starved"


class Anomaly(NamedTuple):
    at: int
    """ns from the beginning."""
    lasts: int
    whom: str
    kind: Kind


def draw(random: Random, names: Sequence[str], kinds: Sequence[Kind], lasts: int) -> list[Anomaly]:
    """For each of these nodes one kind of trouble, again and again for `lasts` ns."""
    return [anomaly for name in names for anomaly in _of_one(random, name, random.choice(list(kinds)), lasts)]


def _of_one(random: Random, name: str, kind: Kind, lasts: int) -> Iterator[Anomaly]:
    at = random.choice(INTERVALS)
    while at < lasts:
        duration = min(random.choice(DURATIONS), lasts - at)
        yield Anomaly(at, duration, name, kind)
        at += duration + random.choice(INTERVALS)


def inflict(world: World, anomalies: Sequence[Anomaly]) -> None:
    """From now on; processes are `Blockable`."""
    for anomaly in anomalies:
        world.after(anomaly.at, _begin, world, anomaly)


def _begin(world: World, anomaly: Anomaly) -> None:
    process = world.machines[anomaly.whom].process
    if not isinstance(process, Blockable):
        raise TypeError(f"{anomaly.whom} runs no process that could be blocked")
    if anomaly.kind is Kind.BLOCKED:
        process.block()
        world.after(anomaly.lasts, process.unblock)
    elif anomaly.kind is Kind.PAUSED:
        world.pause(anomaly.whom)
        world.after(anomaly.lasts, world.resume, process)
    else:
        world.set_service(anomaly.whom, STARVED)
        world.after(anomaly.lasts, world.set_service, anomaly.whom, None)


class Gate:
    """Between a process and the world: while it is shut, what goes out waits."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.shut = False
        self._waiting: list[tuple[Any, tuple[Any, ...]]] = []

    def open(self) -> None:
        self.shut = False
        waiting, self._waiting = self._waiting, []
        for action, args in waiting:
            action(*args)

    def _pass(self, action: Any, *args: Any) -> None:
        if self.shut:
            self._waiting.append((action, args))
        else:
            action(*args)

    def transmit(self, process: Process, address: Address, data: bytes) -> None:
        self._pass(self._wire.transmit, process, address, data)

    def connect(self, process: Process, stream: int, address: Address) -> None:
        self._pass(self._wire.connect, process, stream, address)

    def write(self, process: Process, stream: int, data: bytes) -> None:
        self._pass(self._wire.write, process, stream, data)

    def close(self, process: Process, stream: int) -> None:
        self._pass(self._wire.close, process, stream)

    def published(self, process: Process, event: Event) -> None:
        self._wire.published(process, event)

    @property
    def watched(self) -> bool:
        return self._wire.watched

    def stepped(self, process: Process) -> None:
        self._wire.stepped(process)

    def settled(self, process: Process) -> None:
        self._wire.settled(process)

    def closed(self, process: Process) -> None:
        self._wire.closed(process)

    def exited(self, process: Process) -> None:
        self._wire.exited(process)


class Blockable(Process):
    """A process whose sockets can stand still while it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = Gate(self._wire)
        self._wire = self._gate

    def block(self) -> None:
        self.holds = self._gate.shut = True

    def unblock(self) -> None:
        if self.alive:
            self.holds = False
            self._gate.open()
            self._catch_up()
