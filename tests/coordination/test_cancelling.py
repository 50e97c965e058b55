"""Acquire, hand-over, renew and release of all that can be held, cancelled at every checkpoint: nothing stays, no ghost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from coordination import Client, Peer, connect, exclusive
from coordination.agreed.holding.holder import Holder
from coordination.locking.locks import Acquirable
from crdt.clock import Instant
from mesh.directives import Directives
from tests.coordination.meshes import SECRET, mesh_of
from tests.coordination.steps import cancelled_at

MAKE: dict[str, tuple[Callable[[Peer], Acquirable], Callable[[Peer], Acquirable], str]] = {
    "lock": (lambda peer: peer.lock("l", ttl=5), lambda peer: peer.lock("l", ttl=5), "lock/l"),
    "reader": (lambda peer: peer.rwlock("l", ttl=5).read(), lambda peer: peer.rwlock("l", ttl=5).write(), "rwlock/l"),
    "writer": (lambda peer: peer.rwlock("l", ttl=5).write(), lambda peer: peer.rwlock("l", ttl=5).read(), "rwlock/l"),
    "semaphore": (lambda peer: peer.semaphore("l", 3, 2, ttl=5), lambda peer: peer.semaphore("l", 3, 3, ttl=5), "semaphore/l"),
}
"""What is cancelled, what is held against it and excludes it, and the register."""


async def used(what: str, contended: bool, parked: bool) -> None:
    """Enter and leave, cancelled at each step in turn; handed over by another one, if contended."""
    mine, theirs, register = MAKE[what]
    async with mesh_of(3) as (a, b, c):

        async def use() -> None:
            async with mine(a):
                await trio.lowlevel.checkpoint()

        points = 0
        for n in range(1, 50):
            if contended:
                other = await theirs(b).acquire()
                async with trio.open_nursery() as nursery:

                    async def let_go() -> None:
                        await trio.sleep(0.01)
                        await other.release()  # noqa: B023

                    nursery.start_soon(let_go)
                    ended = await cancelled_at(n, use, parked=parked)
            else:
                ended = await cancelled_at(n, use, parked=parked)
            with trio.fail_after(2):
                async with theirs(b):
                    explanation = await c.explain(register)
                    assert [holder[0] for holder in explanation.holders] == [b.name]
                    assert a.name not in explanation.queue
            points = n
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert points > 3


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("contended", [False, True])
@pytest.mark.parametrize("parked", [False, True])
async def test_cancelled_at_every_checkpoint(what: str, contended: bool, parked: bool) -> None:
    await used(what, contended, parked)


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("parked", [False, True])
async def test_a_renewal_that_is_cancelled_neither_ends_the_lease_nor_keeps_it(what: str, parked: bool) -> None:
    mine, theirs, register = MAKE[what]
    async with mesh_of(3) as (a, b, c):
        points = 0
        for n in range(1, 20):
            held = await mine(a).acquire()
            ended = await cancelled_at(n, held.renew, parked=parked)
            assert held.valid()
            await held.release()
            with trio.fail_after(2):
                async with theirs(b):
                    assert a.name not in (await c.explain(register)).queue
            points = n
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert points > 1


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("parked", [False, True])
async def test_a_release_that_is_cancelled_is_one(what: str, parked: bool) -> None:
    """Also for whoever waits: it is handed over at once."""
    mine, theirs, _ = MAKE[what]
    async with mesh_of(3) as (a, b, _c):
        for n in range(1, 20):
            held = await mine(a).acquire()
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with trio.fail_after(2):
                        async with theirs(b):
                            pass

                nursery.start_soon(wait)
                await trio.sleep(0.005)
                ended = await cancelled_at(n, held.release, parked=parked)
                assert not held.valid()
            if not ended:
                break
        else:
            pytest.fail("the work never ends")


async def leased(user: Peer | Client) -> None:
    async with user.lease(ttl=5) as lease:
        await user.kv.put("bound", 1, lease=lease)


async def counted(user: Peer | Client) -> None:
    async with user.gauge("g").hold(3):
        await trio.lowlevel.checkpoint()


async def alone(user: Peer | Client) -> None:
    @exclusive(user, "job/{n}", ttl=5)
    async def run(n: int) -> None:
        await trio.lowlevel.checkpoint()

    await run(7)


async def led(user: Peer | Client) -> None:
    async with user.election("e", ttl=5).lead("here"):
        await trio.lowlevel.checkpoint()


async def met(user: Peer | Client) -> None:
    async with user.barrier("b", 1, ttl=5):
        await trio.lowlevel.checkpoint()


async def tried(user: Peer | Client) -> None:
    held = await user.lock("l", ttl=5).try_acquire()
    if held is not None:
        try:
            await held.renew()
        finally:
            await held.release()


@pytest.mark.parametrize("work", [leased, counted, alone, led, met, tried])
@pytest.mark.parametrize("parked", [False, True])
async def test_of_all_that_is_made_of_leases_nothing_stays_either(work: Callable[[Any], Any], parked: bool) -> None:
    async with mesh_of(1) as (peer,), connect(peer.address, secret=SECRET) as client:
        users: list[Peer | Client] = [peer, client]
        for user in users:
            points = 0
            for n in range(1, 50):
                ended = await cancelled_at(n, partial(work, user), parked=parked)
                with trio.fail_after(2):  # not by the end of its ttl
                    while (
                        await peer.locks()
                        or user._core.holder.stats()["held"]
                        or peer.kv.get("bound") is not None
                        or peer.gauge("g").value
                    ):
                        await trio.sleep(0.002)
                points = n
                if not ended:
                    break
            else:
                pytest.fail("the work never ends")
            assert points > 2


def goes_on(holder: Holder, request: int, now: Instant) -> Directives:
    """Wants it still, though nobody does any more."""
    return ()


async def test_a_leak_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Holder, "cancel", goes_on)
    with pytest.raises((AssertionError, ExceptionGroup, trio.TooSlowError)):
        await used("lock", True, True)
