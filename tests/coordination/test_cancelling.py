"""Acquire and release of all that can be held, cancelled at every checkpoint: nothing stays held, and no ghost in a queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from coordination import Peer
from coordination.locks import Acquirable
from tests.coordination.meshes import mesh_of
from tests.coordination.steps import cancelled_at

MAKE: dict[str, tuple[Callable[[Peer], Acquirable], Callable[[Peer], Acquirable], str]] = {
    "lock": (lambda peer: peer.lock("l", ttl=5), lambda peer: peer.lock("l", ttl=5), "lock/l"),
    "reader": (lambda peer: peer.rwlock("l", ttl=5).read(), lambda peer: peer.rwlock("l", ttl=5).write(), "rwlock/l"),
    "writer": (lambda peer: peer.rwlock("l", ttl=5).write(), lambda peer: peer.rwlock("l", ttl=5).read(), "rwlock/l"),
    "semaphore": (lambda peer: peer.semaphore("l", 3, 2, ttl=5), lambda peer: peer.semaphore("l", 3, 3, ttl=5), "semaphore/l"),
}
"""What is cancelled, what is held against it and excludes it, and the register."""


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("contended", [False, True])
async def test_cancelled_at_every_checkpoint(what: str, contended: bool) -> None:
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
                    ended = await cancelled_at(n, use)
            else:
                ended = await cancelled_at(n, use)
            with trio.fail_after(2):
                async with theirs(b):
                    explanation = await c.explain(register)
                    assert [holder[0] for holder in explanation.holders] == [b.name]
                    assert explanation.queue == ()
            points = n
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert points > 3
