"""A simulated machine: clocks, a disk, sockets' bounds, and at most one process of its program at a time."""

from __future__ import annotations

from collections.abc import Callable

from mesh.directives import Address
from mesh.driver import NodeLike
from simulations.machine.clocks import MachineClocks
from simulations.machine.disk import Disk
from simulations.machine.process import Process
from simulations.machine.slowness import Service

__all__ = ["Machine", "Program"]

Program = Callable[[Process], NodeLike | None]
"""Makes the node of a process that starts; `process.sources()` and `process.disk` are what it has. None: one comes later."""


class Machine:
    """Parameters
    ----------
    socket_bytes: what the kernel holds of datagrams for a process that does not read; each costs its size and 768 bytes."""

    __slots__ = (
        "address", "boots", "clocks", "disk", "host", "kind", "name", "process", "program", "service", "socket_bytes", "up",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        address: Address,
        program: Program,
        clocks: MachineClocks,
        disk: Disk,
        socket_bytes: int,
        kind: type[Process],
    ) -> None:
        self.name = name
        self.address = address
        self.host = address.rpartition(":")[0]
        self.program = program
        self.kind = kind
        """Of its processes."""
        self.clocks = clocks
        self.socket_bytes = socket_bytes
        self.disk = disk
        self.process: Process | None = None
        self.boots = 0
        self.service: Service | None = None
        """What each input costs its process; None: nothing."""
        self.up = True
        """Whether it has power; without a process, a machine that is up refuses."""
