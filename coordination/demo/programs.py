"""The processes of the demonstration: started, spoken to in lines of JSON, and never left behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

__all__ = ["DemoFailed", "Program", "Programs", "free_addresses"]

STOP_SECONDS = 5.0
LINE_BYTES = 1 << 16
LOWEST_PORT = 10_000
LOWEST_EPHEMERAL = 32_768
"""Where the system does not tell."""


class DemoFailed(Exception):
    """A step did not hold; says what was seen."""


class Program:
    """One child process, whose standard output is lines of JSON."""

    def __init__(self, title: str, process: trio.Process, errors: Path) -> None:
        self.title = title
        self._process = process
        self._errors = errors
        self._buffer = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def read(self) -> dict[str, Any]:
        """The next line that it prints. Raises `DemoFailed` if it ends instead."""
        stdout = self._process.stdout
        assert stdout is not None
        while (end := self._buffer.find(b"\n")) < 0:
            data = await stdout.receive_some(LINE_BYTES)
            if not data:
                await self._process.wait()
                raise DemoFailed(f"{self.title} ended with code {self._process.returncode}: {self.complaint()}")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    async def write(self, message: dict[str, Any]) -> None:
        """A line for its standard input."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(message).encode() + b"\n")

    def complaint(self) -> str:
        """The last line of its standard error."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def send(self, number: signal.Signals) -> None:
        if not self.ended:
            os.kill(self._process.pid, number)

    async def end_input(self) -> None:
        """Close its standard input, which tells a worker to finish; and wait until it has. Its exit code must be 0."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        code = await self._process.wait()
        if code != 0:
            raise DemoFailed(f"{self.title} ended with code {code}: {self.complaint()}")

    async def kill(self) -> None:
        """kill -9, and wait until the process is gone."""
        self.send(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and insist."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            await self._process.wait()
        await self.kill()


class Programs:
    """Every process that was started."""

    def __init__(self, directory: Path, secret: str) -> None:
        self.directory = directory
        self.secret = secret
        self._all: list[Program] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, secret: str) -> AsyncIterator[Programs]:
        """On leaving, in whatever way, all that still run are stopped."""
        with tempfile.TemporaryDirectory(prefix="mesh-demo-") as directory:
            programs = cls(Path(directory), secret)
            try:
                yield programs
            finally:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as nursery:
                        for program in programs._all:
                            nursery.start_soon(program.stop)

    def running(self) -> list[str]:
        """Those that have not ended."""
        return [program.title for program in self._all if not program.ended]

    async def start(self, title: str, module: str, *arguments: str, before: Sequence[str] = ()) -> Program:
        """`python -m MODULE ARGUMENTS…`, with the mesh's secret in its environment; `before`: a command that runs it."""
        errors = self.directory / f"{title.replace(' ', '-')}.{len(self._all)}.err"
        with errors.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                [*before, sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "MESH_SECRET": self.secret},
                start_new_session=True,  # an interrupt from the keyboard is for the demonstration, which ends them in order
            )
        program = Program(title, process, errors)
        self._all.append(program)
        return program


def lowest_ephemeral() -> int:
    """The first of the ports that the system gives to connections that go out."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return LOWEST_EPHEMERAL


def free_addresses(count: int) -> Sequence[str]:
    """Loopback addresses whose ports are free for UDP and TCP, at this moment, and are given to no connection that goes out.
    (One of those was gone before the node that was to have it had started, when many others had.)"""
    held: list[socket.socket] = []
    addresses: list[str] = []
    end = max(lowest_ephemeral(), LOWEST_PORT + 1_000)
    try:
        while len(addresses) < count:
            port = LOWEST_PORT + secrets.randbelow(end - LOWEST_PORT)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held += [udp, tcp]
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            addresses.append(f"127.0.0.1:{port}")
    finally:
        for each in held:
            each.close()
    return addresses
