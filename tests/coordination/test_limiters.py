"""Limiters by the API."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.testing

from coordination import BadKey, BadTTL, BadValue, NoQuorum, Peer, open_peer
from simulations.scenarios.primitives import Bucket
from tests.coordination.meshes import mesh_of, until


def ns() -> int:
    return time.monotonic_ns()


async def test_strict_begins_with_nothing_and_then_keeps_its_rate() -> None:
    async with open_peer() as peer:
        limiter = peer.limiter("api", rate=100, burst=5)
        assert not await limiter.try_acquire()
        judge, admitted, began = Bucket(100, 5), 0, trio.current_time()
        while trio.current_time() - began < 0.5:
            if await limiter.try_acquire():
                assert judge.admit(1, ns())
                admitted += 1
            await trio.sleep(0.001)
        assert admitted >= 20


async def test_together_they_admit_what_one_would() -> None:
    async with mesh_of(3) as peers:
        judge, admitted = Bucket(200, 9), [0, 0, 0]

        async def work(index: int, peer: Peer) -> None:
            limiter = peer.limiter("api", rate=200, burst=9, ttl=1.0)
            while True:
                await limiter.acquire()
                assert judge.admit(1, ns())
                admitted[index] += 1

        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                for index, peer in enumerate(peers):
                    nursery.start_soon(work, index, peer)
        assert min(admitted) > 10, admitted


async def test_what_an_idle_process_holds_others_get() -> None:
    async with mesh_of(2) as (a, b):
        idle, busy = a.limiter("one", rate=50, burst=1, ttl=0.6), b.limiter("one", rate=50, burst=1, ttl=0.6)
        with trio.fail_after(10):
            await idle.acquire()
            assert not await busy.try_acquire(), "there is one permit, and it is held"
            await busy.acquire()
            for _ in range(5):
                await busy.acquire()


async def test_a_side_without_a_majority_admits_nothing_in_strict_mode_and_all_in_fast() -> None:
    async with mesh_of(2) as (a, b):
        strict, fast = a.limiter("s", rate=1000, burst=10, ttl=0.6), a.limiter("f", rate=1000, burst=10, mode="fast")
        with trio.fail_after(10):
            await strict.acquire()
        await b._core.driver.stop()
        with trio.fail_after(10):
            with pytest.raises(NoQuorum):
                while True:
                    await strict.try_acquire()
                    await trio.sleep(0.01)
            await fast.acquire()


async def test_fast_asks_nobody_and_takes_its_share() -> None:
    async with mesh_of(2) as (a, b):
        await until(lambda: len(a.members) == 2)
        limiter = a.limiter("api", rate=1, burst=10, mode="fast")
        admitted = 0
        while await limiter.try_acquire():
            admitted += 1
        assert admitted in (5, 6)
        assert await b.limiter("one", rate=1, burst=1, mode="fast").try_acquire(), "at least one at a time"


async def test_a_window() -> None:
    async with open_peer() as peer:
        fast = peer.limiter("w", limit=3, window=0.3, mode="fast")
        assert [await fast.try_acquire() for _ in range(5)] == [True, True, True, False, False]
        began = trio.current_time()
        await fast.acquire(2)
        assert trio.current_time() - began > 0.2
        strict = peer.limiter("v", limit=3, window=0.2)
        assert not await strict.try_acquire(), "whoever had the permits before may just have used them"
        with trio.fail_after(5):
            await strict.acquire(3)
        assert not await strict.try_acquire()


async def test_a_decorator() -> None:
    async with open_peer() as peer:

        @peer.limiter("calls", limit=2, window=0.2, mode="fast")
        async def double(n: int, *, plus: int = 0) -> int:
            """Twice."""
            return 2 * n + plus

        began = trio.current_time()
        assert [await double(n, plus=1) for n in range(3)] == [1, 3, 5]
        assert trio.current_time() - began > 0.15
        assert (double.__name__, double.__doc__) == ("double", "Twice.")


async def test_waiting_is_in_order_and_can_be_cancelled() -> None:
    async with open_peer() as peer:
        limiter = peer.limiter("q", rate=50, burst=1, mode="fast")
        order: list[int] = []

        async def wait(number: int) -> None:
            await limiter.acquire()
            order.append(number)

        assert await limiter.try_acquire()
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(wait, number)
                await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.001) as scope:
                await limiter.acquire()
            assert scope.cancelled_caught
            assert not await limiter.try_acquire(), "those who wait come first"
        assert order == [0, 1, 2, 3]


async def test_one_name_one_kind_of_terms() -> None:
    async with mesh_of(2) as (a, b):
        limiter = a.limiter("api", rate=10, burst=5)
        assert a.limiter("api", rate=10, burst=5) is limiter
        await limiter.try_acquire()
        with pytest.raises(BadValue, match="other terms"):
            a.limiter("api", rate=11, burst=5)
        with pytest.raises(BadValue, match="other terms"):
            await b.limiter("api", rate=11, burst=5).try_acquire()


@pytest.mark.parametrize(
    "options",
    [
        {}, {"rate": 0}, {"rate": -1}, {"rate": "5"}, {"rate": True}, {"rate": float("nan")}, {"rate": 1e12},
        {"rate": 5, "burst": 0}, {"rate": 5, "burst": 1.5}, {"rate": 5, "limit": 3}, {"limit": 3}, {"window": 3},
        {"limit": 0, "window": 1}, {"limit": 3, "window": 0}, {"limit": 3, "window": float("inf")}, {"limit": 3, "window": 1,
        "burst": 2}, {"rate": 5, "mode": "loose"},
    ],
)  # fmt: skip
async def test_bad_terms(options: dict[str, Any]) -> None:
    async with open_peer() as peer:
        with pytest.raises(BadValue):
            peer.limiter("x", **options)


@pytest.mark.parametrize("n", [0, -1, 6, 1.0, True, None])
async def test_bad_amounts(n: Any) -> None:
    async with open_peer() as peer:
        limiter = peer.limiter("x", rate=5, mode="fast")
        for call in (limiter.acquire, limiter.try_acquire):
            with pytest.raises(BadValue):
                await call(n)
        with pytest.raises(BadKey):
            peer.limiter("", rate=5)
        with pytest.raises(BadTTL):
            peer.limiter("y", rate=5, ttl=1000)
