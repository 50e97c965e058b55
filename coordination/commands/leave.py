"""`mesh leave NAME`: a node leaves the mesh for good."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

__all__ = ["command"]

SECONDS = 15.0
"""A node takes about seven to leave."""


@click.command("leave")
@client_options
@click.argument("name")
def command(name: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Have the node NAME, reached at --node, leave the mesh for good, and end.

    It gives back what it holds, and has an elastic roster go on without it. (SIGTERM only stops a node: it stays on the roster,
    and is expected back.) NAME guards against a wrong address. Peers in services leave only if their program listens.

    \b
    Example:
      mesh leave b --node 127.0.0.1:7947
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        import trio

        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            if client.node != name:
                fail(f"at {client.address} is the node {client.node!r}, not {name!r}: give the address of that one with --node")
            with trio.move_on_after(SECONDS) as limit:
                await client.ask_to_leave()
        if limit.cancelled_caught:
            fail(f"{name} was asked to leave, and still runs after {SECONDS:g} s: see what it logs")
        say(as_json({"event": "left", "name": name}) if json_output else f"{name} has left")

    run(work)
