"""`mesh atomic`: atomic registers, through a thin client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.thin.atomic import ThinAtomicRegister

__all__ = ["command"]


@click.group("atomic")
def command() -> None:
    """Read and change atomic registers: one value that all nodes agree on at every moment.

    \b
    Examples:
      mesh atomic set schema 7 --parse
      mesh atomic get schema
      mesh atomic cas schema 7 8 --parse
      mesh atomic add builds
    """


def act(
    nodes: tuple[str, ...],
    secret_file: Path | None,
    name: str,
    work: Callable[[ThinAtomicRegister], Awaitable[None]],
) -> None:
    """Run `work` with a register of a client."""
    secret = read_secret(secret_file)

    async def connected() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            await work(client.atomic(name))

    run(connected)


def parsed(text: str, parse: bool) -> Any:
    if not parse:
        return text
    try:
        return json.loads(text)
    except ValueError as problem:
        fail(f"the value {text!r} is not JSON ({problem}): mend it, or leave out --parse", 2)


def show(name: str, value: Any, json_output: bool) -> None:
    if json_output:
        say(as_json({"name": name, "value": value}))
    else:
        say(value if isinstance(value, str) else as_json(value))


parse_option = click.option("--parse", is_flag=True, help="Values are JSON, and stored as what they say.")


@command.command("get")
@click.argument("name")
@client_options
def get(name: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Print the value of NAME as a majority of its voters knows it now. Text is printed as it is, anything else as JSON; null
    if it was never set.

    \b
    Example:
      mesh atomic get schema --json
    """

    async def work(register: ThinAtomicRegister) -> None:
        show(name, await register.get(), json_output)

    act(nodes, secret_file, name, work)


@command.command("set")
@click.argument("name")
@click.argument("value")
@parse_option
@client_options
def set_(name: str, value: str, parse: bool, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Set NAME to VALUE, a text.

    \b
    Examples:
      mesh atomic set leader alice
      mesh atomic set limits '{"rps": 10}' --parse
    """
    stored = parsed(value, parse)

    async def work(register: ThinAtomicRegister) -> None:
        await register.set(stored)
        if json_output:
            show(name, stored, json_output)

    act(nodes, secret_file, name, work)


@command.command("cas")
@click.argument("name")
@click.argument("old")
@click.argument("new")
@parse_option
@client_options
def cas(
    name: str,
    old: str,
    new: str,
    parse: bool,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Set NAME to NEW if it is OLD. Exits with 1 if it is not. With --parse, null is a register that was never set.

    \b
    Examples:
      mesh atomic cas schema 7 8 --parse
      mesh atomic cas leader null '"alice"' --parse
    """
    expected, stored = parsed(old, parse), parsed(new, parse)

    async def work(register: ThinAtomicRegister) -> None:
        done = await register.compare_and_set(expected, stored)
        if json_output:
            say(as_json({"name": name, "set": done}))
        if not done:
            fail(f"the register {name!r} has another value than {as_json(expected)}")

    act(nodes, secret_file, name, work)


@command.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("n", type=int, default=1)
@client_options
def add(name: str, n: int, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Add N, by default 1, to NAME, and print the sum. It is never added twice.

    \b
    Examples:
      mesh atomic add builds
      mesh atomic add balance -5
    """

    async def work(register: ThinAtomicRegister) -> None:
        show(name, await register.add(n), json_output)

    act(nodes, secret_file, name, work)
