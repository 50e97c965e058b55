"""Double barriers: parties begin together and end together, whoever dies."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import AlreadyHeld, BadKey, BadValue, LimitDiffers, NotHolding, Peer, connect, open_peer
from tests.coordination.meshes import SECRET, joined, mesh_of
from tests.coordination.steps import cancelled_at


def dead(peer: Peer) -> None:
    """It neither releases nor says goodbye."""
    peer._core.driver.deaf = True  # type: ignore[attr-defined]
    peer._core.assembly.node.take = list  # type: ignore[method-assign]


async def test_rounds_begin_and_end_together() -> None:
    async with mesh_of(3) as peers:
        log: list[tuple[str, int]] = []

        async def work(peer: Peer, pause: float) -> None:
            barrier = peer.barrier("step", 3, ttl=5)
            for turn in range(3):
                await trio.sleep(pause)
                async with barrier as held:
                    log.append(("in", turn))
                    assert held.valid()
                    await trio.sleep(pause)
                    log.append(("done", turn))
                log.append(("out", turn))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number, peer in enumerate(peers):
                    nursery.start_soon(work, peer, 0.05 * number)
        at = {(what, turn): [n for n, told in enumerate(log) if told == (what, turn)] for what, turn in log}
        for turn in range(3):
            assert all(len(at[what, turn]) == 3 for what in ("in", "done", "out"))
            assert max(at["done", turn]) < min(at["out", turn]), "someone went on before all were done"
            assert turn == 0 or max(at["done", turn - 1]) < min(at["in", turn]), "two rounds at once"


async def test_it_opens_for_all_and_no_sooner() -> None:
    async with mesh_of(3) as (a, b, c):
        inside: list[str] = []

        async def work(peer: Peer) -> None:
            async with peer.barrier("step", 3, ttl=5):
                inside.append(peer.name)
                await trio.sleep(0.2)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, a)
                nursery.start_soon(work, b)
                await trio.sleep(0.3)
                assert inside == []
                began = trio.current_time()
                nursery.start_soon(work, c)
                while len(inside) < 3:
                    await trio.sleep(0.002)
                assert trio.current_time() - began < 0.5, "woken, not polling"
        assert sorted(inside) == sorted(peer.name for peer in (a, b, c))


async def test_who_dies_while_it_waits_counts_for_its_ttl_and_no_longer() -> None:
    async with mesh_of(3) as peers, joined(peers[0], "mortal") as mortal:
        inside: list[str] = []

        async def work(peer: Peer) -> None:
            async with peer.barrier("step", 2, ttl=1.0):
                inside.append(peer.name)

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as doomed:
                    doomed.start_soon(work, mortal)
                    while not (await peers[1].locks("step")):
                        await trio.sleep(0.01)
                    dead(mortal)
                    doomed.cancel_scope.cancel()
                await trio.sleep(1.5)
                nursery.start_soon(work, peers[0])
                await trio.sleep(0.3)
                assert inside == []
                nursery.start_soon(work, peers[1])
        assert sorted(inside) == ["p0", "p1"]


async def test_who_dies_inside_holds_the_others_for_its_ttl() -> None:
    async with mesh_of(3) as peers, joined(peers[0], "mortal") as mortal:
        left: list[str] = []

        async def work(peer: Peer, stay: float) -> None:
            async with peer.barrier("step", 2, ttl=1.0):
                await trio.sleep(stay)
                if peer is mortal:
                    dead(mortal)
                    await trio.sleep_forever()
            left.append(peer.name)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, mortal, 0.0)
                await work(peers[0], 0.1)
                nursery.cancel_scope.cancel()
        assert left == ["p0"]


async def test_an_error_leaves_without_waiting_and_others_go_on() -> None:
    async with mesh_of(3) as (a, b, _):

        async def fail() -> None:
            with pytest.raises(ZeroDivisionError):
                async with a.barrier("step", 2, ttl=5):
                    raise ZeroDivisionError

        async def stay() -> None:
            async with b.barrier("step", 2, ttl=5):
                await trio.sleep(0.2)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(stay)
        assert await a.locks() == ()


async def test_cancelled_at_every_checkpoint_nobody_is_left_in_it() -> None:
    async with mesh_of(3) as (a, b, c):

        async def work() -> None:
            async with a.barrier("step", 1, ttl=5):
                await trio.lowlevel.checkpoint()

        for n in range(1, 80):
            ended = await cancelled_at(n, work)
            with trio.fail_after(2):
                async with b.barrier("step", 1, ttl=5):
                    explanation = await c.explain("barrier/step")
                    assert ([holder[0] for holder in explanation.holders], explanation.queue) == ([b.name], ())
                    assert explanation.shut
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert n > 6


async def test_thin_clients_are_parties_too() -> None:
    async with mesh_of(3) as (a, b, _), connect(b.address, secret=SECRET) as client:
        met: list[str] = []

        async def work(party: Any) -> None:
            async with party.barrier("step", 2, ttl=5):
                met.append(party.name)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, a)
                nursery.start_soon(work, client)
        assert len(met) == 2


async def test_a_party_does_not_wait_for_the_round_that_it_is_in() -> None:
    async with open_peer() as peer:

        async def party(again: bool) -> None:
            async with peer.barrier("step", 2):
                if again:
                    with pytest.raises(AlreadyHeld, match="not re-entrant"):
                        async with peer.barrier("step", 2):
                            pass

        with trio.fail_after(5):
            for _ in range(2):  # and the round ends as any other
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(party, True)
                    nursery.start_soon(party, False)


async def test_bad_input() -> None:
    async with open_peer() as peer:
        for parties in (0, -1, 65, "2", True):
            with pytest.raises(BadValue):
                peer.barrier("step", parties)  # type: ignore[arg-type]
        for name in ("", "x" * 490):
            with pytest.raises(BadKey):
                peer.barrier(name, 2)
        barrier = peer.barrier("step", 1)
        async with barrier:
            with pytest.raises(NotHolding):
                async with barrier:
                    pass

            async def another() -> None:
                with pytest.raises(LimitDiffers, match="limit 1, not 2"):
                    async with peer.barrier("step", 2):
                        pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(another)
