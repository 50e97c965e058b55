"""Counters that lose what was added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.checkers import Sums
from simulations.cluster import Build
from simulations.faults import Fault
from simulations.field.stage import Stage, build
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["LOST_INCREMENT", "lost_increment"]

DURATION = 12 * SECOND
COUNTER = "orders"


def lost_increment(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A node adds, and all know it; it starts again without its disk and adds at once, before it has heard of anybody. If the
    slot of a counter belongs to the node, and not to this life of it, the new and smaller sum and the old one are two values of
    one slot: one of them is lost."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    sums = Sums(stage.cluster)
    victim = stage.dice.choice(stage.cluster.names)
    known = 0
    with stage.moment():
        for _ in range(1 + stage.dice.randrange(3)):
            known = _lives_once(stage, sums, victim, known)
    stage.finish()
    sums.check()
    for peer in stage.cluster.living():
        # Whoever else has died with what it knew: then only what `Sums` says is certain.
        if stage.quiet and peer.store.counter(COUNTER) < known:
            stage.fail("C2", f"{peer} counts {peer.store.counter(COUNTER)}, though everyone knew of {known}")
    return stage.done()


def _lives_once(stage: Stage, sums: Sums, victim: str, known: int) -> int:
    """Some adds that all come to know, a restart, and an add at once; what all know then."""
    for _ in range(1 + stage.dice.randrange(3)):
        n = stage.dice.randint(1, 9)
        sums.add(stage.peer(victim), COUNTER, n)
        known += n
        stage.world.run(stage.dice.choice((1, 50, 300)) * MS)
    stage.until(lambda: _all_count(stage, known), 5 * SECOND)
    peer = stage.restart(victim, stage.dice.choice((0, 1, 3_000)) * MS)
    n = stage.dice.randint(1, 9)
    stage.reached["added_before_it_knew"] += peer.store.counter(COUNTER) == 0
    sums.add(peer, COUNTER, n)
    stage.until(lambda: _all_count(stage, known + n), 8 * SECOND)
    stage.reached["known_after_restart"] += 1
    return known + n


def _all_count(stage: Stage, value: int) -> bool:
    return all(peer.store.counter(COUNTER) == value for peer in stage.cluster.living())


LOST_INCREMENT = Scenario(
    "lost-increment",
    "scylla#2169: a node that came back with lost state added on in its old counter slot, and adds were lost; C2",
    lost_increment, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("added_before_it_knew", "known_after_restart"),
)  # fmt: skip
