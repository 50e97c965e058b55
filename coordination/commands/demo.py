"""`mesh demo`: three real nodes at work, before the reader's eyes."""

from __future__ import annotations

import sys

import click

from coordination.commands.common import run

__all__ = ["command"]


@click.command("demo", short_help="Three real nodes at work, before your eyes.")
@click.option("--json", "json_output", is_flag=True, help="Print JSON, one object a step.")
def command(json_output: bool) -> None:
    """Start three nodes on loopback and work them: keys, a watch, locks, a counter, and what happens when processes die.

    What a step claims it has read back from another process. Exits with 1 if any step fails; leaves no process behind.

    \b
    Example:
      mesh demo
    """

    async def work() -> bool:
        from coordination.demo.steps import perform

        return await perform(json_output)

    sys.exit(0 if run(work) else 1)
