"""The simulated world: machines, a network between them, and true time. No sockets, no Trio, no real clock.

Everything happens in one heap of events, and every choice comes from the seed: the same seed and the same calls give the same
world, to the last sealed byte. What a program may do to it is in the methods below; faults as data are in
`simulations.faults`, whole mesh nodes in `simulations.cluster`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.directives import Address, Event
from simulations import parcels
from simulations.dice import seed_of
from simulations.machine.clocks import MachineClocks
from simulations.machine.disk import Disk
from simulations.machine.machine import Machine, Program
from simulations.machine.process import Process
from simulations.machine.slowness import Service
from simulations.network.datagrams import Datagrams
from simulations.network.network import Conditions, Network
from simulations.network.streams import Streams
from simulations.observer import Observer
from simulations.schedule import Schedule
from simulations.trace import Trace

__all__ = ["MS", "SECOND", "SOCKET_BYTES", "World"]

MS = 1_000_000
SECOND = 1_000 * MS
SOCKET_BYTES = 425_984
"""What an unprivileged process gets for a datagram socket at most, on an ordinary Linux."""
UPTIME = 100_000 * SECOND


class World:
    """Parameters
    ----------
    seed: of everything.
    conditions: of every link that no rule covers.
    """

    def __init__(self, seed: int, *, conditions: Conditions | None = None) -> None:
        self.seed = seed
        self.schedule = Schedule()
        self.trace = Trace()
        self.network = Network(seed, conditions or Conditions(), self._network_changed)
        self.machines: dict[str, Machine] = {}
        self._places: dict[Address, Machine] = {}
        self.datagrams = Datagrams(self.schedule, self.network, self.trace, self._places)
        self.streams = Streams(self.schedule, self.network, self.trace, self._places)
        self.transmit: Callable[[Process, Address, bytes], None] = self.datagrams.send
        """What a process asks, like those below: until somebody looks at it, without a step in between."""
        self._observers: dict[str, tuple[Callable[..., None], ...]] = dict.fromkeys(SEEN, ())
        self.watched = False
        """Somebody wants to be told of each step."""
        self._listeners: list[Observer] = []
        self._hearing: dict[type[Event], list[Callable[[Process, Event], None]]] = {}
        """Of each class of events so far: who wants to be told of it."""

    # --- time ----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """True time, ns."""
        return self.schedule.now

    def at(self, time: int, action: Callable[..., object], *args: Any) -> None:
        """Call `action` at a true time."""
        self.schedule.at(time, action, *args)

    def after(self, delay: int, action: Callable[..., object], *args: Any) -> None:
        """Call `action` so many ns from now."""
        self.schedule.after(delay, action, *args)

    def run(self, duration: int) -> None:
        """Let so many ns go by. What goes wrong inside says the seed and the moment."""
        self.run_to(self.now + duration)

    def run_to(self, end: int) -> None:
        try:
            self.schedule.run_to(end)
        except Exception as problem:
            problem.add_note(f"world seed {self.seed} at {self.now} ns; the last events:\n{self.trace.last(40)}")
            raise

    def run_until(self, condition: Callable[[], bool], within: int, step: int = 20 * MS) -> int | None:
        """Run until the condition holds, looked at every `step`; the ns that it took, or None if `within` went by."""
        begun = self.now
        while not condition():
            if self.now - begun >= within:
                return None
            self.run(step)
        return self.now - begun

    def over(self) -> None:
        """Nothing will happen here any more, and nobody asks what the last lines were: let go of them.

        A world is full of circles, so whatever it holds waits for the garbage collector, to which an object costs ten times
        what it costs to drop one; half of them hang on the lines of the trace."""
        self.schedule.clear()
        self.trace.forget()
        parcels.forget()
        for machine in self.machines.values():
            if machine.process is not None:
                machine.process.forget()

    # --- machines ------------------------------------------------------------------------------------------------------

    def machine(
        self, name: str, program: Program, *, address: Address | None = None, kind: type[Process] = Process
    ) -> Machine:  # fmt: skip
        """Add a machine that runs nothing yet."""
        if name in self.machines:
            raise ValueError(f"there is a machine {name!r} already")
        number = len(self.machines)
        address = address or f"10.0.{number // 250}.{number % 250 + 1}:7946"
        if address in self._places:
            raise ValueError(f"the address {address} is taken by {self._places[address].name!r}")
        clocks = MachineClocks(UPTIME + seed_of(self.seed, "uptime", name) % UPTIME)
        disk = Disk(self.schedule, seed_of(self.seed, "disk", name))
        machine = Machine(name, address, program, clocks, disk, SOCKET_BYTES, kind)
        self.machines[name] = self._places[address] = machine
        return machine

    def boot(self, name: str) -> Process:
        """Start the machine's program; power it up first, if need be."""
        machine = self.machines[name]
        if machine.process is not None:
            raise ValueError(f"{machine.process} is running")
        machine.up = True
        machine.boots += 1
        process = machine.kind(
            name, machine.address, machine.boots, machine.disk, self.seed, machine.clocks,
            self.schedule, self.trace, self, machine.socket_bytes,
        )  # fmt: skip
        machine.process = process
        if machine.service is not None:
            process.slow_down(machine.service)
        self.trace.add(self.now, name, "boot", str(machine.boots))
        node = machine.program(process)
        for saw in self._observers["booted"]:
            saw(process)
        if node is not None:
            process.start(node)
        return process

    def stop(self, name: str) -> None:
        """Let the process leave gracefully: it says its last, and exits. Nothing if it does not run, or is paused."""
        process = self.machines[name].process
        if process is not None and process.running:
            self.trace.add(self.now, name, "stop")
            process.stop()

    def kill(self, name: str, *, power: bool = False, wipe: bool = False) -> None:
        """End the process as SIGKILL does; with `power` the whole machine, with `wipe` its disk is lost too."""
        machine = self.machines[name]
        self.trace.add(self.now, name, "crash", f"{'power ' if power else ''}{'wiped' if wipe else ''}")
        if machine.process is not None:
            self._end(machine.process, power=power)
        machine.up = not power
        if wipe:
            machine.disk.wipe()

    def _end(self, process: Process, *, power: bool = False) -> None:
        process.end()
        process.forget()
        process.disk.torn()
        self.machines[process.machine].process = None
        self.streams.gone(process, power=power)
        for saw in self._observers["died"]:
            saw(process)

    def pause(self, name: str) -> Process | None:
        """As SIGSTOP does; None if nothing runs there, or it is paused already."""
        process = self.machines[name].process
        if process is None or process.paused:
            return None
        self.trace.add(self.now, name, "pause")
        process.pause()
        return process

    def resume(self, process: Process, *, slept: int = 0) -> None:
        """As SIGCONT does; or the whole machine wakes up, for whose monotonic clock the last `slept` ns did not pass."""
        if process.alive and process.paused:
            if slept:
                self.machines[process.machine].clocks.slept(slept, self.now)
                process.woken = self.now
            self.trace.add(self.now, process.machine, "resume")
            process.resume()

    def set_rate(self, name: str, ppm: int) -> None:
        """The machine's monotonic clock gains so many parts per million from now on."""
        machine = self.machines[name]
        machine.clocks.set_rate(ppm, self.now)
        if machine.process is not None and not machine.process.paused:
            machine.process.rearm()

    def set_service(self, name: str, service: Service | None) -> None:
        """Each input costs the machine's processes so much from now on; None: nothing."""
        machine = self.machines[name]
        machine.service = service
        if machine.process is not None:
            machine.process.slow_down(service)

    # --- observers -----------------------------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> None:
        """Show it what happens from now on."""
        for name, known in self._observers.items():
            if getattr(type(observer), name) is not getattr(Observer, name):
                self._observers[name] = (*known, getattr(observer, name))
        self.watched = bool(self._observers["stepped"])
        if self._observers["transmitted"]:
            self.transmit = self._transmit
        if type(observer).published is not Observer.published:
            self._listeners.append(observer)
            self._hearing.clear()

    def _transmit(self, process: Process, address: Address, data: bytes) -> None:
        for saw in self._observers["transmitted"]:
            saw(process, address, data)
        self.datagrams.send(process, address, data)

    # --- what processes ask (simulations.machine.process.Wire) ----------------------------------------------------------------

    def connect(self, process: Process, stream: int, address: Address) -> None:
        self.streams.connect(process, stream, address)

    def write(self, process: Process, stream: int, data: bytes) -> None:
        for saw in self._observers["wrote"]:
            saw(process, stream, data)
        self.streams.write(process, stream, data)

    def close(self, process: Process, stream: int) -> None:
        self.streams.close(process, stream)

    def published(self, process: Process, event: Event) -> None:
        self.trace.tell(self.schedule.now, process.machine, event)
        kind = type(event)
        hearing = self._hearing.get(kind)
        if hearing is None:
            hearing = self._hearing[kind] = [each.published for each in self._listeners if issubclass(kind, each.hears)]
        for saw in hearing:
            saw(process, event)

    def stepped(self, process: Process) -> None:
        for saw in self._observers["stepped"]:
            saw(process)

    def settled(self, process: Process) -> None:
        for saw in self._observers["settled"]:
            saw(process)

    def closed(self, process: Process) -> None:
        self.streams.gone(process)

    def exited(self, process: Process) -> None:
        if process.alive:
            self._end(process)

    def _network_changed(self) -> None:
        self.streams.network_changed()


SEEN = ("booted", "died", "stepped", "settled", "transmitted", "wrote")
