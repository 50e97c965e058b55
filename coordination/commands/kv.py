"""`mesh kv`: keys, through a thin client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.keys import Entry
    from coordination.thin.client import Client

__all__ = ["command"]

T = TypeVar("T")


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


def parse_acks(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """A number of members, or `majority`."""
    if value is None or value == "majority":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor 'majority'") from None


acks_option = click.option(
    "--acks",
    metavar="N|majority",
    callback=parse_acks,
    help="Wait until N members beside the node have it, or a majority of the voters.",
)
within_option = click.option("--within", type=float, default=10.0, show_default=True, help="Seconds to wait for --acks.")


async def waited(write: Awaitable[T], acks: Any, within: float) -> T:
    """The result of a write; fails if it was not acknowledged in time."""
    import trio

    if acks is not None:
        with trio.move_on_after(within):
            return await write
        fail(f"written, but not acknowledged within {within:g} s ({acks}): it stands, and spreads as members come back")
    return await write


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
@acks_option
@within_option
@client_options
def put(
    key: str,
    value: str,
    ttl: float | None,
    parse: bool,
    acks: Any,
    within: float,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Put VALUE, a text, under KEY.

    \b
    Examples:
      mesh kv put greeting hello
      mesh kv put config/limit '{"rps": 10}' --parse --ttl 30
      mesh kv put greeting hello --acks majority
    """
    stored: Any = value
    if parse:
        try:
            stored = json.loads(value)
        except ValueError as problem:
            fail(f"the value {value!r} is not JSON ({problem}): mend it, or leave out --parse", 2)

    async def work(client: Client) -> None:
        stamp = await waited(client.kv.put(key, stored, ttl=ttl, acks=acks), acks, within)
        if json_output:
            say(as_json({"key": key, "stamp": stamp}))

    act(nodes, secret_file, work)


@command.command("delete")
@click.argument("key")
@acks_option
@within_option
@client_options
def delete(key: str, acks: Any, within: float, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Delete KEY. Exits with 1 if it had no value; an older one on its way from elsewhere is deleted all the same.

    \b
    Example:
      mesh kv delete greeting
    """

    async def work(client: Client) -> None:
        had = await waited(client.kv.delete(key, acks=acks), acks, within)
        if json_output:
            say(as_json({"key": key, "deleted": had}))
        if not had:
            fail(f"there was no value under {key!r}")

    act(nodes, secret_file, work)


@command.command("touch")
@click.argument("key")
@click.option("--ttl", type=float, required=True, help="Seconds from now, at least 1.0. Never shortens a life.")
@acks_option
@within_option
@client_options
def touch(
    key: str,
    ttl: float,
    acks: Any,
    within: float,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Let KEY, which has a ttl, live longer. Exits with 1 if it has no value, or no ttl.

    \b
    Example:
      mesh kv touch session/7 --ttl 60
    """

    async def work(client: Client) -> None:
        done = await waited(client.kv.touch(key, ttl, acks=acks), acks, within)
        if json_output:
            say(as_json({"key": key, "touched": done}))
        if not done:
            fail(f"there is no value with a ttl under {key!r}")

    act(nodes, secret_file, work)


@command.command("clear")
@click.argument("prefix")
@acks_option
@within_option
@client_options
def clear(prefix: str, acks: Any, within: float, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Delete every key that begins with PREFIX ('' for all), and say how many those were.

    \b
    Example:
      mesh kv clear config/
    """

    async def work(client: Client) -> None:
        count = await waited(client.kv.clear(prefix, acks=acks), acks, within)
        say(as_json({"prefix": prefix, "deleted": count}) if json_output else str(count))

    act(nodes, secret_file, work)


@command.command("batch")
@click.argument("file", type=click.File("r"))
@acks_option
@within_option
@client_options
def batch(file: IO[str], acks: Any, within: float, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Write all that FILE says (- for standard input) as one: every node sees all of it or nothing.

    Each line is a JSON object: {"put": KEY, "value": VALUE, "ttl": SECONDS} or {"delete": KEY}; "ttl" may be left out.

    \b
    Example:
      printf '{"put": "a", "value": 1}\\n{"delete": "b"}\\n' | mesh kv batch -
    """
    lines = [read_line(number, line) for number, line in enumerate(file, 1) if line.strip()]

    async def work(client: Client) -> None:
        writes = client.kv.batch(acks=acks)
        for line in lines:
            if "put" in line:
                writes.put(line["put"], line["value"], ttl=line.get("ttl"))
            else:
                writes.delete(line["delete"])

        async def write() -> None:
            await writes.__aexit__(None, None, None)

        await waited(write(), acks, within)
        if json_output:
            say(as_json({"keys": len(writes), "stamp": writes.stamp}))

    act(nodes, secret_file, work)


def read_line(number: int, line: str) -> dict[str, Any]:
    try:
        read = json.loads(line)
    except ValueError as problem:
        fail(f"line {number} is not JSON ({problem})", 2)
    if not isinstance(read, dict) or set(read) - {"ttl"} not in ({"put", "value"}, {"delete"}):
        fail(f'line {number} is neither {{"put": KEY, "value": VALUE}} nor {{"delete": KEY}}', 2)
    return read


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
