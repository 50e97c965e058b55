"""Anti-entropy: what equal replicas say to each other, and what a difference costs, in bytes that leave a node.

Counted is what two whole nodes send in the simulated world, where no other traffic of the machine can disturb it: every byte of
every datagram and stream frame, sealed. The stores are filled alike before, so that what is sent is the difference alone.

What limits each: the digest is a hash, a number and a flag, whatever it stands for. A change that is pushed travels in a
datagram of its own, whose seal and header (with the gossip that fills its room) are the most of it; many together share them,
and are repeated to a few members within a budget. A difference that was missed costs the comparison first (bounded by the
vector), then each cell once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from crdt.cell import KEY, Cell, encode_cell
from crdt.dots import Summary
from mesh.directives import Address
from mesh.replication.messages import Digest
from mesh.values import encode_value
from mesh.wire import encode
from simulations.checkers import agree
from simulations.cluster import Cluster, SimPeer
from simulations.faults import Faults, Isolate
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.parcels import Parcel
from simulations.world import MS, SECOND, World
from tests.benchmarks.figures import title

__all__ = ["main"]

SIZES = (0, 1_000, 100_000)
CHANGES = (1, 10, 1_000)
TURNS = {1: 40, 10: 10, 1_000: 2}
"""How often so many are changed: what few of them cost is little beside what a mesh at rest says in the same time."""
VALUE = {"rps": 10}
WRITER = b"w" * 16
REST = 30 * SECOND
DIGEST_MOST = 32
OVERHEAD_MOST = {1: 20.0, 10: 6.0, 1_000: 3.5}
"""Times the encoded size of what was changed, at the most, if nothing was pushed in vain."""


class Sent(Observer):
    """What leaves: messages by their kind, and all bytes."""

    def __init__(self, world: World) -> None:
        self.messages: Counter[str] = Counter()
        self.digest = 0
        self.bytes = 0
        world.observe(self)

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        self.bytes += len(data)
        if isinstance(data, Parcel):
            for message in data.frame.messages:
                self.messages[type(message).__name__] += 1
                if isinstance(message, Digest):
                    self.digest = max(self.digest, len(encode(message)))

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        self.bytes += len(data)


def pair(keys: int) -> tuple[World, Cluster, Sent]:
    """Two nodes that hold the same, and have nothing more to say about it."""
    world = World(1)
    cluster = Cluster(world, 2, encoded=False)
    cluster.form()
    stamp = cluster.peer("n0").put("first", 1)
    body = encode_value(VALUE)
    held = [
        Cell(KEY, f"config/{n:06}", (0, stamp + 1 + n // 1_000, WRITER, 0, 0, b""), body, None, WRITER, n + 1)
        for n in range(keys)
    ]
    for peer in cluster.living():
        peer.store.restore(held, Summary(((WRITER, keys),), ()) if keys else Summary((), ()), stamp + 1_000)
        peer.store.take_changes()
    world.run(10 * SECOND)
    assert agree(cluster.living()) and len(cluster.peer("n1").store) == keys + 1
    return world, cluster, Sent(world)


def rest(keys: int) -> None:
    world, _, sent = pair(keys)
    world.run(REST)
    digests = sent.messages["Digest"]
    assert digests >= 2 * REST // (2 * SECOND) and not {"Pull", "Chunk", "Push", "Vector"} & {*sent.messages}, sent.messages
    assert 0 < sent.digest <= DIGEST_MOST, sent.digest
    print(
        f"  {f'digest of {keys:,} keys':<46}{sent.digest} bytes, {digests * SECOND / REST / 2:.1f} a second of each node; "
        f"limit {DIGEST_MOST} (reached)",
        flush=True,
    )


def idle(sent: Sent, world: World) -> float:
    """Bytes a ns of a mesh that has nothing to say: probes, digests, the register's rounds."""
    before = sent.bytes
    world.run(REST)
    return (sent.bytes - before) / REST


def changes(world: World, cluster: Cluster, sent: Sent, count: int, *, missed: bool) -> None:
    """So many keys changed on one node: pushed at once, or found by comparing, as the other was cut off meanwhile."""
    writer = cluster.peer("n0")
    spent = idle(sent, world)
    began, before, longest, encoded = world.now, sent.bytes, 0, 0
    for turn in range(TURNS[count]):
        if missed:
            Faults(world).set([Isolate(0, SECOND // 2, "n1")])
            world.run(MS)
        keys, number = [f"config/{n * 97 % 100_000:06}" for n in range(count)], world.now
        for key in keys:
            writer.put(key, number)
            cell = writer.store.cell(KEY, key)
            assert cell is not None
            encoded += len(encode_cell(cell))
        took = world.run_until(lambda: has(cluster.peer("n1"), keys, encode_value(number)), 20 * SECOND, MS)  # noqa: B023
        assert took is not None, (count, turn)
        longest = max(longest, took)
        world.run(SECOND)
    changed = TURNS[count] * count
    each, encoded_each = (sent.bytes - before - spent * (world.now - began)) / changed, encoded / changed
    assert agree(cluster.living())
    assert each < OVERHEAD_MOST[count] * encoded_each, (count, each, encoded_each)
    how = "found by comparing" if missed else "pushed"
    print(
        f"  {f'{count:,} of 100,000 keys changed, {how}':<50}{each:.0f} bytes sent for each, {each / encoded_each:.1f} x its "
        f"encoded size ({encoded_each:.0f}); within {longest / MS:.0f} ms",
        flush=True,
    )


def has(peer: SimPeer, keys: Sequence[str], body: bytes) -> bool:
    """Cheap while it has not: the last ones first."""
    cells = (peer.store.peek(key) for key in reversed(keys))
    return all(cell is not None and cell.body == body for cell in cells)


def main() -> None:
    title("Equal and unequal replicas (simulated, two nodes)")
    began = time.process_time()
    for keys in SIZES:
        rest(keys)
    world, cluster, sent = pair(SIZES[-1])
    for missed in (False, True):
        for count in CHANGES:
            changes(world, cluster, sent, count, missed=missed)
    print(f"  {'processor for all of it':<46}{time.process_time() - began:.1f} s")
