"""`mesh locks [PREFIX]`: which locks are held, and by whom."""

from __future__ import annotations

from pathlib import Path

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.commands.explain import how
from coordination.output import as_json, in_line, say

__all__ = ["command"]


@click.command("locks")
@client_options
@click.argument("prefix", default="")
def command(prefix: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """List the locks, read-write locks, semaphores, elections and barriers that are held and whose names begin with PREFIX.

    One line a holder: kind, name, who holds it, how (alone, shared, or how many permits), its fencing token, and the seconds
    after which it is free again if it is not renewed.

    \b
    Example:
      mesh locks jobs/
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            locks = await client.locks(prefix)
        for lock in locks:
            for holder in lock.holders:
                if json_output:
                    row = {"kind": lock.kind, "name": lock.name, "holder": holder.name, "permits": holder.permits}
                    say(as_json({**row, "token": holder.token, "remaining": round(holder.remaining, 3)}))
                    continue
                held = how(lock.kind, holder.permits) or "alone"
                left = f"{holder.remaining:.1f} s"
                say(f"{lock.kind:<10} {in_line(lock.name):<32} {holder.name:<24} {held:<10} {holder.token:<20} {left}")

    run(work)
