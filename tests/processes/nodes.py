"""Real `mesh node` processes for the tests, and the command line beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import trio

from coordination import Client, State, connect
from coordination.demo.programs import Program, Programs, free_addresses

__all__ = ["SECRET", "Mesh", "mesh", "mesh_of_processes"]

SECRET = "a secret of the tests, at least 32 bytes"


@dataclass
class Mesh:
    """Three founders, each a process."""

    programs: Programs
    addresses: Sequence[str]
    nodes: dict[str, Program] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return self.addresses[int(name[1:])]

    async def start(self, name: str, *options: str) -> None:
        arguments = ["--name", name, "--bind", self.address(name), "--expect", str(len(self.addresses))]
        for address in self.addresses if len(self.addresses) > 1 else ():
            arguments += ["--seed", address]
        arguments += ["--state-dir", str(self.programs.directory / name), "--profile", "local", "--json", *options]
        node = await self.programs.start(f"node {name}", "coordination.cli", "node", *arguments)
        message = await node.read()
        assert message["event"] == "up", message
        self.nodes[name] = node

    def client(self, name: str) -> AbstractAsyncContextManager[Client]:
        return connect(self.address(name), secret=SECRET)

    def send(self, name: str, number: signal.Signals) -> None:
        self.nodes[name].send(number)


@asynccontextmanager
async def mesh_of_processes(count: int = 3) -> AsyncIterator[Mesh]:
    """So many nodes that all list each other as alive, and have a roster. On leaving, none is left."""
    async with Programs.opened(SECRET) as programs:
        mesh_ = Mesh(programs, free_addresses(count))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for index in range(count):
                    nursery.start_soon(mesh_.start, f"n{index}", "--fresh")
            for index in range(count):
                async with mesh_.client(f"n{index}") as client:
                    await see_alive(client, count)
                    async with client.lock("founded"):
                        pass
        yield mesh_


async def see_alive(client: Client, count: int) -> None:
    while [member.state for member in await client.members()].count(State.ALIVE) != count:
        await trio.sleep(0.01)


def mesh(*arguments: str, secret: str | None = SECRET, within: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run `mesh ARGUMENTS…` to its end."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MESH_")}
    if secret is not None:
        environment["MESH_SECRET"] = secret
    return subprocess.run(
        [sys.executable, "-m", "coordination.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=within,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
    )
