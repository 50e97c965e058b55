"""Everything that was sent, replayed to the same node, to another and to one that restarted, changes nothing (W6)."""

from __future__ import annotations

import pytest

from mesh.membership import State
from mesh.replay import ReplayWindow
from simulations.cluster import Cluster, SimPeer
from simulations.locking import Locks
from simulations.machine.process import Process
from simulations.recording import Recorder, replay, snapshot
from simulations.world import SECOND, World
from tests.simulated.fake import FakeNode

KEYS = ["lock/a", "lock/b"]


def recorded(seed: int, *, held: bool = True) -> tuple[World, Cluster, Recorder]:
    """A mesh that has worked for a while, with one node restarted, and at rest again."""
    world = World(seed)
    recorder = Recorder(world)
    cluster = Cluster(world, 4, expect=3)
    cluster.form()
    locks = Locks(cluster)
    for turn in range(12):
        peer = cluster.peers[f"n{turn % 4}"]
        peer.put(f"key/{turn % 5}", "x" * (turn * 400))
        peer.add("hits", 1)
        claim = locks.acquire(peer, KEYS[turn % 2])
        world.run_until(lambda claim=claim: claim.state == "held", 2 * SECOND)  # type: ignore[misc]
        locks.release(claim)
        world.run(SECOND // 2)
        if turn == 6:
            world.kill("n3")
            world.boot("n3")
    for name in ("n0", "n1") if held else ():
        locks.acquire(cluster.peers[name], KEYS[name == "n1"])
    assert world.run_until(cluster.whole, 30 * SECOND) is not None
    world.run(5 * SECOND)
    return world, cluster, recorder


def attack(world: World, recorder: Recorder, peer: SimPeer) -> list[str]:
    """What a replay of everything to one node changed."""
    before = snapshot(peer, KEYS)
    assert len(before["registers"]) == 2 or peer.name == "n3"
    assert len(before["members"]) == 4
    assert len(before["cells"]) >= 9
    replay(peer, recorder.datagrams[:], recorder.streams())
    after = snapshot(peer, KEYS)
    return [what for what in before if before[what] != after[what]]


@pytest.mark.parametrize("name", ["n0", "n2", "n3"])
def test_a_replay_to_any_node_changes_nothing(name: str) -> None:
    world, cluster, recorder = recorded(1)
    assert len(recorder.datagrams) > 400
    assert len(recorder.streams()) > 10
    peer = cluster.peers[name]
    refused = peer.assembly.node.stats()
    assert attack(world, recorder, peer) == []
    stats = peer.assembly.node.stats()
    assert stats["node.refused_replayed"] - refused.get("node.refused_replayed", 0) > 20
    assert stats["node.refused_unauthentic"] - refused.get("node.refused_unauthentic", 0) > 50
    states = {each.name: snapshot(each, KEYS)["cells"] for each in cluster.living()}
    world.run(60 * SECOND)
    assert attack(world, recorder, peer) == []
    world.run(10 * SECOND)
    assert cluster.whole()
    assert {each.name: snapshot(each, KEYS)["cells"] for each in cluster.living()} == states


def test_an_impostor_with_recordings_alone_revives_nobody() -> None:
    """At the address of a dead node stands a machine that answers everything with what that node once sent."""
    world, cluster, recorder = recorded(2)
    dead = cluster.peers["n3"]
    said = [data for source, _, data in recorder.datagrams if source == dead.process.address]
    spoken = recorder.streams()[-20:]
    world.kill("n3")
    answered = 0

    def impostor(process: Process) -> FakeNode:
        node = FakeNode(process)

        def answer(kind: str, what: object) -> None:
            nonlocal answered
            if kind == "datagram" and isinstance(what, tuple):
                answered += 1
                for data in said[answered % 7 :: 7]:
                    node.send(what[1], data)
            elif kind == "accept" and isinstance(what, int):
                answered += 1
                for data in spoken[answered % len(spoken)]:
                    node.write(what, data)

        node.then = answer
        return node

    world.machines["n3"].program = impostor
    world.boot("n3")
    world.run(60 * SECOND)
    assert answered > 10
    for peer in (cluster.peers[name] for name in ("n0", "n1", "n2")):
        member = peer.assembly.membership.get("n3")
        assert member is not None
        assert member.state is State.DEAD
        assert peer.process.alive


def test_without_the_window_a_replay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old request for a lock that is free now would be granted again."""
    world, cluster, recorder = recorded(1, held=False)
    assert [what for name in ("n0", "n1", "n2") for what in attack(world, recorder, cluster.peers[name])] == []
    monkeypatch.setattr(ReplayWindow, "take", lambda self, counter: True)
    changed = [what for name in ("n0", "n1", "n2") for what in attack(world, recorder, cluster.peers[name])]
    assert "registers" in changed
