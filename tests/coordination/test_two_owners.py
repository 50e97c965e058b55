"""Interleavings of two owners of one register, and of one with acceptors that are behind, one by one. See `docs/agreed.md`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.replies import Replies
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Acquire,
    Cancel,
    CancelDone,
    Drop,
    Grant,
    Mend,
    Prepare,
    Promise,
    Rejected,
    Release,
)
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.register import Kept, Register
from crdt.clock import Instant
from mesh.directives import Message, Source
from tests.coordination.agreed_faults import DeniesUnread
from tests.coordination.agreed_world import MS, Changes, S, Worker, World
from tests.coordination.one_lock import KEY, group, held, live_at, ready


def overtaken(faults: Changes = ()) -> tuple[World, Worker]:
    """The first-ranked has the register at `ready`, free; the second, asked behind its back, has granted it meanwhile."""
    world = ready(clients=1, faults=faults)
    first = group(world)[0]
    old = held(world, "n3")
    world.run(S)  # longer than a release may take that is only noted: the value goes on naming it
    world.command(old, "release")
    world.run(S)
    world.lies["n3"] = {first}
    worker = held(world, "n3", ttl=3 * S)
    world.lies.clear()
    return world, worker


def released_by_the_first(faults: Changes = ()) -> list[str]:
    """Where the lease lives on, once its holder has been told that its release is confirmed."""
    world, worker = overtaken(faults)
    second = group(world)[1]

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        return isinstance(message, Drop) or (isinstance(message, Release) and b == second)

    world.lose = lose
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", 2 * S)
    return live_at(world, worker)


def test_an_owner_that_was_overtaken_confirms_no_release_of_a_lease_that_it_has_never_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert released_by_the_first() == []
    monkeypatch.setattr(Desk, "unread", lambda desk: False)
    assert released_by_the_first(((Replies, DeniesUnread),)) != [], "the fault is seen"


def test_busy_is_said_from_what_was_true_after_the_question() -> None:
    world = ready(clients=2)
    node = world.nodes[group(world)[0]]
    held(world, "n3")
    assert node.parts is not None
    owner = node.parts.owner
    source = Source(b"", "", None, None, None)
    prepares: list[int] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Prepare) and a == node.name:
            prepares.append(message.ballot.counter)
        return False

    world.lose = note
    world.perform(node, owner, owner.on_message(Mend(KEY), source, world.instant(node)))
    world.run(MS // 2)
    far = world.nodes["n4"]
    assert far.holder is not None
    tried = world.acquire("n4", KEY, wait=False)
    ask = Acquire(KEY, "n4", far.boot, tried.request, 1, False, False, S, 0, ())
    world.perform(node, owner, owner.on_message(ask, source, world.instant(node)))
    assert world.run_until(lambda: tried.state == "busy", S)
    assert len(set(prepares)) == 2, "the read that was under way had begun before the question"


class RefusesTheFirst:
    """Takes every token but the first that is granted here."""

    def __init__(self, window: Callable[[Register, LeaseId, Instant], bool]) -> None:
        self.window = window
        self.first = 0

    def __call__(self, register: Register, lease: LeaseId, now: Instant) -> bool:
        self.first = self.first or lease.token
        return lease.token != self.first and self.window(register, lease, now)


def test_a_grant_that_a_later_round_completed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roster campaign, seed 1142 (L12): two voters refused a token, as the owner's clock had been set between its prepare and
    its grant. The next round had the lease accepted, and its asker waited until that had run out."""
    world = ready(clients=1)
    owner, *others = group(world)
    held(world, owner)
    world.command(world.all_workers()[-1], "release")
    world.run(20 * MS)
    for name in others:
        parts = world.nodes[name].parts
        assert parts is not None
        acceptor = parts.acceptor
        monkeypatch.setattr(acceptor, "_window", RefusesTheFirst(acceptor._window))
    begun = world.now
    worker = held(world, "n3", ttl=3 * S, within=200 * MS)
    assert world.now - begun < 200 * MS
    world.run(S)
    assert world.valid(worker), "it is renewed as any other"


def test_a_grant_that_only_the_owner_accepted_does_not_close_the_lock_for_a_term() -> None:
    world = ready(clients=2)
    first = group(world)[0]

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        return first in (a, b) and isinstance(message, Accept)

    world.lose = lose
    gone = world.acquire("n3", KEY, ttl=3 * S)
    world.run(20 * MS)
    world.crash("n3")
    for name in world.nodes:
        world.cut(first, name)
    world.lies["n4"] = {first}
    granted = held(world, "n4", ttl=3 * S)
    world.command(granted, "release")
    assert world.run_until(lambda: granted.state == "released", S)
    world.run(800 * MS)
    world.heal()
    world.lose = None
    parts = world.nodes[first].parts
    assert parts is not None
    register = parts.acceptor.register(KEY)
    assert register is not None and register.until() > world.instant(world.nodes[first]).mono, "the lost one lives there"
    begun = world.now
    held(world, "n4", ttl=3 * S)
    assert world.now - begun < 500 * MS, "a majority does not know of it"
    assert gone.state == "asking"


def keep(world: World, name: str) -> None:
    """This voter, alone, counts a lease as live that nobody holds."""
    parts = world.nodes[name].parts
    assert parts is not None
    now = world.instant(world.nodes[name])
    register = parts.acceptor._touch(KEY, now, [])
    assert register is not None
    register.leases[LeaseId(1, "n4", world.nodes["n4"].boot, 99)] = Kept(1, now.mono + 5 * S, False)


def test_an_acceptor_that_keeps_to_another_lease_is_not_told_of_the_value_in_a_loop() -> None:
    world = ready(clients=2)
    first, *others = group(world)
    world.isolate(first)
    world.run(2 * S)
    world.lies["n3"] = {first}
    held(world, "n3", ttl=3 * S)
    keep(world, first)
    world.heal()
    world.acquire("n4", KEY, ttl=3 * S)
    before = world.sent
    world.run(2 * S)
    assert world.sent - before < 300 and others


@pytest.mark.parametrize("late", [False, True])
def test_a_value_that_one_acceptor_refuses_is_read_no_more_often_than_another(late: bool) -> None:
    """Exploration of small cases: refused once it had been decided, a value was read and completed again at the speed of the
    network, until its lease was over."""
    world = ready(clients=2)
    first, second, third = group(world)
    world.isolate(third)
    world.run(2 * S)
    held(world, "n3", ttl=3 * S, renew=False)
    world.run(S // 2)  # so old that it may have been renewed: nobody is spared an accept
    world.heal()
    rounds: dict[type[Message], set[Ballot]] = {Prepare: set(), Accept: set()}
    slow: list[Message] = []
    # Late: so late that the third is sent the accept, too, which it refuses after the second has accepted it.
    pauses = {Promise: MS, Accepted: 80 * MS, Rejected: 60 * MS} if late else {Promise: MS, Accepted: MS}

    def note(at: int, a: str, b: str, message: Message) -> bool:
        """The second in rank answers a prepare later than the third, which takes to another lease behind its promise."""
        if isinstance(message, Prepare | Accept):
            rounds[type(message)].add(message.ballot)
        if a == third and isinstance(message, Promise):
            keep(world, third)
        if message in slow or a not in (second, third) or type(message) not in pauses:
            return False
        if (a == third) == isinstance(message, Rejected):
            slow.append(message)
            world.after(pauses[type(message)], world.transmit, world.nodes[a], b, message)
            return True
        return False

    world.lose = note
    world.acquire("n4", KEY, ttl=3 * S)
    world.run(2 * S)
    assert 1 <= len(rounds[Prepare]) <= 3 and len(rounds[Accept]) >= 1, rounds
    assert first != third and any(isinstance(message, Rejected) for message in slow) == late


def test_a_free_register_that_one_acceptor_cannot_accept_is_not_completed_for_it() -> None:
    """Seed 2 of a sweep: somebody waited to hear of a cancel, and the owner read the register and freed it anew, as fast as
    the network goes, for an acceptor that kept to a lease of its own."""
    world = ready(clients=2)
    first, *_ = group(world)
    world.isolate(first)
    world.run(2 * S)
    world.lies["n3"] = {first}
    worker = held(world, "n3", ttl=3 * S)
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    keep(world, first)
    world.heal()
    world.run(500 * MS)
    ballots: set[Ballot] = set()
    done: list[Message] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Prepare | Accept):
            ballots.add(message.ballot)
        if isinstance(message, CancelDone):
            done.append(message)
        return False

    world.lose = note
    world.transmit(world.nodes["n4"], first, Cancel(KEY, "n4", world.nodes["n4"].boot, 98))
    world.run(2 * S)
    assert done and len(ballots) <= 6, (done, ballots)


def test_an_owner_at_work_is_passed_a_question_that_came_to_two() -> None:
    """At 100 ms a way an answer takes longer than 250 ms, so every question goes to two nodes."""
    world = ready(clients=1, latency=(100 * MS, 100 * MS))
    for _ in range(5):
        worker = held(world, "n3", within=2 * S)
        world.command(worker, "release")
        assert world.run_until(lambda worker=worker: worker.state == "released", 2 * S)  # type: ignore[misc]
    assert sum(node.parts.owner.stats().get("passed_on", 0) for node in world.nodes.values() if node.parts is not None) >= 3
    refused = [node.parts.acceptor.stats() for node in world.nodes.values() if node.parts is not None]
    assert sum(count for each in refused for name, count in each.items() if name.startswith("refused")) <= 2


def test_a_waiter_hears_of_a_busy_owner_before_it_asks_another_one() -> None:
    """One round follows the other without a pause, for longer than a waiter waits for an answer."""
    world = ready(clients=8)
    stop = world.now + S

    def work(name: str) -> None:
        worker = world.acquire(name, KEY, ttl=3 * S)

        def look() -> None:
            if worker.state == "held":
                world.command(worker, "release")
                if world.now < stop:
                    work(name)
            elif worker.state == "asking":
                world.after(MS // 4, look)

        look()

    last = world.acquire("n3", KEY, ttl=3 * S)
    world.command(last, "cancel")
    for name in ("n4", "n5", "n6", "n7", "n8", "n9", "n10"):
        for _ in range(16):
            work(name)
    asked: list[str] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Acquire) and b != group(world)[0]:
            asked.append(b)
        return False

    world.lose = note
    world.run(S)
    assert world.grants > 100 and asked == []


def test_an_owner_whose_clock_is_an_hour_ahead_grants_with_tokens_of_the_majority() -> None:
    world = ready(clients=1)
    first = group(world)[0]
    world.crash(first)
    world.run(S)
    node = world.nodes[first]
    world.start(first)
    node.wall += 3_600_000
    node.clock.read(world.instant(node))
    world.run(5 * S)
    begun = world.now
    for _ in range(20):
        worker = held(world, "n3", within=2 * S)
        world.command(worker, "release")
        assert world.run_until(lambda worker=worker: worker.state == "released", 2 * S)  # type: ignore[misc]
    assert world.now - begun < 2 * S


def test_while_one_of_three_is_down_a_refusal_costs_no_second() -> None:
    world = ready(clients=1)
    first, _, third = group(world)
    world.crash(first)
    parts = world.nodes[third].parts
    assert parts is not None
    register = parts.acceptor._touch(KEY, world.instant(world.nodes[third]), [])
    assert register is not None
    register.promised = Ballot(1, 50, first, world.nodes[first].boot)
    begun = world.now
    held(world, "n3", within=2 * S)
    assert world.now - begun < 700 * MS


def test_an_acceptor_that_missed_an_end_is_told_of_it_in_the_next_round() -> None:
    world = ready(clients=1)
    worker = held(world, "n3")
    _, second, third = group(world)
    world.run(50 * MS)
    world.lose = lambda at, a, b, message: isinstance(message, Accept | Drop) and b == third
    world.command(worker, "release")
    assert world.run_until(lambda: worker.state == "released", S)
    assert live_at(world, worker) == [third]
    world.lose = None
    world.crash(second)
    again = held(world, "n3", within=50 * MS)
    assert third in live_at(world, again)


def test_a_lease_that_ran_out_is_not_given_back_when_its_grant_is_told_again() -> None:
    """Campaign, seed 3004886: a ticket that had gone round between two owners had the grant told to a process whose lease had
    just run out. It answered with a release, and the next was let in before the delay was over."""
    world = ready(clients=2)
    told: list[Grant] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Grant) and b == "n3":
            told.append(message)
        return False

    world.lose = note
    worker = world.acquire("n3", KEY, ttl=S, delay=2 * S, renew=False)
    assert world.run_until(lambda: worker.state == "held", S) and told
    waiting = world.acquire("n4", KEY, ttl=S)
    assert world.run_until(lambda: worker.state == "ended", 2 * S)
    node = world.nodes["n3"]
    assert node.holder is not None
    again = node.holder.on_message(told[-1], Source(b"", "", None, None, None), world.instant(node))
    world.perform(node, node.holder, again)
    ended = world.now
    assert world.run_until(lambda: waiting.state == "held", 5 * S)
    assert world.now - ended > 1900 * MS
    assert node.holder.stats()["told_again"] == 1
