"""How lock throughput grows with the nodes of a mesh: `python -m simulations.lock_scaling` prints the table of docs/scaling.md.

Whole nodes, each a machine that takes a fixed time for every input (`machine.slowness`): a thousand nodes on a thousand
processors. On each of them some users acquire and release locks of their own, one after the other, as fast as they are
served. Each register has a group of at most R of all voters, chosen by rendezvous hashing, so with more nodes there are more
owners, and no node does more: what one node serves should not depend on how many there are.

The roster is found by five and takes in the others, or is founded by all, if there are no more than that. The load begins when
the earlier roster's leases have lapsed: before, each key that is touched for the first time is looked for at those five, and
they are what everyone waits for."""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from dataclasses import dataclass, field

from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS
from mesh.directives import Address
from simulations.cluster import Cluster, SimPeer
from simulations.locking import Claim, Locks
from simulations.machine.process import Process
from simulations.machine.slowness import Service
from simulations.observer import Observer
from simulations.scaling import HEADERS
from simulations.sweeps.workers import GARBAGE
from simulations.world import MS, SECOND, World

__all__ = ["Figures", "measure"]

FOUNDERS = 5
STEP = MS // 10
"""What one input costs a node: ten thousand of them a second."""
USERS = 4
"""On each node, each with locks of its own."""
KEYS = 8
"""Of each user, in turn."""
IDLE = 10 * SECOND
SAMPLED = 16


@dataclass(slots=True)
class Figures:
    voters: int = 0
    locks_per_s: float = 0.0
    """Acquired and released, in the whole mesh, in a virtual second."""
    datagrams: float = 0.0
    """For each of them."""
    bytes_per_s: float = 0.0
    """That one node sends under load; one in `SAMPLED` datagrams is weighed."""
    idle: float = 0.0
    """Datagrams that one node sends in a second before the load begins."""
    latency: list[float] = field(default_factory=list)
    """Seconds from each question until its grant."""
    seconds: float = 0.0
    """Of processor time that the world took."""
    megabytes: int = 0
    """At the most, of memory: of the whole process, since it began."""


class User:
    """Acquires and releases, for ever. Tokens of one lock have to rise: `AssertionError` if they do not."""

    def __init__(self, locks: Locks, peer: SimPeer, number: int, figures: Figures) -> None:
        self._locks, self._peer, self._figures = locks, peer, figures
        self._keys = [f"lock/{peer.name}/{number}/{key}" for key in range(KEYS)]
        self._tokens = dict.fromkeys(self._keys, 0)
        self._turn = 0
        self.rounds = 0
        self._ask()

    def _ask(self) -> None:
        key = self._keys[self._turn % KEYS]
        self._turn += 1
        claim = self._locks.acquire(self._peer, key, ttl=10 * SECOND)
        claim.changed.append(self._changed)

    def _changed(self, claim: Claim) -> None:
        world = self._locks.cluster.world
        if claim.state == "held":
            assert claim.token > self._tokens[claim.key], f"{claim}: its token is not above the last one"
            self._tokens[claim.key] = claim.token
            self._figures.latency.append((world.now - claim.since) / SECOND)
            world.after(0, self._locks.release, claim)
        elif claim.state == "released":
            self.rounds += 1
            world.after(0, self._ask)
        else:
            raise AssertionError(f"{claim}, in a mesh where nothing is wrong")


class Sent(Observer):
    def __init__(self, world: World) -> None:
        self.datagrams = 0
        self.bytes = 0
        world.observe(self)

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        self.datagrams += 1
        if self.datagrams % SAMPLED == 0:
            self.bytes += SAMPLED * (len(data) + HEADERS)


def measure(
    nodes: int, *, seed: int = 1, warm: int = SECOND, span: int = SECOND, users: int = USERS, step: int = STEP
) -> Figures:
    """One mesh under full load, for `span` virtual ns after `warm`. Raises `AssertionError` if a lock is refused or lost, a
    token does not rise, or a node is left out of the roster that could be in it."""
    began = time.process_time()
    world = World(seed)
    parameters = DEFAULT_PARAMETERS._replace(elastic=True)
    cluster = Cluster(world, nodes, expect=min(FOUNDERS, nodes), parameters=parameters, encoded=False)
    figures = Figures(voters=cluster.grow())
    sent = Sent(world)
    world.run(IDLE)
    figures.idle = sent.datagrams * SECOND / IDLE / nodes
    locks = Locks(cluster)
    for peer in cluster.living():
        peer.process.slow_down(Service(step))
    everyone = [User(locks, peer, number, figures) for peer in cluster.living() for number in range(users)]
    world.run(warm)
    figures.latency.clear()
    sent.datagrams = sent.bytes = 0
    before = sum([user.rounds for user in everyone])
    world.run(span)
    rounds = sum([user.rounds for user in everyone]) - before
    assert all(user.rounds for user in everyone), "somebody was never served"
    figures.locks_per_s = rounds * SECOND / span
    figures.datagrams = sent.datagrams / rounds
    figures.bytes_per_s = sent.bytes * SECOND / span / nodes
    figures.seconds = time.process_time() - began
    figures.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    world.over()
    return figures


HEAD = (
    "| nodes | voters | locks /s | of each node | ms until granted, median | 99th | datagrams a lock "
    "| kB /s of each node | datagrams /s of each node at rest | s of a processor | MB |"
    "\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(nodes: int, figures: Figures) -> str:
    latency = statistics.quantiles(figures.latency, n=100)
    return (
        f"| {nodes:,} | {figures.voters:,} | {figures.locks_per_s:,.0f} | {figures.locks_per_s / nodes:,.0f} "
        f"| {latency[49] * 1000:.1f} | {latency[98] * 1000:.1f} | {figures.datagrams:.1f} "
        f"| {figures.bytes_per_s / 1000:,.0f} | {figures.idle:.1f} | {figures.seconds:,.0f} | {figures.megabytes:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulations.lock_scaling", description=__doc__)
    parser.add_argument("nodes", nargs="*", type=int, default=[3, 5, 10, 50], metavar="NODES", help="3 5 10 50")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ms", type=int, default=1_000, help="virtual, measured after as many to warm up (1000)")
    given = parser.parse_args()
    gc.set_threshold(GARBAGE, 20, 10)
    print(HEAD, flush=True)
    for nodes in given.nodes:
        span = given.ms * MS
        print(row(nodes, measure(nodes, seed=given.seed, warm=span, span=span)), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
