"""With disks the owner's vote is told to whom a lease is granted, once it is durable: a grant takes two hops and a write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.messages import Accept, Accepted, Grant, Rejected, ReleaseDone, Voted
from coordination.agreed.vocabulary.modes import SHARED
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.voting import learning
from coordination.agreed.voting.learner import VOTED, Decided
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Message, Source
from simulations.machine.disk import LATENCY
from tests.coordination.agreed_nodes import Node
from tests.coordination.agreed_world import MS, S, Worker, World
from tests.coordination.one_lock import KEY, group, held, of

HOPS = 2 * MS


def ready(voters: int = 3) -> World:
    """The lock has been had once, so its owner knows it."""
    world = World(3, voters=voters, latency=(MS, MS), durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    given_back(world, held(world, group(world)[1]))
    return world


def given_back(world: World, worker: Worker) -> None:
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    world.run(10 * MS)


def granted_after(world: World, name: str) -> int:
    begun = world.now
    worker = held(world, name)
    took = world.now - begun
    given_back(world, worker)
    return took


def placed(world: World, key: str) -> Group:
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    return Placement(parts.birth.roster).group(key)


class Lost:
    """Loses the first `times` messages of a class that come to one node, and keeps all of that class."""

    def __init__(self, world: World, kind: type[Message], to: str, times: int = 1 << 30) -> None:
        self.kind, self.to, self.times = kind, to, times
        self.seen: list[Message] = []
        self.story: list[type[Message]] = []
        world.lose = self

    def __call__(self, at: int, a: str, b: str, message: Message) -> bool:
        if a != b:
            self.story.append(type(message))
        if a == b or b != self.to or type(message) is not self.kind:
            return False
        self.seen.append(message)
        return len(self.seen) <= self.times


def test_a_grant_takes_two_hops_and_a_write() -> None:
    world = ready()
    name = group(world)[1]
    assert max(granted_after(world, name) for _ in range(20)) <= HOPS + LATENCY[1] + MS // 10, "four hops are 4 ms alone"


def test_a_hand_over_is_learned_too() -> None:
    world = ready()
    owner, second, third = group(world)
    for holder, waiter in ((second, third), (owner, second), (third, third)):
        worker = held(world, holder)
        other = world.acquire(waiter, KEY, ttl=3 * S)
        world.run(100 * MS)
        grants = Lost(world, Grant, waiter)
        world.command(worker, "release")
        assert world.run_until(lambda other=other: other.state == "held", 20 * MS), "no grant is needed"  # type: ignore[misc]
        assert Voted in grants.story
        assert world.run_until(lambda worker=worker: worker.state == "released", 20 * MS), "and is told as ever"  # type: ignore[misc]
        (told,) = [event for _, event in of(world, Decided) if isinstance(event, Decided) and event.grant is not None][-1:]
        assert told.grant is not None and told.grant.handed
        world.lose = lambda at, a, b, message: False
        given_back(world, other)


def test_a_vote_that_is_lost_costs_a_refresh() -> None:
    world = ready()
    name = group(world)[1]
    votes = Lost(world, Voted, name, times=1)
    assert 100 * MS < granted_after(world, name) <= S // 2, "as a grant that is lost"
    assert votes.seen


def test_an_accept_that_is_repeated_brings_the_vote() -> None:
    world = ready()
    _, name, third = group(world)
    world.isolate(third)
    accepts = Lost(world, Accept, name, times=1)
    assert granted_after(world, name) < 100 * MS
    assert [accept.voted & VOTED for accept in accepts.seen[:2] if isinstance(accept, Accept)] == [0, VOTED]
    world.heal()


@pytest.mark.parametrize("slow", [0, 200 * MS])
def test_an_acceptance_that_is_lost_asks_for_no_grant(slow: int) -> None:
    """It says so again, whether its vote has come meanwhile or not."""
    world = ready()
    owner, name, third = group(world)
    world.isolate(third)
    disk = world.nodes[owner].disk
    assert disk is not None
    disk.slower[0] = slow
    lost = Lost(world, Accepted, owner, times=1)
    worker = held(world, name)
    world.run(300 * MS)
    assert lost.story.count(Accepted) > 1 and Voted in lost.story and Grant not in lost.story
    disk.slower.clear()
    given_back(world, worker)


def test_what_is_known_already_is_not_told_again() -> None:
    world, node, vote = withheld()
    world.lose = lambda at, a, b, message: isinstance(message, Voted)
    assert world.run_until(lambda: world.all_workers()[-1].state == "held", 100 * MS), "by the accept that is repeated"
    begun = len(world.log)
    assert node.parts is not None
    learned(world, node, vote)
    assert not [event for _, _, event in world.log[begun:] if isinstance(event, Decided)]
    assert not node.parts.acceptor._early
    world, node, vote = withheld()
    assert learned(world, node, vote)
    begun = len(world.log)
    learned(world, node, vote)
    assert not [event for _, _, event in world.log[begun:] if isinstance(event, Decided)]


def test_a_vote_that_overtakes_its_accept_is_kept_for_it() -> None:
    """Disks are faster than this network, whose messages overtake each other."""
    for seed in range(6):
        world = World(seed, voters=3, durable=True)
        assert world.run_until(world.founded, 20 * S)
        world.run(S)
        name = group(world)[1]
        given_back(world, held(world, name))
        assert max(granted_after(world, name) for _ in range(40)) < 60 * MS, seed
        node = world.nodes[name]
        assert node.parts is not None and not node.parts.acceptor._early


def test_not_more_early_votes_are_kept_than_may_wait() -> None:
    world, node, vote = withheld()
    assert node.parts is not None
    acceptor = node.parts.acceptor
    for number in range(learning.UNDECIDED_CAP + 7):
        acceptor._voted(replace(vote, key=f"lock/{number}"), world.instant(node), [])
    assert len(acceptor._early) == learning.UNDECIDED_CAP and acceptor.stats()["early_votes_dropped"] == 7


def at_once(world: World, count: int) -> int:
    """Of so many locks that one node asks for in one moment, the time of the last grant; the owner knows all of them."""
    _, name, _ = group(world)
    keys = [f"lock/{number}" for number in range(10 * count) if placed(world, f"lock/{number}")[0] == group(world)[0]][:count]
    for _ in range(2):
        began = world.now
        workers = [world.acquire(name, key, ttl=3 * S) for key in keys]
        assert world.run_until(lambda workers=workers: all(worker.state == "held" for worker in workers), 2 * S)  # type: ignore[misc]
        took = world.now - began
        for worker in workers:
            world.command(worker, "release")
        world.run(S)
    return took


def test_who_waits_for_enough_votes_has_the_rest_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nothing is dropped that was said to be waited for: each of them cost a refresh."""
    monkeypatch.setattr(learning, "UNDECIDED_CAP", 8)
    world = ready()
    node = world.nodes[group(world)[1]]
    assert at_once(world, 40) < 20 * MS
    assert node.parts is not None and node.parts.acceptor.stats()["undecided_full"] >= 32
    assert not node.parts.acceptor._undecided


def test_votes_that_never_came_do_not_fill_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "UNDECIDED_CAP", 8)
    world = ready()
    node = world.nodes[group(world)[1]]
    votes = Lost(world, Voted, node.name)
    at_once(world, 8)
    assert node.parts is not None and len(node.parts.acceptor._undecided) == 8 and votes.seen
    world.lose = lambda at, a, b, message: False
    world.run(S)
    lately = len(world.log)
    assert at_once(world, 8) < 20 * MS
    assert [event for _, _, event in world.log[lately:] if isinstance(event, Decided)], "they are learned again"


def test_a_release_is_answered_to_who_has_not_learned_of_it() -> None:
    """It takes a round, and the first acceptance is lost: what the accept that is repeated says is no news of ends."""
    world = ready()
    owner, name, third = group(world)
    worker = held(world, name)
    world.run(S)  # it may have been renewed by now, so its end takes a round
    world.isolate(third)
    accepted = Lost(world, Accepted, owner, times=1)
    begun = world.now
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    assert accepted.seen and world.now - begun < 100 * MS and ReleaseDone in accepted.story


def test_of_a_mesh_that_is_given_up_no_vote_is_kept() -> None:
    """The ballots of another one may be the same."""
    world, node, vote = withheld()
    assert node.parts is not None
    acceptor = node.parts.acceptor
    acceptor._voted(replace(vote, key="lock/other"), world.instant(node), [])
    assert acceptor._undecided and acceptor._early
    acceptor.forget_all([])
    assert not acceptor._undecided and not acceptor._early


def test_what_was_told_and_given_back_is_not_learned_any_more() -> None:
    """The owner's disk is slow, the grant comes by way of the third voter, and the vote when all is over."""
    world = ready()
    owner, name, _ = group(world)
    disk = world.nodes[owner].disk
    assert disk is not None
    disk.slower[0] = 300 * MS
    worker = held(world, name, within=100 * MS)
    world.command(worker, "release")
    begun = len(world.log)
    disk.slower.clear()
    votes = Lost(world, Voted, name, times=0)
    world.run(S)
    assert votes.seen, "it came"
    assert not [event for _, _, event in world.log[begun:] if isinstance(event, Decided) and event.grant is not None]
    holder = world.nodes[name].holder
    assert holder is not None and not holder.stats().get("unwanted")


def test_several_grants_of_one_node_wait_for_their_votes_at_once() -> None:
    """An accept overtakes the vote for the one before it."""
    for seed in range(12):
        world = World(seed, voters=3, durable=True)
        assert world.run_until(world.founded, 20 * S)
        world.run(S)
        name = group(world)[1]
        for _ in range(3):
            readers = [world.acquire(name, KEY, ttl=3 * S, mode=SHARED) for _ in range(4)]
            assert world.run_until(lambda readers=readers: all(each.state == "held" for each in readers), 80 * MS), seed  # type: ignore[misc]
            for each in readers:
                world.command(each, "release")
            assert world.run_until(lambda readers=readers: all(each.state == "released" for each in readers), S)  # type: ignore[misc]
            world.run(10 * MS)
        node = world.nodes[name]
        assert node.parts is not None and not node.parts.acceptor._undecided and not node.parts.acceptor._early


def test_an_end_is_learned_though_the_grant_beside_it_is_over() -> None:
    world = ready()
    name = group(world)[1]
    first = held(world, name)
    second = world.acquire(name, KEY, ttl=3 * S)
    world.run(100 * MS)
    votes = Lost(world, Voted, name)
    world.lose = lambda at, a, b, message: votes(at, a, b, message) or isinstance(message, ReleaseDone)
    world.command(first, "release")
    assert world.run_until(lambda: bool(votes.seen), S)
    world.command(second, "cancel")
    world.run(20 * MS)
    assert first.state != "released"
    vote, node = votes.seen[0], world.nodes[name]
    assert isinstance(vote, Voted)
    begun = len(world.log)
    hears(world, node, vote)
    decided = [event for _, _, event in world.log[begun:] if isinstance(event, Decided)]
    assert [(event.grant, len(event.ended)) for event in decided] == [(None, 1)] and first.state == "released"


def test_one_of_an_older_version_is_sent_the_grant() -> None:
    """It knows of no such votes, and does not say that it waits for one."""
    world = ready()
    name = group(world)[1]
    node = world.nodes[name]
    assert node.parts is not None
    acceptor = node.parts.acceptor
    accept = acceptor.accept

    def older(ask: Accept, now: Instant, out: list[Directive]) -> Accepted | Rejected | None:
        answer = accept(ask, now, out)
        acceptor._undecided.clear()
        return replace(answer, learns=False) if isinstance(answer, Accepted) else answer

    acceptor.accept = older  # type: ignore[method-assign]
    story = Lost(world, Grant, "nobody").story
    assert granted_after(world, name) < 20 * MS
    assert Grant in story


def test_one_that_has_no_disk_counts_its_own_vote_at_once() -> None:
    world = ready()
    _, name, third = group(world)
    world.laws = None  # they are of disks that everyone has
    world.crash(name)
    world.nodes[name].disk = None
    world.start(name)
    world.run(20 * S)
    given_back(world, held(world, name))
    world.isolate(third)
    story = Lost(world, Grant, "nobody").story
    assert granted_after(world, name) <= HOPS + LATENCY[1] + MS // 10
    assert Voted in story and Grant not in story


@pytest.mark.parametrize("kind", ["lock", "lease"])
def test_the_end_that_a_grant_brings_is_learned_with_it(kind: str) -> None:
    """One request of a node gives back what another one of it waits for. What binds something the owner has to end."""
    for repeated in (False, True):
        world = ready()
        _, name, third = group(world)
        world.isolate(third)
        first = held(world, name, kind=kind)
        second = world.acquire(name, KEY, ttl=3 * S)
        world.run(100 * MS)
        disk = world.nodes[name].disk
        assert disk is not None
        disk.slower[0] = 25 * MS if repeated else 0
        told = Lost(world, ReleaseDone, name)
        world.command(first, "release")
        assert world.run_until(lambda second=second: second.state == "held", 80 * MS)  # type: ignore[misc]
        if kind == "lock":
            assert first.state == "released" or world.run_until(lambda first=first: first.state == "released", MS)  # type: ignore[misc]
            assert not told.seen
        else:
            assert first.state != "released"
        world.heal()


def test_where_three_make_a_quorum_the_owner_tells() -> None:
    world = ready(voters=5)
    story = Lost(world, Voted, "nobody").story
    granted_after(world, group(world)[1])
    assert Grant in story and Voted not in story


def test_both_votes_have_to_be_durable() -> None:
    for slow in (0, 1):
        world = ready()
        names = group(world)
        disk = world.nodes[names[slow]].disk
        assert disk is not None
        world.isolate(names[2])
        disk.slower[0] = 300 * MS
        assert 300 * MS <= granted_after(world, names[1]) <= 320 * MS
        world.heal()


def test_one_whose_disk_is_slow_is_not_waited_for() -> None:
    """The other two are a quorum, and then the grant is sent."""
    world = ready()
    owner, name, _ = group(world)
    disk = world.nodes[owner].disk
    assert disk is not None
    disk.slower[0] = 300 * MS
    story = Lost(world, Voted, "nobody").story
    worker = held(world, name, within=100 * MS)
    assert Grant in story and Voted not in story
    disk.slower.clear()
    world.run(S)
    given_back(world, worker)


def test_one_that_has_not_accepted_is_sent_the_grant() -> None:
    world = ready()
    name = group(world)[1]
    story = Lost(world, Accept, name)
    worker = held(world, name, within=100 * MS)
    assert Grant in story.story and Voted in story.story
    world.lose = lambda at, a, b, message: False
    given_back(world, worker)


# --- what makes a vote none --------------------------------------------------------------------------------------------


def withheld() -> tuple[World, Node, Voted]:
    """The asker has accepted its own grant, and the owner's vote has not come yet."""
    world = ready()
    name = group(world)[1]
    votes = Lost(world, Voted, name)
    world.lose = lambda at, a, b, message: votes(at, a, b, message) or isinstance(message, Accepted | Grant)
    worker = world.acquire(name, KEY, ttl=3 * S)
    assert world.run_until(lambda: bool(votes.seen), S)
    world.lose = lambda at, a, b, message: isinstance(message, Accept | Accepted | Grant | Voted)
    world.run(10 * MS)
    assert worker.state == "asking"
    vote = votes.seen[0]
    assert isinstance(vote, Voted)
    return world, world.nodes[name], vote


def hears(world: World, node: Node, vote: Voted) -> None:
    assert node.parts is not None
    acceptor = node.parts.acceptor
    source = Source(vote.boot.session, "", vote.name, vote.boot, None)
    world.perform(node, acceptor, acceptor.on_message(vote, source, world.instant(node)))
    world.run(10 * MS)


def learned(world: World, node: Node, vote: Voted) -> bool:
    """Whether it holds its lock once it has heard this."""
    hears(world, node, vote)
    return world.all_workers()[-1].state == "held"


def test_both_votes_are_a_quorum() -> None:
    assert learned(*withheld())


def newer(boot: Boot) -> Boot:
    return Boot(boot.stamp + 1, boot.session)


@pytest.mark.parametrize("known", ["before", "with it"])
@pytest.mark.parametrize("of", ["owner", "asker"])
def test_a_vote_beside_a_newer_process_counts_for_nothing(known: str, of: str) -> None:
    world, node, vote = withheld()
    names = group(world)
    name, boot = (vote.name, vote.boot) if of == "owner" else (node.name, node.boot)
    boots = tuple([newer(boot) if each == name else NO_BOOT for each in names])
    assert node.parts is not None
    if known == "before":
        node.parts.acceptor._boots.learn(names, boots)
    else:
        vote = replace(vote, boots=boots)
    assert not learned(world, node, vote)


@pytest.mark.parametrize("lost", ["nothing", "the first accept"])
def test_an_owner_that_knows_of_a_newer_asker_says_so_with_its_vote(lost: str) -> None:
    """It has told a newer process what it keeps since its ballot was ready. The older one is there still."""
    world = ready()
    owner, name, third = names = group(world)
    world.isolate(third)
    parts, asker = world.nodes[owner].parts, world.nodes[name]
    assert parts is not None
    parts.acceptor._boots.learn(names, tuple([newer(asker.boot) if each == name else NO_BOOT for each in names]))
    Lost(world, Accept, name, times=0 if lost == "nothing" else 1)
    worker = world.acquire(name, KEY, ttl=3 * S)
    world.run(200 * MS)
    assert worker.state == "asking"


def test_a_refusal_is_not_told_as_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready()
    owner, name, _ = group(world)
    parts = world.nodes[owner].parts
    assert parts is not None
    monkeypatch.setattr(parts.acceptor, "_window", lambda *arguments: False)
    story = Lost(world, Grant, "nobody").story
    worker = held(world, name)
    assert Grant in story and Voted not in story
    given_back(world, worker)


def test_a_vote_of_another_process_or_ballot_or_voter_counts_for_nothing() -> None:
    world, node, vote = withheld()
    assert not learned(world, node, replace(vote, boot=newer(vote.boot)))
    assert not learned(world, node, replace(vote, name=group(world)[2]))
    assert not learned(world, node, replace(vote, ballot=vote.ballot.next()))
    assert not learned(world, node, replace(vote, key="lock/other"))
    assert learned(world, node, vote)


def test_a_vote_of_an_older_roster_counts_for_nothing() -> None:
    world, node, vote = withheld()
    assert node.parts is not None
    acceptor = node.parts.acceptor
    roster = acceptor._roster
    assert roster is not None
    acceptor._roster = roster._replace(epoch=roster.epoch + 1)
    assert not learned(world, node, vote)
