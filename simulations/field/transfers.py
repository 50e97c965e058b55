"""Large transfers that break in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.cluster import Build, SimPeer
from simulations.faults import Fault, Isolate
from simulations.field.stage import Missed, Stage, build
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["BROKEN_TRANSFER", "broken_transfer"]

DURATION = 20 * SECOND
KEYS = 300
VALUE = "x" * 700
"""So that all keys together are several chunks."""


def broken_transfer(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A node that starts with nothing is being sent a large store, in chunks. In the middle of it the sender dies, or the node
    is cut off; some keys are written anew by others, so that what was on its way lives on in cells of other writers only.
    Another sends the rest. Nothing may be missing in the end that the node says it has."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    victim, *others = stage.dice.sample(stage.cluster.names, len(stage.cluster.names))
    values: dict[str, str] = {}
    with stage.moment():
        for number in range(KEYS):
            _put(stage, stage.dice.choice(others), values, f"key/{number:03}", f"{VALUE}{number}")
            if number % 50 == 49:
                stage.world.run(100 * MS)
        stage.until(lambda: all(_holds(peer) == KEYS for peer in stage.cluster.living()), 10 * SECOND)
        served = {name: _served(stage.peer(name)) for name in others}
        peer = stage.restart(victim)
        stage.until(lambda: 0 < _holds(peer) < KEYS, 5 * SECOND, MS // 10)
        sender = next((name for name in others if _served(stage.peer(name)) > served[name]), None)
        if sender is None:
            raise Missed(victim)
        if seed % 2:
            stage.restart(sender, stage.dice.choice((0, 500)) * MS)
            stage.reached["sender_died"] += 0 < _holds(peer) < KEYS
        else:
            stage.faults.set([Isolate(0, 4 * SECOND, victim)])
            stage.world.run(MS)
            stage.reached["receiver_was_cut_off"] += 0 < _holds(peer) < KEYS
        writers = [name for name in others if name != sender]
        for key in stage.dice.sample(sorted(values), 40):
            _put(stage, stage.dice.choice(writers), values, key, f"{VALUE} anew")
        stage.world.run(6 * SECOND)
    stage.finish()
    if stage.quiet:
        for each in stage.cluster.living():
            wrong = [key for key, value in values.items() if stage.shown(each, key) != value]
            if wrong:
                stage.fail("C5", f"{each} has not the last value of {wrong[:5]}, {len(wrong)} in all")
    return stage.done()


def _put(stage: Stage, name: str, values: dict[str, str], key: str, value: str) -> None:
    stage.peer(name).put(key, value)
    values[key] = value


def _holds(peer: SimPeer) -> int:
    return sum([cell.kind == 0 for cell in peer.store.cells()])


def _served(peer: SimPeer) -> int:
    return peer.assembly.replication.stats().get("cells_served", 0)


BROKEN_TRANSFER = Scenario(
    "broken-transfer",
    "delta_crdt#65: a replica claimed what had not been delivered to it, and so was never sent it; C5, C15",
    broken_transfer, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("sender_died", "receiver_was_cut_off"),
)  # fmt: skip
