"""Phases and the convergence checker: within a bound, or a failure that says what a reader needs."""

from __future__ import annotations

import pytest

from simulations.checkers import Convergence, Violation, differences
from simulations.cluster import Cluster
from simulations.faults import Faults, Isolate
from simulations.phases import Phases
from simulations.world import MS, SECOND, World


def cut_off() -> tuple[World, Cluster]:
    """n2 is cut off, and has not heard of what n0 wrote and n1 deleted."""
    world = World(3)
    cluster = Cluster(world, 3)
    cluster.form()
    cluster.peers["n0"].put("gone", 1)
    world.run(SECOND)
    Faults(world).set([Isolate(0, 60 * SECOND, "n2")])
    world.run(MS)
    cluster.peers["n0"].put("key", {"rps": 10})
    cluster.peers["n1"].delete("gone")
    cluster.peers["n0"].add("hits", 3)
    cluster.peers["n2"].put("key", "x" * 500)
    world.run(30 * SECOND)
    return world, cluster


def test_c15_the_failure_names_who_holds_what() -> None:
    _, cluster = cut_off()
    with pytest.raises(Violation, match=r"^M8: not converged 1 s after") as failure:
        Convergence(cluster, SECOND).run()
    text = str(failure.value)
    assert "n2 sees n0 as dead" in text
    assert "key 'key': n0, n1 {'rps': 10} at " in text
    assert "; n2 'xxxx" in text
    assert "x..." in text
    assert "key 'gone': n0, n1 deleted at " in text
    assert "; n2 1 at " in text
    assert "counter 'hits': n0, n1 +3 -0 (n0's 3); n2 nothing" in text
    assert len(text) < 1_500


def test_it_says_who_lacks_whose_writes() -> None:
    _, cluster = cut_off()
    lines = differences(cluster.living())
    assert "n2 lacks writes of n0: it claims up to 1, others 3" in lines
    assert "n0 lacks writes of n2: it claims up to 0, others 1" in lines


def test_it_converges_once_healed_and_the_time_is_counted() -> None:
    world = World(3)
    cluster = Cluster(world, 3)
    cluster.form()
    phases = Phases(cluster, [Isolate(0, 20 * SECOND, "n2")], 10 * SECOND)
    world.run(SECOND)
    cluster.peers["n0"].put("key", 1)
    cluster.peers["n2"].put("key", 2)
    phases.heal()
    assert world.now > 10 * SECOND
    took = phases.converge(20 * SECOND)
    assert took > 0
    assert phases.reached == {"Isolate": 1, "converged_ms": took // MS}
    assert phases.converge(20 * SECOND) == 0


def test_a_node_that_is_down_is_not_converged() -> None:
    world = World(3)
    cluster = Cluster(world, 3)
    cluster.form()
    world.kill("n1")
    with pytest.raises(Violation, match=r"^M8.*n1 is not running"):
        Convergence(cluster, SECOND).run()


def test_what_must_come_and_does_not_is_a_violation() -> None:
    world = World(3)
    cluster = Cluster(world, 3)
    phases = Phases(cluster, [], 0)
    assert phases.must("X1", "noon", lambda: world.now >= SECOND, 2 * SECOND, count="noon_ms") == SECOND
    assert phases.reached == {"noon_ms": 1_000}
    with pytest.raises(Violation, match=r"^X1: night not within 0.5 s \(seed 3, at 1.5"):
        phases.must("X1", "night", lambda: False, SECOND // 2)
