"""Read-write locks and semaphores by the API, and what is told of locks; by peers over real sockets, and by thin clients."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import (
    AlreadyHeld,
    BadKey,
    BadTTL,
    BadValue,
    Client,
    LeaseLost,
    LimitDiffers,
    MeshConfig,
    NoQuorum,
    NotHolding,
    Peer,
    connect,
    open_peer,
)
from tests.coordination.meshes import SECRET, joined, mesh_of, until


async def test_readers_share_and_a_writer_is_alone() -> None:
    async with mesh_of(3) as peers:
        readers = writers = most = 0

        async def use(peer: Peer) -> None:
            nonlocal readers, writers, most
            lock = peer.rwlock("data", ttl=5)
            for turn in range(12):
                if turn % 4 == 3:
                    async with lock.write():
                        writers += 1
                        assert (readers, writers) == (0, 1)
                        await trio.sleep(0.001)
                        writers -= 1
                else:
                    async with lock.read():
                        readers += 1
                        most = max(most, readers)
                        assert writers == 0
                        await trio.sleep(0.005)
                        readers -= 1

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for peer in (*peers, *peers):
                    nursery.start_soon(use, peer)
        assert most > 1, "the readers were never together"


async def test_permits_are_never_overdrawn() -> None:
    async with mesh_of(3) as peers:
        taken = most = 0

        async def use(peer: Peer, permits: int) -> None:
            nonlocal taken, most
            for _ in range(10):
                async with peer.semaphore("seats", 3, permits, ttl=5):
                    taken += permits
                    most = max(most, taken)
                    assert taken <= 3
                    await trio.sleep(0.002)
                    taken -= permits

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    for permits in (1, 1, 2, 3):
                        nursery.start_soon(use, peer, permits)
        assert most == 3


async def test_another_limit_is_refused() -> None:
    async with mesh_of(3) as (a, b, _):
        async with a.semaphore("seats", 3):
            for call in (b.semaphore("seats", 4).acquire, b.semaphore("seats", 4).try_acquire):
                with pytest.raises(LimitDiffers, match="the limit 3, not 4") as caught:
                    await call()
                assert caught.value.limit == 3
            assert await b.semaphore("seats", 3, 3).try_acquire() is None
            held = await b.semaphore("seats", 3, 2).try_acquire()
            assert held is not None and held.valid()
            await held.release()


async def test_how_long_it_has_to_rest_is_told_by_the_mesh_s_own_max_ttl() -> None:
    async with open_peer(config=MeshConfig(max_ttl=20)) as peer, peer.semaphore("seats", 3):
        with pytest.raises(LimitDiffers, match=r"let it rest for two max_ttl \(40 s\)"):
            await peer.semaphore("seats", 4).try_acquire()


async def test_what_the_task_has_entered_it_does_not_wait_for() -> None:
    async with open_peer() as peer:
        async with peer.lock("l"):
            for lock in (peer.lock("l"), peer.lock("l", ttl=5)):
                with pytest.raises(AlreadyHeld, match="'lock l' already"):
                    await lock.acquire()
                with pytest.raises(AlreadyHeld):
                    async with lock:
                        pass
                with pytest.raises(AlreadyHeld):
                    await lock.try_acquire()
            async with peer.lock("m"), peer.rwlock("l").read():
                for side in (peer.rwlock("l").read(), peer.rwlock("l").write()):
                    with pytest.raises(AlreadyHeld):
                        await side.acquire()
        async with peer.semaphore("s", 3, 2), peer.semaphore("s", 3):
            with pytest.raises(AlreadyHeld):
                async with peer.semaphore("s", 3):
                    pass
        async with trio.open_nursery() as nursery, peer.semaphore("s", 3, 3):
            # Another task waits for its turn, as it should.
            started = trio.Event()

            async def other() -> None:
                started.set()
                async with peer.semaphore("s", 3):
                    pass

            nursery.start_soon(other)
            await started.wait()


async def test_who_leaves_must_be_who_entered() -> None:
    async with open_peer() as peer:
        lock = peer.lock("l")
        with pytest.raises(NotHolding):
            await lock.leave(None, None, None)


async def test_the_holder_is_told_and_the_locks_are_listed() -> None:
    async with mesh_of(3) as (a, b, c):
        lock = c.lock("jobs/nightly", ttl=5)
        assert await lock.holder() is None
        held = await a.lock("jobs/nightly", ttl=5).acquire()
        found = await lock.holder()
        assert found is not None
        assert (found.name, found.token, found.exclusive) == (a.name, held.token, True)
        assert 0 < found.remaining <= 5
        readers = [await peer.rwlock("jobs/data").read().acquire() for peer in (a, b)]
        seat = await b.semaphore("jobs/seats", 3, 2).acquire()
        listed = await c.locks("jobs/")
        assert [(each.kind, each.name) for each in listed] == [
            ("lock", "jobs/nightly"),
            ("rwlock", "jobs/data"),
            ("semaphore", "jobs/seats"),
        ]
        assert [[(holder.name, holder.permits) for holder in each.holders] for each in listed] == [
            [(a.name, 0)],
            [(a.name, 1), (b.name, 1)],
            [(b.name, 2)],
        ]
        assert [each.token for each in await c.rwlock("jobs/data").holders()] == [reader.token for reader in readers]
        assert await c.locks("other/") == ()
        for each in (held, *readers, seat):
            await each.release()
        assert await c.locks() == ()
        assert await lock.holder() is None


async def test_a_holder_that_is_not_known_is_no_quorum() -> None:
    async with mesh_of(3) as (a, *others):
        for peer in others:
            peer._core.driver.deaf = True  # type: ignore[attr-defined]
            peer._core.assembly.node.take = list  # type: ignore[method-assign]
        with pytest.raises(NoQuorum, match="who holds 'lock l' is not known"):
            await a.lock("l").holder()
        with pytest.raises(NoQuorum, match="the locks are not known"):
            await a.locks()


async def test_a_lock_may_be_held_for_so_long_and_no_longer() -> None:
    async with mesh_of(1) as (peer,):
        began = trio.current_time()
        with pytest.raises(LeaseLost, match=r"0\.2 s at the most \(max_hold\)"):
            async with peer.lock("l", max_hold=0.2) as held:
                assert 0.1 < held.remaining() <= 0.2
                await trio.sleep_forever()
        assert 0.2 <= trio.current_time() - began < 1
        with trio.fail_after(0.5):
            held = await peer.lock("l", max_hold=0.1).acquire()
        await trio.sleep(0.15)
        assert not held.valid() and held.remaining() == 0
        with pytest.raises(LeaseLost, match=r"max_hold\)$"):
            await held.renew()
        await held.release()
        with trio.fail_after(0.5):
            async with peer.lock("l", max_hold=5):
                pass


async def test_a_delay_keeps_the_lock_closed_behind_the_dead_alone() -> None:
    async with mesh_of(3) as (a, b, _):
        for _ in range(3):
            with trio.fail_after(1):
                async with a.lock("l", ttl=0.5, lock_delay=1.0):
                    pass
        held = await a.lock("l", ttl=0.5, lock_delay=1.0).acquire()
        began = trio.current_time()
        with trio.fail_after(4):
            async with b.lock("l", ttl=5):
                assert 1.4 < trio.current_time() - began < 2.5
        assert not held.valid()


async def test_a_dead_reader_lets_the_writer_in_after_its_ttl() -> None:
    async with mesh_of(3) as peers, joined(peers[0], "mortal") as mortal:
        held = await mortal.rwlock("l", ttl=1.0).read().acquire()
        assert held.valid()
        mortal._core.driver.deaf = True  # type: ignore[attr-defined]
        mortal._core.assembly.node.take = list  # type: ignore[method-assign]
        with trio.fail_after(2):
            async with peers[1].rwlock("l", ttl=5).write():
                assert not held.valid()


async def test_thin_clients_have_the_same() -> None:
    async with mesh_of(3) as (a, b, _):
        async with connect(a.address, secret=SECRET) as one, connect(b.address, secret=SECRET) as two:

            async def check(client: Client) -> None:
                async with client.rwlock("l", ttl=5).read(), client.semaphore("s", 2, ttl=5) as seat:
                    await until(lambda: client is two or seat.valid())
                    listed = await two.locks()
                    assert {each.kind for each in listed} == {"rwlock", "semaphore"}
                    assert [holder.name for holder in await client.semaphore("s", 2).holders()]

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(check, one)
                    nursery.start_soon(check, two)
                async with one.rwlock("l", ttl=5).write() as held:
                    (holder,) = await two.rwlock("l").holders()
                    assert (holder.name, holder.token) == (one.name, held.token)
                    assert await two.rwlock("l").read().try_acquire() is None
                    with pytest.raises(LimitDiffers):
                        await two.semaphore("s", 5).acquire()
                    with pytest.raises(AlreadyHeld):
                        await one.rwlock("l").read().acquire()
            assert (await two.explain("rwlock/l")).holders == ()


WRONG: dict[str, tuple[Any, type[Exception]]] = {
    "no name": (lambda peer: peer.rwlock(""), BadKey),
    "no text": (lambda peer: peer.semaphore(7, 2), BadKey),
    "no permits": (lambda peer: peer.semaphore("s", 2, 0), BadValue),
    "no limit": (lambda peer: peer.semaphore("s", 0), BadValue),
    "a limit that is none": (lambda peer: peer.semaphore("s", "2"), BadValue),
    "more permits than there are": (lambda peer: peer.semaphore("s", 2, 3), BadValue),
    "a huge limit": (lambda peer: peer.semaphore("s", 1 << 40), BadValue),
    "a short ttl": (lambda peer: peer.rwlock("l", ttl=0.1), BadTTL),
    "a negative delay": (lambda peer: peer.lock("l", lock_delay=-1), BadTTL),
    "a delay that is none": (lambda peer: peer.lock("l", lock_delay="1"), BadTTL),
    "a delay too long": (lambda peer: peer.lock("l", ttl=10, lock_delay=6), BadTTL),
    "no time to hold": (lambda peer: peer.lock("l", max_hold=0), BadTTL),
    "for ever": (lambda peer: peer.lock("l", max_hold=float("inf")), BadTTL),
}


@pytest.mark.parametrize("what", WRONG)
async def test_bad_input_is_refused_at_the_call(what: str) -> None:
    make, error = WRONG[what]
    async with open_peer() as peer:
        with pytest.raises(error):
            make(peer)
