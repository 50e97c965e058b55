"""What a counter may stand at: compared with a brute force over every execution that those who added cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crdt.forgetting
from coordination.assembly import build
from crdt.cell import FOLD, Cell
from crdt.counter import fold_key, folded
from simulations.checkers import Sums, Violation, agree
from simulations.checkers.sums import Add, Totals, allowed
from simulations.cluster import Cluster
from simulations.scenarios.forgetting import often
from simulations.world import MS, SECOND, World


def executions(adds: Sequence[Add], alive: bool) -> set[int]:
    """Every order in which any set of the calls may have happened, those that were answered in any case and each within its
    call; of a process that died, every beginning of it."""
    totals = set()
    certain = [add for add in adds if add.answered is not None]
    open_ = [add for add in adds if add.answered is None]
    for size in range(len(open_) + 1):
        for some in combinations(open_, size):
            for order in permutations([*certain, *some]):
                later = [(one, other) for i, one in enumerate(order) for other in order[i + 1 :]]
                if any(other.answered is not None and other.answered < one.invoked for one, other in later):
                    continue
                for kept in [len(order)] if alive else range(len(order) + 1):
                    totals.add(sum(add.n for add in order[:kept]))
    return totals


def some_adds(dice: Random, count: int) -> list[Add]:
    """Calls that overlap, some of them given up."""
    moments = dice.sample(range(100), 2 * count)
    pairs = [sorted(moments[2 * i : 2 * i + 2]) for i in range(count)]
    return [Add(dice.choice((-3, -1, 1, 2, 5, 9)), a, None if dice.random() < 0.4 else b) for a, b in pairs]


@pytest.mark.parametrize("alive", [True, False])
def test_every_execution_is_allowed_and_nothing_else(alive: bool) -> None:
    dice = Random(7)
    open_seen = lost_seen = refused = 0
    for _ in range(400):
        adds = some_adds(dice, dice.randrange(1, 6))
        right = executions(adds, alive)
        for total in range(-20, 50):
            assert allowed(adds, alive, total) is (total in right), (adds, alive, total)
        certain = sum(add.n for add in adds if add.answered is not None)
        open_seen += len(executions(adds, True)) > 1
        lost_seen += certain not in right
        refused += certain + 1 not in right
    assert open_seen > 100
    assert refused > 100
    assert lost_seen == 0


@given(st.lists(st.sets(st.integers(-9, 9), max_size=4), max_size=3))
def test_sums_of_totals_are_the_sums_of_their_members(sets: list[set[int]]) -> None:
    totals, right = Totals(0, 1), {0}
    for each in sets:
        totals = totals.plus(Totals(-9, sum([1 << (n + 9) for n in each])))
        right = {one + other for one in right for other in each}
    assert {n for n in range(-40, 41) if n in totals} == right


def test_what_was_answered_before_an_add_was_asked_is_not_lost_without_it() -> None:
    one_by_one = [Add(1, 1, 2), Add(10, 3, 4), Add(100, 5, 6)]
    assert [n for n in range(120) if allowed(one_by_one, False, n)] == [0, 1, 11, 111]
    at_once = [Add(1, 1, 6), Add(10, 2, 5), Add(100, 3, 4)]
    assert len([n for n in range(120) if allowed(at_once, False, n)]) == 8
    given_up = [Add(1, 1, 2), Add(10, 3, None), Add(100, 4, 5)]
    assert [n for n in range(120) if allowed(given_up, False, n)] == [0, 1, 11, 101, 111]
    assert [n for n in range(120) if allowed(given_up, True, n)] == [101, 111]


def test_many_large_adds_that_were_given_up_are_decided_at_once() -> None:
    adds = [Add(n, n, None) for n in range(1, 1_500)]
    assert allowed(adds, True, sum(range(1, 1_500)))
    assert not allowed(adds, True, sum(range(1, 1_500)) + 1)
    assert not allowed(adds, True, -1)


def three() -> tuple[World, Cluster, Sums]:
    world = World(4)
    cluster = Cluster(world, 3)
    sums = Sums(cluster)
    cluster.form()
    return world, cluster, sums


@pytest.mark.parametrize("happened", [True, False])
def test_c3_an_add_that_was_given_up_may_have_happened_or_not(happened: bool) -> None:
    world, cluster, sums = three()
    sums.add(cluster.peers["n0"], "hits", 5)
    sums.begins(cluster.peers["n0"], "hits", 20)
    if happened:
        cluster.peers["n0"].add("hits", 20)
    world.run(2 * SECOND)
    assert agree(cluster.living())
    sums.check()


@pytest.mark.parametrize("done", [0, 19, 21, 40, -5])
def test_c3_an_add_that_was_given_up_happens_once_and_whole_or_not_at_all(done: int) -> None:
    world, cluster, sums = three()
    sums.add(cluster.peers["n0"], "hits", 5)
    sums.begins(cluster.peers["n0"], "hits", 20)
    cluster.peers["n0"].add("hits", done)
    world.run(2 * SECOND)
    if done:
        with pytest.raises(Violation, match=r"^C2.*\[20\] of 1 may have happened"):
            sums.check()
    else:
        sums.check()


def test_c2_catches_a_refused_add_that_happened_and_an_acknowledged_one_that_did_not() -> None:
    world, cluster, sums = three()
    call = sums.begins(cluster.peers["n1"], "hits", 3)
    sums.refused(call)
    cluster.peers["n1"].add("hits", 3)
    sums.add(cluster.peers["n1"], "hits", 1)
    world.run(2 * SECOND)
    with pytest.raises(Violation, match=r"^C2"):
        sums.check()
    world, cluster, sums = three()
    sums.acknowledged(sums.begins(cluster.peers["n1"], "hits", 3))
    with pytest.raises(Violation, match=r"^C2"):
        sums.check()


def test_c2_of_a_process_that_died_a_beginning_counts() -> None:
    world, cluster, sums = three()
    sums.add(cluster.peers["n2"], "hits", 1)
    world.run(SECOND)
    sums.add(cluster.peers["n2"], "hits", 10)
    world.kill("n2")
    world.run(10 * MS)
    assert cluster.peers["n0"].store.counter("hits") == 1
    sums.check()
    cluster.peers["n0"].store._slots.clear()  # what nobody may forget
    with pytest.raises(Violation, match=r"^C2"):
        sums.check()


def folding() -> Sums:
    """Two processes of one name have added and died; cuts have made one cell of their slots."""
    world = World(5)
    cluster = Cluster(world, 4, expect=3, make=partial(often, build))
    cluster.form()
    sums = Sums(cluster)
    for n in (3, 40):
        sums.add(cluster.peers["n3"], "hits", n)
        world.run(SECOND)
        world.kill("n3")
        world.boot("n3")
        assert world.run_until(cluster.whole, 20 * SECOND) is not None
    sums.add(cluster.peers["n0"], "hits", 500)
    world.run(60 * SECOND)
    assert all(peer.store.cell(FOLD, fold_key("hits")) is not None for peer in cluster.living()), "nothing was folded"
    assert agree(cluster.living())
    return sums


def test_what_cuts_have_folded_counts() -> None:
    folding().check()


@pytest.mark.parametrize("wrong", [-1, 1, 4])
def test_c2_catches_a_fold_that_changes_the_sum(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrongly(name: str, fold: Cell | None, slots: Sequence[Cell], tag: int) -> Cell:
        made = folded(name, fold, slots, tag)
        *epoch, added, subtracted = made.order
        return made._replace(order=(*epoch, added + wrong, subtracted))  # type: ignore[operator]

    monkeypatch.setattr(crdt.forgetting, "folded", wrongly)
    with pytest.raises(Violation, match=r"^C2.*of all that are gone"):
        folding().check()
