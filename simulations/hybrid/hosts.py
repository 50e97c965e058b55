"""The hosts of one simulation, from its beginning to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType

from simulations.hybrid.guards import guarded
from simulations.hybrid.host import Host, Service
from simulations.hybrid.journal import journalled
from simulations.hybrid.scheduling import deterministic
from simulations.world import MS, SECOND, World

__all__ = ["Hosts"]

logger = logging.getLogger("mesh")


class Hosts:
    """Machines of a world that run a user's service. To be used as a context, around everything that lets time go by:

        world = World(seed)
        with Hosts(world) as hosts:
            for name in ("a", "b", "c"):
                hosts.add(name, service)
            hosts.start()
            Faults(world).set(plan)
            world.run(30 * SECOND)

    A service is the `main` of an ordinary Trio program. Its code takes no time, as that of the nodes does not: time goes by
    where it waits. What it may not use is in `simulations.hybrid.guards`. What leaves a service, and is no `MeshError` of a
    host with `restart`, comes out of `world.run`.

    Parameters
    ----------
    founders: how many of the hosts, the first that are added, found the mesh; all of up to five by default.
    """

    def __init__(self, world: World, *, founders: int | None = None) -> None:
        self.world = world
        self._founders = founders
        self._hosts: dict[str, Host] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Hosts:
        self._stack.enter_context(deterministic())
        self._stack.enter_context(guarded(self.world.seed))
        self._stack.enter_context(journalled(self.world.trace, lambda: self.world.now, self._speaker))
        return self

    def _speaker(self) -> str | None:
        """The host whose task calls."""
        return next((host.name for host in self._hosts.values() if host.current), None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the threads of everything that still runs or was killed. Their `finally` blocks run now, and reach no one."""
        with self._stack:
            for host in self._hosts.values():
                process = self.world.machines[host.name].process
                if process is not None:
                    process.alive = False
            left = sum([host.unwind() for host in self._hosts.values()])
            if left:
                logger.warning(
                    "%d simulated processes wait in shielded scopes for ever: their threads stay until this process ends", left
                )

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def add(self, name: str, service: Service, *, address: str | None = None, restart: float | None = None) -> Host:
        """A host that runs a service.

        Parameters
        ----------
        service: `async def service(host)`. It is called anew at each start of the process: what it kept in the host's `disk`,
            or outside, is all that it finds.
        address: `host:port`; an own one by default.
        restart: seconds after which a service that ended with a `MeshError` is started again, as an init system does.
            Without it, and for every other error, the simulation fails with the error.
        """
        host = self._hosts[name] = Host(self.world, name, service, address, restart)
        count = self._founders if self._founders is not None else min(5, len(self._hosts))
        founders = tuple(self._hosts.values())[:count]
        for each in self._hosts.values():
            each.founders = founders
        return host

    def start(self, *, apart: float = 0.0) -> None:
        """Start the processes of all hosts, one each `apart` seconds; the first at once."""
        for number, name in enumerate(self._hosts):
            self.world.after(int(number * apart * SECOND), self._boot, name)

    def _boot(self, name: str) -> None:
        if self.world.machines[name].process is None:
            self.world.boot(name)

    def until(self, condition: Callable[[], bool], *, within: float) -> float | None:
        """Let time go by until the condition holds, looked at every 20 ms; the seconds that it took, or None."""
        took = self.world.run_until(condition, int(within * SECOND), 20 * MS)
        return None if took is None else took / SECOND
