"""`mesh watch`: what changes, line by line, through a thin client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import client_options, fail, read_secret, run
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.watch import WatchEvent

__all__ = ["command"]


@click.command("watch")
@click.argument("prefix", required=False)
@click.option("--key", "keys", metavar="KEY", multiple=True, help="Follow this key; repeat it for several.")
@click.option("--counter", metavar="NAME", help="Follow what a counter stands at.")
@click.option("--gauge", metavar="NAME", help="Follow what a gauge stands at.")
@click.option("--lock", metavar="NAME", help="Follow who holds a lock.")
@click.option("--election", metavar="NAME", help="Follow who leads.")
@click.option("--snapshot", is_flag=True, help="Begin with what is there.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@client_options
def command(
    prefix: str | None,
    keys: tuple[str, ...],
    counter: str | None,
    gauge: str | None,
    lock: str | None,
    election: str | None,
    snapshot: bool,
    count: int | None,
    nodes: tuple[str, ...],
    secret_file: Path | None,
    json_output: bool,
) -> None:
    """Follow all keys that begin with PREFIX (of any name, if it is left out), or what the options name: one event a line,
    until it is interrupted.

    \b
    Examples:
      mesh watch config/ --snapshot
      mesh watch --counter orders --json
      mesh watch --lock jobs/nightly
    """
    secret = read_secret(secret_file)
    wanted: dict[str, Any] = {"counter": counter, "gauge": gauge, "lock": lock, "election": election, "keys": keys or None}
    named = sum([each is not None for each in wanted.values()])
    if named + (prefix is not None) > 1:
        fail("follow one thing: a prefix, keys, a counter, a gauge, a lock or an election", 2)
    if not named:
        wanted["prefix"] = prefix or ""

    async def connected() -> None:
        from coordination import connect

        told = 0
        async with connect(*nodes, secret=secret) as client, client.watch(**wanted, snapshot=snapshot) as changes:
            async for event in changes:
                say(as_json(plain(event)) if json_output else line(event))
                told += 1
                if told == count:
                    return

    run(connected)


def plain(event: WatchEvent) -> dict[str, Any]:
    """As JSON can say it."""
    return {
        "kind": event.kind,
        "key": event.key,
        "value": shown(event.value),
        "old": shown(event.old),
        "origin": event.origin,
        "revision": event.revision,
    }


def line(event: WatchEvent) -> str:
    return "\t".join([event.kind, event.key, as_json(shown(event.value))])


def shown(value: Any) -> Any:
    """Holders and leaders by name."""
    from coordination.locking.elections import Leader
    from coordination.locking.standing import Holding

    if isinstance(value, Leader):
        return {"leader": value.name, "token": value.token, "value": value.value}
    if isinstance(value, tuple) and all(isinstance(each, Holding) for each in value):
        return [{"holder": each.name, "token": each.token, "permits": each.permits} for each in value]
    return value
