"""Locks and leases by the API, over real sockets."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio

from coordination import AlreadyHeld, BadKey, BadTTL, Held, LeaseLost, NotHolding, Peer, open_peer
from coordination.agreed.holding.holder import Holder
from coordination.agreed.voting.acceptor import Acceptor
from tests.coordination.meshes import joined, mesh_of, until


async def test_one_holder_at_a_time_and_rising_tokens() -> None:
    async with mesh_of(3) as peers:
        inside = 0
        tokens: list[int] = []

        async def work(peer: Peer) -> None:
            nonlocal inside
            lock = peer.lock("l", ttl=5)
            for _ in range(30):
                async with lock as held:
                    inside += 1
                    assert inside == 1
                    await trio.lowlevel.checkpoint()
                    tokens.append(held.token)
                    assert held.valid() and 0 < held.remaining() <= 5
                    inside -= 1
                assert not held.valid() and held.remaining() == 0.0

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for peer in (*peers, *peers):
                    nursery.start_soon(work, peer)
        assert len(tokens) == 180
        assert tokens == sorted(set(tokens))


async def test_try_acquire_renew_release() -> None:
    async with mesh_of(3) as (a, b, _):
        held = await a.lock("l", ttl=5).try_acquire()
        assert held is not None
        assert await b.lock("l", ttl=5).try_acquire() is None
        before = held.remaining()
        await trio.sleep(0.05)
        assert held.remaining() < before
        await held.renew()
        assert held.remaining() > before - 0.04
        await held.release()
        await held.release()
        with pytest.raises(LeaseLost, match="released"):
            await held.renew()
        with trio.fail_after(2):
            other = await b.lock("l", ttl=5).acquire()
        assert other.token > held.token
        await other.release()


async def test_one_task_renews_while_another_releases() -> None:
    async with mesh_of(3) as (a, b, _):
        for _ in range(20):
            held = await a.lock("l", ttl=5).acquire()
            renewed = trio.Event()

            async def renew() -> None:
                with pytest.raises(LeaseLost, match="released"):
                    while True:
                        await held.renew()  # noqa: B023
                        renewed.set()  # noqa: B023

            with trio.fail_after(2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(renew)
                    nursery.start_soon(renew)
                    await renewed.wait()
                    await held.release()
        with trio.fail_after(1):
            async with b.lock("l", ttl=5):
                pass


async def test_a_grant_that_is_over_before_its_task_has_its_turn_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_peer() as peer:
        with monkeypatch.context() as patch:
            patch.setattr(Holder, "lease", lambda *_: None)
            with pytest.raises(LeaseLost):
                await peer.lock("l").acquire()
        async with peer.lock("l") as held:
            assert held.token > 0


async def test_a_lock_that_is_not_renewed_ends() -> None:
    async with mesh_of(3) as (a, b, _):
        held = await a.lock("l", ttl=0.5).acquire()
        began = trio.current_time()
        async with b.lock("l", ttl=5) as other:
            assert not held.valid()
            assert 0.3 < trio.current_time() - began < 0.9
            assert other.token > held.token
        with pytest.raises(LeaseLost):
            await held.renew()
        await held.release()


async def test_a_lost_lease_cancels_the_body_before_another_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of(3) as (a, b, _):
        ended: list[float] = []

        async def hold() -> None:
            with pytest.raises(LeaseLost):
                async with a.lock("l", ttl=1.0):
                    monkeypatch.setattr(Acceptor, "_renew", lambda *_: None)  # nobody renews any more
                    try:
                        await trio.sleep_forever()
                    finally:
                        ended.append(trio.current_time())
                        monkeypatch.undo()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold)
                await trio.sleep(0.1)
                held = await b.lock("l", ttl=1.0).acquire()
                granted = trio.current_time()
                await held.release()
        assert ended and ended[0] < granted


async def test_an_error_of_the_body_leaves_bare_and_the_lock_is_free() -> None:
    async with mesh_of(3) as (a, b, _):
        with pytest.raises(ZeroDivisionError):
            async with a.lock("l"):
                raise ZeroDivisionError
        with trio.fail_after(1):
            async with b.lock("l"):
                pass


async def test_what_a_lease_binds_goes_with_it() -> None:
    async with mesh_of(3) as peers:
        a, b, c = peers
        async with a.lease(ttl=5) as lease:
            await a.kv.put("workers/a", "active", lease=lease)
            for peer in peers:
                await until(lambda peer=peer: peer.kv.get("workers/a") == "active")
            entry = c.kv.entry("workers/a")
            assert entry is not None and entry.lease is not None
            async with b.watch(key="workers/a") as changes:
                watcher = aiter(changes)
                assert lease.valid() and lease.remaining() > 3
                await a.kv.put("workers/a", "busy", lease=lease)
                event = await anext(watcher)
                assert event.value == "busy"
        for peer in peers:
            await until(lambda peer=peer: peer.kv.get("workers/a") is None)
        with pytest.raises(NotHolding):
            await a.kv.put("workers/a", "late", lease=lease)


async def test_a_lease_that_ends_while_a_put_waits_binds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_peer() as peer:
        held = await peer.lock("l", ttl=5).acquire()
        bind = held.bind

        async def slow_bind(_: Held) -> str:
            text = await bind()
            now = peer._core.now()
            peer._core.act(peer._core.holder.release(held._request, now), now)  # the process sleeps beyond its lease
            return text

        with monkeypatch.context() as patch:
            patch.setattr(Held, "bind", slow_bind)
            with pytest.raises(LeaseLost):
                await peer.kv.put("k", 1, lease=held)
        assert peer.kv.get("k") is None
        assert peer._core.assembly.store.cell(0, "k") is None, "it was written"


async def test_a_lock_binds_too() -> None:
    async with mesh_of(3) as peers:
        async with peers[0].lock("l", ttl=5) as held:
            await peers[0].kv.put("leader", "p0", lease=held)
            await until(lambda: peers[1].kv.get("leader") == "p0")
        await until(lambda: all(peer.kv.get("leader") is None for peer in peers))


async def test_bound_keys_of_a_dead_process_go() -> None:
    async with mesh_of(3) as peers:
        with trio.CancelScope() as scope:
            async with joined(peers[0], "mortal") as mortal, mortal.lease(ttl=1.0) as lease:
                await mortal.kv.put("workers/mortal", 1, lease=lease)
                await until(lambda: peers[2].kv.get("workers/mortal") == 1)
                # It neither releases nor says goodbye.
                mortal._core.driver.deaf = True  # type: ignore[attr-defined]
                mortal._core.assembly.node.take = list  # type: ignore[method-assign]
                await until(lambda: all(peer.kv.get("workers/mortal") is None for peer in peers), within=4)
                scope.cancel()
                await trio.sleep_forever()


async def test_explain_says_who_holds_and_who_waits() -> None:
    async with mesh_of(3) as (a, b, c):
        async with a.lock("l", ttl=5) as held, trio.open_nursery() as nursery:

            async def wait() -> None:
                async with b.lock("l", ttl=5):
                    pass

            nursery.start_soon(wait)
            with trio.fail_after(2):
                while not (explanation := await c.explain("l")).queue:
                    await trio.sleep(0.01)
            assert (explanation.holder, explanation.token, explanation.queue) == (a.name, held.token, (b.name,))
            assert explanation.owner in explanation.group and len(explanation.group) == 3
            assert explanation.remaining is not None and 0 < explanation.remaining <= 5
            assert explanation.abstaining == ()
            assert explanation.missing == ()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ttl", [0.4, 0, -1, 15.1, float("nan"), "5", None])
async def test_bad_ttls(ttl: Any) -> None:
    async with open_peer() as peer:
        with pytest.raises(BadTTL):
            peer.lock("l", ttl=ttl)
        with pytest.raises(BadTTL):
            peer.lease(ttl=ttl)


async def test_bad_names_and_reentry() -> None:
    async with open_peer() as peer:
        with pytest.raises(BadKey):
            peer.lock("")
        lock = peer.lock("l")
        async with lock:
            with pytest.raises(AlreadyHeld, match="wait for itself"):
                async with lock:
                    pass
        async with lock:
            pass


async def test_locks_leave_nothing_for_the_collector() -> None:
    """What only it can free adds up: it was a twentieth of what a lock costs."""
    async with open_peer() as peer:
        lock = peer.lock("l")
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await (await lock.acquire()).release()
            async with lock:
                pass
            assert gc.collect() < 20
        finally:
            gc.enable()
