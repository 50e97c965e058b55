"""`mesh lock NAME -- COMMAND`: a command that runs only while a lock is held."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json

if TYPE_CHECKING:
    from coordination.locking.holding import Held

__all__ = ["command"]

LOST = 74
"""EX_IOERR: the lock could be proven no longer while the command ran."""
NOT_FOUND = 127
NOT_EXECUTABLE = 126

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@click.command("lock")
@click.option("--ttl", type=float, default=10.0, show_default=True, help="Seconds after which it is free if this machine dies.")
@client_options
@click.argument("name")
@click.argument("arguments", metavar="-- COMMAND...", nargs=-1, required=True)
def command(
    name: str, arguments: tuple[str, ...], ttl: float, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool
) -> None:
    """Run COMMAND while holding the lock NAME, and exit with its code.

    The fencing token is in its environment as MESH_TOKEN, and whose it is as MESH_HOLDER. If the lock can be proven no longer,
    COMMAND gets SIGTERM before anyone else can be granted the lock, SIGKILL at the deadline, and the exit code is 74. Signals
    are passed on to COMMAND, which runs in a process group of its own unless it reads from a terminal.

    \b
    Example:
      mesh lock jobs/nightly --ttl 10 -- ./nightly.sh --all
    """
    secret = read_secret(secret_file)
    sys.exit(run(lambda: hold(nodes, secret, name, ttl, arguments, json_output)))


async def hold(
    nodes: tuple[str, ...], secret: str | None, name: str, ttl: float, arguments: tuple[str, ...], json_output: bool
) -> int:
    """The exit code."""
    import trio

    from coordination import connect
    from coordination.errors import LeaseLost

    child = Child(arguments)
    code = 0
    with trio.open_signal_receiver(*FORWARDED) as signals:
        async with trio.open_nursery() as nursery:

            async def forward() -> None:
                nonlocal code
                async for number in signals:
                    if not child.pass_on(number):  # still waiting for the lock
                        code = 128 + number
                        nursery.cancel_scope.cancel()

            nursery.start_soon(forward)
            try:
                async with connect(*nodes, secret=secret) as client, client.lock(name, ttl=ttl) as held:
                    if json_output:
                        click.echo(as_json({"lock": name, "token": held.token}), err=True)
                    code = await child.attend(held)
            except LeaseLost as lost:
                click.echo(f"mesh: {lost}", err=True)
                code = LOST
            nursery.cancel_scope.cancel()
    return code


class Child:
    """The command, and the group of processes that it makes."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self._pid = 0
        self._grouped = not sys.stdin.isatty()

    def pass_on(self, number: int) -> bool:
        """Send it a signal; False if it does not run yet."""
        if not self._pid:
            return False
        try:
            if self._grouped:
                os.killpg(self._pid, number)
            else:
                os.kill(self._pid, number)
        except ProcessLookupError:
            pass
        return True

    async def attend(self, held: Held) -> int:
        """Run it to its end, or until the lock is lost: SIGTERM then, SIGKILL at the deadline."""
        import trio

        environment = {**os.environ, "MESH_TOKEN": str(held.token), "MESH_HOLDER": held.id}
        try:
            process = await trio.lowlevel.open_process(
                list(self._arguments), env=environment, process_group=0 if self._grouped else None
            )
        except FileNotFoundError:
            click.echo(f"mesh: there is no command {self._arguments[0]!r}", err=True)
            return NOT_FOUND
        except OSError as problem:
            click.echo(f"mesh: {self._arguments[0]!r} cannot be run: {problem.strerror}", err=True)
            return NOT_EXECUTABLE
        self._pid = process.pid
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                with trio.CancelScope(shield=True):
                    self.pass_on(signal.SIGTERM)
                    with trio.move_on_after(held.remaining()):
                        await process.wait()
                    self.pass_on(signal.SIGKILL)
                    await process.wait()
            self._pid = 0
        return code if code >= 0 else 128 - code
