"""`mesh node`: a standalone member, for programs that talk to it as thin clients."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.commands.common import DEFAULT_NODE, fail, read_secret, run, secret_option
from coordination.config import MeshConfig
from coordination.output import as_json, say

if TYPE_CHECKING:
    from coordination.peer import Peer

__all__ = ["command"]


@click.command("node")
@click.option("--name", help="Unique in the mesh; 1 to 64 of A-Z a-z 0-9 . _ -. Kept in the state directory.")
@click.option("--bind", metavar="HOST:PORT", default=DEFAULT_NODE, show_default=True, help="Where to listen, UDP and TCP.")
@click.option("--advertise", metavar="HOST:PORT", help="Where others reach it, if that is not the bound address.")
@click.option("--seed", "seeds", metavar="HOST:PORT", multiple=True, help="A member, or a founder; repeat it.")
@click.option("--expect", type=int, default=1, show_default=True, help="How many voters found the mesh together.")
@secret_option
@click.option(
    "--state-dir",
    type=click.Path(path_type=str),
    help="Where it keeps its name and its promises: with them it votes at once after a restart.  "
    "[default: $XDG_STATE_HOME/trio-mesh/NAME, or ~/.local/state/trio-mesh/NAME]",
)
@click.option("--no-state-dir", is_flag=True, help="Keep nothing: after a restart it does not vote for the longest ttl.")
@click.option("--fresh", is_flag=True, help="Your word that no lock of this mesh is alive: the founders vote at once.")
@click.option("--no-vote", is_flag=True, help="Hold state, but do not vote on locks.")
@click.option("--elastic", is_flag=True, help="Founders: let voters come and go. Else the founders vote for ever.")
@click.option("--profile", type=click.Choice(["local", "lan", "wan"]), default="lan", show_default=True)
@click.option("--tag", "tags", metavar="KEY=VALUE", multiple=True, help="A text that members see; repeat it.")
@click.option("--max-fading", type=int, help="Deleted and expired keys that may wait while no cut is made: open_peer.")
@click.option("--verbose", is_flag=True, help="Log what the node does, to standard error.")
@click.option("--json", "json_output", is_flag=True, help="Report events as JSON, one object a line.")
def command(
    name: str | None,
    bind: str,
    advertise: str | None,
    seeds: tuple[str, ...],
    expect: int,
    secret_file: Path | None,
    state_dir: str | None,
    no_state_dir: bool,
    fresh: bool,
    no_vote: bool,
    elastic: bool,
    profile: str,
    tags: tuple[str, ...],
    max_fading: int | None,
    verbose: bool,
    json_output: bool,
) -> None:
    """Run a node until SIGTERM or SIGINT, which stop it gracefully: it is expected back. `mesh leave` has it leave for good.

    \b
    Examples:
      mesh node --name a --bind 127.0.0.1:7946
      mesh node --name b --bind 127.0.0.1:7947 --seed 127.0.0.1:7946
      mesh node --name a --bind 10.0.0.5:7946 --expect 3 --secret-file mesh.secret \\
          --seed 10.0.0.5:7946 --seed 10.0.0.6:7946 --seed 10.0.0.7:7946
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="mesh: %(message)s")
    if state_dir is not None and no_state_dir:
        fail("--state-dir and --no-state-dir exclude each other", 2)
    pairs = {}
    for tag in tags:
        key, mark, value = tag.partition("=")
        if not mark:
            fail(f"the tag {tag!r} has no value: write KEY=VALUE", 2)
        pairs[key] = value
    arguments: dict[str, Any] = {
        "name": name,
        "bind": bind,
        "advertise": advertise,
        "seeds": seeds,
        "expect": expect,
        "secret": read_secret(secret_file),
        "state_dir": None if no_state_dir else default_state_dir(name) if state_dir is None else state_dir,
        "fresh": fresh,
        "voter": not no_vote,
        "profile": profile,
        "tags": pairs,
        "config": MeshConfig(elastic=elastic),
    }
    if max_fading is not None:
        arguments["max_fading"] = max_fading
    run(lambda: serve(arguments, json_output))


def default_state_dir(name: str | None) -> Path:
    """`$XDG_STATE_HOME/trio-mesh/NAME`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name) if name else "node"
    return Path(base) / "trio-mesh" / safe.lstrip(".")


async def serve(arguments: dict[str, Any], json_output: bool) -> None:
    import signal

    import trio

    from coordination import open_peer

    ended: dict[str, object] = {"event": "stopped"}
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    return

            nursery.start_soon(stop_on_signal)
            async with open_peer(**arguments) as peer:
                report(peer, json_output)
                await peer.asked_to_leave()
                ended = {"event": "left", "removed": await peer.leave()}
                nursery.cancel_scope.cancel()
    if json_output:
        say(as_json(ended))
    else:
        say(f"{ended['event']}{'' if ended.get('removed', True) else ', but is still on the roster of voters'}")


def report(peer: Peer, json_output: bool) -> None:
    """Say where the node is, once it is up."""
    if json_output:
        say(as_json({"event": "up", "name": peer.name, "address": peer.address, "pid": os.getpid()}))
    else:
        say(f"node {peer.name} is up at {peer.address}")
