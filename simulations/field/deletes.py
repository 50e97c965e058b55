"""Deletes that are undone by who was away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.cluster import Build
from simulations.faults import Crash, Fault, Isolate, Pause
from simulations.field.stage import GONE, Stage, build
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["RESURRECTED_DELETE", "resurrected_delete"]

DURATION = 45 * SECOND
KEYS = ("user/1", "user/2", "user/3")


def resurrected_delete(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """Everyone has some keys. One node is away (cut off, or stopped) while they are deleted, and for long: any time after which
    somebody might think that all have heard. It comes back with the keys; another starts anew and is given everything by
    whoever it asks. Nobody may show them again."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    names = list(stage.cluster.names)
    stage.dice.shuffle(names)
    away, deleter, newcomer = names[:3]
    deleted = False
    with stage.moment():
        for key in KEYS:
            stage.peer(stage.dice.choice((away, deleter))).put(key, "here")
        stage.until(lambda: all(stage.all_show(key, "here") for key in KEYS), 5 * SECOND)
        absence = stage.dice.choice((5, 15, 30)) * SECOND
        gone: Fault = stage.dice.choice((Isolate(0, absence, away), Pause(0, absence, away)))
        stage.faults.set([gone])
        stage.world.run(MS)
        absent = stage.cluster.peers[away]
        for key in KEYS:
            stage.peer(deleter).delete(key)
        deleted = True
        stage.world.run(absence - 2 * MS)
        if all(stage.shown(absent, key) == "here" for key in KEYS) and absent.process.alive:
            stage.reached["away_while_deleted"] += 1
            stage.reached["long_away"] += absence > 10 * SECOND
        # Just as the other returns, one starts from nothing, and may ask it first.
        stage.faults.set([Crash(2 * MS, 10 * MS, newcomer, wipe=True)])
        stage.world.run(5 * SECOND)
    stage.finish()
    if deleted and stage.cluster.peers[deleter].process.boot == 1:  # else the delete may have died with its process
        for peer in stage.cluster.living():
            for key in KEYS:
                if stage.shown(peer, key) is not GONE:
                    stage.fail("C7", f"{peer} shows {key} again, which was deleted while {away} was away")
    return stage.done()


RESURRECTED_DELETE = Scenario(
    "resurrected-delete",
    "Cassandra's gc_grace: tombstones were dropped after a time, and who had been away for longer brought the rows back; C7",
    resurrected_delete, nodes=5, fewest=4, duration=DURATION, profile="calm",
    sometimes=("away_while_deleted", "long_away"),
)  # fmt: skip
