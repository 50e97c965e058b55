"""The whole of the key API, of peers and of thin clients: many keys, batches, acknowledgements."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import (
    BadConfig,
    BadKey,
    BadTTL,
    BadValue,
    Client,
    Fenced,
    LeaseLost,
    MeshError,
    NotHolding,
    StoreFull,
    TooLarge,
    connect,
    open_peer,
)
from tests.coordination.meshes import SECRET, mesh_of, until


async def everything(kv: Any, lock: Any, lease: Any) -> None:
    """What a peer and a thin client do alike; reads are awaited if they must be."""

    async def read(value: Any) -> Any:
        return await value if hasattr(value, "__await__") else value

    await kv.put_many({f"a/{n:03}": n for n in range(300)})
    assert await read(kv.get_many(["a/007", "nothing", "a/001"])) == {"a/007": 7, "a/001": 1}
    assert await read(kv.get_many([])) == {}
    with pytest.raises(BadKey):
        await read(kv.get_many(["a/1", ""]))
    await kv.put("b", "stays")
    assert await kv.clear("a/1") == 100
    assert len([*await read(kv.scan("a/"))]) == 200
    assert await kv.clear("a/") == 200
    assert await kv.clear("a/") == 0
    assert dict(await read(kv.scan(""))) == {"b": "stays"}

    async with kv.batch() as batch:
        batch.put("x", 1, ttl=30)
        batch.put("y", 1)
        batch.put("y", [2])
        batch.delete("b")
        assert len(batch) == 3
        assert await read(kv.get("x")) is None, "nothing before the end"
    assert batch.stamp is not None
    assert await read(kv.get_many(["x", "y", "b"])) == {"x": 1, "y": [2]}
    x, y = await read(kv.entry("x")), await read(kv.entry("y"))
    assert x.stamp == y.stamp == batch.stamp
    assert 29 < x.remaining <= 30 and y.remaining is None
    with pytest.raises(NotHolding):
        batch.put("z", 1)
    async with kv.batch() as empty:
        pass
    assert empty.stamp is None
    with pytest.raises(ZeroDivisionError):
        async with kv.batch() as broken:
            broken.put("x", "lost")
            _ = 1 // 0
    assert (await read(kv.get("x")), broken.stamp) == (1, None)

    async with lease as held, kv.batch() as bound:
        bound.put("bound/1", 1, lease=held)
        bound.put("bound/2", 2)
        with pytest.raises(BadTTL):
            bound.put("bound/3", 3, ttl=5, lease=held)
    await until_none(kv, "bound/1", read)
    assert await read(kv.get("bound/2")) == 2
    with pytest.raises((LeaseLost, NotHolding)):
        async with kv.batch() as late:
            late.put("bound/4", 1, lease=held)
            late.put("bound/5", 1)
    assert await read(kv.get_many(["bound/4", "bound/5"])) == {}

    async with lock as owner:
        async with kv.batch(fence=owner) as fenced:
            fenced.put("f/1", "mine")
            fenced.put("f/2", "mine")
    with pytest.raises(Fenced, match="f/2"):
        async with kv.batch() as refused:
            refused.put("y", "lost")
            refused.put("f/2", "lost")
    assert await read(kv.get_many(["y", "f/2"])) == {"y": [2], "f/2": "mine"}
    with pytest.raises(Fenced):
        await kv.clear("f/")

    for bad in (0, -1, 256, True, "all", 1.5):
        with pytest.raises(BadValue, match="acks"):
            await kv.put("x", 1, acks=bad)
        with pytest.raises(BadValue, match="acks"):
            kv.batch(acks=bad)
    with pytest.raises(BadConfig):
        kv.batch(fence=7)


async def until_none(kv: Any, key: str, read: Any) -> None:
    with trio.fail_after(5):
        while await read(kv.get(key)) is not None:
            await trio.sleep(0.005)


async def test_a_peer_alone() -> None:
    async with open_peer() as peer:
        await everything(peer.kv, peer.lock("l"), peer.lease(ttl=2))
        with trio.fail_after(1):
            await peer.kv.put("k", 1, acks="majority")
        with trio.move_on_after(0.05) as scope:
            await peer.kv.put("k", 2, acks=1)
        assert scope.cancelled_caught
        assert peer.kv.get("k") == 2, "it stands, though nobody else is there"
        assert peer.stats()["entrusting.queries"] == 0


async def test_a_thin_client() -> None:
    async with mesh_of(3) as peers, connect(peers[0].address, secret=SECRET) as client:
        await everything(client.kv, client.lock("l"), client.lease(ttl=2))


async def writes(kv: Any, acks: Any) -> None:
    with trio.fail_after(5):
        await kv.put("put", 1, acks=acks)
        await kv.put("life", 1, ttl=20, acks=acks)
        assert await kv.touch("life", 60, acks=acks)
        assert not await kv.touch("nothing", 60, acks=acks)
        await kv.put_many({f"many/{n:04}": "x" * 50 for n in range(2_000)}, acks=acks)
        await kv.put("large", b"x" * 500_000, acks=acks)
        assert await kv.delete("put", acks=acks)
        assert await kv.clear("many/00", acks=acks) == 100
        async with kv.batch(acks=acks) as batch:
            batch.put("batch/1", b"x" * 100_000)
            batch.put("batch/2", 2)


@pytest.mark.parametrize("thin", [False, True])
async def test_what_is_acknowledged_by_everyone_is_there_when_the_write_returns(thin: bool) -> None:
    async with mesh_of(3) as peers, connect(peers[0].address, secret=SECRET) as client:
        writer: Client | Any = client if thin else peers[0]
        await writes(writer.kv, 2)
        for peer in peers[1:]:
            assert peer.kv.get_many(["put", "batch/2", "many/0099", "many/0100"]) == {"batch/2": 2, "many/0100": "x" * 50}
            assert len(peer.kv.get("large")) == 500_000 and len(peer.kv.get("batch/1")) == 100_000
            entry = peer.kv.entry("life")
            assert entry is not None and entry.remaining is not None and entry.remaining > 50
        await writes(writer.kv, "majority")


async def test_without_enough_members_a_write_waits_and_goes_on_when_they_come() -> None:
    async with mesh_of(1) as (peer,), trio.open_nursery() as nursery:
        done = trio.Event()

        async def write() -> None:
            await peer.kv.put("k", 1, acks=1)
            done.set()

        nursery.start_soon(write)
        await trio.sleep(0.3)
        assert not done.is_set()
        async with open_peer(name="late", seeds=[peer.address], secret=SECRET, voter=False, profile="local") as late:
            with trio.fail_after(5):
                await done.wait()
            assert late.kv.get("k") == 1


async def test_a_batch_that_is_too_large_is_refused_before_anything_is_written() -> None:
    async with open_peer() as peer:
        with pytest.raises(TooLarge, match="4,096 keys"):
            async with peer.kv.batch() as batch:
                for n in range(4_097):
                    batch.put(f"k{n}", n)
        with pytest.raises(TooLarge, match="bytes"):
            async with peer.kv.batch() as batch:
                batch.put("a", b"x" * 600_000)
                batch.put("a", b"x" * 900_000)
                batch.put("b", b"x" * 600_000)
        assert [*peer.kv.scan()] == []
        with trio.CancelScope() as scope:
            async with peer.kv.batch() as batch:
                batch.put("a", 1)
                scope.cancel()
        assert (scope.cancelled_caught, batch.stamp, peer.kv.get("a")) == (True, None, None)


async def test_batches_reach_everyone_whole_however_large() -> None:
    async with mesh_of(3) as (a, b, c):
        torn: list[str] = []

        async def look(peer: Any) -> None:
            async with peer.watch(prefix="b/") as changes:
                async for _ in changes:
                    seen = peer.kv.get_many([f"b/{n}" for n in range(5)])
                    if len({value[0] for value in seen.values()}) > 1 or len(seen) not in (0, 5):
                        torn.append(f"{peer.name} saw {[(key, value[0]) for key, value in seen.items()]}")

        async with trio.open_nursery() as nursery:
            for peer in (b, c):
                nursery.start_soon(look, peer)
            await trio.sleep(0.05)
            for number in range(40):
                size = (1, 100, 20_000, 150_000)[number % 4]
                async with a.kv.batch() as batch:
                    for n in range(5):
                        batch.put(f"b/{n}", [number, b"x" * size])
                await trio.sleep(0.01)
            for peer in (b, c):
                await until(lambda peer=peer: (peer.kv.get("b/4") or [0])[0] == 39)
            nursery.cancel_scope.cancel()
        assert torn == []


async def test_clear_leaves_what_is_put_meanwhile() -> None:
    async with open_peer() as peer, trio.open_nursery() as nursery:
        await peer.kv.put_many({f"c/{n:05}": n for n in range(3_000)})

        async def put() -> None:
            await peer.kv.put("c/02999", "new")
            await peer.kv.put("c/99999", "new")

        nursery.start_soon(put)
        assert await peer.kv.clear("c/") == 2_999
        assert dict(peer.kv.scan("c/")) == {"c/02999": "new", "c/99999": "new"}


async def test_an_error_of_the_sponsor_comes_back_with_acks_too() -> None:
    async with mesh_of(2) as peers, connect(peers[0].address, secret=SECRET) as client:
        async with client.lock("l") as held:
            await client.kv.put("k", 1, fence=held, acks=1)
        with pytest.raises(Fenced):
            await client.kv.put("k", 2, acks=1)
        with pytest.raises(MeshError, match="nothing that this node knows"):
            await client._core.ask("acked", 1, "add", ("counter", 1))
        with trio.move_on_after(0.1) as scope:
            await client.kv.put("k2", 2, acks=9)
        assert scope.cancelled_caught
        await until(lambda: peers[0].stats()["entrusting.queries"] == 0)
        assert await client.kv.get("k2") == 2


async def test_a_store_that_forgets_nothing_refuses_what_fades(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a peer, and of a thin client with the same error; plain puts are taken, and a batch whole or not at all."""
    monkeypatch.setattr("mesh.replication.burden.PAUSE", 0)
    async with open_peer(name="a", bind="127.0.0.1:0", secret=SECRET, max_fading=1_000) as peer:
        kv = peer.kv
        await kv.put_many({f"k{number:04}": number for number in range(1_200)})
        assert await kv.clear("k0") == 1_000
        await until(lambda: "are refused" in caplog.text)
        assert "1000 deleted or expired keys wait to be forgotten, of 1000 that may" in caplog.text
        with pytest.raises(
            StoreFull, match=r"wait to be forgotten, of 1000 that may .* has been made for .*: a leads the"
        ) as found:
            await kv.delete("k1001")
        assert (found.value.keys, found.value.limit, found.value.names) == (1_000, 1_000, ("a",))
        with pytest.raises(StoreFull):
            await kv.put_many({"new/1": 1, "new/2": 2}, ttl=5)
        async with peer.lease() as lease:
            with pytest.raises(StoreFull):
                await kv.put("bound", 1, lease=lease)
        with pytest.raises(StoreFull):
            async with kv.batch() as batch:
                batch.put("plain", 1)
                batch.delete("k1001")
        with pytest.raises(StoreFull):
            await kv.clear("k1")
        async with connect(peer.address, secret=SECRET) as client:
            with pytest.raises(StoreFull, match="a leads the") as told:
                await client.kv.delete("k1001")
            assert told.value.limit == 1_000
            assert "so nothing is forgotten" in (await client.explain("jobs")).note
        assert "so nothing is forgotten" in (await peer.explain("jobs")).note
        assert kv.get("plain") is None and len([*kv.scan("k1")]) == 200
        await kv.put("plain", 1)
        await kv.delete("k0001")
        stats = peer.stats()
        assert (stats["replication.fading_limit"], stats["replication.writes_refused_full"]) == (1_000, 6)
