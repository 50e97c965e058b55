"""How a window's writes become messages: bursts are pulled, what is urgent is not kept waiting by them."""

from __future__ import annotations

from crdt.cell import Cell
from crdt.store import Store
from mesh.replication.messages import Announce, Dot, Push
from mesh.replication.spreading import BUSY, LONGEST, PUSH_BYTES, SHORTEST, WINDOW_BYTES, Window, news_of
from simulations.checkers import agree
from simulations.cluster import Cluster
from simulations.world import MS, SECOND, World

ACTOR = b"a" * 16


def written(count: int, size: int = 20) -> list[tuple[Cell, int]]:
    store = Store(ACTOR)
    for n in range(count):
        store.put(f"k{n:06}", b"x" * size, 10 + n)
    return [(cell, previous) for cell, previous in store.flush()]


def test_a_few_writes_are_pushed_and_a_burst_is_announced_beyond_the_budget() -> None:
    few = news_of(written(20))
    assert all(isinstance(message, Push) for message in few)
    assert sum([len(message.news) for message in few if isinstance(message, Push)]) == 20
    burst = news_of(written(10_000))
    pushed = [each.cell for message in burst if isinstance(message, Push) for each in message.news]
    size = sum([len(cell) for cell in pushed if isinstance(cell, bytes)])
    assert WINDOW_BYTES - PUSH_BYTES < size + 10 * len(pushed) < WINDOW_BYTES + PUSH_BYTES
    assert burst[-1] == Announce((Dot(ACTOR, 10_000),)), "whoever lacks the last lacks the rest"


def test_the_window_grows_under_load_and_shrinks_without() -> None:
    window, now = Window(), 0
    assert window.due(now) == now, "after a rest a write leaves at once"
    for _ in range(10):
        window.ended(now, BUSY + 1)
        assert window.due(now) == now + window.length
        now = window.due(now)
    assert window.length == LONGEST
    for _ in range(10):
        window.ended(now, 1)
    assert window.length == SHORTEST


def test_an_urgent_write_overtakes_a_burst_that_the_links_cannot_carry_at_once() -> None:
    """8,000 keys in one step; then one more."""
    world = World(3)
    cluster = Cluster(world, 6)
    cluster.form()
    world.run(SECOND)
    writer = cluster.peer("n0")
    before = writer.assembly.node.stats()["node.datagrams_sent"]
    for n in range(8_000):
        writer.put(f"bulk/{n:05}", n)
    world.run(2 * MS)
    writer.put("urgent", 1)
    others = [peer for peer in cluster.living() if peer is not writer]
    took = world.run_until(lambda: all(peer.store.peek("urgent") for peer in others), SECOND, MS)
    assert took is not None and took < 60 * MS
    assert any(peer.store.peek("bulk/07999") is None for peer in others), "the burst has arrived before: it was none"
    assert world.run_until(lambda: agree(cluster.living()), 10 * SECOND, 50 * MS) is not None
    assert all(peer.store.peek("bulk/07999") for peer in others)
    assert writer.assembly.node.stats()["node.datagrams_sent"] - before < 1_000
    assert writer.assembly.node.stats()["node.undelivered"] == 0
