"""`mesh members`: who is there, as one node sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run, tag_filter
from coordination.output import as_json, say

__all__ = ["command", "warnings"]


@click.command("members")
@click.option("--tag", "tags", metavar="KEY[=VALUE]", multiple=True, help="Only those alive that have this tag; repeat it.")
@client_options
def command(tags: tuple[str, ...], nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """List the members of the mesh, as one node sees them.

    If that node has found that it and another one claim the same and hold something else, a line to stderr says so.

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
            stats = await client.stats()
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
        for line in warnings(stats):
            click.echo(line, err=True)

    run(work)


def warnings(stats: Mapping[str, int]) -> list[str]:
    """What should never be, of a node's counts."""
    lines = []
    if diverged := stats.get("mending.divergences", 0):
        mended = stats.get("mending.cells_mended", 0)
        lines.append(
            f"warning: {diverged} times this node claimed what another one claims and held something else; {mended} entries "
            "were mended (see its log)"
        )
    if corrupted := stats.get("mending.corrupted_buckets", 0):
        lines.append(f"warning: the memory of this node has changed without a write, {corrupted} times: check its memory")
    return lines
