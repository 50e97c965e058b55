"""Services in the simulated world: what it costs that a task of theirs is woken, and how fast a whole service lives."""

from __future__ import annotations

import logging
import time

import trio
import trio.testing

from coordination import MeshConfig, Peer, open_peer
from simulations import SECOND, World
from simulations.hybrid import Host, Hosts
from tests.benchmarks.figures import rate, title

__all__ = ["main"]

SECRET = "the secret of the benchmarks, 32 bytes and more"
WAKES = 20_000
GRANTS = 300


def bare_wakes(count: int) -> float:
    """Wakes a second of a task that sleeps, in a Trio run on its own mock clock."""

    async def sleeper() -> None:
        for _ in range(count):
            await trio.sleep(0.001)

    began = time.perf_counter()
    trio.run(sleeper, clock=trio.testing.MockClock(autojump_threshold=0))
    return count / (time.perf_counter() - began)


def wakes(count: int) -> float:
    """Wakes a second of the tasks of two hosts that take turns."""
    world = World(1)
    done = dict.fromkeys(("a", "b"), 0)

    async def service(host: Host) -> None:
        for _ in range(count // 2):
            await trio.sleep(0.001)
            done[host.name] += 1

    with Hosts(world) as hosts:
        for name in done:
            hosts.add(name, service)
        hosts.start()
        began = time.perf_counter()
        world.run(count * SECOND // 1000)
        took = time.perf_counter() - began
    assert done == dict.fromkeys(done, count // 2)
    return count / took


def locking(grants: int) -> tuple[float, float]:
    """(grants a second, virtual seconds a second) of three services that hand one lock on, each holding it for 20 ms."""
    world = World(1)
    tokens: list[int] = []

    async def work(peer: Peer) -> None:
        while len(tokens) < grants:
            async with peer.lock("one", ttl=2) as held:
                tokens.append(held.token)
                await trio.sleep(0.02)

    async def service(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=True,
            config=MeshConfig(max_ttl=3),
        ) as peer:  # fmt: skip
            await work(peer)

    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service)
        hosts.start()
        began = time.perf_counter()
        assert hosts.until(lambda: len(tokens) >= grants, within=120) is not None
        took = time.perf_counter() - began
    assert tokens == sorted(set(tokens)), "tokens rise"
    return len(tokens) / took, world.now / SECOND / took


def main() -> None:
    title("Services in the simulated world (hybrid)")
    logging.getLogger("mesh").setLevel(logging.ERROR)  # the warning of voters without a disk
    limit = bare_wakes(WAKES)
    rate("wakes of a task", wakes(WAKES), None, limit, "a bare Trio run on a mock clock")
    granted, speed = locking(GRANTS)
    rate("grants of a lock to three services in turn", granted, None, limit, "a bare Trio run on a mock clock")
    rate("the same: virtual seconds", speed, None, 1.0, "real time")
