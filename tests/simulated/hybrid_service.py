"""For tests of the world that runs services: one host by itself, and a service that takes a lock and says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import trio

from coordination import MeshConfig, Peer, open_peer
from simulations import SECOND, World
from simulations.faults import Fault, Faults
from simulations.hybrid import Host, Hosts

__all__ = ["SECRET", "Log", "Run", "alone", "locking", "peer_of"]

SECRET = "the secret of the simulated services, 32 bytes"

Log = list[tuple[int, str, object]]


@dataclass(frozen=True, slots=True)
class Run:
    digest: str
    log: list[tuple[int, str, int]]
    """(true time, who was granted the lock, its token)."""


def alone(service: Callable[[Host], Awaitable[object]], *, seconds: float = 5.0, seed: int = 1, **options: Any) -> Hosts:
    """Run one host without a mesh."""
    world = World(seed)
    with Hosts(world) as hosts:
        hosts.add("n0", service, **options)
        hosts.start()
        world.run(int(seconds * SECOND))
    return hosts


def peer_of(host: Host, **options: Any) -> AbstractAsyncContextManager[Peer]:
    """What every service opens."""
    return open_peer(
        name=host.name,
        bind=host.address,
        seeds=host.seeds,
        expect=host.expect,
        secret=SECRET,
        fresh=host.starts == 1,
        **options,
    )


def locking(seed: int, plan: Sequence[Fault] = (), seconds: int = 15) -> Run:
    """Three hosts that take a lock in turn, restarted when they lose it."""
    world = World(seed)
    log: list[tuple[int, str, int]] = []

    async def service(host: Host) -> None:
        async with peer_of(host, config=MeshConfig(max_ttl=3)) as peer:
            while True:
                async with peer.lock("one", ttl=2) as held:
                    log.append((world.now, host.name, held.token))
                    await trio.sleep(0.2)

    with Hosts(world) as hosts:
        for number in range(3):
            hosts.add(f"n{number}", service, restart=0.5)
        hosts.start()
        Faults(world).set(plan)
        world.run(seconds * SECOND)
        return Run(world.trace.digest(), log)


if __name__ == "__main__":
    print(locking(7).digest)
