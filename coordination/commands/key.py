"""`mesh key`: the secret of a mesh, changed while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.arguments.rotating import SecretStanding
    from coordination.thin.client import Client

__all__ = ["command"]

force_option = click.option("--force", is_flag=True, help="Do it though members would be cut off, and are started anew.")


@click.group("key")
def command() -> None:
    """Change the secret of a mesh while it runs.

    Secrets are named by 8 hexadecimal digits, which tell nothing of them. When all is done, change the secret file of every
    node: one that is started with a removed secret cannot join.

    \b
    Example:
      mesh keygen --out new.secret
      mesh key add new.secret                  # every member is given it, and waited for
      mesh key use 5f1c0a9e                    # everyone seals with it
      mesh key remove 0b77d2c4                 # nobody accepts the old one any more
    """


def act(nodes: tuple[str, ...], secret_file: Path | None, work: Callable[[Client], Awaitable[None]]) -> None:
    secret = read_secret(secret_file)

    async def connected() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await work(client)

    run(connected)


def line(row: SecretStanding) -> str:
    marks = [*(["seals"] if row.primary else []), *(["removed"] if row.removed else [])]
    marks += [f"lacking: {', '.join(row.lacking)}"] if row.lacking else []
    marks += [f"not known of: {', '.join(row.unknown)}"] if row.unknown else []
    return f"{row.key}  {'; '.join(marks)}".rstrip()


@command.command("list")
@client_options
def list_keys(nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Print the secrets that a node accepts, by identifier, and who lacks which.

    \b
    Example:
      mesh key list
    """

    async def work(client: Client) -> None:
        from dataclasses import asdict

        for row in await client.secrets.list():
            say(as_json(asdict(row)) if json_output else line(row))

    act(nodes, secret_file, work)


@command.command("add")
@click.argument("new_secret_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait until every member has it.")
@client_options
def add(new_secret_file: Path, wait: float, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Have every member accept one more secret, and wait until all have it. Exits with 1 if some have not in time; they are
    given it when they are back.

    \b
    Example:
      mesh key add new.secret
    """
    added = read_secret(new_secret_file)
    if not added:
        fail(f"the secret file {str(new_secret_file)!r} is empty: make one with `mesh keygen`", 2)

    async def work(client: Client) -> None:
        import trio

        key = await client.secrets.add(added)
        say(as_json({"key": key}) if json_output else key)
        with trio.move_on_after(wait) as scope:
            await client.secrets.spread(key)
        if scope.cancelled_caught:
            lacking = [row for row in await client.secrets.list() if row.key == key]
            names = sorted({name for row in lacking for name in (*row.lacking, *row.unknown)})
            fail(f"{', '.join(names)} may not have it yet: look with `mesh key list`")

    act(nodes, secret_file, work)


@command.command("use")
@click.argument("key")
@force_option
@client_options
def use(key: str, force: bool, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Have every member seal with the secret KEY from now on; the others stay accepted.

    \b
    Example:
      mesh key use 5f1c0a9e
    """

    async def work(client: Client) -> None:
        await client.secrets.use(key, force=force)
        if json_output:
            say(as_json({"key": key}))

    act(nodes, secret_file, work)


@command.command("remove")
@click.argument("key")
@force_option
@client_options
def remove(key: str, force: bool, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Have no member accept the secret KEY any more, five seconds from now. Refused while a member that has not left lacks the
    one in use, also one that is dead: it may be asleep.

    \b
    Example:
      mesh key remove 0b77d2c4
    """

    async def work(client: Client) -> None:
        await client.secrets.remove(key, force=force)
        if json_output:
            say(as_json({"key": key}))

    act(nodes, secret_file, work)
