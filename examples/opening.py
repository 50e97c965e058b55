"""What the examples share: the options of a peer, and a program that ends in order on SIGTERM and Ctrl-C.

Each example is a program of which you start one instance, or as many as you like:

    python -m examples.presence

    python -m examples.presence --name a --bind 127.0.0.1:7946 --seed 127.0.0.1:7946 --seed 127.0.0.1:7947 --expect 2
    python -m examples.presence --name b --bind 127.0.0.1:7947 --seed 127.0.0.1:7946 --seed 127.0.0.1:7947 --expect 2

What they have to say they print as JSON, an object a line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from coordination import MeshError, Peer, open_peer

__all__ = ["joined", "options", "run", "tell"]


def options(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", default="alone")
    parser.add_argument("--bind", help="host:port; without it the instance is a mesh of one")
    parser.add_argument("--seed", action="append", default=[], help="of all founders; repeat it")
    parser.add_argument("--expect", type=int, default=1, help="how many founders")
    return parser


@asynccontextmanager
async def joined(arguments: argparse.Namespace) -> AsyncIterator[Peer]:
    async with open_peer(
        name=arguments.name, bind=arguments.bind, seeds=arguments.seed, expect=arguments.expect,
        secret=os.environ.get("MESH_SECRET"), fresh=True,
    ) as peer:  # fmt: skip
        yield peer


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


def run(main: Callable[[argparse.Namespace], Awaitable[None]], arguments: argparse.Namespace) -> None:
    """Until it is done, or asked to end: then what it holds is given back."""

    async def guarded() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def asked() -> None:
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

                nursery.start_soon(asked)
                await main(arguments)
                nursery.cancel_scope.cancel()

    problem = ""
    try:
        trio.run(guarded)
    except* MeshError as errors:
        problem = str(first_of(errors))
    if problem:
        sys.exit(problem)


def first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
