"""A writer that is faster than the mesh: what is under way is bounded, whatever it writes, and nothing is lost.

What others lack stands in the writer's store alone, once for each key; they pull it, a part at a time, as fast as their links
carry it (`mesh.replication.spreading`). So a put never waits for the mesh; a writer that wants to go no faster than others
follow says so with `acks`, which is answered by them."""

from __future__ import annotations

import pytest

from mesh.replication.pulling import REPEAT
from simulations.checkers import agree
from simulations.cluster import Cluster
from simulations.faults import Faults, Throttle
from simulations.world import MS, SECOND, World

KEYS = 1_500
VALUE = "x" * 2_000
LINK = 100_000
"""Bytes a second from the writer to each of the two others: they need half a minute for what it writes in three seconds."""
LIMIT = 65 * SECOND
BOUND = 512 << 10
"""Under way from the writer to one other: the news of a window, and a part that was asked for up to four times before it was
known how slow the link is. It writes six times as much, or eighteen."""


def flood(seed: int, *, again: int = 1) -> tuple[int, int]:
    """The most bytes under way from the writer to one other, and how long (ns) until both have everything."""
    world = World(seed)
    cluster = Cluster(world, 3)
    cluster.form()
    world.run(2 * SECOND)
    Faults(world).set([Throttle(0, 600 * SECOND, LINK, sources=("n0",))])
    writer, most = cluster.peer("n0"), 0

    def under_way() -> int:
        sent: dict[str, int] = {}
        for connection in world.streams._connections.values():
            for pipe in connection.pipes:
                if pipe.link.source == "n0":
                    sent[pipe.link.target] = sent.get(pipe.link.target, 0) + pipe.bytes
        return max(sent.values(), default=0)

    begun = world.now
    for number in range(KEYS * again):
        world.after(number * 2 * MS // again, writer.put, f"key/{number % KEYS:05}", VALUE + str(number))
    while world.now - begun < 2 * KEYS * MS:
        world.run(20 * MS)
        most = max(most, under_way())
    while not agree(cluster.living()):
        world.run(SECOND // 4)
        most = max(most, under_way())
        assert world.now - begun < LIMIT, "not there yet"
    for peer in cluster.living():
        shown = {cell.key: cell.body or b"" for cell in peer.store.scan("key/", 0)}
        assert len(shown) == KEYS
        for key, body in shown.items():  # the last of what was written there
            assert body.endswith(b"x%d" % (KEYS * (again - 1) + int(key[4:])))
    return most, world.now - begun


@pytest.mark.parametrize("again", [1, 3])
def test_little_is_under_way_and_all_of_it_arrives_as_fast_as_the_link_carries_it(again: int) -> None:
    """Keys that are written several times meanwhile are sent a second time at the most."""
    most, took = flood(1, again=again)
    assert most <= BOUND
    assert took <= LIMIT


def test_fault_asking_again_before_a_slow_link_can_have_answered_fills_it_with_repetitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.replication.pulling.LONGEST", REPEAT)
    with pytest.raises(AssertionError, match="not there yet"):
        flood(1)
