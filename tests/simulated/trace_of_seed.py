"""The whole trace of one seed, line by line: `python -m tests.simulated.trace_of_seed SEED`.

Its last line is the digest. Two runs of one seed print the same, in any process and with any PYTHONHASHSEED."""

from __future__ import annotations

import sys

from simulations.cluster import Cluster
from simulations.faults import (
    Corruption,
    Crash,
    Faults,
    Partition,
    Pause,
    RandomCuts,
    Ring,
    Slow,
    Throttle,
    Weather,
)
from simulations.locking import Locks, LockUser
from simulations.network.latency import LogNormal
from simulations.network.network import Conditions
from simulations.trace import Line
from simulations.world import MS, SECOND, World


def main(seed: int) -> None:
    world = World(seed, conditions=Conditions((MS, 5 * MS), loss=0.05, duplicate=0.02, reorder=0.05))
    world.trace.follow(show)
    cluster = Cluster(world, 5, expect=3)
    cluster.start()
    locks = Locks(cluster)
    for name in cluster.names:
        LockUser(locks, name, ["lock/a", "lock/b"], 0, 12 * SECOND)
    plan = (
        Partition(3 * SECOND, 2 * SECOND, ("n0", "n3")),
        Crash(5 * SECOND, SECOND, "n1"),
        Pause(7 * SECOND, 2 * SECOND, "n2"),
        Weather(3 * SECOND, 3 * SECOND, Conditions(LogNormal(2 * MS, 800), loss=0.05), ("n4",)),
        Throttle(4 * SECOND, 3 * SECOND, 2_000, 2_000, ("n0",)),
        Corruption(5 * SECOND, 3 * SECOND, 0.1, 0.05),
        Slow(8 * SECOND, 3 * SECOND, "n3", 3 * MS, 50 * MS, 0.1),
        RandomCuts(9 * SECOND, SECOND, 0.3, seed),
        Ring(10 * SECOND, SECOND, ("n1", "n3", "n0", "n4", "n2")),
    )
    Faults(world).set(plan)
    for number in range(30):
        world.after(number * 300 * MS, write, cluster, number)
    world.run(15 * SECOND)
    print(world.trace.digest())


def write(cluster: Cluster, number: int) -> None:
    peer = cluster.peers[f"n{number % 5}"]
    if peer.process.running:
        peer.put(f"key/{number % 7}", {"n": number, "text": "x" * (number * 50)}, ttl_ms=4_000 if number % 3 else 0)
        peer.add("counter", number)


def show(line: Line) -> None:
    data = line.data.hex() if isinstance(line.data, bytes) else repr(line.data)
    sys.stdout.write(f"{line.at} {line.machine} {line.kind} {line.text} {data}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
