"""Thin clients whose node goes away, and whose callers do: nothing believed too long, nothing done twice, nothing left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from coordination import (
    Client,
    Closed,
    Disconnected,
    LeaseLost,
    MeshError,
    NoQuorum,
    OutcomeUnknown,
    Peer,
    Unreachable,
    connect,
)
from tests.coordination.meshes import SECRET, mesh_of, until
from tests.coordination.steps import cancelled_at
from tests.coordination.thin_proxy import Proxy, proxy_to


@asynccontextmanager
async def fragile(peer: Peer) -> AsyncIterator[tuple[Client, Proxy]]:
    """A client whose stream can be broken."""
    async with proxy_to(peer.address) as proxy, connect(proxy.address, secret=SECRET) as client:
        yield client, proxy


async def outcome(call: Any, *arguments: Any) -> BaseException | None:
    """The error of one call."""
    try:
        await call(*arguments)
    except MeshError as error:
        return error
    return None


async def test_a_stream_that_breaks_before_the_answers() -> None:
    async with mesh_of(1) as (peer,), fragile(peer) as (client, proxy):
        await client.kv.put("k", 1)
        proxy.stall()
        errors: dict[str, BaseException | None] = {}

        async def during(name: str, call: Any, *arguments: Any) -> None:
            errors[name] = await outcome(call, *arguments)

        calls: dict[str, tuple[Any, ...]] = {
            "put": (client.kv.put, "k", 2),
            "put_many": (client.kv.put_many, {"k": 2}),
            "delete": (client.kv.delete, "k"),
            "touch": (client.kv.touch, "k", 5),
            "add": (client.counter("c").add, 1),
            "get": (client.kv.get, "k"),
            "scan": (client.kv.scan,),
            "value": (client.counter("c").value,),
            "members": (client.members,),
            "synced": (client.synced,),
            "explain": (client.explain, "l"),
            "lock": (client.lock("l").acquire,),
            "atomic_get": (client.atomic("r").get,),
            "atomic_add": (client.atomic("r").add,),
        }
        with trio.fail_after(3):
            async with trio.open_nursery() as nursery:
                for name, (call, *arguments) in calls.items():
                    nursery.start_soon(during, name, call, *arguments)
                await trio.testing.wait_all_tasks_blocked(0.02)
                assert not errors
                proxy.cut()
        for name in ("put", "put_many", "delete", "touch", "add", "atomic_add"):
            assert type(errors[name]) is OutcomeUnknown, (name, errors[name])
        for name in ("get", "scan", "value", "members", "synced", "explain", "atomic_get"):
            assert type(errors[name]) is Unreachable, (name, errors[name])
        assert type(errors["lock"]) is NoQuorum and "the stream to p0 has ended" in str(errors["lock"])
        for name, (call, *arguments) in calls.items():
            error = await outcome(call, *arguments)
            assert type(error) is Disconnected and isinstance(error, Closed), (name, error)
            assert "p0" in str(error) and "connect again" in str(error)
        error = await outcome(client.watch(prefix="").__aenter__)
        assert type(error) is Disconnected
        assert peer.kv.get("k") == 1 and peer.counter("c").value == 0
        await until(lambda: peer.stats()["gateway.clients"] == 0)


async def test_a_watch_ends_with_its_stream_once_what_came_is_read() -> None:
    async with mesh_of(1) as (peer,), fragile(peer) as (client, proxy):
        async with client.watch(prefix="") as changes:
            await peer.kv.put("k", 1)
            await until(lambda: len(changes._batches) == 1)
            proxy.cut()
            await until(lambda: not client._core.line.up)
            assert (await anext(changes)).value == 1
            with pytest.raises(Disconnected):
                await anext(changes)


async def test_a_watcher_that_waits_is_told_that_its_node_stopped() -> None:
    stop = trio.Event()

    async def node(*, task_status: trio.TaskStatus[str]) -> None:
        async with mesh_of(1) as (peer,):
            task_status.started(peer.address)
            await stop.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(node)
            async with connect(address, secret=SECRET) as client, client.watch(prefix="") as changes:
                stop.set()
                assert type(await outcome(anext, changes)) is Disconnected
                assert type(await outcome(client.kv.get, "k")) is Disconnected


async def test_a_held_lock_outlives_its_stream_until_its_deadline_and_not_longer() -> None:
    async with mesh_of(3) as peers, fragile(peers[0]) as (client, proxy):
        ended = 0.0
        granted = 0.0

        async def wait() -> None:
            nonlocal granted
            async with peers[1].lock("l", ttl=5):
                granted = trio.current_time()

        async with trio.open_nursery() as nursery:
            with pytest.raises(LeaseLost):
                async with client.lock("l", ttl=1.0) as held:
                    nursery.start_soon(wait)
                    proxy.cut()
                    await until(lambda: not client._core.line.up)
                    began = trio.current_time()
                    assert held.valid(), "the lease is the client's, not the stream's"
                    try:
                        await trio.sleep_forever()
                    finally:
                        ended = trio.current_time()
            assert 0.5 < ended - began < 1.0
            with trio.fail_after(3):
                while not granted:
                    await trio.sleep(0.005)
        assert ended < granted < began + 1.4


async def test_a_stalled_stream_ends_the_belief_too() -> None:
    """Nothing says that the node is gone; the client's own clock does."""
    async with mesh_of(3) as peers, fragile(peers[0]) as (client, proxy):
        with trio.fail_after(3), pytest.raises(LeaseLost):
            async with client.lock("l", ttl=0.6) as held:
                proxy.stall()
                await trio.sleep_forever()
        assert not held.valid()
        proxy.resume()
        with trio.fail_after(3):
            async with client.lock("l", ttl=0.6) as again:
                assert again.token > held.token


async def test_a_grant_that_was_long_on_its_way_is_not_believed() -> None:
    async with mesh_of(1) as (peer,), fragile(peer) as (client, proxy):
        async with trio.open_nursery() as nursery:
            proxy.stall()
            grants: list[float] = []

            async def acquire() -> None:
                held = await client.lock("l", ttl=0.6).acquire()
                grants.append(held.remaining())
                await held.release()

            nursery.start_soon(acquire)
            await trio.sleep(0.8)
            proxy.resume()
            with trio.fail_after(3):
                while not grants:
                    await trio.sleep(0.005)
        assert 0 < grants[0] < 0.6


async def test_the_next_lock_after_its_owner_node_is_gone() -> None:
    """The sponsor tells who is silent, so that the holder does not ask the dead first."""
    async with mesh_of(3) as peers:
        async with connect(peers[0].address, secret=SECRET) as client:
            name = "l0"
            while (await client.explain(name)).owner != "p2":
                name = f"l{int(name[1:]) + 1}"
            driver: Any = peers[2]._core.driver
            driver.deaf = True
            peers[2]._core.assembly.node.take = list  # type: ignore[method-assign]
            with trio.fail_after(5):
                while "p2" not in client._core.line.mesh.silent:
                    await trio.sleep(0.01)
            with trio.fail_after(2):
                async with client.lock(name):
                    assert (await client.explain(name)).holder == client.name
            assert client._core.line.mesh.names_alive() == ["p0", "p1"]


# --- cancellation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contended", [False, True])
async def test_acquire_cancelled_at_every_checkpoint_leaves_nothing_held_and_no_ghost(contended: bool) -> None:
    async with (
        mesh_of(3) as (a, _, c),
        connect(a.address, secret=SECRET) as one,
        connect(a.address, secret=SECRET) as two,
    ):

        async def use() -> None:
            async with one.lock("l", ttl=5):
                await trio.lowlevel.checkpoint()

        points = 0
        for n in range(1, 50):
            if contended:
                other = await two.lock("l", ttl=5).acquire()
                async with trio.open_nursery() as nursery:

                    async def let_go() -> None:
                        await trio.sleep(0.01)
                        await other.release()  # noqa: B023

                    nursery.start_soon(let_go)
                    ended = await cancelled_at(n, use)
            else:
                ended = await cancelled_at(n, use)
            with trio.fail_after(2):
                async with two.lock("l", ttl=5):
                    explanation = await c.explain("l")
                    assert explanation.holder == two.name
                    assert explanation.queue == ()
            points = n
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert points > 3
        assert one._core.holder.stats()["requests"] == 0


async def test_a_cancelled_write_is_done_once_or_not_and_a_cancelled_question_is_withdrawn() -> None:
    async with mesh_of(1) as (peer,), connect(peer.address, secret=SECRET) as client:
        done = 0
        for n in range(1, 20):

            async def add() -> None:
                nonlocal done
                await client.counter("c").add(1)
                done += 1

            ended = await cancelled_at(n, add)
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        await client.counter("c").add(0)
        assert done <= peer.counter("c").value <= n
        peer._core.assembly.gateway._joined = False
        with trio.move_on_after(0.05):
            await client.synced()
        await client.kv.get("k")
        (guest,) = peer._core.assembly.gateway._guests.values()
        assert guest.pending == {}
        assert client._core._replies == {}
