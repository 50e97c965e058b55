"""Watches: nothing missed, nothing twice, the last state always, never in the way."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from coordination import BadKey, EventKind, open_peer
from tests.coordination.meshes import mesh_of


async def test_snapshot_then_changes_with_no_gap() -> None:
    async with open_peer() as peer:
        await peer.kv.put_many({"a/1": 1, "a/2": 2, "b": 3})
        async with peer.watch(prefix="a/", snapshot=True) as changes:
            await peer.kv.put("a/3", 3)
            await peer.kv.delete("a/1")
            events = [await anext(changes) for _ in range(3)]
    told = [(event.kind, event.key, event.value, event.old) for event in events]
    # a/1 was deleted before it was read: it is not shown at all.
    assert told == [
        (EventKind.PUT, "a/2", 2, None),
        (EventKind.SYNCED, "a/", None, None),
        (EventKind.PUT, "a/3", 3, None),
    ]


async def test_a_slow_watcher_sees_the_last_state_of_each_key() -> None:
    async with open_peer() as peer:
        async with peer.watch(prefix="") as changes:
            for number in range(1000):
                await peer.kv.put(f"k{number % 3}", number)
            await peer.kv.put("gone", 1)
            await peer.kv.delete("gone")
            events = [await anext(changes) for _ in range(3)]
            assert [(event.key, event.value) for event in events] == [("k0", 999), ("k1", 997), ("k2", 998)]
            with trio.move_on_after(0.02) as scope:
                await anext(changes)
            assert scope.cancelled_caught, "a key that came and went between two looks is not shown"


async def test_a_watcher_that_is_always_behind_lets_others_run() -> None:
    async with open_peer() as peer:
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                await trio.lowlevel.checkpoint()
                others += 1

        await peer.kv.put_many({f"k{n}": n for n in range(1000)})
        async with peer.watch(prefix="", snapshot=True) as changes, trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(1000):
                await anext(changes)
            nursery.cancel_scope.cancel()
        assert others >= 20


async def test_one_key() -> None:
    async with open_peer() as peer:
        async with peer.watch(key="k") as changes:
            await peer.kv.put("k2", 1)
            await peer.kv.put("k", 1)
            event = await anext(changes)
            assert (event.kind, event.key, event.value, event.origin) == ("put", "k", 1, peer.name)
            await peer.kv.put("k", 2)
            event = await anext(changes)
            assert (event.value, event.old) == (2, 1)
            await peer.kv.delete("k")
            event = await anext(changes)
            assert (event.kind, event.value, event.old) == ("delete", None, 2)


async def test_a_touch_is_no_change() -> None:
    async with open_peer() as peer:
        await peer.kv.put("k", 1, ttl=5)
        async with peer.watch(key="k") as changes:
            await peer.kv.touch("k", ttl=50)
            with trio.move_on_after(0.02) as scope:
                await anext(changes)
            assert scope.cancelled_caught


@pytest.mark.parametrize("seed", range(5))
async def test_events_folded_over_the_snapshot_equal_the_store(seed: int) -> None:
    rng = random.Random(seed)
    async with mesh_of(2) as (a, b):
        mirror: dict[str, Any] = {}
        revisions: list[int] = []
        finished = trio.Event()

        async def follow(*, task_status: trio.TaskStatus[None]) -> None:
            async with b.watch(prefix="", snapshot=True) as changes:
                task_status.started()
                async for event in changes:
                    if event.kind == "synced":
                        continue
                    revisions.append(event.revision)
                    if event.kind == "put":
                        assert event.old == mirror.get(event.key)
                        mirror[event.key] = event.value
                    else:
                        assert mirror.pop(event.key) == event.old
                    if event.key == "end":
                        finished.set()
                        return
                    if rng.random() < 0.1:
                        await trio.sleep(0.001)

        for number in range(30):
            await a.kv.put(f"k{number}", number)
        async with trio.open_nursery() as nursery:
            await nursery.start(follow)
            for number in range(400):
                writer, key = rng.choice((a, b)), f"k{rng.randrange(40)}"
                if rng.random() < 0.3:
                    await writer.kv.delete(key)
                else:
                    await writer.kv.put(key, number)
                if rng.random() < 0.05:
                    await trio.sleep(0.002)
            await a.synced()
            await b.synced()
            await b.kv.put("end", True)
            with trio.fail_after(5):
                await finished.wait()
        assert mirror == dict(b.kv.scan())
        assert len(mirror) > 10


async def test_leaving_ends_the_iteration_and_leaks_nothing() -> None:
    async with open_peer() as peer:
        watch = peer.watch(prefix="")
        async with watch as changes:
            pass
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        await peer.kv.put("k", 1)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


async def test_a_watch_is_of_a_key_or_of_a_prefix() -> None:
    async with open_peer() as peer:
        with pytest.raises(BadKey, match="either"):
            peer.watch()
        with pytest.raises(BadKey, match="either"):
            peer.watch(key="k", prefix="p")
