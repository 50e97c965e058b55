"""What a hand-over costs, and when its lease may be relied on: the body of a request that is renewed begins on the short first
term, and everything else is confirmed first."""

from __future__ import annotations

from typing import Any

import pytest

from coordination.agreed.holding.holder import Holder
from coordination.agreed.holding.keeper import Keeper
from coordination.agreed.owning.usher import TELL_WITHIN
from coordination.agreed.vocabulary.events import Ending
from coordination.agreed.vocabulary.messages import Grant, Renew, RenewAnswer
from coordination.agreed.vocabulary.modes import Mode
from coordination.agreed.vocabulary.placement import Group
from mesh.directives import Message
from tests.coordination.agreed_faults import KeepsToTheFirstTerm, Overestimates
from tests.coordination.agreed_world import MS, PARAMETERS, Changes, S, Violation, Worker, World
from tests.coordination.one_lock import KEY, group, held, live_at, of

TTL = 8 * S
FIRST_TERM = 2 * S
LONG = PARAMETERS._replace(max_ttl=10 * S)


def ready(clients: int = 1, faults: Changes = ()) -> World:
    world = World(3, voters=3, clients=clients, latency=(MS, MS), faults=faults, parameters=LONG)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def test_one_that_comes_in_the_middle_of_a_round_is_told_that_it_waits() -> None:
    """Also if nothing else happens for a second. (It asked the next in rank after 250 ms, and there were two owners.)"""
    world = ready()
    first = held(world, "n1", ttl=TTL)
    worker = world.acquire(group(world)[0], KEY, ttl=TTL)
    owner = world.nodes[worker.node].parts
    assert owner is not None and (desk := owner.owner.desk(KEY)) is not None and desk.round is not None
    world.run(TELL_WITHIN + 5 * MS)
    assert [ticket.told for ticket in desk.queue.all()] == [True]
    world.run(S)
    world.command(first, "release")
    assert world.run_until(lambda: worker.state == "held", 5 * MS)


class Handed:
    """One that holds, one that waits, and what is said once the first gives it back."""

    def __init__(self, first: str = "n1", second: str = "n2", faults: Changes = (), **how: Any) -> None:
        self.world = world = ready(faults=faults)
        self.names: Group = group(world)
        holder = held(world, first, ttl=TTL)
        world.run(10 * MS)
        self.worker: Worker = world.acquire(second, KEY, ttl=TTL, **how)
        world.run(300 * MS)
        self.said: list[type[Message]] = []
        world.lose = self.note
        self.begun = world.now
        world.command(holder, "release")

    def note(self, at: int, a: str, b: str, message: Message) -> bool:
        if a != b:
            self.said.append(type(message))
        return False

    def granted(self) -> Worker:
        assert self.world.run_until(lambda: self.worker.state == "held", S), self.worker
        return self.worker

    def left(self) -> int:
        """ns of belief, by its own clock."""
        node = self.world.nodes[self.worker.node]
        assert node.holder is not None
        deadline = node.holder.deadline(self.worker.request)
        return 0 if deadline is None else deadline - self.world.instant(node).boot


def test_a_body_begins_on_its_first_term_and_a_short_one_costs_no_renewal() -> None:
    for first, second in (("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n3", "n0")):
        handed = Handed(first, second)
        worker = handed.granted()
        assert handed.world.now - handed.begun <= 5 * MS, "a release, a round, and a grant"
        assert FIRST_TERM // 2 < handed.left() <= FIRST_TERM
        handed.world.run(5 * MS)
        handed.world.command(worker, "release")
        assert handed.world.run_until(lambda worker=worker: worker.state == "released", S)  # type: ignore[misc]
        handed.world.run(200 * MS)
        assert Renew not in handed.said and RenewAnswer not in handed.said


def test_a_longer_body_is_renewed_at_once_and_then_as_any() -> None:
    handed = Handed()
    worker = handed.granted()
    handed.world.run(60 * MS)
    assert handed.said.count(Renew) == 2 and handed.left() > TTL * 9 // 10
    handed.world.run(2 * TTL)
    assert worker.body and handed.world.valid(worker)
    assert handed.said.count(Renew) < 2 * (2 + 2 * 3 + 2)


def stays(faults: Changes = (), lost: int | None = None) -> bool:
    """Whether a body goes on for two ttl, though the first renewals are lost."""
    handed = Handed(faults=faults)
    worker, world = handed.granted(), handed.world
    until = world.now + (lost or 0)
    world.lose = lambda at, a, b, message: isinstance(message, Renew) and world.now < until
    world.run(2 * TTL)
    return worker.body and world.valid(worker)


def test_a_first_renewal_is_repeated_until_it_is_answered() -> None:
    assert stays() and stays(lost=S)
    assert not stays(((Keeper, KeepsToTheFirstTerm),)), "a first renewal that is never sent was not noticed"


def test_who_cannot_renew_is_told_before_its_first_term_is_over() -> None:
    """And the lock is free after it: nobody waits for the whole ttl."""
    handed = Handed()
    worker, world = handed.granted(), handed.world
    world.isolate(worker.node)
    begun = world.now
    other = world.acquire(next(name for name in ("n0", "n1") if name != worker.node), KEY, ttl=TTL)
    assert world.run_until(lambda: not worker.body, FIRST_TERM) and of(world, Ending)
    assert world.run_until(lambda: other.state == "held", S)
    assert world.now - begun < FIRST_TERM + 300 * MS


@pytest.mark.parametrize("after", [0, 60 * MS])
def test_who_stands_still_before_its_first_renewal_has_its_first_term_alone(after: int) -> None:
    """Its ttl covers that from 50 ms on. (L1 is looked at all the time: nobody believes in it beside the next one.)"""
    handed = Handed()
    worker, world = handed.granted(), handed.world
    world.run(after)
    world.pause(worker.node, 3 * S)
    other = world.acquire("n3", KEY, ttl=TTL)
    begun = world.now
    taken = world.run_until(lambda: other.state == "held", 5 * S)
    assert taken == (not after)
    if taken:
        assert FIRST_TERM * 9 // 10 < world.now - begun < FIRST_TERM + 300 * MS
    world.run(2 * S)
    assert worker.body == bool(after), "it wakes up, and ends at once if its time is over"


def test_one_that_takes_its_first_term_for_a_whole_ttl_is_noticed() -> None:
    handed = Handed(faults=((Keeper, Overestimates),))
    worker, world = handed.granted(), handed.world
    world.isolate(worker.node)
    world.acquire("n0" if worker.node != "n0" else "n1", KEY, ttl=TTL)
    with pytest.raises(Violation, match="L1"):
        world.run(TTL)


@pytest.mark.parametrize("how", [{"renew": False}, {"delay": S}, {"kind": "lease"}])
def test_what_nobody_renews_or_what_follows_it_is_confirmed_first(how: dict[str, Any]) -> None:
    handed = Handed(**how)
    worker = handed.granted()
    assert handed.said.count(Renew) == 2 and RenewAnswer in handed.said
    assert handed.left() > TTL * 9 // 10
    assert len(live_at(handed.world, worker)) == 3


def test_a_first_term_that_is_half_over_is_confirmed_first() -> None:
    """The grant counts from when it was asked for. A body that begins too late would be cancelled at once."""
    for late in (FIRST_TERM // 8, FIRST_TERM * 2 // 3):
        handed = Handed()
        holder = handed.world.nodes[handed.worker.node].holder
        assert holder is not None
        sent = holder._wires[handed.worker.request].belief._sent
        for serial in sent:
            sent[serial] -= late
        handed.granted()
        if late < FIRST_TERM // 2:
            assert Renew not in handed.said and FIRST_TERM // 2 < handed.left() < FIRST_TERM
        else:
            assert handed.said.count(Renew) == 2 and handed.left() > TTL * 9 // 10


def test_a_third_voter_that_knows_of_a_lease_by_its_renewal_is_told_of_its_end() -> None:
    """It would refuse what comes next, which costs a round."""
    handed = Handed(renew=False)
    world = handed.world
    for turn in range(6):
        worker = handed.granted()
        handed.worker = world.acquire(f"n{turn % 4}", KEY, ttl=TTL, renew=turn % 2 == 0)
        world.run(100 * MS)
        world.command(worker, "release")
    handed.granted()
    refused = [
        count
        for node in world.nodes.values()
        if node.parts is not None
        for name, count in node.parts.acceptor.stats().items()
        if name.startswith("refused")
    ]
    assert not sum(refused), "somebody kept to a lease that had been given back"


def test_a_party_that_was_not_confirmed_is_not_one_of_another_round() -> None:
    """It completes a round, is told so late, and no voter hears its renewals."""
    world = ready(clients=4)
    pair = Mode(1, 2, together=True)
    before = [world.acquire(name, "barrier/x", ttl=TTL, mode=pair) for name in ("n3", "n4")]
    assert world.run_until(lambda: all(worker.state == "held" for worker in before), S)
    other = world.acquire("n5", "barrier/x", ttl=TTL, mode=pair)
    world.run(10 * MS)
    late = world.acquire("n6", "barrier/x", ttl=TTL, mode=pair)
    world.run(300 * MS)
    grants: list[tuple[str, Message]] = []

    def lose(number: int, a: str, b: str, message: Message) -> bool:
        if b == "n6" and isinstance(message, Grant):
            grants.append((a, message))
            return True
        return a == "n6" and isinstance(message, Renew)

    world.lose = lose
    for worker in before:
        world.command(worker, "release")
    assert world.run_until(lambda: bool(grants) and other.state == "held", S)
    world.run(FIRST_TERM * 6 // 10)
    assert late.state == "asking"
    voter, grant = grants[0]
    world.lose = lambda number, a, b, message: a == "n6" and isinstance(message, Renew)
    world.transmit(world.nodes[voter], "n6", grant)
    world.run(2 * S)
    world.lose = None
    assert (late.state, other.state) == ("ended", "held"), "it waits, or is there alone"


def test_who_is_cut_off_with_a_hand_over_that_nobody_confirmed_is_told_in_time() -> None:
    """The request is asked anew when its first term is over. Nobody has answered its renewals until then: that counts."""
    for seed in range(6):
        world = ready()
        _, second, third = group(world)
        worker = held(world, third, ttl=TTL)
        later = world.acquire(second, KEY, ttl=TTL, kind="lease")
        world.run(S + seed * 70 * MS)
        world.command(worker, "release")
        holder = world.nodes[second].holder
        assert holder is not None

        def handed(later: Worker = later, holder: Holder = holder) -> bool:
            record = holder._requests.get(later.request)
            return record is not None and record.lease is not None

        assert world.run_until(handed, S)
        world.isolate(second)
        assert world.run_until(lambda later=later: later.state == "unavailable", 2100 * MS), seed  # type: ignore[misc]
