"""What cannot be held, renewed, bound to or written under: one typed error each, alike for peers and for thin clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from coordination import AlreadyHeld, BadConfig, BadKey, BadTTL, Client, LeaseLost, NotHolding, Peer, connect, open_peer
from tests.coordination.meshes import SECRET

User = Peer | Client
LONG = "é" * 257
"""514 bytes."""

MAKERS: dict[str, Callable[[User, str, float], object]] = {
    "lock": lambda user, name, ttl: user.lock(name, ttl=ttl),
    "rwlock": lambda user, name, ttl: user.rwlock(name, ttl=ttl),
    "semaphore": lambda user, name, ttl: user.semaphore(name, 2, ttl=ttl),
    "election": lambda user, name, ttl: user.election(name, ttl=ttl),
    "barrier": lambda user, name, ttl: user.barrier(name, 2, ttl=ttl),
    "lease": lambda user, _, ttl: user.lease(ttl=ttl),
}


@asynccontextmanager
async def users() -> AsyncIterator[list[User]]:
    """A mesh of one voter, and a thin client of it."""
    async with (
        open_peer(name="p", bind="127.0.0.1:0", secret=SECRET, fresh=True, profile="local") as peer,
        connect(peer.address, secret=SECRET) as client,
    ):
        yield [peer, client]


@pytest.mark.parametrize("what", MAKERS)
async def test_a_ttl_out_of_range_and_a_name_too_long(what: str) -> None:
    make = MAKERS[what]
    async with users() as both:
        for user in both:
            for ttl in (0.499, 15.001, 0.0, -1.0, float("inf"), float("nan"), "5", True, None):
                with pytest.raises(BadTTL, match=r"out of range|no number"):
                    make(user, "n", ttl)  # type: ignore[arg-type]
            for ttl in (0.5, 15.0):  # both ends belong to it
                make(user, "n", ttl)
            if what != "lease":
                with pytest.raises(BadKey, match="514 bytes long, above 512"):
                    make(user, LONG, 5.0)
                make(user, LONG[:200], 5.0)


async def test_a_write_is_bound_to_what_is_held_or_to_nothing() -> None:
    async with users() as both:
        for user in both:
            lease = user.lease(ttl=5)
            with pytest.raises(NotHolding, match="async with"):
                await user.kv.put("k", 1, lease=lease)
            async with lease:
                with pytest.raises(NotHolding, match="in use"):
                    await lease.__aenter__()
            with pytest.raises(NotHolding, match="async with"):
                await user.kv.put("k", 1, lease=lease)
            held = await user.lock("l", ttl=0.5).acquire()
            await trio.sleep(0.5)  # it has run out, unreleased
            for call in (user.kv.put("k", 1, lease=held), user.kv.put("k", 1, fence=held), user.kv.delete("k", fence=held)):
                with pytest.raises(LeaseLost, match="not held any more"):
                    await call
            lock, nonsense = user.lock("l", ttl=5), object()
            for wrong in (lock, "0.1.1.00.x#lock/l", 7, nonsense):
                with pytest.raises(BadConfig, match="no lease: give"):
                    await user.kv.put("k", 1, lease=wrong)  # type: ignore[arg-type]
            for wrong in (lock, lease, "12", 12, nonsense):
                with pytest.raises(BadConfig, match="no lock that is held: give"):
                    await user.kv.put("k", 1, fence=wrong)  # type: ignore[arg-type]
                with pytest.raises(BadConfig, match="no lock that is held: give"):
                    await user.kv.delete("k", fence=wrong)  # type: ignore[arg-type]
        assert both[0].kv.get("k") is None


async def test_a_renewal_after_the_end_and_of_a_lock_that_is_anothers_by_now() -> None:
    async with users() as both:
        for user, other in (both, reversed(both)):
            held = await user.lock("l", ttl=0.5).acquire()
            async with other.lock("l", ttl=5) as later:  # had when the first one has run out
                with pytest.raises(LeaseLost, match="not held any more"):
                    await held.renew()
                assert later.valid() and later.token > held.token
                await held.release()  # never raises, and takes nothing from who holds it now
                await later.renew()
                assert await user.lock("l").try_acquire() is None
            with pytest.raises(LeaseLost, match="released"):
                await later.renew()


async def test_who_holds_it_already_is_told_so_at_once() -> None:
    async with users() as both:
        for user in both:
            lock = user.lock("l")
            async with user.lock("l"):
                for ask in (lock.acquire, lock.try_acquire, lock.__aenter__):
                    with trio.fail_after(1), pytest.raises(AlreadyHeld, match="not re-entrant"):
                        await ask()
            async with user.lock("l"):
                pass


async def test_one_object_entered_by_two_tasks_is_refused_and_leaves_nothing() -> None:
    """A lease that was overwritten by a second one would be renewed for ever, and what is bound to it stay."""
    async with users() as both:
        for user in both:
            things: list[Any] = [user.lease(ttl=5), user.gauge("g").hold(2), user.barrier("b", 1)]
            for thing in things:
                refused: list[str] = []

                async def enter() -> None:
                    try:
                        async with thing:  # noqa: B023
                            await trio.sleep(0.01)
                    except NotHolding as error:
                        refused.append(str(error))  # noqa: B023

                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(enter)
                assert len(refused) == 2 and "in use" in refused[0]
                async with thing:  # again, once it has been left
                    pass
                leave: Callable[..., Any] = thing.__aexit__
                with pytest.raises(NotHolding):
                    await leave(None, None, None)
                assert user._core.holder.stats()["held"] == 0
        peer = both[0]
        assert isinstance(peer, Peer) and peer.gauge("g").value == 0


async def test_what_another_peer_holds_is_unknown_here() -> None:
    """Its clock is not this one's, and of a lease of another mesh nobody here would ever learn the end."""
    async with users() as both, open_peer() as elsewhere, elsewhere.lease() as lease, elsewhere.lock("l") as held:
        for user in both:
            writes: tuple[Any, ...] = (
                user.kv.put("k", 1, lease=lease),
                user.kv.put("k", 1, lease=held),
                user.kv.put("k", 1, fence=held),
                user.kv.delete("k", fence=held),
                user.kv.clear("k", fence=held),
            )
            for write in writes:
                with pytest.raises(BadConfig, match="held by another peer"):
                    await write
            with pytest.raises(BadConfig, match="held by another peer"):
                user.kv.batch(fence=held)
            with pytest.raises(BadConfig, match="held by another peer"):
                async with user.kv.batch() as batch:
                    batch.put("k", 1, lease=lease)
        assert both[0].kv.get("k") is None


async def test_an_error_of_a_body_goes_before_the_loss_of_its_lock_and_tells_of_it() -> None:
    async with open_peer() as peer:
        with pytest.raises(KeyError) as told:
            async with peer.lock("l", max_hold=0.02):
                try:
                    await trio.sleep(5)
                except trio.Cancelled:
                    raise KeyError("mine") from None
        assert "max_hold" in told.value.__notes__[0]

        async def fail() -> None:
            try:
                await trio.sleep(5)
            finally:
                raise KeyError("mine")

        with pytest.raises(ExceptionGroup) as group:
            async with peer.lock("l", max_hold=0.02), trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep, 5)
        assert group.value.subgroup(KeyError) is not None and "max_hold" in group.value.__notes__[0]
        with pytest.raises(KeyError) as kept:
            async with peer.lock("l"):
                raise KeyError("mine")
        assert not hasattr(kept.value, "__notes__")
