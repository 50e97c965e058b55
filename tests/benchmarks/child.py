"""One process of a benchmark: a founder that does a job when it is told to, and reports in lines of JSON.

Run as `python -m tests.benchmarks.child JSON`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from coordination import Peer, open_peer

__all__ = ["main"]


def tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


async def puts(peer: Peer, count: int, pause: float) -> dict[str, Any]:
    """Put the time of day, again and again, each under a key of its own."""
    for n in range(count):
        await peer.kv.put(f"latency/{n}", time.monotonic_ns())
        await trio.sleep(pause)
    return {"put": count}


async def watch(peer: Peer, count: int) -> dict[str, Any]:
    """Seconds from each put elsewhere to its event here."""
    took: dict[str, float] = {}
    async with peer.watch(prefix="latency/") as changes:
        tell(watching=True)
        with trio.fail_after(60):
            async for event in changes:
                took[event.key] = (time.monotonic_ns() - event.value) / 1e9
                if len(took) == count:
                    break
    return {"took": [took[key] for key in sorted(took, key=_number)]}


def _number(key: str) -> int:
    """Reports of several watchers are compared put by put."""
    return int(key.partition("/")[2])


async def locks(peer: Peer, clients: int, seconds: float, shared: bool, body: bool) -> dict[str, Any]:
    """Acquire and release: each client a lock of its own, or all the same one; as the body of `async with`, or by two calls."""
    took: list[float] = []
    tokens: list[int] = []
    turns: list[tuple[int, float, float]] = []
    rising = True
    end = trio.current_time() + seconds

    def check(token: int, last: int) -> int:
        nonlocal rising
        granted = time.monotonic()
        if token <= last:
            rising = False
        if shared:
            tokens.append(token)
            turns.append((token, granted, time.monotonic()))
        return token

    async def client(index: int) -> None:
        lock = peer.lock("bench/shared" if shared else f"bench/{peer.name}/{index}", ttl=10)
        last = 0
        while trio.current_time() < end:
            began = time.perf_counter()
            if body:
                async with lock as held:
                    last = check(held.token, last)
            else:
                held = await lock.acquire()
                last = check(held.token, last)
                await held.release()
            took.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for index in range(clients):
            nursery.start_soon(client, index)
    return {"took": took, "rising": rising and tokens == sorted(set(tokens)), "tokens": tokens, "turns": turns}


async def adds(peer: Peer, clients: int, seconds: float, name: str) -> dict[str, Any]:
    """Add 1 to one atomic register, by so many tasks at once."""
    took: list[float] = []
    sums: list[int] = []
    register = peer.atomic(name)
    end = trio.current_time() + seconds

    async def client() -> None:
        while trio.current_time() < end:
            began = time.perf_counter()
            sums.append(await register.add())
            took.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(client)
    return {"took": took, "sums": sums}


async def total(peer: Peer, name: str) -> dict[str, Any]:
    """What an atomic register holds, and the processor seconds of this process so far."""
    return {"total": await peer.atomic(name).get(), "cpu": time.process_time()}


async def spent(peer: Peer) -> dict[str, Any]:
    """What this process has spent so far: seconds of processor, messages and datagrams."""
    stats = peer.stats()
    return {"cpu": time.process_time(), "messages": stats["node.messages_sent"], "datagrams": stats["node.datagrams_sent"]}


async def owners(peer: Peer, names: list[str]) -> dict[str, Any]:
    """Who serves each of these locks."""
    return {"owners": [(await peer.explain(name)).owner for name in names]}


async def take(peer: Peer, names: list[str], ttl: float) -> dict[str, Any]:
    """Acquire these locks, and neither renew nor release them."""
    return {"tokens": [(await peer.lock(name, ttl=ttl).acquire()).token for name in names]}


async def grab(peer: Peer, names: list[str], ttl: float) -> dict[str, Any]:
    """Acquire these locks, all at once: when each was granted, by the clock that all processes share, and its token."""
    found: dict[str, tuple[float, int]] = {}

    async def one(name: str) -> None:
        async with peer.lock(name, ttl=ttl) as held:
            found[name] = (time.monotonic(), held.token)

    tell(asking=True)
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    return {"grants": [found[name] for name in names]}


JOBS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "puts": puts,
    "watch": watch,
    "locks": locks,
    "adds": adds,
    "total": total,
    "spent": spent,
    "owners": owners,
    "take": take,
    "grab": grab,
}


async def main(name: str, bind: str, seeds: list[str], state_dir: str | None) -> None:
    secret = os.environ["MESH_SECRET"]
    async with open_peer(
        name=name, bind=bind, seeds=seeds, expect=len(seeds), secret=secret, fresh=True, profile="local", state_dir=state_dir
    ) as peer:
        with trio.fail_after(20):
            while len(peer.members) < len(seeds):
                await trio.sleep(0.01)
            await peer.synced()
            async with peer.lock(f"warm/{name}", ttl=5):
                pass
        tell(up=True)
        stdin = trio.lowlevel.FdStream(os.dup(0))
        buffer = b""
        async for data in stdin:
            buffer += data
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                message = json.loads(line)
                tell(**await JOBS[message.pop("job")](peer, **message))


if __name__ == "__main__":
    trio.run(lambda: main(**json.loads(sys.argv[1])))
