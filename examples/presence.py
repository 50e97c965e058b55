"""Who is online: each instance says so under a key that is bound to its lease, and sees the others come and go.

An instance that stops is gone at once, one that is killed within its lease's ttl. The gauge counts them, with what each
brings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import trio

from coordination import LeaseLost, NoQuorum, Peer
from examples.opening import joined, options, run, tell

__all__ = ["appear", "observe"]


async def appear(peer: Peer, status: Any, *, ttl: float = 2.0, users: int = 1) -> None:
    """Be seen, for as long as this runs."""
    while True:
        try:
            async with peer.lease(ttl=ttl) as lease, peer.gauge("users").hold(users, ttl=ttl):
                await peer.kv.put(f"online/{peer.name}", status, lease=lease)
                await trio.sleep_forever()
        except (LeaseLost, NoQuorum):
            await trio.sleep(ttl / 4)


async def observe(peer: Peer, told: Callable[[dict[str, Any]], None]) -> None:
    """Tell of everyone who is online, whenever that changes."""
    online: dict[str, Any] = {}
    async with peer.watch(prefix="online/", snapshot=True) as changes:
        async for event in changes:
            name = event.key.removeprefix("online/")
            if event.kind == "put":
                online[name] = event.value
            elif event.kind == "resync":
                online.clear()
                continue
            elif event.kind != "synced":
                online.pop(name, None)
            told(dict(sorted(online.items())))


async def main(arguments: argparse.Namespace) -> None:
    async with joined(arguments) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(appear, peer, arguments.status)
        await observe(
            peer, lambda online: tell(event="online", seen_by=peer.name, online=online, users=peer.gauge("users").value)
        )


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--status", default="available")
    run(main, parser.parse_args())
