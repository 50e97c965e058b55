"""Batches and acknowledged writes in whole meshes under faults (C13, C15, C26, C27), and broken rules that are found."""

from __future__ import annotations

from typing import Any

import pytest

from crdt.cell import Cell
from crdt.clock import Instant, Stamp
from crdt.dots import Summary
from crdt.store import Store
from mesh.directives import Directive, Source
from mesh.replication import Entrusting
from mesh.replication.entrusting import Entrust
from simulations.checkers import Violation
from simulations.cluster import Build
from simulations.faults import Crash, Fault, Isolate, Partition, Pause, Weather
from simulations.plans.plans import random_plan
from simulations.scenarios.writing import run_writing
from simulations.world import SECOND
from tests.simulated.planted import with_parts, with_store

NODES = 6
SEEDS = range(16)
KINDS: tuple[type[Fault], ...] = (Crash, Partition, Isolate, Pause, Weather)


def plan_of(seed: int) -> list[Fault]:
    return random_plan(seed, [f"n{number}" for number in range(NODES)], 6, 7 * SECOND, kinds=KINDS)


def campaign(seeds: range, **options: Any) -> tuple[int, int]:
    acknowledged = batches = 0
    for seed in seeds:
        done = run_writing(seed, plan_of(seed), nodes=NODES, encoded=False, **options)
        acknowledged += done.acks.acknowledged
        batches += done.wholeness.seen
    return acknowledged, batches


def test_batches_are_whole_and_acknowledged_writes_are_held() -> None:
    acknowledged, batches = campaign(SEEDS)
    assert acknowledged > 30 * len(SEEDS)
    assert batches > 100 * len(SEEDS)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1_000, 3_000, 100))
def test_many_more_seeds(first: int) -> None:
    campaign(range(first, first + 100))


# --- broken rules ----------------------------------------------------------------------------------------------------


class JoinsParts(Store):
    """Each cell of a batch is joined as it comes."""

    __slots__ = ()

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        if self.dots.covers(cell.actor, cell.n):
            return False
        self._join(cell, stamp)
        return True


class ForgetsAtTheEnd(Store):
    """The end of a transfer claims what waits, and forgets it."""

    __slots__ = ()

    def raise_to(self, snapshot: Summary) -> bool:
        self.forget_waiting()
        return super().raise_to(snapshot)


class AnswersUnseen(Entrusting):
    """Whoever is asked says yes before it has looked, and takes nothing."""

    def _hold(self, message: Entrust, source: Source, now: Instant, out: list[Directive]) -> None:
        super()._hold(Entrust(message.query, message.part, ()), source, now, out)


class CountsOneTwice(Entrusting):
    """Two answers of one member are two members."""

    def _missing(self, query: Any) -> int:
        return max(0, super()._missing(query) - 1)


FAULTS: dict[str, tuple[Build, str]] = {
    "parts joined": (with_store(JoinsParts), "C26"),
    "forgotten at the end": (with_store(ForgetsAtTheEnd), "C15|C5|C18|C26"),
    "answers unseen": (with_parts(AnswersUnseen), "C27"),
    "counts one twice": (with_parts(CountsOneTwice), "C27"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_rule_is_found(name: str) -> None:
    make, law = FAULTS[name]
    with pytest.raises(Violation, match=law):
        campaign(range(12), make=make)
