"""L7 in the world: whoever held a lock before, and writes late, loses on every replica, after any pause or partition."""

from __future__ import annotations

from contextlib import suppress

import pytest

from crdt.change import ChangeKind
from crdt.store import Store, StoreFencedError
from mesh.directives import Event
from mesh.replication import Changed
from mesh.values import decode_value, encode_value
from simulations.cluster import Cluster, SimPeer
from simulations.faults import Faults, Isolate, Pause
from simulations.locking import Claim, Locks
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.world import MS, SECOND, World

KEY = "report"
LOCK = "lock/jobs"


class Told(Observer):
    """Whose writes were told to have lost to a fence, and what they were."""

    def __init__(self, world: World) -> None:
        self.lost: list[tuple[str, int]] = []
        world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Changed):
            for change in event.changes:
                if change.kind is ChangeKind.FENCED:
                    self.lost.append((process.machine, int(change.new.order[1])))


def write(peer: SimPeer, value: str, token: int) -> int:
    """As `kv.put` does behind its checks; its stamp."""
    replication = peer.assembly.replication
    lock = LOCK if token else ""
    stamp, directives = replication.put(KEY, encode_value(value), peer.process.instant(), fence=token, lock=lock)
    peer.perform(replication, directives)
    return stamp


def held(world: World, claim: Claim) -> int:
    assert world.run_until(lambda: claim.state != "asking", 20 * SECOND, MS) is not None
    assert claim.state == "held", claim
    return claim.token


def late_writes(seed: int, *, store: type[Store] = Store) -> tuple[World, Cluster, Told, list[tuple[str, int]]]:
    """n1 holds the lock and writes; it is cut off, or stands still, while n2 is granted it and writes. Then n1 writes on, and
    n3, which has never held it nor heard of it."""
    world = World(seed)
    cluster = Cluster(world, 4, expect=3)
    locks, told = Locks(cluster), Told(world)
    cluster.form()
    for peer in cluster.living():
        peer.store.__class__ = store
    n1, n2, n3 = (cluster.peers[name] for name in ("n1", "n2", "n3"))
    Faults(world).set([Isolate(0, 20 * SECOND, "n3")])
    world.run(MS)
    first = held(world, locks.acquire(n1, LOCK, ttl=2 * SECOND))
    write(n1, "first", first)
    world.run(seed % 3 * 100 * MS)
    began, away = world.now, (6 + seed % 7) * SECOND
    Faults(world).set([Isolate(0, away, "n1") if seed % 2 else Pause(0, away - 500 * MS, "n1")])
    second = held(world, locks.acquire(n2, LOCK, ttl=2 * SECOND))
    assert second > first
    write(n2, "second", second)
    world.run(began + away - 400 * MS - world.now)
    late = []
    # Whatever they still had under way: nothing on their side prevents it, unless they have heard of the fence meanwhile.
    for peer, value, token in ((n1, "late", first), (n3, "unfenced", 0)):
        with suppress(StoreFencedError):
            late.append((peer.name, write(peer, value, token)))
    world.run(30 * SECOND)
    return world, cluster, told, late


def shown(cluster: Cluster) -> set[str]:
    return {
        str(decode_value(cell.body))
        for peer in cluster.living()
        if (cell := peer.store.peek(KEY)) is not None and cell.body is not None
    }


@pytest.mark.parametrize("seed", range(8))
def test_l7_late_writes_lose_everywhere_and_their_writers_are_told(seed: int) -> None:
    _, cluster, told, late = late_writes(seed)
    assert len(late) == (2 if seed % 2 else 1), (
        "who was cut off writes; who stood still hears of the fence as soon as it goes on"
    )
    assert len(cluster.living()) == 4
    assert shown(cluster) == {"second"}
    assert sorted(told.lost) == sorted(late)


class LastWins(Store):
    """Forgets the fence: the later stamp wins."""

    __slots__ = ()

    def put(self, key, body, stamp, expiry=0, bound=None, fence=0, lock=""):  # type: ignore[no-untyped-def]
        return super().put(key, body, stamp, expiry, bound)


def test_without_the_fence_the_late_write_is_seen() -> None:
    _, cluster, told, _ = late_writes(1, store=LastWins)
    assert shown(cluster) != {"second"}
    assert told.lost == []
