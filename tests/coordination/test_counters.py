"""Counters by the API."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import BadKey, BadValue, Closed, TooLarge, open_peer
from tests.coordination.meshes import mesh_of, until


async def test_adds_of_all_are_summed() -> None:
    async with mesh_of(3) as peers:
        for index, peer in enumerate(peers):
            for _ in range(100):
                peer.counter("orders").add(index)
            peer.counter("orders").add(-1)
        for peer in peers:
            await until(lambda peer=peer: peer.counter("orders").value == 297)


async def test_a_counter_and_a_key_of_one_name_never_meet() -> None:
    async with open_peer() as peer:
        peer.counter("x").add(5)
        assert peer.kv.get("x") is None
        await peer.kv.put("x", "text")
        await peer.kv.delete("x")
        assert peer.counter("x").value == 5
        assert peer.counter("y").value == 0


@pytest.mark.parametrize(("n", "error"), [(1.5, BadValue), ("1", BadValue), (True, BadValue), (1 << 5000, TooLarge)])
async def test_what_cannot_be_added(n: Any, error: type[Exception]) -> None:
    async with open_peer() as peer:
        with pytest.raises(error):
            peer.counter("x").add(n)
        with pytest.raises(BadKey):
            peer.counter("")
        assert peer.counter("x").value == 0


async def test_set_begins_anew_for_everyone_who_has_heard_of_it() -> None:
    async with mesh_of(2) as (a, b):
        a.counter("stock").add(7)
        b.counter("stock").subtract(3)
        await until(lambda: a.counter("stock").value == b.counter("stock").value == 4)
        b.counter("stock").set(-100)
        assert b.counter("stock").value == -100
        await until(lambda: a.counter("stock").value == -100)
        a.counter("stock").add(1)
        a.counter("stock").add(1 << 2000)
        await until(lambda: b.counter("stock").value == (1 << 2000) - 99)


async def test_every_add_of_a_burst_is_seen_by_all() -> None:
    """Within a window adds take a short way, and all of them leave with it."""
    async with mesh_of(2) as (a, b):
        counter = a.counter("orders")
        for burst in range(20):
            for _ in range(1_000):
                counter.add()
            assert counter.value == 1_000 * (burst + 1)
            await trio.sleep(0.001)
        await until(lambda: b.counter("orders").value == 20_000)


@pytest.mark.parametrize(("n", "error"), [(1.5, BadValue), (None, BadValue), (False, BadValue), (-(1 << 5000), TooLarge)])
async def test_what_cannot_be_set_or_subtracted(n: Any, error: type[Exception]) -> None:
    async with open_peer() as peer:
        for call in (peer.counter("x").set, peer.counter("x").subtract):
            with pytest.raises(error):
                call(n)
        assert peer.counter("x").value == 0


async def test_lag_is_the_time_since_all_that_the_others_had_was_here() -> None:
    async with open_peer() as alone:
        assert alone.counter("x").lag() == 0.0
    async with mesh_of(3) as peers:
        lag = peers[0].counter("x").lag
        await until(lambda: lag() < 1.5, 20)
        await trio.sleep(0.05)
        assert lag() > 0


async def test_a_peer_that_has_ended_adds_nothing() -> None:
    async with open_peer() as peer:
        counter = peer.counter("x")
        counter.add(1)
    for call in (counter.add, counter.set):
        with pytest.raises(Closed):
            call(1)
