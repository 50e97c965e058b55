"""Locks that live under a lease: renewed with it, ended with it, given back with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from coordination import BadConfig, Client, Held, LeaseLost, NotHolding, Peer, connect, open_peer
from coordination.agreed.holding.holder import Holder
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.messages import Release
from coordination.agreed.voting.acceptor import Acceptor
from mesh.directives import Message
from tests.coordination.meshes import SECRET, mesh_of

User = Peer | Client


@asynccontextmanager
async def pair() -> AsyncIterator[list[tuple[User, User]]]:
    """A mesh of one voter and a thin client of it, each as the user and as the other one."""
    async with (
        open_peer(name="p", bind="127.0.0.1:0", secret=SECRET, fresh=True, profile="local") as peer,
        connect(peer.address, secret=SECRET) as client,
    ):
        yield [(peer, client), (client, peer)]


def kinds(user: User, lease: Any) -> list[Any]:
    """Of each kind one that nobody else can hold beside."""
    return [
        user.lock("x", ttl=0.5, lease=lease),
        user.rwlock("x", ttl=0.5, lease=lease).write(),
        user.semaphore("x", 2, 2, ttl=0.5, lease=lease),
    ]


async def test_what_is_acquired_under_a_lease_is_renewed_and_given_back_with_it() -> None:
    async with pair() as both:
        for user, other in both:
            async with user.lease(ttl=5) as lease:
                held = [await each.acquire() for each in kinds(user, lease)]
                await trio.sleep(0.8)  # longer than their ttl
                for mine, theirs in zip(held, kinds(other, None), strict=True):
                    assert mine.valid() and 0 < mine.remaining() <= 0.5
                    assert await theirs.try_acquire() is None
            for mine, theirs in zip(held, kinds(other, None), strict=True):
                assert not mine.valid() and mine.remaining() == 0.0
                with pytest.raises(LeaseLost, match="attached to has ended"):
                    await mine.renew()
                await mine.release()
                taken = await theirs.try_acquire()  # leaving the lease has waited for that
                assert taken is not None and taken.token > mine.token
                await taken.release()


async def test_what_remains_is_the_sooner_end() -> None:
    async with open_peer() as peer, peer.lease(ttl=1) as lease:
        held = await peer.lock("l", ttl=10, lease=lease).acquire()
        assert 0 < held.remaining() <= 1.0


async def test_a_body_elsewhere_ends_before_the_lock_is_free() -> None:
    async with pair() as both:
        for user, other in both:
            left: list[float] = []

            async def work(lease: Any, inside: trio.Event, user: User = user, left: list[float] = left) -> None:
                with pytest.raises(LeaseLost, match="attached to has ended"):
                    async with user.lock("l", ttl=5, lease=lease):
                        inside.set()
                        try:
                            await trio.sleep_forever()
                        finally:
                            with trio.CancelScope(shield=True):
                                await trio.sleep(0.2)  # the lock is held for as long as its body takes to end
                            left.append(trio.current_time())

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    inside = trio.Event()
                    async with user.lease(ttl=5) as lease:
                        nursery.start_soon(work, lease, inside)
                        await inside.wait()
                    async with other.lock("l", ttl=5):
                        assert left and trio.current_time() >= left[0]


async def test_a_lost_lease_takes_its_locks_along(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of(3) as (a, b, _):
        with trio.fail_after(10):
            with pytest.raises(LeaseLost):
                async with a.lease(ttl=1) as lease:
                    held = await a.lock("bare", ttl=10, lease=lease).acquire()
                    async with a.lock("body", ttl=10, lease=lease) as inner:
                        monkeypatch.setattr(Acceptor, "_renew", lambda *_: None)  # nobody renews any more
                        try:
                            await trio.sleep_forever()
                        finally:
                            assert inner.remaining() < 0.1  # by itself it would last for seconds
            assert not held.valid() and not inner.valid()
            monkeypatch.undo()
            with trio.fail_after(2):  # long before their own ttl
                for name in ("bare", "body"):
                    async with b.lock(name, ttl=5) as mine:
                        assert mine.token > held.token or name == "body"


async def test_a_lost_lease_takes_its_locks_along_whatever_its_own_body_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of(3) as (a, b, _):
        body_ended = trio.Event()

        async def elsewhere(lease: Any, inside: trio.Event) -> None:
            with pytest.raises(LeaseLost):
                async with a.lock("body", ttl=10, lease=lease) as mine:
                    inside.set()
                    try:
                        await trio.sleep_forever()
                    finally:
                        assert lease.valid() and mine.valid(), "it is told before the end, as the body of the lease"
            body_ended.set()

        async def renewing(held: Held) -> None:
            with pytest.raises(LeaseLost, match="attached to has ended"):
                await held.renew()  # nobody answers that

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                with pytest.raises(LeaseLost):
                    async with a.lease(ttl=1) as lease:
                        held = await a.lock("bare", ttl=10, lease=lease).acquire()
                        inside = trio.Event()
                        nursery.start_soon(elsewhere, lease, inside)
                        await inside.wait()
                        monkeypatch.setattr(Acceptor, "_renew", lambda *_: None)
                        nursery.start_soon(renewing, held)
                        with trio.CancelScope(shield=True):  # the body of the lease goes on
                            await body_ended.wait()
                            for name in ("bare", "body"):
                                with trio.fail_after(2):
                                    async with b.lock(name, ttl=5):
                                        pass
                            assert not lease.valid() and not held.valid()
                            with pytest.raises(LeaseLost):
                                await a.lock("more", lease=lease).acquire()
                            assert await b.lock("more").holder() is None
                            monkeypatch.undo()
                with trio.fail_after(1):  # nothing is kept of any of them
                    while a._core.dispatch.requests():
                        await trio.lowlevel.checkpoint()


async def test_it_does_not_hold_beyond_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anyone has been told that the lease has run out: the clock is looked at."""
    async with open_peer() as peer, peer.lease(ttl=5) as lease:
        held = await peer.lock("l", ttl=5, lease=lease).acquire()
        valid = Holder.valid
        with monkeypatch.context() as patch:
            patch.setattr(
                Holder, "valid", lambda self, request, now: request != lease.held._request and valid(self, request, now)
            )
            assert not held.valid()
            with pytest.raises(LeaseLost, match="attached to has ended"):
                await held.renew()
        assert held.valid()


async def test_what_is_granted_while_the_lease_ends_is_given_back() -> None:
    async with open_peer() as peer:

        async def ask(lease: Any, given: list[Held]) -> None:
            with suppress(LeaseLost, NotHolding):
                given.append(await peer.lock("l", ttl=10, lease=lease).acquire())

        for moments in range(6):
            given: list[Held] = []
            async with trio.open_nursery() as nursery:
                async with peer.lease(ttl=10) as lease:
                    nursery.start_soon(ask, lease, given)
                    for _ in range(moments):
                        await trio.lowlevel.checkpoint()
            assert not any(held.valid() for held in given)
            with trio.fail_after(1):
                async with peer.lock("l", ttl=10):
                    pass


async def test_who_waits_under_a_lease_stops_waiting_with_it() -> None:
    async with pair() as both:
        for user, other in both:
            told: list[str] = []

            async def wait(lease: Any, user: User = user, told: list[str] = told) -> None:
                with pytest.raises(LeaseLost, match="attached to has ended") as lost:
                    await user.lock("l", ttl=5, lease=lease).acquire()
                told.append(str(lost.value))

            with trio.fail_after(5):
                async with other.lock("l", ttl=5):
                    async with trio.open_nursery() as nursery:
                        async with user.lease(ttl=5) as lease:
                            nursery.start_soon(wait, lease)
                            await trio.sleep(0.2)
                assert len(told) == 1
                taken = await other.lock("l", ttl=5).try_acquire()  # nobody is left in the queue
                assert taken is not None
                await taken.release()


async def test_what_ends_before_its_lease_is_let_go_of() -> None:
    async with open_peer() as peer, peer.lease(ttl=5) as lease:
        lock = peer.lock("l", ttl=5, lease=lease)
        for _ in range(3):
            async with lock as held:
                assert held.valid()
                assert await peer.lock("l", ttl=5, lease=lease).holder() is not None
            await (await lock.acquire()).release()
            async with peer.lock("m"):
                pass
        assert not lease.held._attached
        assert lease.valid()


async def test_a_peer_that_stops_gives_all_of_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """And waits for that: the first message is lost."""
    lost = False
    on_message = Owner.on_message

    def losing(self: Owner, message: Message, *rest: Any) -> Any:
        nonlocal lost
        if isinstance(message, Release) and message.key == "lock/l" and not lost:
            lost = True
            return ()
        return on_message(self, message, *rest)

    async with mesh_of(3) as (_, b, c):

        async def hold(d: Peer, task_status: trio.TaskStatus[None]) -> None:
            with pytest.raises(LeaseLost):
                async with d.lease(ttl=10) as lease:
                    await d.lock("l", ttl=10, lease=lease).acquire()
                    task_status.started()
                    await trio.sleep_forever()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                async with open_peer(
                    name="d", bind="127.0.0.1:0", seeds=[b.address], secret=SECRET, voter=False, profile="local"
                ) as d:
                    await nursery.start(hold, d)
                    monkeypatch.setattr(Owner, "on_message", losing)
                with trio.fail_after(2):
                    async with c.lock("l", ttl=5):
                        pass
                assert lost


async def test_what_is_no_lease_to_live_under() -> None:
    async with pair() as both:
        for user, other in both:
            lease = user.lease(ttl=5)
            lock = user.lock("l", lease=lease)
            for ask in (lock.acquire, lock.try_acquire, lock.__aenter__):
                with pytest.raises(NotHolding, match="async with"):
                    await ask()
            for make in (other.lock, other.rwlock):
                with pytest.raises(BadConfig, match="another peer's"):
                    make("l", lease=lease)
            with pytest.raises(BadConfig, match="another peer's"):
                other.semaphore("l", 2, lease=lease)
            with pytest.raises(BadConfig, match="no lease"):
                user.lock("l", lease="lease/1")  # type: ignore[arg-type]
            async with lease:
                held = await lock.acquire()
            assert not held.valid()
            with pytest.raises(NotHolding):
                await lock.acquire()
            async with lease:  # another one by now
                async with lock as again:
                    assert again.valid() and again.token > held.token
