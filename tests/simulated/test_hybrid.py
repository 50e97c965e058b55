"""Users' services in the world: the same run for the same seed, a mesh of them, and the errors of a service."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import uuid
from typing import Any

import pytest
import trio

from coordination import BadConfig, BindFailed, Closed, LeaseLost, MeshConfig, NameTaken, Peer, connect, open_peer
from simulations import SECOND, World
from simulations.faults import Faults, Partition, Pause
from simulations.hybrid import Host, Hosts, OneNodeError, scheduling
from simulations.hybrid.driver import WrongTaskError
from tests.simulated.hybrid_service import SECRET, alone, locking, peer_of

# --- the same run for the same seed ------------------------------------------------------------------------------------


def test_a_seed_is_one_run() -> None:
    first, again, other = locking(7), locking(7), locking(8)
    assert first == again
    assert len(first.log) > 20
    assert first.digest != other.digest


def orders(seed: int, *, beside: bool = False) -> list[int]:
    """In which order five tasks of one host run that wake up at the same moments, a hundred times."""
    world, woken = World(seed), list[int]()

    async def sleeper(number: int) -> None:
        for _ in range(100):
            await trio.sleep(0.01)
            woken.append(number)

    async def service(host: Host) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(sleeper, number)

    async def busy(host: Host) -> None:
        while True:
            await trio.sleep(0.001)

    with Hosts(world) as hosts:
        hosts.add("n0", service)
        if beside:
            hosts.add("n1", busy)
        hosts.start()
        world.run(2 * SECOND)
    assert len(woken) == 500
    return woken


def test_tasks_that_wake_together_run_in_an_order_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = orders(1)
    assert first == orders(1) == orders(1, beside=True), "whatever other hosts do"
    assert first != orders(2)
    assert len({tuple(first[at : at + 5]) for at in range(0, 500, 5)}) > 50, "and each time in another one"
    monkeypatch.setattr(scheduling, "_known", False)
    with pytest.warns(UserWarning, match="seeds may not repeat"):
        assert orders(1) != orders(1), "Trio's own order is of chance: what it rests on is seen"


def test_processes_with_different_hash_seeds_run_the_same_services() -> None:
    digests = set()
    for hash_seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.simulated.hybrid_service"]
        digests.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert digests == {f"{locking(7).digest}\n"}


def test_leaving_out_a_fault_shifts_nothing_before_it() -> None:
    pause = Pause(4 * SECOND, 2 * SECOND, "n1")
    with_it, without = locking(7, [pause]), locking(7, [])
    assert [line for line in with_it.log if line[0] < 4 * SECOND] == [line for line in without.log if line[0] < 4 * SECOND]
    assert with_it.log != without.log


def test_chance_is_of_the_seed() -> None:
    drawn: list[object] = []

    async def service(host: Host) -> None:
        drawn.append((uuid.uuid4(), random.random()))
        await trio.sleep(1)

    alone(service, seed=1), alone(service, seed=1), alone(service, seed=2)
    assert drawn[0] == drawn[1] != drawn[2]


# --- the mesh ----------------------------------------------------------------------------------------------------------


def test_a_mesh_of_three_services() -> None:
    world = World(3)
    seen: dict[str, Any] = {}

    async def service(host: Host) -> None:
        async with peer_of(host) as peer:
            await peer.kv.put(f"here/{host.name}", True)
            async with peer.watch(prefix="here/", snapshot=True) as changes:
                here: set[str] = set()
                async for event in changes:
                    here.add(event.key)
                    if len(here - {"here/"}) == 3:
                        break
            seen[host.name] = sorted(member.name for member in peer.members)
            await trio.sleep(1)  # who leaves at once may take the news along that it alone has

    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service)
        hosts.start()
        assert hosts.until(lambda: len(seen) == 3, within=5) is not None
    assert seen == {name: ["a", "b", "c"] for name in ("a", "b", "c")}


def test_a_thin_client_has_a_host_of_its_own() -> None:
    world = World(3)
    said: list[object] = []

    async def node(host: Host) -> None:
        async with peer_of(host):
            await trio.sleep_forever()

    async def client(host: Host) -> None:
        async with connect(*host.seeds, secret=SECRET) as mesh:
            await mesh.kv.put("greeting", "hello")
            said.append(await mesh.kv.get("greeting"))
            async with mesh.lock("jobs/nightly", ttl=2) as held:
                said.append(held.token > 0)

    with Hosts(world, founders=2) as hosts:
        hosts.add("a", node), hosts.add("b", node)
        hosts.start()
        world.run(SECOND)
        hosts.add("client", client)
        world.boot("client")
        assert hosts.until(lambda: len(said) == 2, within=5) is not None
    assert said == ["hello", True]


def test_a_service_may_open_one_peer_after_the_other() -> None:
    sessions: list[bytes] = []

    async def service(host: Host) -> None:
        for _ in range(3):
            async with open_peer(name=host.name, bind=host.address, secret=SECRET, fresh=True) as peer:
                sessions.append(peer.members[0].boot.session)
                await peer.kv.put("key", 1)

    hosts = alone(service)
    assert len(set(sessions)) == 3
    assert hosts["n0"].exits == [""]


def test_a_peer_without_a_network() -> None:
    said: list[object] = []

    async def service(host: Host) -> None:
        async with open_peer() as peer, peer.lock("a") as held:
            await peer.kv.put("key", 1, ttl=2)
            said.extend([held.valid(), peer.address, peer.kv.get("key")])
            await trio.sleep(3)
            said.append(peer.kv.get("key"))

    alone(service)
    assert said == [True, "", 1, None]


def test_one_node_at_a_time() -> None:
    async def service(host: Host) -> None:
        async with open_peer():
            with pytest.raises(OneNodeError, match="one at a time"):
                async with open_peer():
                    pass

    assert alone(service)["n0"].exits == [""]


@pytest.mark.parametrize(("bind", "why"), [("10.9.9.9:7946", "not an address of this host"), ("10.0.0.1:1", "has one port")])
def test_a_wrong_address(bind: str, why: str) -> None:
    async def service(host: Host) -> None:
        with pytest.raises(BindFailed, match=why):
            async with open_peer(name="a", bind=bind, secret=SECRET, fresh=True):
                pass

    assert alone(service)["n0"].exits == [""]


def test_what_open_peer_refuses_it_refuses_here() -> None:
    async def service(host: Host) -> None:
        with pytest.raises(BadConfig, match="secret"):
            async with open_peer(name="a", bind=host.address):
                pass

    assert alone(service)["n0"].exits == [""]


def test_a_name_that_is_taken_ends_the_body() -> None:
    world = World(5)
    bodies: list[str] = []

    async def service(host: Host) -> None:
        try:
            async with open_peer(
                name="same", bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=True
            ):
                await trio.sleep_forever()
        except NameTaken:
            bodies.append(host.name)

    with Hosts(world, founders=1) as hosts:
        hosts.add("a", service)
        hosts.start()
        world.run(SECOND)
        hosts.add("b", service)
        world.boot("b")
        assert hosts.until(lambda: bool(bodies), within=15) is not None
    assert bodies == ["b"]


# --- errors of a service -----------------------------------------------------------------------------------------------


def test_an_error_comes_out_of_the_world() -> None:
    async def service(host: Host) -> None:
        await trio.sleep(1.5)
        raise ZeroDivisionError("seven by nothing")

    with pytest.raises(ZeroDivisionError, match="seven") as caught:
        alone(service)
    assert "raised by the service on n0, 1.500000 s after" in "".join(caught.value.__notes__)


def test_an_error_of_the_mesh_restarts_a_service() -> None:
    world, starts = World(1), list[int]()

    async def service(host: Host) -> None:
        starts.append(world.now)
        async with peer_of(host) as peer, peer.lock("a", ttl=1):
            await trio.sleep(0.4)
            async with trio.open_nursery() as nursery:  # an error in a group is one, too
                nursery.start_soon(trio.sleep_forever)

    with Hosts(world) as hosts:
        hosts.add("n0", service, restart=0.5)
        hosts.start()
        Faults(world).set([Pause(SECOND, 3 * SECOND, "n0")])
        world.run(6 * SECOND)
        assert hosts["n0"].exits[0].startswith("LeaseLost")
    assert starts[:2] == [0, 4_500_000_000]


def test_an_error_of_the_mesh_without_restart_is_an_error() -> None:
    async def service(host: Host) -> None:
        raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        alone(service)


# --- from the world's side ---------------------------------------------------------------------------------------------


def test_the_world_asks_a_host_to_do_something() -> None:
    world, done = World(1), list[object]()
    peers: list[Peer] = []

    async def service(host: Host) -> None:
        async with open_peer() as peer:
            peers.append(peer)
            await trio.sleep_forever()

    with Hosts(world) as hosts:
        host = hosts.add("n0", service)
        with pytest.raises(ValueError, match="no service runs on n0"):
            host.do(trio.sleep_forever)
        hosts.start()
        world.run(SECOND)
        with pytest.raises(WrongTaskError, match=r"host\.do"):
            peers[0].counter("a").add(1)

        async def add() -> None:
            peers[0].counter("b").add(1)
            await trio.sleep(0.5)
            done.append((world.now, peers[0].counter("b").value))

        host.do(add)
        world.run(SECOND)
    assert done == [(1_500_000_000, 1)]


def test_notes_stand_in_the_trace() -> None:
    world = World(1)

    async def service(host: Host) -> None:
        await trio.sleep(0.25)
        host.note("here I am")

    with Hosts(world) as hosts:
        hosts.add("n0", service)
        hosts.start()
        world.run(SECOND)
    assert "here I am" in world.trace.last(20, machine="n0", kind="note")


def test_what_a_service_logs_stands_in_the_trace(capfd: pytest.CaptureFixture[str]) -> None:
    async def service(host: Host) -> None:
        await trio.sleep(0.5)
        logging.getLogger("shop").warning("%d orders are late", 3)

    propagates = logging.getLogger("shop").propagate
    world = World(1)
    with Hosts(world) as hosts:
        hosts.add("n0", service)
        hosts.start()
        world.run(SECOND)
    assert "0.500000000  n0       log       warning shop: 3 orders are late" in world.trace.last(20, kind="log")
    assert propagates
    assert capfd.readouterr().err == ""


def test_a_partition_takes_the_lock_away() -> None:
    """The whole: faults, a body that is cancelled, and true time that knows who believed when."""
    world, held_by, overlaps = World(4), set[str](), 0

    async def service(host: Host) -> None:
        nonlocal overlaps
        config = MeshConfig(max_ttl=3)
        while True:
            try:
                async with peer_of(host, config=config) as peer:
                    while True:
                        async with peer.lock("one", ttl=1):
                            overlaps += bool(held_by)
                            held_by.add(host.name)
                            try:
                                await trio.sleep(0.2)
                            finally:
                                held_by.discard(host.name)
            except LeaseLost:
                lost.append(host.name)

    lost: list[str] = []
    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service, restart=0.5)
        hosts.start()
        Faults(world).set([Partition(at * SECOND, 2 * SECOND, (name,)) for at, name in ((2, "a"), (6, "b"), (10, "c"))])
        world.run(15 * SECOND)
    assert lost or any("NoQuorum" in line for host in hosts for line in host.exits)
    assert overlaps == 0


# --- leaving ------------------------------------------------------------------------------------------------------------


def test_a_service_leaves_for_good_and_the_others_go_on_without_it() -> None:
    world, gone, taken = World(5), list[bool](), list[tuple[str, list[str]]]()

    async def service(host: Host) -> None:
        async with peer_of(host, config=MeshConfig(max_ttl=3, elastic=True)) as peer:
            if host.name == "n2":
                await trio.sleep(3)
                gone.append(await peer.leave())
                with pytest.raises(Closed):
                    await peer.lock("one", ttl=2).acquire()
            while host.name != "n2":
                async with peer.lock("one", ttl=2):
                    await trio.sleep(0.2)
                if world.now > 5 * SECOND:
                    taken.append((host.name, [member.state.value for member in peer.members]))

    with Hosts(world) as hosts:
        for number in range(3):
            hosts.add(f"n{number}", service)
        hosts.start()
        world.run(9 * SECOND)
    assert gone == [True]
    assert {name for name, _ in taken} == {"n0", "n1"} and len(taken) > 10
    assert all(states == ["alive", "alive", "left"] for _, states in taken)
