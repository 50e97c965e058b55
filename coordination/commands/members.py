"""`mesh members`: who is there, as one node sees it."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json, say

__all__ = ["command"]


@click.command("members")
@client_options
def command(nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """List the members of the mesh, as one node sees them.

    \b
    Example:
      mesh members --node 127.0.0.1:7946
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            members = await client.members()
        for member in members:
            tags = dict(member.tags)
            if json_output:
                row = {"name": member.name, "address": member.address, "state": member.state.value, "tags": tags}
                say(as_json(row))
            else:
                shown = " ".join(f"{key}={value}" for key, value in tags.items())
                say(f"{member.name:<24} {member.address:<24} {member.state.value:<8} {shown}".rstrip())

    run(work)
