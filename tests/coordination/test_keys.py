"""Keys by the API: what is taken, what is refused, what is seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from coordination import BadKey, BadTTL, BadValue, MeshError, Peer, TooLarge, open_peer
from coordination.arguments.checks import encode_checked
from mesh.values import decode_value
from tests.coordination.meshes import mesh_of, until

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_a_plain_value_comes_back_as_it_was(value: object) -> None:
    assert decode_value(encode_checked(value)) == value


async def test_reads_and_writes() -> None:
    async with open_peer() as peer:
        kv = peer.kv
        assert kv.get("k") is None
        assert kv.get("k", 7) == 7
        first = await kv.put("k", {"a": [1, 2]})
        assert kv.get("k") == {"a": [1, 2]}
        kv.get("k")["a"].append(3)
        assert kv.get("k") == {"a": [1, 2]}, "what get returns alters nothing"
        assert await kv.put("k", 2) > first
        entry = kv.entry("k")
        assert entry is not None
        assert (entry.value, entry.remaining, entry.lease, entry.writer) == (2, None, None, peer.name)
        assert await kv.delete("k")
        assert not await kv.delete("k")
        assert kv.entry("k") is None
        assert kv.get("k", "gone") == "gone"


async def test_none_is_a_value() -> None:
    async with open_peer() as peer:
        await peer.kv.put("k", None)
        assert peer.kv.get("k", "default") is None
        assert [*peer.kv.scan()] == [("k", None)]


async def test_scan_is_ordered_and_survives_writes() -> None:
    async with open_peer() as peer:
        await peer.kv.put_many({f"a/{n:03}": n for n in reversed(range(300))})
        await peer.kv.put("b", "beyond")
        seen = []
        for key, value in peer.kv.scan("a/"):
            seen.append((key, value))
            if value == 10:
                await peer.kv.put("a/299", "changed")
                await peer.kv.delete("a/200")
                await peer.kv.put("a/000", "behind")
        assert seen[0] == ("a/000", 0)
        assert seen[-1] == ("a/299", "changed")
        assert "a/200" not in dict(seen)
        assert len(seen) == 299


async def test_a_ttl_ends_a_value_and_a_touch_extends_it() -> None:
    async with open_peer() as peer:
        await peer.kv.put("short", 1, ttl=1.0)
        await peer.kv.put("long", 1, ttl=1.0)
        await peer.kv.put("for good", 1)
        assert await peer.kv.touch("long", ttl=60)
        assert not await peer.kv.touch("for good", ttl=5)
        assert not await peer.kv.touch("nothing", ttl=5)
        entry = peer.kv.entry("long")
        assert entry is not None and entry.remaining is not None and 59 < entry.remaining <= 60
        assert await peer.kv.touch("long", ttl=5), "a touch never shortens"
        entry = peer.kv.entry("long")
        assert entry is not None and entry.remaining is not None and entry.remaining > 50
        began = trio.current_time()
        async with peer.watch(key="short") as changes:
            with trio.fail_after(3):
                event = await anext(aiter(changes))
        assert (event.kind, event.value, event.old) == ("expire", None, 1)
        assert 0.9 < trio.current_time() - began < 1.2
        assert peer.kv.get("short") is None
        assert peer.kv.get("long") == 1


@pytest.mark.parametrize(
    ("key", "error"),
    [("", BadKey), ("x" * 513, BadKey), ("é" * 257, BadKey), (7, BadKey), (None, BadKey), ("\ud800", BadKey), ("a\0b", BadKey)],
)
async def test_bad_keys(key: Any, error: type[MeshError]) -> None:
    async with open_peer() as peer:
        with pytest.raises(error, match=r"key"):
            await peer.kv.put(key, 1)
        with pytest.raises(error):
            await peer.kv.delete(key)
        assert [*peer.kv.scan()] == []


async def test_keys_of_512_bytes_are_taken() -> None:
    async with open_peer() as peer:
        for key in ("x" * 512, "é" * 256):
            await peer.kv.put(key, 1)
            assert peer.kv.get(key) == 1


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (object(), BadValue, "no plain CBOR"),
        ({1: 2}, BadValue, "keys of a dict are text"),
        ({"a": [1, {2}]}, BadValue, r"\['a'\]\[1\]"),
        ("\ud800", BadValue, "surrogates"),
        (b"x" * (1 << 20), TooLarge, "above"),
        (1 << 9000, TooLarge, "1024 bytes"),
        ([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]], TooLarge, "deep"),
    ],
)
async def test_bad_values_change_nothing(value: object, error: type[MeshError], says: str) -> None:
    async with open_peer() as peer:
        with pytest.raises(error, match=says):
            await peer.kv.put_many({"good": 1, "bad": value})
        assert [*peer.kv.scan()] == []


@pytest.mark.parametrize("ttl", [0, -1, 0.999, math.nan, math.inf, "5", True])
async def test_bad_ttls(ttl: Any) -> None:
    async with open_peer() as peer:
        with pytest.raises(BadTTL):
            await peer.kv.put("k", 1, ttl=ttl)
        assert peer.kv.get("k") is None


async def test_a_cancelled_put_writes_nothing() -> None:
    async with open_peer() as peer:
        with trio.CancelScope() as scope:
            scope.cancel()
            await peer.kv.put("k", 1)
        assert scope.cancelled_caught
        assert peer.kv.get("k") is None


async def test_writes_reach_the_others() -> None:
    async with mesh_of(3) as peers:
        a, b, c = peers
        await a.kv.put("k", [1])
        await b.kv.put_many({f"many/{n}": n for n in range(500)})
        await c.kv.put("large", b"x" * 300_000)
        for peer in peers:
            await until(lambda peer=peer: peer.kv.get("k") == [1])
            await until(lambda peer=peer: len([*peer.kv.scan("many/")]) == 500)
            await until(lambda peer=peer: peer.kv.get("large") == b"x" * 300_000)
        entry = c.kv.entry("k")
        assert entry is not None and entry.writer == a.name
        await c.kv.delete("k")
        for peer in peers:
            await until(lambda peer=peer: peer.kv.get("k") is None)


async def test_the_same_winner_everywhere() -> None:
    async with mesh_of(3) as peers:
        for round_ in range(20):
            for peer in peers:
                await peer.kv.put("contested", f"{peer.name} {round_}")
        await until(lambda: len({peer.kv.get("contested") for peer in peers}) == 1)
        stores: list[Peer] = peers
        assert len({peer.kv.entry("contested").stamp for peer in stores}) == 1  # type: ignore[union-attr]
