"""Counters and what is built on them, in a mesh of one: processor time, as the machine may be busy with other things."""

from __future__ import annotations

import gc
import time
import tracemalloc

import trio
import trio.testing

from coordination import Peer, open_peer
from tests.benchmarks.figures import rate, times, title
from tests.benchmarks.limits import dictionary_gets
from tests.crdt.test_counter_memory import restarted

__all__ = ["main"]

ADDS = 200_000
PUTS, ROUNDS = 5_000, 7
WATCHERS, TELLINGS = 1_000, 300
TURN = 32
"""Adds between two checkpoints: their windows open and end meanwhile."""


async def adds(peer: Peer) -> float:
    counter = peer.counter("orders")
    began = time.process_time()
    for n in range(ADDS):
        counter.add(n % 3)
        if not n % TURN:
            await trio.lowlevel.checkpoint()
    took = time.process_time() - began
    assert counter.value == sum(n % 3 for n in range(ADDS))
    return ADDS / took


async def spends(peer: Peer) -> float:
    budget = peer.budget("rights", limit=1 << 40)
    await budget.spend()
    began = time.process_time()
    for _ in range(ADDS):
        await budget.spend()
    took = time.process_time() - began
    assert await budget.remaining() == (1 << 40) - ADDS - 1
    return ADDS / took


async def decisions(peer: Peer, mode: str) -> float:
    """Requests that are decided in a second, most of them refused."""
    limiter = peer.limiter(f"decisions/{mode}", rate=1000, burst=50, mode=mode)
    await limiter.acquire()
    admitted, began, clock = 0, time.process_time(), time.monotonic()
    for _ in range(ADDS):
        admitted += await limiter.try_acquire()
    took = time.process_time() - began
    assert 0 < admitted <= 51 + 1000 * (time.monotonic() - clock)
    return ADDS / took


async def puts(peer: Peer) -> float:
    """Processor seconds of one."""
    began = time.process_time()
    for n in range(PUTS):
        await peer.kv.put(f"jobs/{n % 500}/state", n)
    return (time.process_time() - began) / PUTS


async def many_prefixes(peer: Peer) -> tuple[float, float]:
    """Puts a second without watchers, and beside 10,000 of other prefixes."""
    bare = min([await puts(peer) for _ in range(ROUNDS)])
    watches = [peer.watch(prefix=f"other/{n}/") for n in range(10_000)]
    for watch in watches:
        await watch.__aenter__()
    watched = min([await puts(peer) for _ in range(ROUNDS)])
    await peer.kv.put("other/77/x", 1)
    assert (await anext(watches[77])).value == 1
    for watch in watches:
        watch.close()
    return 1 / bare, 1 / watched


class Collections:
    """Processor seconds that Python's cyclic collector took for each of its full passes, in a `with` block."""

    def __init__(self) -> None:
        self.full: list[float] = []
        self._began = 0.0

    def _told(self, phase: str, about: dict[str, int]) -> None:
        if about["generation"] < 2:
            return
        if phase == "start":
            self._began = time.process_time()
        else:
            self.full.append(time.process_time() - self._began)

    def __enter__(self) -> Collections:
        gc.callbacks.append(self._told)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._told)


async def one_for_all(peer: Peer) -> list[float]:
    """Processor seconds from a put until each of 1,000 watchers of the key has been told, of each round."""
    told: list[int] = []

    async def follow(*, task_status: trio.TaskStatus[None]) -> None:
        async with peer.watch(key="one") as changes:
            task_status.started()
            async for event in changes:
                told.append(event.value)

    took = []
    async with trio.open_nursery() as nursery:
        for _ in range(WATCHERS):
            await nursery.start(follow)
        for n in range(TELLINGS):
            told.clear()
            began = time.process_time()
            await peer.kv.put("one", n)
            while len(told) < WATCHERS:
                await trio.lowlevel.checkpoint()
            took.append(time.process_time() - began)
            assert told == [n] * WATCHERS
        nursery.cancel_scope.cancel()
    return took


async def all_told(peer: Peer, wakes: float) -> None:
    """With the cyclic collector as the interpreter has it: a full pass goes through every object of the process, and would be
    the tail of this."""
    limit = (wakes, "1,000 bare wakes")
    with Collections() as passes:
        times(f"1,000 watchers of one key told, {TELLINGS} times", await one_for_all(peer), 0.020, None, *limit, most=0.020)
    full = passes.full
    print(
        f"    of that {len(full)} full passes of the collector, the longest {1e3 * max(full, default=0.0):.1f} ms", flush=True
    )


def bare_wakes() -> float:
    """Processor seconds in which Trio alone wakes 1,000 tasks by an event."""

    async def wake() -> float:
        event, woken = trio.Event(), []

        async def wait() -> None:
            await event.wait()
            woken.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(WATCHERS):
                nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            began = time.process_time()
            event.set()
            while len(woken) < WATCHERS:
                await trio.lowlevel.checkpoint()
            return time.process_time() - began

    return trio.run(wake)


def counter_memory(times: int) -> tuple[int, int, int]:
    """After so many restarts of its writers: its cells, the rows of the table of retired actors (shared by all counters, 512
    at most), and the bytes of it all."""
    gc.collect()
    tracemalloc.start()
    keeper, cut = restarted(times)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert keeper.counter("orders") == times * (times + 1) // 2
    return len(list(keeper.cells())), len(cut.retired), taken


def memory() -> None:
    for lives in (10, 1_000):
        cells, rows, taken = counter_memory(lives)
        print(f"  a counter after {lives:,} restarts of its writers: {cells} cell, {rows} retired, {taken:,} bytes", flush=True)


async def measure(wakes: float) -> None:
    limit = dictionary_gets(ADDS)
    async with open_peer() as peer:
        rate("counter.add, local", await adds(peer), 200_000, limit, "a dictionary behind a method")
        rate("budget.spend, of local rights", await spends(peer), 100_000, limit, "a dictionary behind a method")
        for mode in ("fast", "strict"):
            rate(f"limiter.try_acquire, {mode}", await decisions(peer, mode), 100_000, limit, "a dictionary behind a method")
        bare, watched = await many_prefixes(peer)
        rate("kv.put beside 10,000 watched prefixes", watched, bare / 2, bare, "the same without watchers")
        await all_told(peer, wakes)


def main() -> None:
    title("Primitives, in a mesh of one")
    memory()
    trio.run(measure, bare_wakes())
