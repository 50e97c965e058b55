"""`mesh send` and `mesh broadcast`: messages to services that subscribe, through a thin client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.thin.client import Client

__all__ = ["broadcast", "command"]

parse_option = click.option("--parse", is_flag=True, help="VALUE is JSON, and sent as what it says.")


def parsed(value: str, parse: bool) -> Any:
    if not parse:
        return value
    try:
        return json.loads(value)
    except ValueError as problem:
        fail(f"the value {value!r} is not JSON ({problem}): mend it, or leave out --parse", 2)


def act(nodes: tuple[str, ...], secret_file: Path | None, work: Callable[[Client], Awaitable[None]]) -> None:
    secret = read_secret(secret_file)

    async def connected() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await work(client)

    run(connected)


@click.command("send")
@click.argument("member")
@click.argument("topic")
@click.argument("value")
@parse_option
@client_options
def command(
    member: str,
    topic: str,
    value: str,
    parse: bool,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Send VALUE, a text, to whoever subscribes to TOPIC on MEMBER. Exits with 0 when a subscriber there has it in hand.

    \b
    Example:
      mesh send web-1 reload now
      mesh send web-1 jobs '{"id": 7}' --parse
    """
    sent = parsed(value, parse)

    async def work(client: Client) -> None:
        await client.send(member, topic, sent)
        if json_output:
            say(as_json({"member": member, "topic": topic}))

    act(nodes, secret_file, work)


@click.command("broadcast")
@click.argument("topic")
@click.argument("value")
@parse_option
@client_options
def broadcast(topic: str, value: str, parse: bool, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Tell VALUE, a text, to whoever subscribes to TOPIC on any member, at most once each. Nobody answers.

    \b
    Example:
      mesh broadcast reload now
    """
    said = parsed(value, parse)

    async def work(client: Client) -> None:
        await client.broadcast(topic, said)
        if json_output:
            say(as_json({"topic": topic}))

    act(nodes, secret_file, work)
