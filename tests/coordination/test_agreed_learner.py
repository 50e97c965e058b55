"""Who accepts a value may learn by it that it is decided; and accepts go to as few as are needed, but leave nobody behind."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from coordination.agreed.owning import desk, proposer
from coordination.agreed.owning.owner import Owner
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.sparing import Sparing
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.messages import Accept, Accepted, Acquire, Drop, Dropped, Grant, Live, Release, ReleaseDone
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.reader_messages import TableIs
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import Instant
from mesh.directives import Boot, Directives, Message
from tests.coordination.agreed_faults import LearnsFromTwo, VotesUnasked
from tests.coordination.agreed_world import MS, Changes, S, Violation, Worker, World
from tests.coordination.one_lock import KEY, group, held, live_at, ready


def counted(world: World, story: list[type[Message]]) -> None:
    """Keep the classes of all messages in `story`."""

    def note(at: int, a: str, b: str, message: Message) -> bool:
        story.append(type(message))
        return False

    world.lose = note


def taken(world: World, name: str) -> tuple[int, int]:
    """ns of an acquire and of a release of the lock by a node."""
    begun = world.now
    worker = held(world, name)
    took = world.now - begun
    begun = world.now
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    gave = world.now - begun
    world.run(5 * MS)
    return took, gave


def test_an_acquire_of_a_voter_takes_two_hops_and_so_does_its_release() -> None:
    world = ready()
    owner, voter, _ = group(world)
    taken(world, voter)  # the first one prepares
    story: list[type[Message]] = []
    counted(world, story)
    for _ in range(10):
        acquire, release = taken(world, voter)
        assert acquire <= 2 * MS and release <= 2 * MS
    assert story == 10 * [Acquire, Accept, Accepted, Release, Dropped], "no Grant, no ReleaseDone, one acceptor asked"
    story.clear()
    assert taken(world, owner) == (2 * MS, 2 * MS)
    assert story == [Accept, Accepted, Drop, Dropped]


class Woken(Owner):
    """Counts how often its timer wakes it."""

    __slots__ = ()
    times = 0

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        Woken.times += 1
        return super().on_timer(timer, now)


def test_a_busy_owner_is_hardly_woken_for_rounds_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def woken() -> int:
        """In the second in which its lock is had 100 times and more."""
        world = ready(faults=((Owner, Woken),))
        voter = group(world)[1]
        taken(world, voter)
        Woken.times, end, had = 0, world.now + S, 0
        while world.now < end:
            taken(world, voter)
            had += 1
        assert had >= 100
        return Woken.times

    assert woken() <= 60, "each 20 ms at the most, and a few of its other times"
    monkeypatch.setattr(proposer, "SPARE_LEAST", 5 * MS)
    assert woken() > 100, "once for each"


def test_the_end_of_a_lease_that_may_have_been_renewed_is_learned_too() -> None:
    world = ready()
    voter = group(world)[1]
    taken(world, voter)
    worker = held(world, voter)
    world.run(S)  # more than an eighth of its ttl
    story: list[type[Message]] = []
    counted(world, story)
    begun = world.now
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    assert world.now - begun <= 2 * MS
    world.run(5 * MS)
    assert story == [Release, Accept, Accept, Accepted, Accepted], "everyone may keep to it"


def test_one_that_is_no_voter_is_told() -> None:
    world = ready(clients=1)
    taken(world, "n3")
    story: list[type[Message]] = []
    counted(world, story)
    taken(world, "n3")
    assert [kind for kind in story if kind in (Grant, ReleaseDone, Dropped)] == [Grant, Dropped, Dropped]


def one_of_five_hears(faults: Changes) -> tuple[World, Worker]:
    """The accept of a grant reaches the asker's node alone, and the two are cut off from the three."""
    world = ready(voters=5, faults=faults)
    owner, asker, *others = group(world)
    taken(world, asker)

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        return b in others or a in others

    world.lose = lose
    worker = world.acquire(asker, KEY, ttl=3 * S)
    world.run(20 * MS)
    for each in (owner, asker):
        for other in others:
            world.cut(each, other)
    world.lose = lambda at, a, b, message: False
    return world, worker


def test_two_are_not_enough_where_three_make_a_quorum() -> None:
    world, worker = one_of_five_hears(())
    assert worker.state == "asking"
    with pytest.raises(Violation, match=r"L1|L6"):  # the checkers see what it would come to
        world, worker = one_of_five_hears(((Acceptor, LearnsFromTwo),))
        assert worker.state == "held"
        held(world, group(world)[2], within=2 * S)


def refused_by_its_owner(faults: Changes) -> tuple[World, Worker]:
    """The owner's own acceptor has forgotten what it promised, is not told, and abstains; the asker's accepts."""
    world = ready(faults=faults)
    owner, asker, other = group(world)
    world.lose = lambda at, a, b, message: isinstance(message, TableIs)
    world.crash(owner)
    world.start(owner)
    world.run(S)

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        return isinstance(message, TableIs) or (isinstance(message, Accept | Accepted) and other in (a, b))

    world.lose = lose
    worker = world.acquire(asker, KEY, ttl=3 * S)
    world.run(20 * MS)
    return world, worker


def test_who_has_refused_says_so() -> None:
    assert refused_by_its_owner(())[1].state == "asking"
    assert refused_by_its_owner(((Proposer, VotesUnasked),))[1].state == "held", "the fault is seen"


def test_an_owner_that_knows_of_a_newer_asker_does_not_say_that_it_has_voted() -> None:
    """It has told a newer process what it keeps since its ballot was ready. The older one is there still."""
    world = ready()
    owner, name, third = names = group(world)
    taken(world, name)
    world.isolate(third)
    parts, boot = world.nodes[owner].parts, world.nodes[name].boot
    assert parts is not None
    newer = Boot(boot.stamp + 1, boot.session)
    parts.acceptor._boots.learn(names, tuple([newer if each == name else NO_BOOT for each in names]))
    worker = world.acquire(name, KEY, ttl=3 * S)
    world.run(200 * MS)
    assert worker.state == "asking"


class LeavesBehind(Sparing):
    """Sends an accept to one, whoever may still count on what it ends."""

    __slots__ = ()

    def few(self, ask: Accept, *rest: object) -> list[str] | None:
        group: Group = rest[1]  # type: ignore[assignment]
        return [name for name in group if name != rest[3]][:1]


def left_behind(world: World) -> int:
    """Voters take the lock in turn, and some hold it long enough to renew it everywhere: at how many voters, in all, a lease
    that has been released is still live."""
    names = group(world)
    behind = 0
    for turn in range(12):
        worker = held(world, names[turn % 3], ttl=3 * S)
        world.run(1200 * MS if turn % 4 == 0 else 5 * MS)
        world.command(worker, "release")
        assert world.run_until(lambda worker=worker: worker.state == "released", S)  # type: ignore[misc]
        world.run(5 * MS)
        behind += len(live_at(world, worker))
    return behind


def test_nobody_is_left_with_a_lease_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_behind(ready()) == 0
    monkeypatch.setattr(desk, "Sparing", LeavesBehind)
    assert left_behind(ready()) > 0, "the fault is seen"


def test_a_silent_one_of_the_few_costs_milliseconds() -> None:
    world = ready()
    _, voter, other = group(world)
    taken(world, voter)
    world.isolate(other)
    acquire, release = taken(world, voter)
    assert max(acquire, release) <= 2 * MS, "it is not asked"
    world.heal()
    world.run(S)
    owner = group(world)[0]
    taken(world, owner)
    world.isolate(voter)
    acquire, release = taken(world, owner)
    assert max(acquire, release) <= 80 * MS, "the other one is asked"


# --- the rule on its own -----------------------------------------------------------------------------------------------


def test_what_an_acceptor_may_count_on_decides() -> None:
    world = ready()
    owner, voter, other = names = group(world)
    worker = held(world, voter)
    world.run(5 * MS)
    parts = world.nodes[owner].parts
    assert parts is not None
    owners = parts.owner.desk(KEY)
    assert owners is not None
    value, ballot = owners.base, owners.ballot.next()
    (holding,) = value.holdings
    end = Accept(KEY, ballot, owners.boots, owners.rests, value.keeping(()), (), -1, (holding.lease,), 1)
    heard = {voter: world.now, other: world.now}
    sparing = Sparing()

    def few() -> list[str] | None:
        return sparing.few(end, value, names, heard, owner, world.now)

    def answered(name: str, *leases: LeaseId) -> None:
        sparing.refused(name, ballot, [Live(lease, 1, S, False) for lease in leases])

    assert few() is None, "nobody is known, and how old the lease is is not, either"
    sparing.granted(value, 0, world.now)
    assert few() is None, "nobody is known"
    answered(voter, holding.lease)
    answered(other)
    assert few() == [voter]
    answered(other, holding.lease)
    assert few() is None, "both may count on it"
    answered(other, LeaseId(1, "x", holding.lease.boot, 1))
    assert few() is None, "it keeps to another one"
    answered(other)
    sparing.unsure(voter)
    assert few() == [voter, other] or few() is None, "whoever is not known gets it, and does not count"
    answered(voter, holding.lease)
    assert sparing.few(end, value, names, heard, owner, world.now + holding.ttl // 4) is None, "it may have been renewed"
    assert sparing.few(end, value, names, {}, owner, world.now) == [voter], "it has to hear of the end, heard or not"
    assert worker.state == "held"


def test_one_that_refuses_is_made_up_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A voter whose clock is off takes no token. It costs a hop there and back, not a round."""
    world = ready()
    owner, voter, _ = group(world)
    taken(world, owner)
    parts = world.nodes[voter].parts
    assert parts is not None
    monkeypatch.setattr(parts.acceptor, "_window", lambda *arguments: False)
    for _ in range(5):
        acquire, release = taken(world, owner)
        assert acquire <= 4 * MS and release <= 4 * MS
