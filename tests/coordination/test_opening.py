"""Opening a peer: what is refused and how, joining, founding, and dying."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

import coordination
from coordination import (
    BindFailed,
    Closed,
    JoinFailed,
    MeshConfig,
    MeshError,
    NameTaken,
    open_peer,
)
from coordination.demo.programs import free_addresses
from coordination.errors import BadConfig
from tests.coordination.meshes import SECRET, joined, mesh_of, until

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "a b"}, "use 1 to 64 of"),
    ({"name": "x" * 65}, "use 1 to 64 of"),
    ({"name": "a", "bind": "nowhere"}, "write host:port"),
    ({"name": "a", "bind": "::1:7946"}, "brackets"),
    ({"name": "a", "bind": "0.0.0.0:0"}, "give a secret"),
    ({"name": "a", "bind": "127.0.0.1:0", "secret": "short"}, "at least 32"),
    ({"bind": "127.0.0.1:0"}, "a founder needs a name"),
    ({"name": "a", "bind": "127.0.0.1:0", "voter": False}, "voter=False cannot found"),
    ({"name": "a", "bind": "127.0.0.1:0", "expect": 3}, "needs the seeds of all founders"),
    ({"name": "a", "expect": 0}, "out of range"),
    ({"name": "a", "max_fading": 999}, "max_fading=999 is out of range: 1,000 to 100,000,000 keys"),
    ({"name": "a", "max_fading": 10**9}, "out of range"),
    ({"name": "a", "max_fading": 2e6}, "out of range"),
    ({"name": "a", "profile": "moon"}, "unknown"),
    ({"name": "a", "tags": {"k": "v" * 600}}, "too large"),
    ({"name": "a", "seeds": "127.0.0.1:7946"}, "a list of addresses"),
    ({"name": "a", "seeds": None}, "a list of addresses"),
    ({"name": 5}, "use 1 to 64 of"),
    ({"name": b"a"}, "use 1 to 64 of"),
    ({"name": "a", "bind": "127.0.0.1:0", "advertise": 7946}, "write host:port"),
    ({"name": "a", "bind": "127.0.0.1:0", "secret": 40}, "text or bytes, not int"),
    ({"name": "a", "bind": "127.0.0.1:0", "secret": [40]}, "text or bytes, not int"),
    ({"name": "a", "expect": True}, "out of range"),
    ({"name": "a", "fresh": "no"}, "True or False"),
    ({"name": "a", "voter": "no"}, "True or False"),
    ({"name": "a", "state_dir": ""}, "a directory of this node's own"),
    ({"name": "a", "state_dir": 5}, "a directory of this node's own"),
    ({"name": "a", "profile": ["lan"]}, "unknown"),
    ({"name": "a", "config": {"R": 3}}, "MeshConfig"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
async def test_refused_with_a_clear_error(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        async with open_peer(**arguments):
            pass


NO_NUMBERS: list[dict[str, Any]] = [{"R": "5"}, {"R": 2.0}, {"R": True}, {"max_ttl": "x"}, {"rho": None}, {"elastic": "no"}]


@pytest.mark.parametrize("numbers", [{"R": 0}, {"max_ttl": 0.5}, {"rho": 0.5}, {"max_drift": 0}, *NO_NUMBERS])
def test_numbers_out_of_range(numbers: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=r"out of range|True or False"):
        MeshConfig(**numbers)


async def test_a_taken_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BindFailed, match="taken by another process"):
            async with open_peer(name="a", bind=f"127.0.0.1:{taken.getsockname()[1]}"):
                pass


async def test_port_0_takes_any_and_ipv6_works() -> None:
    async with open_peer(name="a", bind="[::1]:0", secret=SECRET, profile="local") as peer:
        assert peer.address.startswith("[::1]:") and not peer.address.endswith(":0")
        async with open_peer(name="b", seeds=[peer.address], secret=SECRET, profile="local") as other:
            assert other.address.startswith("[::1]:")
            await until(lambda: len(peer.members) == 2)


async def test_host_names_are_resolved() -> None:
    async with open_peer(name="a", bind="127.0.0.1:0", secret=SECRET, profile="local") as peer:
        port = peer.address.rpartition(":")[2]
        async with open_peer(name="b", bind="127.0.0.1:0", seeds=[f"localhost:{port}"], secret=SECRET, profile="local"):
            await until(lambda: len(peer.members) == 2)


async def test_two_found_by_host_names() -> None:
    """One of the seeds is taken for the node itself: else each would wait for a third founder, for ever."""
    ports = [address.rpartition(":")[2] for address in free_addresses(2)]
    seeds = [f"localhost:{port}" for port in ports]
    options: dict[str, Any] = {"seeds": seeds, "expect": 2, "secret": SECRET, "fresh": True, "profile": "local"}
    async with open_peer(name="a", bind=f"127.0.0.1:{ports[0]}", **options) as a:
        async with open_peer(name="b", bind=f"127.0.0.1:{ports[1]}", **options):
            with trio.fail_after(10):
                async with a.lock("l"):
                    pass


async def test_join_failed_gives_one_reason_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordination.opening.opening.JOIN_SECONDS", 1.5)
    nobody, mute = free_addresses(1)[0], socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with mute:
        mute.bind(("127.0.0.1", 0))
        async with open_peer(name="a", bind="127.0.0.1:0", secret="another secret, of at least 32 bytes") as stranger:
            seeds = [nobody, stranger.address, "no.such.name.invalid:1"]
            with pytest.raises(JoinFailed) as caught:
                async with open_peer(name="b", bind="127.0.0.1:0", seeds=seeds, secret=SECRET, profile="local"):
                    pytest.fail("it joined")
            reasons = dict(caught.value.reasons)
            assert reasons[nobody] == "refused"
            assert reasons[stranger.address] in ("unanswered", "closed", "reset")
            assert reasons["no.such.name.invalid:1"] == "unresolved"
            for says in ("refused the connection", "same secret", "does not resolve"):
                assert says in str(caught.value)
            assert stranger.stats()["node.stream_unknown_key"] > 0
            assert len(stranger.members) == 1


async def test_a_taken_name_is_refused_at_the_join_and_the_holder_stays() -> None:
    async with mesh_of(2) as (a, b):
        with pytest.raises(NameTaken, match="'p1' is taken by a process at"):
            async with open_peer(name="p1", bind="127.0.0.1:0", seeds=[a.address], secret=SECRET, profile="local"):
                pytest.fail("it joined")
        await b.kv.put("still", "here")
        await until(lambda: a.kv.get("still") == "here")


async def test_what_kills_a_peer_cancels_the_body_and_leaves_bare() -> None:
    async with mesh_of(2) as (a, _):
        cancelled = False
        with pytest.raises(NameTaken):
            async with joined(a, "twin") as twin:
                await until(lambda: any(member.name == "twin" for member in a.members))
                twin._core.driver._halt(NameTaken("twin", "elsewhere"))  # type: ignore[attr-defined]
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled = True
        assert cancelled
        with pytest.raises(MeshError):
            await twin.kv.put("k", 1)


async def test_an_error_of_the_body_leaves_bare() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_peer():
            raise ZeroDivisionError


async def test_a_closed_peer_says_so() -> None:
    async with open_peer() as peer:
        await peer.kv.put("k", 1)
    with pytest.raises(Closed, match="open a new one"):
        await peer.kv.put("k", 2)
    assert peer.kv.get("k") == 1


async def test_leaving_is_told_to_the_others_and_lets_locks_go() -> None:
    async with mesh_of(3) as peers:
        async with joined(peers[0], "guest") as guest:
            held = await guest.lock("l", ttl=10).acquire()
            assert held.valid()
        with trio.fail_after(1):
            async with peers[1].lock("l", ttl=10):
                pass
        await until(lambda: {m.name: m.state for m in peers[2].members}["guest"] == "left")


async def test_a_state_dir_keeps_the_name_and_belongs_to_one(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    async with open_peer(bind="127.0.0.1:0", secret=SECRET, state_dir=directory) as peer:
        name = peer.name
        with pytest.raises(BadConfig, match="in use by another node"):
            async with open_peer(bind="127.0.0.1:0", secret=SECRET, state_dir=directory):
                pass
    async with open_peer(bind="127.0.0.1:0", secret=SECRET, state_dir=directory) as peer:
        assert peer.name == name
    with pytest.raises(BadConfig, match="belongs to the node"):
        async with open_peer(name="another", bind="127.0.0.1:0", secret=SECRET, state_dir=directory):
            pass


async def test_synced_has_what_was_written_before() -> None:
    async with mesh_of(3) as (a, b, _):
        await a.kv.put_many({f"k{n}": n for n in range(2000)})
        b.counter("c").add(7)
        async with joined(b, "late") as late:
            with trio.fail_after(5):
                await late.synced()
            assert len([*late.kv.scan("k")]) == 2000
            assert late.counter("c").value == 7


async def test_a_founder_that_is_not_fresh_makes_locks_wait() -> None:
    config = MeshConfig(max_ttl=1.0, max_drift=0.3)
    async with mesh_of(3, fresh=False, config=config) as (a, _, c):
        began = trio.current_time()
        explanation = await c.explain("l")
        with trio.fail_after(10):
            while not explanation.group:
                explanation = await c.explain("l")
        assert {name for name, _ in explanation.abstaining} == {"p0", "p1", "p2"}
        with trio.fail_after(5):
            async with a.lock("l", ttl=1.0):
                pass
        assert trio.current_time() - began > 0.3


async def test_a_cancelled_sync_is_forgotten() -> None:
    async with mesh_of(2) as (a, b):
        b._core.assembly.node.take = list  # type: ignore[method-assign]
        with trio.move_on_after(0.1) as scope:
            await a.synced()
        assert scope.cancelled_caught, "nobody answered"
        assert len(a._core.assembly.replication._syncing) == 0


def test_every_public_name_is_there_by_a_star_too() -> None:
    found: dict[str, Any] = {}
    exec("from coordination import *", found)
    assert {"open_peer", "connect", "exclusive", "Fence", "LeaseLost", "Closed"} <= found.keys()
    text = Path(coordination.__file__).read_text()
    typed = set(re.findall(r"^    from [\w.]+ import (\w+) as \1$", text, re.MULTILINE))
    assert typed == set(coordination.__all__), "what type checkers see is what there is"
