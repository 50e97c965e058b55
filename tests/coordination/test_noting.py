"""Releases that q acceptors note, and no round: what a release promises holds whatever is lost and whoever dies behind it."""

from __future__ import annotations

import pytest

from coordination.agreed.holding.leavings import Leavings
from coordination.agreed.holding.requests import Request
from coordination.agreed.owning import desk
from coordination.agreed.owning.sparing import Sparing
from coordination.agreed.telling.inspector import Question
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Acquire,
    Drop,
    Dropped,
    Release,
    ReleaseDone,
    Renew,
    Voted,
)
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.telling_messages import ExplainAnswer
from coordination.agreed.vocabulary.values import LeaseId
from crdt.clock import Instant
from mesh.directives import Directive, Message
from tests.coordination.agreed_world import MS, Changes, S, World
from tests.coordination.one_lock import KEY, group, held, live_at, ready

TTL = 3 * S
SAYS = (Release, Drop, Dropped, ReleaseDone, Accept)
"""What a release may be made of."""


def noted(world: World) -> int:
    return sum(node.parts.owner.stats().get("noted", 0) for node in world.nodes.values() if node.parts is not None)


def taken_once(world: World, name: str) -> None:
    """So that its owner knows the register."""
    worker = held(world, name)
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    world.run(10 * MS)


def closed_for(holder: int, lost: int | None, voters: int = 3, faults: Changes = ()) -> int:
    """ns for which a lock stays closed whose owner dies in the moment in which a release of it has returned. `holder` is its
    rank in the group, or above all for one that does not vote; the message of that number after the release is lost."""
    world = ready(voters=voters, clients=1, faults=faults)
    names = group(world)
    name = names[holder] if holder < len(names) else f"n{voters}"
    taken_once(world, name)
    worker = held(world, name, ttl=TTL)
    world.run(10 * MS)
    before, said = noted(world), -1

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        nonlocal said
        if isinstance(message, SAYS):
            said += 1
            return said == lost
        return False

    world.lose = lose
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    assert noted(world) > before or lost == 0, "it took a round at once"
    world.lose = None
    world.crash(names[0])
    begun = world.now
    held(world, names[1] if name != names[1] else names[2], within=2 * TTL)
    return world.now - begun


@pytest.mark.parametrize("holder", [0, 1, 3])
def test_a_lock_that_has_been_given_back_is_open_though_its_owner_dies(holder: int) -> None:
    """The owner may be the holder: what it has said is known to others then."""
    for lost in (None, 0, 1, 2):
        assert closed_for(holder, lost) < S, lost


def test_the_same_with_five_voters() -> None:
    for holder in (1, 5):
        for lost in (None, 0, 1, 2, 3, 4):
            assert closed_for(holder, lost, voters=5) < S, (holder, lost)


class OneNote(Leavings):
    """Takes what one acceptor has noted for what q have."""

    __slots__ = ()

    def start(self, record: Request, now: Instant, out: list[Directive], *, tell: bool) -> None:
        super().start(record, now, out, tell=tell)
        assert record.group is not None and record.lease is not None
        group = self._leaving[record.lease].group = Group(record.group)
        group.quorum = 1


def test_one_note_is_not_enough() -> None:
    closed = [closed_for(3, lost, faults=((Leavings, OneNote),)) for lost in (0, 1, 2, 3)]
    assert max(closed) > S, "the fault is seen"


@pytest.mark.parametrize("delay", [0, S])
def test_a_delay_does_not_hide_that_a_lease_may_have_been_renewed(delay: int) -> None:
    """It is renewed beside a shorter one at ttl/6, and the ttl alone counts: its end takes a round, of which everyone hears."""
    world = ready(clients=1)
    owner, name, _ = group(world)
    taken_once(world, name)
    world.lose = lambda at, a, b, message: isinstance(message, Renew) and b == owner
    worker = world.acquire("n3", KEY, ttl=S, delay=delay)
    assert world.run_until(lambda: worker.state == "held", S)
    world.acquire("n3", "lock/short", ttl=S // 2)
    world.run(S // 5)
    assert len(live_at(world, worker)) == 3, "renewed at the others"
    before = noted(world)
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    world.run(10 * MS)
    assert noted(world) == before and not live_at(world, worker)


class NotesTheOld(Sparing):
    """Takes it that nobody has renewed the lease."""

    __slots__ = ()

    def renewed(self, lease: LeaseId, mono: int) -> bool:
        return False


def left_behind(world: World) -> int:
    """Voters at which a lease that has been held for long, and given back, counts as live."""
    name = group(world)[1]
    taken_once(world, name)
    worker = held(world, name, ttl=TTL)
    world.run(2 * S)  # it is renewed, at all of them
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    world.run(10 * MS)
    return len(live_at(world, worker))


def test_everyone_hears_of_the_end_of_a_lease_that_was_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_behind(ready()) == 0
    monkeypatch.setattr(desk, "Sparing", NotesTheOld)
    assert left_behind(ready()) > 0, "the fault is seen"


@pytest.mark.parametrize("holder", [0, 1, 2, 3])
def test_what_has_been_noted_stands_in_nobody_s_way(holder: int) -> None:
    """All take it in turn, and every release is noted; no round is refused."""
    world = ready(clients=1)
    names = [*group(world), "n3"]
    taken_once(world, names[holder])
    before = noted(world)
    for turn in range(12):
        taken_once(world, names[(holder + turn) % 4])
    assert noted(world) - before == 12
    counts = [node.parts.acceptor.stats() for node in world.nodes.values() if node.parts is not None]
    assert not [name for each in counts for name in each if name.startswith("refused")]


def test_who_waits_gets_it_in_the_same_round() -> None:
    world = ready(clients=1)
    name = group(world)[1]
    taken_once(world, name)
    before = noted(world)
    worker = held(world, name)
    waiter = world.acquire("n3", KEY, ttl=TTL)
    world.run(100 * MS)
    begun = world.now
    world.command(worker, "release")
    assert world.run_until(lambda: waiter.state == "held", S)
    assert world.now - begun <= 6 * MS and noted(world) == before


def test_a_release_that_binds_is_decided() -> None:
    world = ready()
    name = group(world)[1]
    taken_once(world, name)
    before = noted(world)
    worker = held(world, name, kind="lease")
    assert world.visible
    world.command(worker, "release")
    assert world.run_until(lambda: not world.visible, S), "everyone is told of its end"
    assert noted(world) == before


def test_with_disks_each_half_is_written_in_two_places() -> None:
    world = World(3, voters=3, latency=(MS, MS), durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    name = group(world)[1]
    taken_once(world, name)
    story: list[type[Message]] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        if a != b:
            story.append(type(message))
        return False

    def commits() -> list[int]:
        return [node.disk.commits for node in world.nodes.values() if node.disk is not None]

    before = commits()
    world.lose = note
    taken_once(world, name)
    assert story == [Acquire, Accept, Voted, Accepted, Release, Dropped], "no Grant: who has both votes knows"
    assert sorted(after - at for after, at in zip(commits(), before, strict=True)) == [0, 2, 2]


def test_with_disks_one_that_stands_still_is_made_up_for() -> None:
    world = World(3, voters=3, latency=(MS, MS), durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    owner, second, third = group(world)
    taken_once(world, second)
    for name in (second, third):
        world.isolate(name)
        begun = world.now
        taken_once(world, owner)
        assert world.now - begun < 200 * MS, "the other one is asked"
        world.heal()
        world.run(S)


def explained(world: World, name: str) -> events.Explanation:
    node, told = world.nodes[name], len(world.log)
    assert node.parts is not None
    inspector = node.parts.inspector
    world.perform(node, inspector, inspector.explain(77, KEY, world.instant(node), early=True))
    assert world.run_until(lambda: any(isinstance(event, events.Explained) for _, _, event in world.log[told:]), S)
    return next(event.explanation for _, _, event in world.log[told:] if isinstance(event, events.Explained))


def named(how: str, silent: int, faults: Changes = ()) -> bool:
    """Whether a lease that a third voter knows from its renewal is told as held after its release, which it has not heard of,
    for the renewal has not come to the owner. The answers of one other voter are lost."""
    world = ready(clients=2, faults=faults)
    names = group(world)
    taken_once(world, names[1])
    world.lose = lambda at, a, b, message: isinstance(message, Renew) and b == names[0]
    if how == "handed over":
        first = held(world, names[1], ttl=TTL)
        worker = world.acquire("n3", KEY, ttl=TTL, renew=False)
        world.run(100 * MS)
        world.command(first, "release")
        assert world.run_until(lambda: worker.state == "held", S)
    else:
        worker = held(world, "n3", ttl=TTL)
        world.command(worker, "renew")
    world.run(30 * MS)
    before = noted(world)
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    world.run(50 * MS)
    assert noted(world) > before and live_at(world, worker), "everyone knows of the release: it proves nothing"
    world.lose = lambda at, a, b, message: isinstance(message, ExplainAnswer) and a == names[silent]
    return any(explained(world, "n4").holder is not None for _ in range(3))


class HearsOfNoEnd(Question):
    def ended(self, lease: LeaseId) -> bool:
        return False


@pytest.mark.parametrize("how", ["handed over", "renewed"])
@pytest.mark.parametrize("silent", [0, 1])
def test_nobody_is_told_as_holder_of_what_has_been_given_back(how: str, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the q that noted it is among any q that answer."""
    assert not named(how, silent)
    monkeypatch.setattr("coordination.agreed.telling.inspector.Question", HearsOfNoEnd)
    assert named(how, silent), "it proves nothing"
