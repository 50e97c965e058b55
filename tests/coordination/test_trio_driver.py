"""The ordinary driver of a peer: what it hands to the maker of a node, and what leaves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio

from coordination import open_peer
from coordination.assembly import Assembly, Settings, build
from coordination.errors import BindFailed, Closed, Forked
from coordination.opening.driver_seam import DRIVER
from coordination.opening.trio_driver import open_trio_driver
from crdt.clock import Instant
from mesh.shell import TrioDriver
from tests.mesh.shell_fakes import SECONDS, descriptors_left


class Maker:
    """Builds a mesh of one, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def __call__(
        self, address: str, /, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant
    ) -> Assembly:
        self.given.append({"address": address, "session": session, "random": random.getrandbits(64), "now": now})
        settings = Settings("one", address or "local", networked=bool(address))
        return build(settings, session=session, entropy=entropy, random=random, now=now)


async def test_every_node_gets_sources_of_its_own() -> None:
    make = Maker()
    assert DRIVER.get() is open_trio_driver
    async with open_trio_driver(make, bind=None, advertise=None) as (a, assembly):
        async with open_trio_driver(make, bind="127.0.0.1:0", advertise=None) as (b, _):
            assert a.node is assembly.node and a.node is not b.node
            first, second = make.given
            assert first["address"] == "" and second["address"] == b.address
            assert len(first["session"]) == 16
            assert first["session"] != second["session"] and first["random"] != second["random"]
            assert first["now"].mono <= a.instant().mono


@pytest.mark.parametrize(("profile", "looks"), [("local", True), ("lan", False), (None, False)])
async def test_only_a_peer_of_one_machine_looks_for_the_next_datagram(profile: str | None, looks: bool) -> None:
    named = {} if profile is None else {"profile": profile}
    async with open_peer(name="one", bind="127.0.0.1:0", **named) as peer:  # type: ignore[arg-type]
        driver = peer._core.driver
        assert isinstance(driver, TrioDriver)
        assert (driver._turns._polling is not None) == looks


async def test_entropy_is_not_read_ahead() -> None:
    """A fork, or a clone of the machine, would repeat what is left: entropy alone keeps their nonces apart."""
    sources: list[Callable[[int], bytes]] = []

    def make(address: str, /, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant) -> Assembly:
        sources.append(entropy)
        return Maker()(address, session=session, entropy=entropy, random=random, now=now)

    async with open_trio_driver(make, bind=None, advertise=None):
        entropy = sources[0]
        entropy(4)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, entropy(16))
            os._exit(0)
        os.close(writer)
        try:
            theirs = await trio.to_thread.run_sync(os.read, reader, 16)
        finally:
            os.close(reader)
        await trio.to_thread.run_sync(os.waitpid, pid, 0)
        assert len(theirs) == 16 and theirs != entropy(16)


async def test_a_peer_without_a_network_opens_no_socket_and_refuses_forks() -> None:
    with descriptors_left() as left:
        async with open_peer() as peer:
            with descriptors_left() as meanwhile:
                await peer.kv.put("a", 1)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    peer.counter("c").add()
                except Forked:
                    code = 0
                finally:
                    os._exit(code)
            _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            peer.counter("c").add()
            assert peer.kv.get("a") == peer.counter("c").value == 1
    assert left == meanwhile == [0]
    with pytest.raises(Closed):
        peer.counter("c").add()


async def test_a_taken_port_leaves_bare_and_nothing_open() -> None:
    async with open_peer(name="one", bind="127.0.0.1:0") as peer:
        with descriptors_left() as left, pytest.raises(BindFailed, match="taken by another process"):
            async with open_peer(name="two", bind=peer.address):
                pytest.fail("entered")
        assert left == [0]


async def test_two_peers_meet_and_leave_nothing_open() -> None:
    with descriptors_left() as left:
        async with open_peer(name="one", bind="127.0.0.1:0", profile="local") as one:
            async with open_peer(name="two", seeds=[one.address], voter=False, profile="local") as two:
                await two.kv.put("a", 1)
                with trio.fail_after(SECONDS):
                    async with one.watch(key="a", snapshot=True) as changes:
                        async for event in changes:
                            if event.value == 1:
                                break
    assert left == [0]
