"""Lifeguard's experiment: far fewer of the living are called dead than by plain SWIM, and the dead no later.

The whole table is printed by `python -m simulations.lifeguard`, and stands in docs/membership.md."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from simulations.lifeguard import VARIANTS, Kind, Setup, Tally, draw, live
from simulations.lifeguard.anomalies import Blockable
from simulations.lifeguard.experiment import Watch
from simulations.members_only import MembersOnly
from simulations.world import MS, SECOND, World

CLAIM = 50
"""Times fewer false positives, as the paper says."""

SMALL = Setup(nodes=24, seeds=3, troubled=(6,), lasts=60 * SECOND)


def tally(name: str, seeds: range, setup: Setup) -> Tally:
    return Tally([live(VARIANTS[name], seed, setup) for seed in seeds])


def test_the_claim_is_met_in_a_small_mesh() -> None:
    plain, default = tally("swim", range(1), SMALL), tally("default", range(1), SMALL)
    assert plain.total("false_at_healthy") >= CLAIM * max(1, default.total("false_at_healthy"))
    assert plain.total("unknown") == default.total("unknown") == 0
    assert default.latency("all", 50) < plain.latency("all", 50) + 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_claim_is_met_among_a_hundred() -> None:
    tallies = {name: tally(name, range(10), Setup()) for name in VARIANTS}
    false = {name: of.total("false_at_healthy") for name, of in tallies.items()}
    assert false["swim"] >= CLAIM * max(1, false["default"]), false
    assert false["default"] <= false["lifeguard"] < false["swim"], false
    assert all(of.total("unknown") == 0 for of in tallies.values())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_claim_is_met_among_a_thousand() -> None:
    setup = Setup(nodes=1_000, seeds=1, troubled=(16,), lasts=30 * SECOND)
    plain, default = tally("swim", range(1), setup), tally("default", range(1), setup)
    assert plain.total("false_at_healthy") >= CLAIM * max(1, default.total("false_at_healthy"))
    assert default.total("unknown") == 0


# --- the experiment itself -------------------------------------------------------------------------------------------


def test_a_run_is_repeated_by_its_seed() -> None:
    setup = replace(SMALL, nodes=12, seeds=2, troubled=(2,), lasts=30 * SECOND, deaths=1)
    assert live(VARIANTS["lifeguard"], 3, setup) == live(VARIANTS["lifeguard"], 3, setup)


@pytest.mark.parametrize("name", VARIANTS)
def test_where_nobody_is_in_trouble_nobody_is_accused_and_a_death_is_known(name: str) -> None:
    setup = replace(SMALL, nodes=10, seeds=2, troubled=(0,), lasts=30 * SECOND, deaths=1)
    outcome = live(VARIANTS[name], 1, setup)
    assert (outcome.false_anywhere, outcome.unknown, len(outcome.all)) == (0, 0, 1)
    assert outcome.first[0] <= outcome.all[0] < setup.profile.suspicion(10)[1]


def test_trouble_is_drawn_within_its_time_and_one_at_a_time_each() -> None:
    drawn = draw(Random(1), ["a", "b", "c"], list(Kind), 120 * SECOND)
    for name in "abc":
        own = [anomaly for anomaly in drawn if anomaly.whom == name]
        assert len({anomaly.kind for anomaly in own}) == 1
        assert all(one.at + one.lasts < other.at for one, other in pairwise(own))
        assert own[-1].at + own[-1].lasts <= 120 * SECOND


def test_who_is_blocked_neither_hears_nor_is_heard_until_it_ends() -> None:
    world = World(1)
    mesh = MembersOnly(world, 2, kind=Blockable)
    mesh.form()
    world.run(5 * SECOND)
    process = mesh.process("m0001")
    assert isinstance(process, Blockable)
    sent = world.datagrams.sent
    process.block()
    world.run(1_100 * MS)
    assert len(process.datagrams.items) > 0
    process.unblock()
    assert not process.datagrams.items
    assert world.datagrams.sent > sent
    world.run(10 * SECOND)
    assert mesh.whole()


def test_the_false_are_told_from_the_dead_and_from_those_in_trouble() -> None:
    mesh = MembersOnly(World(2), 4, seeds=2)
    mesh.form()
    watch = Watch(mesh, ["m0000"])
    mesh.world.observe(watch)
    watch.died_at["m0003"] = mesh.world.now
    mesh.world.kill("m0003", power=True)
    mesh.world.run_until(watch.all_know, 60 * SECOND)
    watch.finish()
    assert (watch.outcome.false_anywhere, watch.outcome.unknown) == (0, 0)
    mesh.world.pause("m0000")  # in trouble, so no false positive
    mesh.world.pause("m0001")
    mesh.world.run(100 * SECOND)
    assert watch.outcome.false_at_healthy == watch.outcome.false_anywhere == 1
