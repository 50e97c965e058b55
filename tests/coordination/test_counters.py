"""Counters by the API."""

from __future__ import annotations

from typing import Any

import pytest

from coordination import BadKey, BadValue, TooLarge, open_peer
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
