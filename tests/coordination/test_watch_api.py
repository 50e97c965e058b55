"""Watches: nothing missed, nothing twice, the last state always, never in the way."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import trio

from coordination import BadKey, BadValue, EventKind, open_peer
from tests.coordination.meshes import mesh_of


async def test_snapshot_then_changes_with_no_gap() -> None:
    async with open_peer() as peer:
        await peer.kv.put_many({"a/1": 1, "a/2": 2, "b": 3})
        async with peer.watch(prefix="a/", snapshot=True) as changes:
            await peer.kv.put("a/3", 3)
            await peer.kv.delete("a/1")
            events = [await anext(changes) for _ in range(5)]
    told = [(event.kind, event.key, event.value, event.old) for event in events]
    assert told == [
        (EventKind.PUT, "a/2", 2, None),
        (EventKind.PUT, "a/1", 1, None),  # the snapshot is the store as it was, however late it is read
        (EventKind.SYNCED, "a/", None, None),
        (EventKind.PUT, "a/3", 3, None),
        (EventKind.DELETE, "a/1", None, 1),
    ]


async def test_a_slow_watcher_sees_the_last_state_of_each_key() -> None:
    async with open_peer() as peer:
        async with peer.watch(prefix="") as changes:
            for number in range(1000):
                await peer.kv.put(f"k{number % 3}", number)
            await peer.kv.put("gone", 1)
            await peer.kv.delete("gone")
            events = [await anext(changes) for _ in range(3)]
            assert [(event.key, event.value) for event in events] == [("k1", 997), ("k2", 998), ("k0", 999)]
            assert [event.revision for event in events] == sorted({event.revision for event in events})
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


async def test_all_who_are_told_the_same_get_it_and_none_can_alter_what_another_gets() -> None:
    async with open_peer() as peer:
        async with peer.watch(key="k") as one, peer.watch(key="k") as other, peer.watch(prefix="") as third:
            await peer.kv.put("k", 7)
            events = [await anext(each) for each in (one, other, third)]
            assert [(event.kind, event.value, event.old) for event in events] == [("put", 7, None)] * 3
            await peer.kv.put("k", {"a": [1]})
            mine, yours = await anext(one), await anext(other)
            mine.value["a"].append(2)
            assert yours.value == {"a": [1]} and (await anext(third)).value == {"a": [1]}
            assert peer.kv.get("k") == {"a": [1]}
            await peer.kv.put("k", 8)
            assert [(await anext(each)).old for each in (one, other, third)] == [{"a": [1]}] * 3


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
        with pytest.raises(BadKey, match="watch one of"):
            peer.watch()
        with pytest.raises(BadKey, match="watch one of"):
            peer.watch(key="k", prefix="p")


# --- what else can be followed -----------------------------------------------------------------------------------------


async def test_keys_and_prefixes_in_one_watch() -> None:
    async with open_peer() as peer:
        await peer.kv.put_many({"a/1": 1, "b/1": 2, "c": 3, "d": 4})
        async with peer.watch(prefixes=["b/", "a/", "a/1"], keys=["c"], snapshot=True) as changes:
            shown = [(event.kind, event.key) for event in [await anext(changes) for _ in range(4)]]
            assert shown == [("put", "a/1"), ("put", "b/1"), ("put", "c"), ("synced", "")]
            await peer.kv.put_many({"d": 5, "b/2": 6})
            assert (await anext(changes)).key == "b/2"


async def test_every_change_with_history_and_only_some_kinds() -> None:
    async with open_peer() as peer:
        async with peer.watch(key="k", history=10) as every, peer.watch(key="k", kinds=["delete"]) as deletes:
            for number in range(3):
                await peer.kv.put("k", number)
                await peer.kv.delete("k")
            await peer.kv.put("k", 9)
            told = [(event.kind, event.value) for event in [await anext(every) for _ in range(7)]]
            assert told == [
                ("put", 0),
                ("delete", None),
                ("put", 1),
                ("delete", None),
                ("put", 2),
                ("delete", None),
                ("put", 9),
            ]
            await peer.kv.delete("k")  # it has come and gone since: there is nothing to tell
            with trio.move_on_after(0.02) as scope:
                await anext(deletes)
            assert scope.cancelled_caught
            await peer.kv.put("k", 1)
            with trio.move_on_after(0.02):
                await anext(deletes)
            await peer.kv.delete("k")
            assert (await anext(deletes)).kind == "delete"


async def test_one_who_does_not_read_is_told_that_it_lagged() -> None:
    async with open_peer() as peer:
        async with peer.watch(prefix="", history=5) as changes:
            for number in range(20):
                await peer.kv.put(f"k{number % 3}", number)
            told = [await anext(changes) for _ in range(5)]
            assert [(event.kind, event.key, event.value) for event in told] == [
                ("resync", "", None),
                ("put", "k0", 18),
                ("put", "k1", 19),
                ("put", "k2", 17),
                ("synced", "", None),
            ]
            await peer.kv.put("k0", 20)
            event = await anext(changes)
            assert (event.value, event.old) == (20, 18)
            assert peer.stats()["watch.resyncs"] == 1


async def test_a_consumer_that_broke_goes_on_with_its_token() -> None:
    async with open_peer() as peer:
        async with peer.watch(prefix="jobs/", snapshot=True) as changes:
            await peer.kv.put("jobs/1", 1)
            assert changes.token is None, "the snapshot has to be read to its end"
            assert (await anext(changes)).kind == "synced"
            assert (await anext(changes)).value == 1
            token = changes.token
            assert token is not None
            await peer.kv.put("jobs/2", 2)
        await peer.kv.put("other", 0)
        await peer.kv.delete("jobs/1")
        async with peer.watch(prefix="jobs/", resume=token) as changes:
            assert changes.token == token
            told = [await anext(changes) for _ in range(2)]
            assert [(event.kind, event.key, event.value, event.old) for event in told] == [
                ("put", "jobs/2", 2, None),
                ("delete", "jobs/1", None, 1),
            ]
            assert changes.token != token
            with trio.move_on_after(0.02) as scope:
                await anext(changes)
            assert scope.cancelled_caught, "nothing is told twice"
    async with open_peer() as other, other.watch(prefix="jobs/", resume=token) as changes:
        assert [(await anext(changes)).kind for _ in range(2)] == ["resync", "synced"], "the token is another peer's"


async def test_a_counter() -> None:
    async with mesh_of(2) as (a, b):
        async with b.watch(counter="orders", snapshot=True) as changes:
            told = [await anext(changes) for _ in range(2)]
            assert [(event.kind, event.key, event.value) for event in told] == [
                ("put", "orders", 0),
                ("synced", "orders", None),
            ]
            a.counter("other").add(1)
            a.counter("orders").add(2)
            event = await anext(changes)
            assert (event.value, event.old) == (2, 0)
            for _ in range(100):
                b.counter("orders").add(1)
            with trio.fail_after(5):
                revisions = [event.revision]
                while event.value != 102:
                    before = event.value
                    event = await anext(changes)
                    assert event.old == before
                    revisions.append(event.revision)
            assert revisions == sorted(set(revisions))
            a.counter("orders").set(-5)
            assert (await anext(changes)).value == -5
        assert not b._hub.counters


async def test_a_gauge() -> None:
    async with mesh_of(2) as (a, b):
        async with b.gauge("w").hold(5), b.watch(gauge="w", snapshot=True) as changes, a.watch(gauge="w") as others:
            told = [await anext(changes) for _ in range(2)]
            assert [(event.kind, event.key, event.value, event.old) for event in told] == [
                ("put", "w", 5, None),
                ("synced", "w", None, None),
            ]
            async with a.gauge("w").hold(2) as hold, a.gauge("other").hold(7):
                with trio.fail_after(5):
                    assert ((event := await anext(changes)).value, event.old) == (7, 5)
                    await hold.set(-3)
                    assert ((event := await anext(changes)).value, event.old) == (2, 7)
                await a.kv.put("gauge/w/x.y.1", 100)  # bound to nothing: it is no share
            with trio.fail_after(5):
                assert ((event := await anext(changes)).value, event.old, event.kind) == (5, 2, "put")
                async with b.gauge("w").hold(1):
                    while (event := await anext(others)).value != 6:
                        pass
            assert changes.token is None
        assert not b._hub.interest


async def test_a_slow_watcher_of_a_gauge_is_told_the_last_value() -> None:
    async with open_peer() as peer:
        async with peer.gauge("w").hold(0) as hold, peer.watch(gauge="w") as changes:
            for n in range(50):
                await hold.set(n)
            await hold.set(0)
            await hold.set(9)
            event = await anext(changes)
            assert (event.value, event.old) == (9, 0)


async def test_leaving_ends_watches_of_every_kind() -> None:
    async with mesh_of(2) as (a, _):
        ended = 0

        async def follow(task_status: trio.TaskStatus[None], **what: Any) -> None:
            nonlocal ended
            async with a.watch(**what) as changes:
                task_status.started()
                async for _ in changes:
                    pass
            ended += 1

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for what in ({"key": "k"}, {"prefix": "p"}, {"counter": "c"}, {"gauge": "g"}, {"election": "e"}):
                    await nursery.start(lambda what=what, *, task_status: follow(task_status, **what))
                await a.leave()
        assert ended == 5


async def test_a_lock() -> None:
    async with mesh_of(2) as (a, b):
        async with a.watch(lock="l", snapshot=True) as changes:
            assert (await anext(changes)).kind == "synced"
            held = await b.lock("l").acquire()
            with trio.fail_after(5):
                event = await anext(changes)
            assert (event.kind, event.key, event.origin, event.stamp) == ("put", "l", "p1", held.token)
            assert event.value[0].token == held.token
            await held.release()
            with trio.fail_after(5):
                event = await anext(changes)
            assert (event.kind, event.value, event.old[0].name) == ("delete", None, "p1")
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


async def test_an_election() -> None:
    async with mesh_of(2) as (a, b):
        async with a.watch(election="e", snapshot=True) as changes:
            assert (await anext(changes)).kind == "synced"
            async with b.election("e").lead({"at": 1}) as held:
                with trio.fail_after(5):
                    event = await anext(changes)
                assert (event.kind, event.key, event.origin) == ("put", "e", "p1")
                assert (event.value.name, event.value.token, event.value.value) == ("p1", held.token, {"at": 1})
            with trio.fail_after(5):
                event = await anext(changes)
            assert (event.kind, event.value, event.old.name) == ("lease_ended", None, "p1")


async def test_a_watcher_that_is_cancelled_while_it_waits_leaves_nothing_and_misses_nothing() -> None:
    async with open_peer() as peer:
        async with peer.watch(key="k") as changes:
            with trio.move_on_after(0.01):
                await anext(changes)
            await peer.kv.put("k", 1)
            assert (await anext(changes)).value == 1
        assert not peer._hub.interest


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": "k", "counter": "c"}, BadKey),
        ({"keys": []}, BadKey),
        ({"keys": "text"}, BadKey),
        ({"keys": [""]}, BadKey),
        ({"prefixes": [7]}, BadKey),
        ({"prefixes": ["p"] * 1025}, BadKey),
        ({"keys": ["k"], "prefixes": ["p"], "lock": "l"}, BadKey),
        ({"counter": ""}, BadKey),
        ({"gauge": ""}, BadKey),
        ({"gauge": 3}, BadKey),
        ({"gauge": "g", "counter": "c"}, BadKey),
        ({"gauge": "g", "history": 5}, BadValue),
        ({"gauge": "g", "kinds": ["put"]}, BadValue),
        ({"gauge": "g", "resume": "x"}, BadValue),
        ({"election": "\0"}, BadKey),
        ({"lock": 3}, BadKey),
        ({"key": "k", "kinds": ["puts"]}, BadValue),
        ({"key": "k", "kinds": []}, BadValue),
        ({"key": "k", "kinds": 5}, BadValue),
        ({"key": "k", "history": 0}, BadValue),
        ({"key": "k", "history": True}, BadValue),
        ({"key": "k", "history": 1.5}, BadValue),
        ({"key": "k", "resume": "x"}, BadValue),
        ({"counter": "c", "history": 5}, BadValue),
        ({"lock": "l", "resume": "x"}, BadValue),
    ],
)
async def test_bad_watches(options: dict[str, Any], error: type[Exception]) -> None:
    async with open_peer() as peer:
        with pytest.raises(error):
            peer.watch(**options)


async def test_ten_thousand_prefixes_slow_a_put_by_less_than_a_factor_of_two() -> None:
    """In processor time, and the better of several rounds of each: the machine may be busy."""

    async def seconds(peer: Any) -> float:
        began = time.process_time()
        for number in range(2_000):
            await peer.kv.put(f"jobs/{number % 500}/state", number)
        return time.process_time() - began

    async with open_peer() as peer:
        bare = min([await seconds(peer) for _ in range(5)])
        watches = [peer.watch(prefix=f"other/{number}/") for number in range(10_000)]
        for watch in watches:
            await watch.__aenter__()
        watched = min([await seconds(peer) for _ in range(5)])
        await peer.kv.put("other/77/x", 1)
        assert (await anext(watches[77])).value == 1
        for watch in watches:
            watch.close()
        assert not peer._hub.interest
    assert watched < 2 * bare, (watched, bare)
