"""`mesh counter`: replicated counters, through a thin client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.thin.keys import ThinCounter

__all__ = ["command"]


@click.group("counter")
def command() -> None:
    """Read and change counters: sums that every node may add to, also while it is cut off.

    \b
    Examples:
      mesh counter add orders
      mesh counter get orders
      mesh counter set orders 0
    """


def act(
    nodes: tuple[str, ...],
    secret_file: Path | None,
    name: str,
    work: Callable[[ThinCounter], Awaitable[None]],
) -> None:
    """Run `work` with a counter of a client."""
    secret = read_secret(secret_file)

    async def connected() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await work(client.counter(name))

    run(connected)


async def show(counter: ThinCounter, json_output: bool) -> None:
    value = await counter.value()
    say(as_json({"name": counter.name, "value": value}) if json_output else str(value))


@command.command("get")
@click.argument("name")
@client_options
def get(name: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Print what NAME stands at, as the node knows it; 0 if nobody has added to it.

    \b
    Example:
      mesh counter get orders --json
    """

    async def work(counter: ThinCounter) -> None:
        await show(counter, json_output)

    act(nodes, secret_file, name, work)


@command.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("n", type=int, default=1)
@client_options
def add(name: str, n: int, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Add N, by default 1, to NAME, and print what it stands at then, as the node knows it.

    \b
    Examples:
      mesh counter add orders
      mesh counter add stock -5
    """

    async def work(counter: ThinCounter) -> None:
        await counter.add(n)
        await show(counter, json_output)

    act(nodes, secret_file, name, work)


@command.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("n", type=int)
@client_options
def set_(name: str, n: int, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Let NAME stand at N. What others add at the same time is lost.

    \b
    Example:
      mesh counter set orders 0
    """

    async def work(counter: ThinCounter) -> None:
        await counter.set(n)
        if json_output:
            await show(counter, json_output)

    act(nodes, secret_file, name, work)
