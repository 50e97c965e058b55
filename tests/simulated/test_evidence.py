"""Whole nodes: a killed process is known to all at once, and nothing that ends streams, or stalls them, accuses the living.

`python -m tests.simulated.test_evidence` prints how long it takes over 60 seeds at each size."""

from __future__ import annotations

from random import Random

import pytest

from mesh.directives import Event
from mesh.membership import MemberChanged, State
from mesh.membership.lifelines import Lifelines
from simulations.cluster import Cluster
from simulations.faults import Faults
from simulations.faults.links import OneWay, Partition
from simulations.faults.nodes import Pause
from simulations.machine.process import Process
from simulations.network.streams import KEEPALIVE
from simulations.observer import Observer
from simulations.world import MS, SECOND, World

GOOD = SECOND // 2
"""Until all survivors know of a kill, on a good network: half of what is promised."""


class Deaths(Observer):
    """Who was called dead, or suspected, while its process ran."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.deaths: list[tuple[int, str, str]] = []
        self.suspicions: list[tuple[int, str, str]] = []
        cluster.world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, MemberChanged) or event.member.state not in (State.DEAD, State.SUSPECT):
            return
        peer = self._cluster.peers.get(event.member.name)
        if peer is not None and peer.process.alive and peer.assembly.identity.boot == event.member.boot:
            wrong = self.deaths if event.member.state is State.DEAD else self.suspicions
            wrong.append((self._cluster.world.now, process.machine, event.member.name))


def mesh(count: int, seed: int, loss: float = 0.0) -> tuple[Cluster, Faults, Deaths]:
    world = World(seed)
    cluster = Cluster(world, count, encoded=False)
    cluster.form()
    world.run(10 * SECOND)
    cluster.set_loss(loss)
    return cluster, Faults(world), Deaths(cluster)


def total(cluster: Cluster, count: str) -> int:
    return sum(peer.assembly.membership.stats().get(count, 0) for peer in cluster.living())


def kill(count: int, seed: int) -> int:
    """The ns until all survivors know of the death of one of so many, killed at a moment of chance."""
    cluster, _, wrong = mesh(count, seed)
    random = Random(seed)
    cluster.world.run(random.randrange(5 * SECOND))
    victim = random.choice(cluster.names)
    cluster.world.kill(victim)

    def known() -> bool:
        members = [peer.assembly.membership.get(victim) for peer in cluster.living()]
        return all(member is not None and member.state is State.DEAD for member in members)

    took = cluster.world.run_until(known, 30 * SECOND, 1 * MS)
    assert took is not None
    cluster.world.run(10 * SECOND)
    assert wrong.deaths == wrong.suspicions == []
    return took


@pytest.mark.parametrize(("count", "seeds"), [(3, 12), (10, 3), (30, 1)])
def test_a_kill_is_known_to_all_well_under_a_second(count: int, seeds: int) -> None:
    assert max(kill(count, 1_000 * count + seed) for seed in range(seeds)) < GOOD


@pytest.mark.soak
@pytest.mark.parametrize("count", [3, 10, 30])
def test_a_kill_is_known_to_all_well_under_a_second_over_many_seeds(count: int) -> None:
    assert max(kill(count, 1_000 * count + seed) for seed in range(200)) < GOOD


def test_the_time_is_that_of_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them it takes until somebody's probe meets a refusal."""
    monkeypatch.setattr(Lifelines, "tend", lambda self, now: None)
    assert max(kill(3, 3_000 + seed) for seed in range(12)) > GOOD


# --- nothing of this is a death --------------------------------------------------------------------------------------


def resets(cluster: Cluster, faults: Faults) -> None:
    """A box in the middle resets every stream, five times."""
    for _ in range(5):
        assert cluster.world.streams.reset_all() >= len(cluster.names)
        cluster.world.run(4 * SECOND)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_streams_that_are_all_reset_at_once_accuse_nobody(loss: float, seed: int) -> None:
    cluster, faults, wrong = mesh(10, seed, loss)
    resets(cluster, faults)
    assert total(cluster, "lifelines_broken") >= 5 * len(cluster.names)
    assert total(cluster, "evidence") >= 5 * len(cluster.names)
    assert wrong.deaths == []
    if not loss:
        assert wrong.suspicions == []


@pytest.mark.parametrize("seed", range(2))
def test_loss_is_no_death(seed: int) -> None:
    cluster, _, wrong = mesh(10, seed, 0.2)
    cluster.world.run(120 * SECOND)
    assert wrong.deaths == []


@pytest.mark.parametrize("seconds", [5, 12, 30])
def test_a_pause_ends_no_stream_and_the_sleeper_accuses_nobody(seconds: int) -> None:
    """The sleeper itself may be called dead when a suspicion has run out, as before; never by evidence."""
    for seed in range(2):
        cluster, faults, wrong = mesh(6, seed)
        sleeper = cluster.names[seed]
        faults.set([Pause(0, seconds * SECOND, sleeper)])
        cluster.world.run((seconds + 30) * SECOND)
        assert [death for death in wrong.deaths if death[2] != sleeper] == []
        assert total(cluster, "deaths_by_evidence") == total(cluster, "lifelines_broken") == 0
        assert cluster.whole()


@pytest.mark.parametrize("seed", range(2))
def test_one_way_cuts_that_outlast_the_keepalive_accuse_nobody(seed: int) -> None:
    """The streams of the two stall, and are reset; the others reach both."""
    cluster, faults, wrong = mesh(6, seed)
    names = cluster.names
    lasts = KEEPALIVE + 30 * SECOND
    faults.set([OneWay(0, lasts, (names[seed],), tuple(name for name in names[2:4] if name != names[seed]))])
    cluster.world.run(lasts + 30 * SECOND)
    assert total(cluster, "lifelines_broken") > 0
    assert wrong.deaths == wrong.suspicions == []
    assert cluster.whole()


@pytest.mark.parametrize("seconds", [5, 90])
def test_a_partition_kills_nobody_by_evidence(seconds: int) -> None:
    """A machine that is cut off refuses nothing: who is called dead is so by a suspicion that has run out."""
    cluster, faults, wrong = mesh(6, seconds)
    faults.set([Partition(0, seconds * SECOND, tuple(cluster.names[:2]))])
    cluster.world.run((seconds + 60) * SECOND)
    side = frozenset(cluster.names[:2])
    assert [death for death in wrong.deaths if (death[1] in side) == (death[2] in side)] == []
    assert total(cluster, "deaths_by_evidence") == 0
    assert cluster.whole()


def main() -> None:
    for count in (3, 10, 30):
        took = sorted(kill(count, 1_000 * count + seed) for seed in range(60))
        print(f"{count:3} nodes: median {took[30] // MS} ms, 99th {took[58] // MS} ms, longest {took[-1] // MS} ms")


if __name__ == "__main__":
    main()
