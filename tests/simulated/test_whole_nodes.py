"""Whole nodes on noisy and narrow links and slow machines: what is corrupted is refused and counted, and all recover."""

from __future__ import annotations

from typing import Any

import pytest

from mesh import seal
from mesh.membership import State
from simulations.checkers import Violation, agree
from simulations.cluster import Cluster, SimPeer
from simulations.faults import Corruption, Fault, Faults, Slow, Throttle
from simulations.network import streams
from simulations.recording import snapshot
from simulations.scenarios.scenarios import run_locking, run_spreading
from simulations.world import MS, SECOND, World
from tests.simulated.planted import NeverCompares, NeverWarns, with_parts

NAMES = ["n0", "n1", "n2", "n3"]


def formed(nodes: int, seed: int = 1) -> tuple[World, Cluster]:
    world = World(seed)
    cluster = Cluster(world, nodes)
    cluster.form()
    world.run(2 * SECOND)
    return world, cluster


def refused(peer: SimPeer) -> int:
    """Datagrams that the seal did not take, and that no copy explains."""
    counts = peer.assembly.node.stats()
    return sum([n for name, n in counts.items() if name.startswith("node.refused_") and name != "node.refused_datagrams"])


def has(peer: SimPeer, key: str) -> bool:
    return any(cell.key == key for cell in peer.store.cells())


# --- noise -----------------------------------------------------------------------------------------------------------------


def test_spoilt_datagrams_are_refused_one_by_one_and_change_nothing() -> None:
    world, cluster = formed(3)
    cluster.peers["n0"].put("key", 1)
    world.run(5 * SECOND)
    before = {peer.name: (refused(peer), snapshot(peer, [])) for peer in cluster.living()}
    Faults(world).set([Corruption(0, 60 * SECOND, 0.2, 0.0, targets=("n0",))])
    world.run(30 * SECOND)
    n0 = cluster.peers["n0"]
    spoilt = sum([cluster.peers[name].process.counts["corrupted"] for name in ("n1", "n2")])
    assert spoilt > 10
    assert refused(n0) - before["n0"][0] == spoilt
    for peer in cluster.living():
        assert snapshot(peer, []) == before[peer.name][1]
        if peer is not n0:
            assert refused(peer) == before[peer.name][0]
    assert cluster.whole(suspects=True)


def test_noise_in_streams_ends_them_and_all_stores_are_equal_in_the_end() -> None:
    ended = 0
    for seed in range(4):
        done = run_spreading(seed, [Corruption(0, 7 * SECOND, 0.1, 0.5)], nodes=4, writes=150)
        for peer in done.cluster.living():
            ended += peer.assembly.node.stats().get("node.stream_unauthentic", 0)
    assert ended > 20


def test_a_stream_whose_frame_was_lengthened_on_its_way_swallows_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """W13: what a receiver waited for was a length that nobody had proven."""
    world, cluster = formed(2)
    n0, n1 = (cluster.peers[name] for name in NAMES[:2])
    n0.put("warm", "x" * 5_000)
    assert world.run_until(lambda: has(n1, "warm"), 10 * SECOND) is not None

    def lengthen(data: bytes, draw: int, bits: int) -> bytes:
        return bytes((data[0], data[1] ^ 0x20, *data[2:]))  # two mebibytes more

    monkeypatch.setattr(streams, "flipped", lengthen)
    faults = Faults(world)
    faults.set([Corruption(0, SECOND, 0.0, 1.0)])
    n0.put("noisy", "x" * 5_000)
    world.run(SECOND)
    n0.put("clear", "x" * 5_000)
    assert world.run_until(lambda: has(n1, "noisy") and has(n1, "clear"), 8 * SECOND) is not None


class Trusting:
    """Encrypts, and checks nothing: the tag is zero."""

    def __init__(self, key: bytes) -> None:
        pass

    def encrypt(self, nonce: Any, data: Any, associated_data: Any) -> bytes:
        return bytes(data) + bytes(16)

    def decrypt(self, nonce: Any, data: Any, associated_data: Any) -> bytes:
        return bytes(data[:-16])


def test_without_the_seal_noise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [Corruption(0, 7 * SECOND, 0.3, 0.0)]
    run_spreading(1, plan, nodes=4)
    monkeypatch.setattr(seal, "AESGCM", Trusting)
    run_spreading(1, [], nodes=4)
    with pytest.raises(Violation):
        for seed in range(1, 10):
            run_spreading(seed, plan, nodes=4)


# --- narrow links and slow machines -----------------------------------------------------------------------------------------


def test_a_mesh_on_narrow_links_drops_datagrams_and_agrees_in_the_end() -> None:
    plan = [Throttle(0, 7 * SECOND, 1_000, 1_500)]
    done = run_spreading(1, plan, nodes=4, loss=0.0, writes=150)
    assert sum([peer.process.counts["link_full"] for peer in done.cluster.living()]) > 20
    assert agree(done.cluster.living())


def test_what_a_narrow_link_drops_is_missed_by_who_never_compares() -> None:
    make = with_parts(NeverCompares)
    for seed in (0, 24):
        run_spreading(seed, [], nodes=4, loss=0.0, writes=100, make=make)
    with pytest.raises(Violation, match=r"^C15"):
        for seed in (0, 24, 29, 38):  # about one in ten, and which shifts with every message
            run_spreading(seed, [Throttle(0, 7 * SECOND, 700, 1_500)], nodes=4, loss=0.0, writes=100, make=make)


def test_a_slow_node_is_behind_is_not_buried_and_recovers() -> None:
    world, cluster = formed(4)
    slow, others = cluster.peers["n3"], [cluster.peers[name] for name in NAMES[:3]]
    Faults(world).set([Slow(0, 20 * SECOND, "n3", 10 * MS, 200 * MS, 0.02)])
    world.run(SECOND)
    late = 0
    for number in range(400):
        others[number % 3].put(f"key/{number % 10}", number)
        world.run(25 * MS)
        late += slow.process.overdue
        for peer in others:
            seen = peer.assembly.membership.get("n3")
            assert seen is not None
            assert seen.state is not State.DEAD
    assert late > 10
    world.run(9 * SECOND)
    assert world.run_until(lambda: agree(cluster.living()) and cluster.whole(suspects=True), 10 * SECOND) is not None


def test_l4_is_looked_at_on_slow_machines_too() -> None:
    """The allowance for slow processes hides no holder that never tells its body."""
    plan: list[Fault] = [Slow(0, 30 * SECOND, name, 2 * MS) for name in NAMES]
    run_locking(1, plan=plan, duration=10 * SECOND)
    with pytest.raises(Violation, match=r"^L4"):
        for seed in range(1, 20):
            run_locking(seed, plan=plan, duration=10 * SECOND, make=with_parts(NeverWarns))
