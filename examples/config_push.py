"""Settings that are changed in one place and used in all, a moment later, with no restart.

Instances start with defaults and follow what stands under `config/`. A setting that is no good is refused by whoever reads it,
and the last good one stays: a typo must not take down the fleet. Try it with `mesh kv put config/workers 8 --parse`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from coordination import Peer
from examples.opening import joined, options, run, tell

__all__ = ["DEFAULTS", "Settings", "change"]

DEFAULTS: dict[str, Any] = {"workers": 4, "timeout": 2.5, "banner": ""}


class Settings:
    """The settings of one instance, always whole and good: `settings["workers"]`."""

    def __init__(self, told: Callable[..., None]) -> None:
        self._told = told
        self._values = dict(DEFAULTS)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    async def follow(self, peer: Peer) -> None:
        async with peer.watch(prefix="config/", snapshot=True) as changes:
            async for event in changes:
                name = event.key.removeprefix("config/")
                if event.kind == "resync":
                    self._values = dict(DEFAULTS)
                elif event.kind == "put":
                    self._use(name, event.value, event.origin)
                elif name in DEFAULTS:
                    self._use(name, DEFAULTS[name], event.origin)

    def _use(self, name: str, value: Any, origin: str | None) -> None:
        if name not in DEFAULTS or type(value) is not type(DEFAULTS[name]):
            self._told(event="refused", setting=name, value=value, by=origin)
            return
        self._values[name] = value
        self._told(event="using", setting=name, value=value, by=origin)


async def change(peer: Peer, name: str, value: Any) -> None:
    """Change a setting everywhere; returns when a majority has it."""
    await peer.kv.put(f"config/{name}", value, acks="majority")


async def main(arguments: argparse.Namespace) -> None:
    async with joined(arguments) as peer:
        tell(event="up", name=peer.name)
        if arguments.workers is not None:
            await change(peer, "workers", arguments.workers)
        await Settings(tell).follow(peer)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--workers", type=int, help="set this, everywhere, at the start")
    run(main, parser.parse_args())
