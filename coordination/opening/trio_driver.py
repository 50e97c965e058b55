"""The ordinary driver of a peer: Trio, real sockets, the machine's clocks and entropy."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol, TypeVar

from coordination.errors import BadConfig
from crdt.clock import Instant
from mesh.directives import Address
from mesh.node import Node
from mesh.shell import Store, TrioDriver, open_driver, read_instant
from mesh.shell.resolve import local_host_towards, resolve

__all__ = ["Build", "Built", "open_trio_driver"]

SESSION_BYTES = 16
SEED_BYTES = 32


class Built(Protocol):
    """A node with whatever else its maker wants to hold of it: a peer's assembly, a thin client's."""

    @property
    def node(self) -> Node: ...


B = TypeVar("B", bound=Built)
B_co = TypeVar("B_co", bound=Built, covariant=True)


class Build(Protocol[B_co]):
    """Makes a whole node that has not started, from what a driver alone can give.

    `address` is where the others reach it (empty without a network), `session` 16 bytes that were never used before,
    `entropy` a source of random bytes, `random` serves protocol choices, and `now` is the moment of the start."""

    def __call__(
        self, address: Address, /, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant
    ) -> B_co: ...


@asynccontextmanager
async def open_trio_driver(
    build: Build[B],
    *,
    bind: str | None,
    advertise: str | None,
    towards: Sequence[str] = (),
    store: Store | None = None,
    busy_poll: int = 0,
) -> AsyncIterator[tuple[TrioDriver[Node], B]]:
    """Build a node for the address that is bound, and drive it. See `mesh.shell.open_driver` for what it raises.

    Raises
    ------
    BadConfig: none of `towards` is reached from an address of this machine.
    """
    built: list[B] = []
    if bind is None and towards:
        bind = await own_address(towards)

    def make(address: Address) -> Node:
        # Entropy is drawn at each use. Read ahead it would save half a microsecond a datagram, and be repeated by a fork and
        # by a cloned machine, whose nonces only it keeps apart.
        made = build(
            address,
            session=os.urandom(SESSION_BYTES),
            entropy=os.urandom,
            random=Random(os.urandom(SEED_BYTES)),
            now=read_instant(),
        )
        built.append(made)
        return made.node

    async with open_driver(make, bind=bind, advertise=advertise, store=store, busy_poll=busy_poll) as driver:
        yield driver, built[0]


async def own_address(towards: Sequence[str]) -> str:
    """Any port, on the address of this machine from which the first possible of these is reached. A checkpoint."""
    problem = "no address answers to it"
    for address in towards:
        try:
            targets = await resolve(address, socket.AF_INET)
        except (OSError, ValueError) as error:
            problem = str(error)
            continue
        for target in targets:
            host = local_host_towards(target)
            if host is not None:
                return f"[{host}]:0" if ":" in host else f"{host}:0"
    raise BadConfig(f"no way to the seed {towards[0]!r} ({problem}): give bind=…")
