"""The roster changes under fire: nothing that holds without changes may break, and no two rosters are decided for one epoch."""

from __future__ import annotations

from random import Random

import pytest

from coordination.agreed.agreed import build_agreed
from coordination.agreed.vocabulary import succession_messages
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.roster import Joined, RosterValue, found
from coordination.agreed.vocabulary.succession_messages import ChainIs
from coordination.agreed.vocabulary.telling_messages import ExplainAsk
from coordination.agreed.voting.standing import Adoption, Standing
from crdt.clock import HybridClock
from mesh.directives import Boot, Message, Source
from mesh.wire import decode, encode
from tests.coordination.agreed_nodes import ThinView
from tests.coordination.agreed_world import MS, Node, S, Self_, World
from tests.coordination.reset_stories import gone_over
from tests.coordination.roster_campaign import ELASTIC, RosterWorld, hunt, stress
from tests.coordination.roster_faults import ROSTER_FAULTS, STEWARDED, first
from tests.coordination.roster_stories import (
    Story,
    a_third_by_word,
    begin,
    duels,
    forgot_two,
    given_back_while_moved,
    moved_to_the_slow,
    settled,
    split_group,
    stale_voter,
    tell,
    unaware_holder,
    unaware_owner,
    unheard,
)
from tests.coordination.test_agreed_rules import at

SEEDS = range(40)
SOAK_SEEDS = range(1_000, 4_000)
LATE = {"reads one too few of the old group": 16}
"""Where to begin with what only a late seed shows: all come behind it."""


def test_no_rule_is_broken_while_rosters_follow_each_other() -> None:
    grants = changes = lost = 0
    for seed in SEEDS:
        world = stress(seed)
        grants += world.grants
        changes += max(world.decided) - 1
        lost += world.lost()
    assert grants >= 20 * len(SEEDS) and changes >= 2 * len(SEEDS), "hardly anything happens: it proves nothing"
    assert lost <= len(SEEDS) // 10


def test_no_rule_is_broken_where_stewards_ask_for_all() -> None:
    """As in rosters of more than 16 voters."""
    assert hunt(range(8), STEWARDED) is None
    assert tell(split_group, range(4), STEWARDED) is None
    assert tell(unheard, range(4), STEWARDED) is None


@pytest.mark.soak
def test_no_rule_is_broken_over_a_thousand_histories_with_stewards() -> None:
    assert hunt(range(1_000), STEWARDED) is None


@pytest.mark.soak
def test_no_rule_is_broken_over_three_thousand_histories() -> None:
    assert hunt(SOAK_SEEDS) is None


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["duel", "forget", "strand", "split", "unaware", "swap", "crash_change"])
def test_no_rule_is_broken_where_one_kind_of_change_prevails(kind: str) -> None:
    assert hunt(range(200), focus=(kind,)) is None


@pytest.mark.parametrize(
    ("story", "seeds"),
    [
        (unaware_holder, 20),
        (unaware_owner, 20),
        (stale_voter, 20),
        (unheard, 20),
        (split_group, 4),
        (forgot_two, 10),
        (given_back_while_moved, 10),
        (moved_to_the_slow, 10),
        (a_third_by_word, 10),
        (duels, 60),
    ],
)
def test_each_story_ends_well(story: Story, seeds: int) -> None:
    assert tell(story, range(seeds)) is None


@pytest.mark.parametrize("fault", ROSTER_FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    planted = ROSTER_FAULTS[fault]
    late = LATE.get(fault, planted.seeds)
    found = hunt(range(late, planted.seeds), planted.changes, planted.focus) or first(planted)
    assert found is not None, f"no checker noticed {fault} in {planted.seeds} seeds"


def test_a_held_lock_goes_with_the_roster_and_is_never_lost() -> None:
    """All five voters are replaced, one by one, under a lock that is held throughout."""
    world = begin(1, (), voters=5, clients=6, R=5)
    holder = world.acquire("n10", "lock/held", ttl=2 * S)
    assert settled(world, holder, 2 * S)
    voters = list(world.newest.voters)
    for old, new in zip(tuple(voters), ("n5", "n6", "n7", "n8", "n9"), strict=True):
        voters[voters.index(old)] = new
        world.propose(next(name for name in world.newest.voters if name != old), voters)
        world.run(S // 2)
        world.crash(old)
        world.run(2 * S)
        other = world.acquire(new, "lock/other", ttl=2 * S)
        assert settled(world, other, 2 * S), new
        world.command(other, "release")
        assert holder.state == "held" and world.valid(holder)
    assert max(world.decided) == 6 and set(world.newest.voters) == {"n5", "n6", "n7", "n8", "n9"}


@pytest.mark.parametrize("count", [50])
def test_fifty_voters_change_and_grant(count: int) -> None:
    world = begin(2, (), voters=count, clients=2, R=5)
    world.propose("n3", (*[f"n{index}" for index in range(count - 1)], f"n{count}", f"n{count + 1}"))
    world.run(S)
    assert len(world.newest.voters) == count + 1
    workers = [world.acquire(f"n{index}", f"lock/{index}", ttl=2 * S) for index in range(0, count, 5)]
    world.run(2 * S)
    assert all(worker.state == "held" for worker in workers)


def test_an_evicted_voter_serves_nothing_once_nobody_vouches() -> None:
    world = begin(3, (), voters=5)
    out = world.newest.voters[0]
    world.isolate(out)
    rest = [name for name in world.newest.voters if name != out]
    world.propose(rest[0], rest)
    world.run(4 * S)
    node = world.nodes[out]
    assert node.parts is not None and world.epoch(out) == 1
    assert node.parts.succession._standing.closed(world.instant(node))
    world.heal()
    world.run(6 * S)
    assert world.epoch(out) == 2, "it hears of it"


def test_without_a_majority_that_remembers_nothing_is_served() -> None:
    world = begin(4, ())
    for name in ("n0", "n1"):
        world.crash(name)
        world.start(name)
    world.run(8 * S)
    assert world.lost()
    world.trouble(5 * S)
    worker = world.acquire("n4", "lock/x", ttl=2 * S)
    world.run(5 * S)
    assert worker.state == "unavailable"


def test_one_of_three_may_forget() -> None:
    world = begin(5, ())
    world.crash("n1")
    world.start("n1")
    world.run(S)
    assert world.remembers("n1")


def test_a_fixed_roster_is_never_followed() -> None:
    world = RosterWorld(6, clients=2)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    world.propose("n0", ("n0", "n1", "n3"))
    world.run(3 * S)
    assert max(world.decided) == 1


def chain(*rosters: RosterValue, origin: int = 1) -> ChainIs:
    return ChainIs(Ballot(1, origin, "a", NO_BOOT), rosters, tuple([0] * len(rosters)))


def test_chains_are_told_apart_and_shortened() -> None:
    one = found(("a", "b", "c"), ELASTIC)
    two, other = one._replace(epoch=2, voters=("a", "b", "d")), one._replace(epoch=2, voters=("a", "e"))
    three = two._replace(epoch=3, voters=("d", "e", "f"))
    standing = Standing(Self_("x", Boot(1, b"x" * 16)))
    assert standing.adopt(chain(one, two), at(0)) is Adoption.NEW
    assert standing.adopt(chain(one), at(0)) is Adoption.STALE
    assert standing.adopt(chain(one, other), at(0)) is Adoption.OTHER
    assert standing.adopt(chain(one, two, origin=2), at(0)) is Adoption.OTHER
    assert [epoch for epoch, _ in standing.past("lock/x", at(1))] == [1]
    assert standing.adopt(chain(two, three), at(2)) is Adoption.NEW
    assert [roster.epoch for roster in standing.rosters] == [2, 3], "who has dropped one knows that it may be dropped"
    later = at(2 + two.lapse // MS)
    assert standing.past("lock/x", later) == []
    assert [epoch for epoch, _ in standing.past("atomic/x", later)] == [2]


def test_who_has_forgotten_abstains_though_it_was_asked_where_it_does_not_vote() -> None:
    """Its earlier process joined with the second roster, of which this one hears after the first."""
    one = found(("w", "y", "z"), ELASTIC)
    two = one._replace(epoch=2, voters=("v", "y", "z"), joined=(Joined("v", Boot(1, b"v" * 16)),))
    parts = build_agreed(Self_("v", Boot(2, b"v" * 16)), ThinView(), HybridClock(), Random(1), seeds=3, parameters=ELASTIC)
    for part in parts:
        part.start(at(0))
    for moment, rosters in enumerate(((one,), (one, two)), 1):
        parts.succession.on_message(chain(*rosters), Source(b"", "", None, None, None), at(moment))
        parts.inspector.on_message(ExplainAsk(1, "y", "lock/x"), Source(b"", "", None, None, None), at(moment))  # the window
        for part in parts:
            if RosterDecided in part.hears:
                part.on_event(RosterDecided(rosters[-1]), at(moment))
        parts.inspector.on_message(ExplainAsk(2, "y", "lock/x"), Source(b"", "", None, None, None), at(moment))
    assert parts.acceptor.abstaining("lock/x", at(3)) == two.abstention - at(3).mono
    assert parts.acceptor.abstaining("lock/x", at(two.abstention // MS)) == 0


def test_what_was_settled_is_not_settled_beside_a_reset() -> None:
    """All was moved to a roster that the reset has given up."""
    one = found(("a", "b", "c"), ELASTIC)
    two, reset = one._replace(epoch=2, voters=("a", "x")), one._replace(epoch=1 << 40, voters=("b", "c"))
    standing = Standing(Self_("x", Boot(1, b"x" * 16)))
    standing.adopt(chain(one, two), at(0))
    standing.settled.add(1)
    assert standing.past("atomic/x", at(1)) == []
    assert standing.adopt(chain(one, reset), at(1)) is Adoption.NEW
    assert [epoch for epoch, _ in standing.past("atomic/x", at(2))] == [1]


def test_everything_that_is_said_survives_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    transmit = World.transmit

    def check(self: World, node: Node, to: str, message: Message) -> None:
        name = type(message).__name__
        if type(message).__module__ == succession_messages.__name__ and (name not in seen or self.sent % 50 == 0):
            seen.add(name)
            assert decode(encode(message)) == message
        transmit(self, node, to, message)

    monkeypatch.setattr(World, "transmit", check)
    for seed in range(6):
        stress(seed)
    gone_over(0, ())
    kinds = {name for name in succession_messages.__all__ if issubclass(getattr(succession_messages, name), Message)}
    lone = {"LoneIs", "YieldAsk", "YieldOk"}  # of founders that meet: see test_yielding
    assert kinds - seen <= {"ExplainStanding", "RosterRefused", "MemoryIs", "MemoryAsk", *lone}
