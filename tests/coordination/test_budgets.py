"""Budgets by the API: nothing is overspent, and what one does not need another gets."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import BadKey, BadValue, Budget, Closed, Exhausted, LimitDiffers, NoQuorum, open_peer
from tests.coordination.meshes import joined, mesh_of, until


async def spend_all(budget: Budget) -> int:
    """One by one, as long as there is any; how many."""
    spent = 0
    with pytest.raises(Exhausted):
        while True:
            await budget.spend()
            spent += 1
    return spent


async def test_all_of_it_and_no_more() -> None:
    async with open_peer() as peer:
        seats = peer.budget("seats", limit=100)
        await seats.spend(40)
        assert await spend_all(seats) == 60
        with pytest.raises(Exhausted, match="seats") as caught:
            await seats.spend(2)
        assert caught.value.remaining == 0
        assert (await seats.remaining(), seats.rights) == (0, 0)
        await seats.refund(3)
        await seats.spend(3)
        with pytest.raises(Exhausted):
            await seats.spend()


async def test_many_spend_at_once_and_the_last_right_is_found_wherever_it_is() -> None:
    async with mesh_of(3) as peers:
        spent = [0, 0, 0]

        async def spend(index: int) -> None:
            spent[index] = await spend_all(peers[index].budget("seats", limit=300))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for index in range(3):
                    nursery.start_soon(spend, index)
        assert sum(spent) == 300, spent


async def test_who_has_none_left_gets_what_another_does_not_need() -> None:
    async with mesh_of(2) as (a, b):
        await a.budget("seats", limit=10).spend(1)
        hoard = a.budget("seats").rights
        assert hoard >= 1
        with trio.fail_after(10):
            await b.budget("seats", limit=10).spend(9)
        assert a.budget("seats").rights == 0
        with pytest.raises(Exhausted):
            await a.budget("seats").spend()


async def test_what_is_held_is_given_back_by_who_leaves() -> None:
    async with mesh_of(2) as (a, b):
        async with joined(a, "guest") as guest:
            await guest.budget("seats", limit=100).spend(3)
            budget = guest.budget("seats")
            assert budget.rights > 0
        with pytest.raises(Closed):
            await budget.spend()
        with pytest.raises(Closed):
            budget.try_spend()
        assert await b.budget("seats").remaining() == 97


async def test_rights_that_are_here_are_spent_without_a_quorum() -> None:
    async with mesh_of(2) as (a, b):
        seats = a.budget("seats", limit=100)
        await seats.spend()
        rights = seats.rights
        assert rights > 5
        await b._core.driver.stop()
        for _ in range(rights):
            await seats.spend()
        with pytest.raises(NoQuorum):
            await seats.spend()


async def test_with_a_chunk_of_nothing_each_spend_asks_and_nothing_is_held() -> None:
    async with open_peer() as peer:
        seats = peer.budget("seats", limit=5, chunk=0)
        await seats.spend(2)
        assert seats.rights == 0 and not seats.try_spend()
        assert await seats.remaining() == 3


async def test_try_spend_is_local_and_asks_in_the_background() -> None:
    async with open_peer() as peer:
        seats = peer.budget("seats", limit=1000)
        await seats.spend()
        spent = 1
        with trio.fail_after(5):
            while spent < 1000:
                if seats.try_spend():
                    spent += 1
                else:
                    await trio.sleep(0.001)
        assert not seats.try_spend()
        await trio.sleep(0.01)
        assert not seats.try_spend()


async def test_a_spend_that_is_cancelled_spends_nothing() -> None:
    async with mesh_of(2) as (a, b):
        for round_ in range(20):
            with trio.move_on_after(0.0002 * round_):
                await a.budget("seats", limit=50, chunk=0).spend(1)
                await b.budget("seats").refund(1)
        with trio.fail_after(5):
            assert await a.budget("seats").remaining() >= 30
            await until(lambda: not a.budget("seats")._purse.waiting and not b.budget("seats")._purse.waiting)
            await b.budget("seats", limit=50).spend(await b.budget("seats").remaining())


async def test_one_limit_for_all() -> None:
    async with mesh_of(2) as (a, b):
        await a.budget("seats", limit=10).spend()
        with pytest.raises(LimitDiffers, match="limit 10, not 11"):
            a.budget("seats", limit=11)
        with pytest.raises(LimitDiffers, match="limit 10, not 12") as caught:
            await b.budget("seats", limit=12).spend()
        assert caught.value.limit == 10
        with pytest.raises(BadValue, match="spent or handed out"):
            await a.budget("seats").resize(1)
        await a.budget("seats").resize(12)
        await b.budget("seats", limit=12).spend()


async def test_a_budget_that_is_not_there_and_a_register_that_is_none() -> None:
    async with open_peer() as peer:
        with pytest.raises(BadValue, match="name its limit"):
            await peer.budget("seats").spend()
        await peer.atomic("budget/mine").set("something")
        with pytest.raises(BadValue, match="something else"):
            await peer.budget("mine", limit=5).spend()
        with pytest.raises(BadValue, match="refunded"):
            await peer.budget("seats", limit=5).refund()


@pytest.mark.parametrize("n", [0, -1, 1.0, True, None, "1", 1 << 64])
async def test_bad_input(n: Any) -> None:
    async with open_peer() as peer:
        if n is not None:
            with pytest.raises(BadValue):
                peer.budget("x", limit=n)
        budget = peer.budget("x", limit=5)
        for call in (budget.spend, budget.refund, budget.resize):
            with pytest.raises(BadValue):
                await call(n)
        with pytest.raises(BadValue):
            budget.try_spend(n)
        with pytest.raises(BadKey):
            peer.budget("", 5)
        await budget.spend(5)
