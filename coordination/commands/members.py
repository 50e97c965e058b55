"""`mesh members`: who is there, as one node sees it."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run, tag_filter
from coordination.output import as_json, say

__all__ = ["command"]


@click.command("members")
@click.option("--tag", "tags", metavar="KEY[=VALUE]", multiple=True, help="Only those alive that have this tag; repeat it.")
@client_options
def command(tags: tuple[str, ...], nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """List the members of the mesh, as one node sees them.

    \b
    Examples:
      mesh members --node 127.0.0.1:7946
      mesh members --tag role=db
    """
    wanted = tag_filter(tags)
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect
        from coordination.arguments.tags import matches

        async with connect(*nodes, secret=secret) as client:
            members = await client.members()
        for member in members:
            if wanted and not (member.reachable and matches(member, wanted)):
                continue
            has = dict(member.tags)
            if json_output:
                row = {"name": member.name, "address": member.address, "state": member.state.value, "tags": has}
                say(as_json(row))
            else:
                shown = " ".join(f"{key}={value}" for key, value in has.items())
                say(f"{member.name:<24} {member.address:<24} {member.state.value:<8} {shown}".rstrip())

    run(work)
