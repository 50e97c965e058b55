"""The state directory of a peer that a simulated service opens: it is on the disk of its host, under whatever path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from coordination.errors import BadConfig
from simulations.machine.disk import Disk

__all__ = ["HostState", "open_on"]


class HostState:
    """Implements `coordination.opening.driver_seam.State`. A host has one memory: it opens one peer at a time."""

    def __init__(self, path: Path, disk: Disk, machine: str) -> None:
        self.path = path
        self.store = disk
        self._machine = machine
        disk.open()

    def name(self) -> str:
        name: str = self.store.files.setdefault("name", f"node-{self._machine}")
        return name

    def keep(self, name: str) -> None:
        kept = self.store.files.setdefault("name", name)
        if kept != name:
            raise BadConfig(f"the state directory {str(self.path)!r} belongs to the node {kept!r}, not {name!r}")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def open_on(disk: Disk, machine: str) -> Callable[[Path], Awaitable[HostState]]:
    """What opens the state directories of one host."""

    async def open_state(path: Path) -> HostState:
        await trio.lowlevel.checkpoint()
        return HostState(path, disk, machine)

    return open_state
