"""`mesh reset-roster`: an operator's way out when too many voters have forgotten."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json, say

__all__ = ["command"]


@click.command("reset-roster")
@client_options
@click.option("--without", metavar="NAME", multiple=True, help="A voter that is given up; repeat it.")
def command(nodes: tuple[str, ...], secret_file: Path | None, json_output: bool, without: tuple[str, ...]) -> None:
    """Go on with those voters that answer, when so many of an elastic mesh restarted without memory that no lock is granted.

    A majority of the voters' names has to take part: start lost ones again, or new machines under their names; empty will do.
    Each other name is given up with --without. Your word is asked for one thing: that no later roster, which all that answer
    have forgotten, is still in use elsewhere. Where it is not needed it is refused. Locks wait until the old leases are over.

    \b
    Example:
      mesh explain jobs/nightly              # says who has forgotten, and who is silent
      mesh reset-roster --without c
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            voters = await client.reset_roster(without)
        say(as_json({"voters": list(voters)}) if json_output else f"the voters are {', '.join(voters)}")

    run(work)
