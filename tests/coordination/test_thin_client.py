"""Thin clients by `connect`, of real nodes over loopback."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import trio

import coordination.thin.core
from coordination import (
    BadConfig,
    BadKey,
    BadTTL,
    BadValue,
    Client,
    Fenced,
    LeaseLost,
    NotHolding,
    Peer,
    TooLarge,
    Unreachable,
    connect,
    open_peer,
)
from coordination.demo.programs import free_addresses
from coordination.sponsor.messages import OUTSTANDING, WINDOW
from mesh.values import encode_value
from tests.coordination.meshes import SECRET, mesh_of, until


def client_of(peer: Peer) -> Any:
    return connect(peer.address, secret=SECRET)


async def test_every_operation() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as client, client_of(peers[1]) as other:
        assert (client.node, client.address) == ("p0", peers[0].address)
        assert client.name.endswith("@p0") and client.name != other.name
        stamp = await client.kv.put("k", {"a": [1, None]}, ttl=30)
        assert await client.kv.get("k") == {"a": [1, None]}
        assert await client.kv.get("absent") is None and await client.kv.get("absent", 7) == 7
        await client.kv.put("none", None)
        assert await client.kv.get("none", 7) is None
        entry = await client.kv.entry("k")
        assert entry is not None and (entry.value, entry.stamp, entry.writer) == ({"a": [1, None]}, stamp, "p0")
        assert entry.remaining is not None and 29 < entry.remaining <= 30
        assert await client.kv.entry("absent") is None
        assert await client.kv.touch("k", 60) and not await client.kv.touch("absent", 60)
        await client.kv.put_many({f"many/{number:04}": number for number in range(700)})
        await client.kv.put_many({})
        assert await client.kv.scan("many/") == [(f"many/{number:04}", number) for number in range(700)]
        assert await client.kv.delete("none") and not await client.kv.delete("none")
        await client.counter("c").add(5)
        await other.counter("c").add(-2)
        with trio.fail_after(5):
            while await client.counter("c").value() != 3 or await other.kv.get("many/0699") != 699:
                await trio.sleep(0.005)
        await client.counter("c").subtract(2)
        await client.counter("c").set(40)
        await client.counter("c").add(2)
        assert await client.counter("c").value() == 42
        assert 0.0 <= await client.counter("c").lag() < 60
        assert await client.members() == peers[0].members
        assert {member.name for member in await other.members()} == {"p0", "p1", "p2"}
        await client.synced()
        async with other.lock("l") as held:
            explanation = await client.explain("l")
            assert explanation.holder == other.name and explanation.token == held.token
            assert explanation == await client.explain("lock/l") or explanation.remaining
        stats = await client.stats()
        assert stats["gateway.clients"] == 1 and "shell.streams" in stats


async def test_what_is_wrong_is_raised_as_the_same_class() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        with pytest.raises(BadKey):
            await client.kv.get("")
        with pytest.raises(BadKey):
            await client.kv.put("k" * 513, 1)
        with pytest.raises(BadValue):
            await client.kv.put("k", object())
        with pytest.raises(TooLarge):
            await client.kv.put("k", bytes(2 << 20))
        with pytest.raises(BadTTL):
            await client.kv.put("k", 1, ttl=0.5)
        with pytest.raises(BadValue):
            await client.counter("c").add(1.5)
        with pytest.raises(TooLarge):
            await client.counter("c").add(1 << 5000)
        with pytest.raises(BadKey):
            client.counter("")
        with pytest.raises(BadKey, match="watch one of"):
            client.watch()
        with pytest.raises(BadTTL):
            client.lock("l", ttl=15.1)
        assert await client.kv.scan() == []
        core = peer._core
        core.driver.command(
            core.assembly.replication, core.assembly.replication.put("k", encode_value(1), core.now(), fence=7)[1]
        )
        with pytest.raises(Fenced, match="only the holder") as caught:
            await client.kv.put("k", 2)
        assert (caught.value.key, caught.value.fence) == ("k", 7)
        with pytest.raises(BadConfig, match="older than this client"):
            await client._core.ask("frobnicate")


async def test_the_largest_values_pass() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        value = bytes((1 << 20) - 8)
        await client.kv.put_many({f"k{number}": value for number in range(5)})
        assert [len(body) for _, body in await client.kv.scan("k")] == [len(value)] * 5
        async with client.watch(key="k0") as changes:
            await client.kv.put("k0", value[::-1])
            event = await anext(changes)
            assert event.old == event.value == value


async def test_more_operations_at_once_than_may_be_outstanding() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        async with trio.open_nursery() as nursery:
            for number in range(4 * OUTSTANDING):
                nursery.start_soon(client.counter("c").add, 1)
                nursery.start_soon(client.kv.put, f"k{number}", number)
        assert await client.counter("c").value() == 4 * OUTSTANDING
        assert len(await client.kv.scan("k")) == 4 * OUTSTANDING
        assert client._core._replies == {}


# --- reaching a node ------------------------------------------------------------------------------------------------------


async def test_the_first_that_answers_is_taken() -> None:
    nobody = free_addresses(1)[0]
    async with mesh_of(2) as (a, b):
        async with connect(nobody, b.address, a.address, secret=SECRET) as client:
            assert (client.node, client.address) == ("p1", b.address)


async def test_nobody_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination.thin.core, "ATTEMPT_SECONDS", 0.2)
    nobody = free_addresses(1)[0]
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, open_peer(name="other", bind="127.0.0.1:0", secret="another secret, of at least 32 bytes") as stranger:
        silent = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        addresses = (nobody, silent, stranger.address, "no.such.host.invalid:1")
        with trio.fail_after(5), pytest.raises(Unreachable) as caught:
            async with connect(*addresses, secret=SECRET):
                pytest.fail("welcomed by nobody")
        reasons = dict(caught.value.reasons)
        assert reasons[nobody] == "refused"
        assert reasons[silent] == "silent"
        assert reasons[stranger.address] == "unanswered"
        assert "has it the same secret?" in str(caught.value)
        assert len(reasons) == 4
        assert stranger.stats()["gateway.clients"] == 0
        assert stranger.stats()["node.stream_unknown_key"] == 1


async def test_a_node_that_says_nothing_is_given_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination.thin.core, "ATTEMPT_SECONDS", 0.2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, mesh_of(1) as (peer,):
        silent = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        began = trio.current_time()
        async with connect(silent, peer.address, secret=SECRET) as client:
            assert 0.2 <= trio.current_time() - began < 1
            assert client.node == "p0"
            await trio.sleep(0.05)
            assert await client.kv.get("k") is None


@pytest.mark.parametrize(
    ("addresses", "secret", "match"),
    [((), SECRET, "at least one"), (("nonsense",), SECRET, "host:port"), (("127.0.0.1:1",), "short", "mesh keygen")],
)
async def test_bad_arguments(addresses: tuple[str, ...], secret: str, match: str) -> None:
    with pytest.raises(BadConfig, match=match):
        async with connect(*addresses, secret=secret):
            pytest.fail("connected")


async def test_without_a_secret_on_loopback() -> None:
    async with open_peer(name="open", bind="127.0.0.1:0") as peer, connect(peer.address) as client:
        await client.kv.put("k", 1)
        assert peer.kv.get("k") == 1


async def test_an_idle_client_has_no_timer() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        async with client.lock("l"):
            assert client._core.driver.node.due() is not None
        await client.kv.put("k", 1)
        await until(lambda: client._core.driver.node.due() is None, within=2)


# --- locks and leases -----------------------------------------------------------------------------------------------------


async def test_clients_and_peers_exclude_each_other() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as one, client_of(peers[0]) as two, client_of(peers[1]) as three:
        inside = 0
        tokens: list[int] = []

        async def work(owner: Client | Peer) -> None:
            nonlocal inside
            for _ in range(15):
                async with owner.lock("l", ttl=5) as held:
                    inside += 1
                    assert inside == 1
                    await trio.lowlevel.checkpoint()
                    tokens.append(held.token)
                    inside -= 1

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for owner in (one, one, two, three, peers[2]):
                    nursery.start_soon(work, owner)
        assert len(tokens) == 75
        assert tokens == sorted(set(tokens))


async def test_try_acquire_renew_release() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as one, client_of(peers[1]) as two:
        held = await one.lock("l", ttl=5).try_acquire()
        assert held is not None
        assert await two.lock("l", ttl=5).try_acquire() is None
        await trio.sleep(0.05)
        before = held.remaining()
        await held.renew()
        assert before < held.remaining() <= 5
        await held.release()
        await held.release()
        with trio.fail_after(2):
            other = await two.lock("l", ttl=5).acquire()
        assert other.token > held.token


async def test_a_lock_is_renewed_over_the_line() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as client:
        async with client.lock("l", ttl=0.6) as held:
            await trio.sleep(1.0)
            assert held.valid()


HOLD = """
import sys, trio
from coordination import connect

async def main():
    async with connect(sys.argv[1], secret=sys.argv[2]) as client:
        async with client.lock("l", ttl=1.0) as held:
            print(held.token, flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


async def test_a_killed_clients_lock_is_free_within_its_ttl() -> None:
    async with mesh_of(3) as peers:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", HOLD, peers[0].address, SECRET], stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            with trio.fail_after(10):
                token = int(await process.stdout.receive_some())
            assert await peers[1].lock("l").try_acquire() is None
            assert peers[0].stats()["gateway.clients"] == 1
        finally:
            process.kill()
        began = trio.current_time()
        with trio.fail_after(3):
            held = await peers[1].lock("l").acquire()
        assert trio.current_time() - began < 1.3
        assert held.token > token
        assert peers[0].stats()["gateway.clients"] == 0
        await process.wait()


async def test_what_a_clients_lease_binds_goes_with_it() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as client:
        async with client.lease(ttl=5) as lease, client.lock("l", ttl=5) as held:
            await client.kv.put("workers/1", "active", lease=lease)
            await client.kv.put("leader", "me", lease=held)
            for peer in peers:
                await until(lambda peer=peer: peer.kv.get("workers/1") == "active" and peer.kv.get("leader") == "me")
            entry = await client.kv.entry("workers/1")
            assert entry is not None and entry.lease is not None and client.name in entry.lease
            with pytest.raises(BadTTL, match="ttl of its own"):
                await client.kv.put("workers/1", "active", lease=lease, ttl=5)
            bound = await lease.bind()
        for peer in peers:
            await until(lambda peer=peer: peer.kv.get("workers/1") is None and peer.kv.get("leader") is None)
        with pytest.raises(NotHolding):
            await client.kv.put("workers/1", "late", lease=lease)
        with pytest.raises(LeaseLost, match="has ended"):
            await client._core.ask("put", "workers/1", encode_value("late"), None, bound)


async def test_what_is_held_when_a_client_leaves_is_given_back() -> None:
    async with mesh_of(3) as peers:
        async with client_of(peers[0]) as client:
            await client.lock("l", ttl=10).acquire()
        with trio.fail_after(1):
            async with peers[1].lock("l"):
                pass


async def test_a_client_that_is_there_before_the_roster() -> None:
    addresses = list(free_addresses(2))

    def founder(index: int) -> Any:
        return open_peer(
            name=f"p{index}", bind=addresses[index], seeds=addresses, expect=2, secret=SECRET, fresh=True, profile="local"
        )

    async with founder(0) as first, client_of(first) as client, trio.open_nursery() as nursery:
        tokens: list[int] = []

        async def acquire() -> None:
            async with client.lock("l") as held:
                tokens.append(held.token)

        nursery.start_soon(acquire)
        assert "no roster" in (await client.explain("l")).note
        await trio.sleep(0.3)
        assert not tokens
        async with founder(1):
            await until(lambda: bool(tokens))
            assert (await client.explain("l")).group


# --- watches --------------------------------------------------------------------------------------------------------------


async def test_a_watch_sees_what_happens_anywhere() -> None:
    async with mesh_of(3) as peers, client_of(peers[0]) as client:
        await client.kv.put("w/old", 0)
        async with client.watch(prefix="w/", snapshot=True) as changes:
            assert [(event.kind, event.key) for event in [await anext(changes), await anext(changes)]] == [
                ("put", "w/old"),
                ("synced", "w/"),
            ]
            await peers[2].kv.put("w/new", [1])
            event = await anext(changes)
            assert (event.kind, event.key, event.value, event.old, event.origin) == ("put", "w/new", [1], None, "p2")
            await peers[1].kv.delete("w/new")
            event = await anext(changes)
            assert (event.kind, event.value, event.old, event.origin) == ("delete", None, [1], "p1")
            await client.kv.put("x", 1)
            await client.kv.put("w/short", 1, ttl=1)
            assert (await anext(changes)).key == "w/short"
            with trio.fail_after(3):
                event = await anext(changes)
            assert (event.kind, event.key) == ("expire", "w/short")
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        await until(lambda: peers[0].stats()["gateway.watches"] == 0)


async def test_a_slow_watcher_sees_the_last_state_of_each_key() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        async with client.watch(prefix="") as changes:
            for number in range(2000):
                await peer.kv.put(f"k{number % 7}", number)
                if number % 100 == 0:
                    await trio.sleep(0.002)
            await peer.kv.put("end", True)
            await trio.sleep(0.05)
            assert len(changes._batches) == WINDOW
            mirror: dict[str, Any] = {}
            count = 0
            with trio.fail_after(5):
                async for event in changes:
                    assert event.old == mirror.get(event.key)
                    mirror[event.key] = event.value
                    count += 1
                    if event.key == "end":
                        break
        assert mirror == dict(peer.kv.scan())
        assert count < 1500


async def test_a_cancelled_watch_leaks_nothing() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        for seconds in (0, 0.0001, 0.01):
            with trio.move_on_after(seconds):
                async with client.watch(prefix="", snapshot=True) as changes:
                    async for _ in changes:
                        pass
        await until(lambda: peer.stats()["gateway.watches"] == 0)
        assert client._core.watches == {}


async def test_everything_that_a_peer_can_watch() -> None:
    async with mesh_of(2) as peers, client_of(peers[0]) as client:
        peer = peers[0]
        async with client.watch(prefixes=["a/", "b/"], keys=["k"], kinds=["put"], snapshot=True) as changes:
            await peer.kv.put_many({"a/1": 1, "c": 2, "k": 3})
            await peer.kv.delete("k")
            with trio.fail_after(5):
                events = [await anext(changes) for _ in range(3)]
                assert [(event.kind, event.key) for event in events] == [("synced", ""), ("put", "a/1"), ("put", "k")]
                token = changes.token
        assert token is not None
        await peer.kv.put("b/1", 5)
        async with client.watch(prefixes=["a/", "b/"], keys=["k"], kinds=["put"], resume=token) as changes:
            with trio.fail_after(5):
                assert (await anext(changes)).value == 5, "and nothing that was told before"
        async with client.watch(key="k", resume=f"{bytes(16).hex()}-3-3-3") as changes:
            with trio.fail_after(5):
                assert [(await anext(changes)).kind for _ in range(2)] == ["resync", "synced"]
        async with client.watch(counter="c", snapshot=True) as changes:
            with trio.fail_after(5):
                assert [(await anext(changes)).kind for _ in range(2)] == ["put", "synced"]
                peers[1].counter("c").add(1 << 70)
                event = await anext(changes)
            assert (event.value, event.old) == (1 << 70, 0)
        async with peers[1].gauge("g").hold(1), client.watch(gauge="g", snapshot=True) as changes:
            with trio.fail_after(5):
                while (event := await anext(changes)).value != 1:
                    pass
                async with client.gauge("g").hold(3):
                    while (event := await anext(changes)).value != 4:
                        pass
                assert ((event := await anext(changes)).kind, event.key, event.value, event.old) == ("put", "g", 1, 4)
        async with client.watch(lock="l") as changes, peers[1].lock("l"):
            with trio.fail_after(5):
                assert (await anext(changes)).origin == "p1"
        async with client.watch(election="e") as changes, peers[1].election("e").lead():
            with trio.fail_after(5):
                assert (await anext(changes)).value.name == "p1"
        assert peer._core.assembly.gateway.stats()["watches"] <= 1
        await until(lambda: not peer._core.assembly.gateway._watches)


async def test_a_client_that_reads_a_history_too_slowly_is_told() -> None:
    async with mesh_of(1) as (peer,), client_of(peer) as client:
        async with client.watch(key="k", history=10) as changes:
            for number in range(200):
                await peer.kv.put("k", number)
                if number % 5 == 0:
                    await trio.sleep(0.001)
            with trio.fail_after(5):
                kinds = []
                last = None
                while last != 199:
                    event = await anext(changes)
                    kinds.append(event.kind)
                    last = event.value
            assert "resync" in kinds
