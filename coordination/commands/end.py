"""`mesh end NAME`: a member that is dead will not come back."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json, say

__all__ = ["command"]


@click.command("end")
@client_options
@click.argument("name")
def command(name: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Say that the dead member NAME will not come back.

    The mesh keeps deletions and expired keys for whoever is dead, for ten minutes, as it may return with older ones. By your
    word it stops that at its next cut, within seconds. Should NAME return all the same, it joins anew, and nothing is lost.
    It stays on the roster of voters: see `mesh leave` and `mesh reset-roster`.

    \b
    Example:
      mesh end b
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await client.end_member(name)
        say(as_json({"event": "given_up", "name": name}) if json_output else f"{name} is given up: the next cut ends it")

    run(work)
