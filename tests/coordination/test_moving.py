"""Atomic registers go with the roster: histories, stories, and a mesh all of whose voters are replaced."""

from __future__ import annotations

import random

import pytest

from coordination.agreed.agreed import build_agreed
from coordination.agreed.atomics.calls import Moved
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.roster import found
from coordination.agreed.vocabulary.succession_messages import ChainIs
from coordination.agreed.voting.acceptor import NEVER_WHOLE
from crdt.clock import HybridClock
from mesh.directives import Boot, Source
from tests.coordination.agreed_nodes import ThinView
from tests.coordination.agreed_world import MS, S, Self_
from tests.coordination.moving_campaign import MovingWorld, hunt, stress
from tests.coordination.moving_faults import MOVING_FAULTS, STEWARDED, first
from tests.coordination.moving_stories import KEY, STORIES, apart, begin, founders, group, judge, tell, write
from tests.coordination.reader_hall import at
from tests.coordination.roster_campaign import ELASTIC

SEEDS = range(12)
SOAK_SEEDS = range(1_000, 3_000)


def test_histories_are_linearizable_while_rosters_follow_each_other() -> None:
    changes = moved = answered = gone = 0
    for seed in SEEDS:
        world = stress(seed)
        changes += max(world.decided) - 1
        moved += sum([node.parts.mover.stats().get("moved", 0) for node in world.nodes.values() if node.parts is not None])
        answered += sum([world.outcomes[what] for what in ("read", "write", "add", "cas")])
        gone += world.forgotten()
    assert changes >= 2 * len(SEEDS) and moved >= 5 * len(SEEDS), "hardly anything happens: it proves nothing"
    assert answered >= 200 * len(SEEDS) and gone <= len(SEEDS) // 5


def test_histories_are_linearizable_where_stewards_say_what_is_settled() -> None:
    """As in rosters of more than 16 voters."""
    assert hunt(range(4), STEWARDED) is None
    assert all(tell(story, range(2), STEWARDED) is None for story in STORIES.values())


@pytest.mark.soak
def test_a_thousand_histories_are_linearizable_with_stewards() -> None:
    assert hunt(range(1_000), STEWARDED) is None


@pytest.mark.soak
def test_two_thousand_histories_are_linearizable() -> None:
    assert hunt(SOAK_SEEDS) is None


@pytest.mark.parametrize("story", STORIES)
def test_each_story_ends_well(story: str) -> None:
    assert tell(STORIES[story], range(8)) is None


@pytest.mark.parametrize("fault", MOVING_FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    planted = MOVING_FAULTS[fault]
    assert first(planted, range(planted.seeds)) is not None, f"no checker noticed {fault} in {planted.seeds} seeds"


def settled(world: MovingWorld, voters: list[str]) -> bool:
    """Whether everyone that is up knows that these vote, and that no earlier roster keeps anything."""
    parts = [node.parts for node in world.nodes.values() if node.parts is not None]
    return world.newest.voters == tuple(sorted(voters)) and all(
        each.birth.roster == world.newest and not each.succession._standing.unsettled() for each in parts
    )


def test_what_nobody_touches_outlives_every_voter() -> None:
    """A value is written, all voters are replaced one after the other and never come back, and only then is it read."""
    world = begin(3, (), 3)
    write(world, "n0", 41)
    voters = ["n0", "n1", "n2"]
    for old, new in (("n0", "n3"), ("n1", "n4"), ("n2", "n5")):
        voters[voters.index(old)] = new
        world.propose(next(name for name in voters if name != new), voters)
        assert world.run_until(lambda: settled(world, voters), 5 * S), f"{old} cannot go"
        world.crash(old)
    asked = world.call("n6", "n6", KEY, "add", 1)
    assert world.run_until(lambda: asked.over, S) and world.outcomes["add"] == 1
    assert list(world.history)[-1].result == 42
    judge(world)
    world.run(20 * S)
    assert all(len(node.parts.succession._standing.rosters) == 1 for node in world.nodes.values() if node.parts is not None), (
        "rosters that keep nothing are kept for ever"
    )


@pytest.mark.parametrize(("after", "rosters"), [(S, 2), (12 * S, 1)])
def test_what_is_settled_outlives_a_restart_of_all(after: int, rosters: int) -> None:
    """All voters are replaced and gone for good; their followers restart, with a chain of so many rosters."""
    parameters = ELASTIC._replace(R=3)
    world = MovingWorld(2, voters=3, clients=4, latency=(MS, 3 * MS), parameters=parameters, thin=0, durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(5 * S)
    voters = ["n3", "n4", "n5"]
    world.propose("n0", voters)
    assert world.run_until(lambda: settled(world, voters), 5 * S)
    for name in ("n0", "n1", "n2"):
        world.crash(name)
    world.run(after)
    chains = [node.parts.succession._standing.rosters for node in world.nodes.values() if node.parts is not None]
    assert {len(chain) for chain in chains} == {rosters}, "it proves nothing"
    for name in (*voters, "n6"):
        world.crash(name)
    for name in (*voters, "n6"):
        world.start(name)
    world.run(8 * S)
    asked = world.call("n6", "n6", KEY, "add", 1)
    assert world.run_until(lambda: asked.over, 2 * S) and world.outcomes["add"] == 1, "waits for those that are gone"


@pytest.mark.parametrize("keeps", [True, False])
def test_a_reset_keeps_what_those_that_are_left_remember(keeps: bool) -> None:
    """So many forget that an operator has to have the roster go on: with the voter that knows a value, or without it."""
    world = begin(5, (), 5)
    assert founders(world)
    one, two, three = group(world)
    rest = [name for name in world.decided[1].voters if name not in (one, two, three)]
    apart(world, three)
    write(world, one, 7)
    world.heal()
    forgetful = (two, three, rest[0])
    for name in forgetful:
        world.crash(name)
    if not keeps:
        world.crash(one)
    for name in forgetful:
        world.start(name)
    world.run(S)
    assert world.lost()
    operator = world.nodes[rest[1]]
    assert operator.parts is not None
    without = () if keeps else (one,)
    world.perform(operator, operator.parts.reset, operator.parts.reset.reset(1, without, world.instant(operator)))
    assert world.run_until(lambda: len(world.decided) > 1, 20 * S), "no reset"
    assert world.run_until(lambda: settled(world, [name for name in world.decided[1].voters if name not in without]), 10 * S)
    asked = world.call("n6", "n6", KEY, "read")
    assert world.run_until(lambda: asked.over, 2 * S), "no answer after a reset"
    assert list(world.history)[-1].result == (7 if keeps else None)
    write(world, "n7", 8)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_report_is_not_taken_back_by_one_that_forgot(forgets: bool) -> None:
    """A voter that has reported of the first roster comes back without memory, and reports of the second one."""
    one = found(("a", "b", "c"), ELASTIC)
    two = one._replace(epoch=2, voters=("a", "b", "d"))
    three = two._replace(epoch=3, voters=("b", "d", "e"))
    parts = build_agreed(Self_("x", Boot(1, b"x" * 16)), ThinView(), HybridClock(500), random.Random(1), voter=False)
    for part in parts:
        part.start(at(0))
    source = Source(b"", "", "b", None, None)
    chain = ChainIs(Ballot(1, 1, "a", NO_BOOT), (one, two, three), (0, 0, 0))
    parts.succession.on_message(chain, source, at(1))
    unsettled = parts.succession._standing.unsettled
    parts.mover.on_message(Moved("b", 2, 0, 1, 0), source, at(2))
    if forgets:
        parts.mover.on_message(Moved("b", 3, NEVER_WHOLE, 1, 0), source, at(3))
    assert unsettled() == [one, two], "one report is not enough"
    parts.mover.on_message(Moved("c", 3, 1, 1, 0), source, at(4))
    assert unsettled() == [two]
