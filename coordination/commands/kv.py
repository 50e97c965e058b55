"""`mesh kv`: keys, through a thin client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.keys import Entry
    from coordination.thin.client import Client

__all__ = ["command"]


@click.group("kv")
def command() -> None:
    """Read and write keys.

    \b
    Examples:
      mesh kv put config/limit 10 --ttl 30
      mesh kv get config/limit
      mesh kv scan config/
    """


def act(nodes: tuple[str, ...], secret_file: Path | None, work: Callable[[Client], Awaitable[None]]) -> None:
    """Run `work` with a client."""
    secret = read_secret(secret_file)

    async def connected() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await work(client)

    run(connected)


@command.command("get")
@click.argument("key")
@client_options
def get(key: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Print the value of KEY. Text is printed as it is, anything else as JSON; exits with 1 if there is none.

    \b
    Example:
      mesh kv get config/limit --json
    """

    async def work(client: Client) -> None:
        entry = await client.kv.entry(key)
        if entry is None:
            fail(f"there is no value under {key!r}")
        if json_output:
            say(as_json(row(entry)))
        else:
            say(entry.value if isinstance(entry.value, str) else as_json(entry.value))

    act(nodes, secret_file, work)


def row(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "value": entry.value,
        "stamp": entry.stamp,
        "remaining": entry.remaining,
        "lease": entry.lease,
        "writer": entry.writer,
    }


@command.command("put")
@click.argument("key")
@click.argument("value")
@click.option("--ttl", type=float, help="Seconds until it expires, at least 1.0.")
@click.option("--parse", is_flag=True, help="VALUE is JSON, and stored as what it says.")
@client_options
def put(
    key: str,
    value: str,
    ttl: float | None,
    parse: bool,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Put VALUE, a text, under KEY.

    \b
    Examples:
      mesh kv put greeting hello
      mesh kv put config/limit '{"rps": 10}' --parse --ttl 30
    """
    stored: Any = value
    if parse:
        try:
            stored = json.loads(value)
        except ValueError as problem:
            fail(f"the value {value!r} is not JSON ({problem}): mend it, or leave out --parse", 2)

    async def work(client: Client) -> None:
        stamp = await client.kv.put(key, stored, ttl=ttl)
        if json_output:
            say(as_json({"key": key, "stamp": stamp}))

    act(nodes, secret_file, work)


@command.command("delete")
@click.argument("key")
@client_options
def delete(key: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Delete KEY. Exits with 1 if it had no value; an older one on its way from elsewhere is deleted all the same.

    \b
    Example:
      mesh kv delete greeting
    """

    async def work(client: Client) -> None:
        had = await client.kv.delete(key)
        if json_output:
            say(as_json({"key": key, "deleted": had}))
        if not had:
            fail(f"there was no value under {key!r}")

    act(nodes, secret_file, work)


@command.command("scan")
@click.argument("prefix", default="")
@client_options
def scan(prefix: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Print every key that begins with PREFIX, with its value as JSON, in key order.

    \b
    Example:
      mesh kv scan config/
    """

    async def work(client: Client) -> None:
        for key, value in await client.kv.scan(prefix):
            say(as_json({"key": key, "value": value}) if json_output else f"{key}\t{as_json(value)}")

    act(nodes, secret_file, work)
