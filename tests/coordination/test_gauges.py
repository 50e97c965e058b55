"""Gauges by the API: who lives is counted."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import BadConfig, BadKey, BadTTL, BadValue, LeaseLost, connect, open_peer
from tests.coordination.meshes import SECRET, mesh_of, until


async def test_what_is_held_is_summed_and_falls_at_once_when_it_is_left() -> None:
    async with mesh_of(2) as (a, b):
        gauge = b.gauge("workers")
        async with a.gauge("workers").hold() as one, b.gauge("workers").hold(5), a.gauge("workers").hold(-2):
            await until(lambda: gauge.value == 4)
            assert gauge.holders() == {"p0": -1, "p1": 5}
            await one.set(10)
            await until(lambda: gauge.value == 13)
            assert one.valid() and one.n == 10
        await until(lambda: a.gauge("workers").value == gauge.value == 0, 1.0)
        assert gauge.holders() == {}


async def test_gauges_of_similar_names_and_strange_keys_do_not_count() -> None:
    async with open_peer() as peer:
        async with peer.gauge("a").hold(1), peer.gauge("a/b").hold(2), peer.lease() as lease:
            await peer.kv.put("gauge/a/x.y.1", 100)  # bound to nothing
            await peer.kv.put("gauge/a/x.y.2", "text", lease=lease)
            await peer.kv.put("gauge/a/x", 7, lease=lease)
            await peer.kv.put("gauge/a/b/x.y.3", 10, lease=lease)
            assert (peer.gauge("a").value, peer.gauge("a/b").value) == (1, 12)


async def test_who_loses_the_lease_is_told_before_its_share_falls() -> None:
    async with open_peer() as peer:
        with pytest.raises(LeaseLost):
            async with peer.gauge("workers").hold(1, ttl=1.0) as hold:
                now = peer._core.now()
                peer._core.act(peer._core.holder.release(hold._lease.held._request, now), now)
                await trio.sleep(0.05)
        assert peer.gauge("workers").value == 0
        with pytest.raises(Exception, match="held"):
            await hold.set(3)


async def test_thin_clients_hold_and_read() -> None:
    async with mesh_of(1) as (peer,), connect(peer.address, secret=SECRET) as client:
        async with client.gauge("workers").hold(3), peer.gauge("workers").hold(1):
            assert await client.gauge("workers").value() == peer.gauge("workers").value == 4
            assert await client.gauge("workers").holders() == {client.name: 3, "p0": 1}
        await until(lambda: peer.gauge("workers").value == 0)


async def test_thin_clients_are_told_that_they_have_no_budgets_and_no_limiters() -> None:
    async with mesh_of(1) as (peer,), connect(peer.address, secret=SECRET) as client:
        with pytest.raises(BadConfig, match=r"'seats'.*open a peer"):
            client.budget("seats", 10)
        with pytest.raises(BadConfig, match=r"'api'.*open a peer"):
            client.limiter("api", rate=10)


@pytest.mark.parametrize(
    ("name", "n", "ttl", "error"),
    [("g", 1.5, 5, BadValue), ("g", True, 5, BadValue), ("g", 1, 0.1, BadTTL), ("g", 1, "5", BadTTL), ("", 1, 5, BadKey),
     (3, 1, 5, BadKey), ("g" * 500, 1, 5, BadKey)],
)  # fmt: skip
async def test_bad_input(name: Any, n: Any, ttl: Any, error: type[Exception]) -> None:
    async with open_peer() as peer:
        with pytest.raises(error):
            peer.gauge(name).hold(n, ttl=ttl)
