"""One simulated machine that runs a user's service: an ordinary Trio program, whose `open_peer` lands in the world."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Protocol, TypeVar

import trio

from coordination.errors import MeshError
from coordination.opening.driver_seam import DRIVER, STATE, Build, Built
from mesh.shell import Store
from mesh.shell.outcomes import leaves
from simulations.dice import seed_of
from simulations.hybrid import guards
from simulations.hybrid.driver import HostDriver, check_bind, opening
from simulations.hybrid.loop import Loop
from simulations.hybrid.process import HostProcess
from simulations.hybrid.state import open_on
from simulations.machine.process import Process
from simulations.world import SECOND, World

__all__ = ["Host", "OneNodeError", "Service"]

B = TypeVar("B", bound=Built)


class OneNodeError(Exception):
    """A host runs one node at a time."""


class Service(Protocol):
    """What a host runs: `async def service(host)`, the main function of one process."""

    def __call__(self, host: Host, /) -> Awaitable[object]: ...


class Host:
    """Made by `Hosts.add`. Its process is started with the simulation, again after a crash, and dies with its service.

    name: of the machine, and of its faults; a good name for its peer.
    address: `host:port`, the only one that it can listen on.
    """

    def __init__(self, world: World, name: str, service: Service, address: str | None, restart: float | None) -> None:
        self.world = world
        self.name = name
        self.starts = 0
        """How often its service has been started."""
        self.exits: list[str] = []
        """How it ended, each time that it ended by itself: the error, or an empty text."""
        self._service = service
        self._restart = restart
        self._machine = world.machine(name, self._program, address=address, kind=HostProcess)
        self.address = self._machine.address
        self._life: Life | None = None
        self._parked: list[Life] = []
        self.founders: tuple[Host, ...] = ()

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    # --- what a service asks -----------------------------------------------------------------------------------------

    @property
    def seeds(self) -> list[str]:
        """The addresses of the founders; none for one that founds alone."""
        return [] if self.founders == (self,) else [host.address for host in self.founders]

    @property
    def expect(self) -> int:
        """For `open_peer`: how many founders there are, for one of them; 1 for everyone else."""
        return len(self.founders) if self in self.founders else 1

    @property
    def disk(self) -> dict[str, Any]:
        """What outlives the process, until a fault wipes it."""
        return self._machine.disk.kept

    def wall_time(self) -> float:
        """Seconds since 1970 by the wall clock of this machine, which may be off."""
        return self._machine.clocks.read(self.world.now).wall / 1000

    def note(self, text: str) -> None:
        """Put a line into the trace, and so into the digest of the run."""
        self.world.trace.add(self.world.now, self.name, "note", text)

    # --- what the world's side asks ----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether its service runs, and is not paused."""
        life = self._life
        return life is not None and life.process.alive and not life.process.paused

    @property
    def current(self) -> bool:
        """Whether the caller is a task of its service."""
        lives = self._parked if self._life is None else [self._life, *self._parked]
        return any(life.loop.current for life in lives)

    def do(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run it as a further task of the service, beginning now. What it raises ends the service, as its own tasks would."""
        if self._life is None:
            raise ValueError(f"no service runs on {self.name}")
        self._life.do(function)

    def _program(self, process: Process) -> None:
        assert isinstance(process, HostProcess)
        self.starts += 1
        self._life = Life(self, process)
        process.tenant = self._life
        self._life.wake()

    def ended(self, life: Life, error: BaseException | None) -> None:
        """Its service has returned, or raised. The world goes on, unless the error is none that it may have."""
        self._life = None
        self.exits.append("" if error is None else f"{type(error).__name__}: {error}")
        self.world.trace.add(self.world.now, self.name, "exit", self.exits[-1].partition("\n")[0])
        if error is None:
            return
        if self._restart is None or not all(isinstance(each, MeshError) for each in leaves(error)):
            error.add_note(f"raised by the service on {self.name}, {self.world.now / SECOND:.6f} s after the world began")
            raise error
        self.world.after(int(self._restart * SECOND), self._again)

    def _again(self) -> None:
        if self._machine.up and self._machine.process is None:
            self.world.boot(self.name)

    def killed(self, life: Life) -> None:
        self._parked.append(life)
        if self._life is life:
            self._life = None

    def unwind(self) -> int:
        """The simulation is over. How many of its threads could not be ended."""
        lives = [*self._parked, *([self._life] if self._life is not None else [])]
        return sum([not life.loop.unwind() for life in lives])

    async def main(self, life: Life) -> None:
        """What the Trio run of one life runs."""
        DRIVER.set(life.open)  # type: ignore[arg-type]
        STATE.set(open_on(self._machine.disk, self.name))
        try:
            with guards.entropy(life.entropy):
                async with trio.open_nursery() as nursery:
                    life.nursery = nursery
                    await self._service(self)
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None  # as it left the service: the nursery is not the user's


class Life:
    """One process of a host, from its start to its end. Implements `simulations.hybrid.process.Tenant`."""

    def __init__(self, host: Host, process: HostProcess) -> None:
        self.host = host
        self.process = process
        self.nursery: trio.Nursery | None = None
        world, name, boot = host.world, host.name, process.boot
        self.entropy = Random(seed_of(world.seed, "host entropy", name, boot))
        self._world = world
        self._clocks = world.machines[name].clocks
        order = Random(seed_of(world.seed, "host order", name, boot))
        self.loop = Loop(name, lambda: host.main(self), lambda: self._clocks.read(world.now).mono, order)
        self._driver: HostDriver | None = None
        self._opening = False
        self._turn_asked = False
        self._wake_at: int | None = None

    # --- turns ---------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """It gets a turn, at this moment."""
        if not self._turn_asked:
            self._turn_asked = True
            self._world.after(0, self._asked)

    def tell(self, action: Callable[[], object]) -> None:
        self.loop.tell(action)
        self.wake()

    def do(self, function: Callable[[], Awaitable[object]]) -> None:
        def start() -> None:
            assert self.nursery is not None
            self.nursery.start_soon(function)

        self.tell(start)

    def _asked(self) -> None:
        self._turn_asked = False
        self._turn()

    def _turn(self) -> None:
        process = self.process
        if not process.alive or process.paused or self.loop.ended:
            return
        self._world.trace.add(self._world.now, self.host.name, "turn")
        self.loop.turn()
        if self.loop.ended:
            process.exit()
            self.host.ended(self, self.loop.error)
        else:
            self._rearm()

    def _rearm(self) -> None:
        """See that it gets a turn when something is due in it."""
        deadline = self.loop.asleep_until
        if math.isinf(deadline):
            self._wake_at = None
            return
        at = max(self._clocks.when(nanoseconds(deadline)), self._world.now)
        if at != self._wake_at:
            self._wake_at = at
            self._world.at(at, self._due, at)

    def _due(self, at: int) -> None:
        if at == self._wake_at:
            self._wake_at = None
            self._turn()

    # --- tenant --------------------------------------------------------------------------------------------------------

    def killed(self) -> None:
        self.host.killed(self)

    def asked_to_stop(self) -> None:
        self.tell(self.loop.scope.cancel)

    def go_on(self) -> None:
        self._wake_at = None
        self._turn()

    def clock_changed(self) -> None:
        self._wake_at = None
        if not self.loop.ended and self.loop.turns:
            self._rearm()

    def halted(self, error: Exception) -> None:
        if self._driver is not None:
            self._driver.halted(error)

    # --- its peers -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(
        self,
        build: Build[B],
        *,
        bind: str | None,
        advertise: str | None,
        towards: tuple[str, ...] = (),
        store: Store | None = None,
        busy_poll: int = 0,
    ) -> AsyncIterator[tuple[HostDriver, B]]:
        """The `DriverFactory` of this process. In virtual time nothing is polled for."""
        if self._opening:
            raise OneNodeError(
                f"{self.host.name} has a peer or a client open already: a simulated host has one port, so one at a time; "
                "give the other one a host of its own"
            )
        check_bind(bind, self.host.address)
        self._opening = True
        try:
            listens = bind is not None or bool(towards)
            async with opening(self.process, self.loop, self.tell, build, listens, self._opened) as opened:
                yield opened
        finally:
            self._opening = False

    def _opened(self, driver: HostDriver | None) -> None:
        self._driver = driver


def nanoseconds(seconds: float) -> int:
    """The first ns at which a clock that counts in seconds reads at least this."""
    found = int(seconds * 1e9) - 2
    while found / 1e9 < seconds:
        found += 1
    return found
