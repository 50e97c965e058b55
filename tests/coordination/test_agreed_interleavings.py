"""Interleavings that were suspected to break a rule, one by one. See `docs/agreed.md` for those that did."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.replies import Replies
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Acquire,
    Drop,
    Grant,
    Mend,
    Prepare,
    Promise,
    Rejected,
    Release,
    Renew,
)
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.register import Kept, Register
from crdt.clock import Instant
from mesh.directives import Event, Message, Source
from tests.coordination.agreed_faults import DeniesUnread
from tests.coordination.agreed_world import MS, Changes, S, Worker, World

KEY = "lock/x"


def ready(clients: int = 0, thin: int = 0, voters: int = 3, latency: tuple[int, int] = (MS, MS), faults: Changes = ()) -> World:
    world = World(3, voters=voters, clients=clients, thin=thin, latency=latency, faults=faults)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def group(world: World) -> Group:
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    return Placement(parts.birth.roster).group(KEY)


def of(world: World, kind: type[Event]) -> list[tuple[int, Event]]:
    return [(when, event) for when, _, event in world.log if isinstance(event, kind)]


def held(world: World, name: str, *, ttl: int = 3 * S, kind: str = "lock", renew: bool = True, within: int = S) -> Worker:
    worker = world.acquire(name, KEY, ttl=ttl, kind=kind, renew=renew)
    assert world.run_until(lambda: worker.state == "held", within), worker
    return worker


def live_at(world: World, worker: Worker) -> list[str]:
    """The voters for which the lease of this worker still counts as live."""
    names = []
    for name in group(world):
        node = world.nodes[name]
        register = node.parts.acceptor.register(KEY) if node.parts is not None else None
        for lease in register.leases if register is not None else ():
            if lease.asker[0] == worker.node and lease.token == worker.token:
                assert register is not None
                if register.is_live(lease, world.instant(node).mono):
                    names.append(name)
    return names


# --- paused processes (a) -------------------------------------------------------------------------------------------


def test_an_owner_that_stood_still_for_half_a_minute_wakes_up_harmless() -> None:
    world = ready(clients=1)
    owner = group(world)[0]
    other = group(world)[1]
    held(world, "n3", renew=False)
    world.acquire(other, KEY, ttl=3 * S)
    world.run(20 * MS)
    world.pause(owner, 30 * S)
    world.run(29 * S)
    assert world.grants >= 2, "the next in rank went on"
    for worker in world.all_workers():
        world.command(worker, "release")
    world.run(2 * S)
    begun = world.now
    held(world, "n3")
    assert world.now - begun < S


def test_a_holder_that_stood_still_believes_nothing_that_comes_late() -> None:
    for suspend in (False, True):
        world = ready(clients=1)
        holder = held(world, "n3", ttl=2 * S)
        world.command(holder, "renew")
        world.pause("n3", 30 * S, suspend=suspend)
        world.run(3 * S)
        held(world, "n0", ttl=2 * S)
        world.run_until(lambda world=world: world.running(world.nodes["n3"]), 40 * S)  # type: ignore[misc]
        assert not world.valid(holder)
        world.run(S)
        assert holder.state == "ended" and of(world, events.Ended)


def test_time_in_which_the_asker_itself_stood_still_is_nobody_s_silence() -> None:
    world = ready()
    alone = group(world)[2]
    world.isolate(alone)
    worker = world.acquire(alone, KEY)
    asked = world.now
    world.run(S)
    world.pause(alone, 5 * S)
    assert world.run_until(lambda: worker.state == "unavailable", 10 * S)
    assert 7 * S - 300 * MS <= world.now - asked <= 7 * S + 500 * MS


# --- thin clients (b) -----------------------------------------------------------------------------------------------


def test_a_thin_client_s_holder_knows_no_boots_and_learns_them_from_answers() -> None:
    world = ready(thin=1)
    thin = next(name for name in world.nodes if "@" in name)
    worker = held(world, thin, ttl=2 * S)
    world.run(3 * S)
    restarted = next(name for name in group(world) if name != world.nodes[thin].sponsor)
    world.crash(restarted)
    world.run(50 * MS)
    world.start(restarted)
    world.run(20 * S)
    assert world.valid(worker), "renewed all the time, by the others and then by the new process, too"
    node = world.nodes[restarted]
    holder = world.nodes[thin].holder
    assert holder is not None and holder._boots.of(restarted) == node.boot
    waiter = world.acquire(restarted, KEY)
    world.run(50 * MS)
    world.command(worker, "release")
    assert world.run_until(lambda: waiter.state == "held", S)


# --- two owners (c) -------------------------------------------------------------------------------------------------


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


def test_an_acceptor_that_keeps_to_another_lease_is_not_told_of_the_value_in_a_loop() -> None:
    world = ready(clients=2)
    first, *others = group(world)
    world.isolate(first)
    world.run(2 * S)
    world.lies["n3"] = {first}
    held(world, "n3", ttl=3 * S)
    parts = world.nodes[first].parts
    assert parts is not None
    now = world.instant(world.nodes[first])
    register = parts.acceptor._touch(KEY, now, [])
    assert register is not None
    register.leases[LeaseId(1, "n4", world.nodes["n4"].boot, 99)] = Kept(1, now.mono + 5 * S, False)
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
    held(world, "n3", ttl=3 * S)
    parts = world.nodes[third].parts
    assert parts is not None
    now = world.instant(world.nodes[third])
    register = parts.acceptor._touch(KEY, now, [])
    assert register is not None
    register.leases[LeaseId(1, "n4", world.nodes["n4"].boot, 99)] = Kept(1, now.mono + 5 * S, False)
    world.heal()
    rounds: dict[type[Message], set[Ballot]] = {Prepare: set(), Accept: set()}
    slow: list[Message] = []

    def note(at: int, a: str, b: str, message: Message) -> bool:
        """The second in rank answers a prepare later than the third; an accept, too, or earlier."""
        if isinstance(message, Prepare | Accept):
            rounds[type(message)].add(message.ballot)
        if message in slow or not isinstance(message, (Promise, Rejected) if late else (Promise, Accepted)):
            return False
        if a == (third if isinstance(message, Rejected) else second):
            slow.append(message)
            world.after(MS, world.transmit, world.nodes[a], b, message)
            return True
        return False

    world.lose = note
    world.acquire("n4", KEY, ttl=3 * S)
    world.run(2 * S)
    assert 1 <= len(rounds[Prepare]) <= 3 and len(rounds[Accept]) >= 1, rounds
    assert first != third and any(isinstance(message, Rejected) for message in slow) == late


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


# --- leases that bind something (f) ---------------------------------------------------------------------------------


def test_a_bound_lock_is_answered_once_a_majority_knows_that_it_binds() -> None:
    world = ready(clients=1)
    worker = held(world, "n3", renew=False)
    node = world.nodes["n3"]
    assert node.holder is not None
    world.command(worker, "bind")
    assert world.run_until(lambda: bool(of(world, events.Renewed)), S)
    knowing = 0
    for name in group(world):
        parts = world.nodes[name].parts
        register = parts.acceptor.register(KEY) if parts is not None else None
        assert register is not None
        knowing += any(kept.binds for kept in register.leases.values())
    assert knowing >= 2
    assert node.holder.bind(worker.request, world.instant(node)) == [], "they know it: nothing is to be waited for"


def test_a_lock_that_binds_later_is_not_ended_by_the_way() -> None:
    """Only `Release` says that it binds: its owner may not know that yet."""
    world = ready(clients=1)
    worker = held(world, "n3", renew=False)
    world.command(worker, "bind")
    assert world.run_until(lambda: bool(of(world, events.Renewed)), S)
    lost: list[int] = []

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Release) and not lost:
            lost.append(at)
            return True
        return False

    world.lose = lose
    world.command(worker, "release")
    held(world, "n3", within=2 * S)
    world.run(S)
    assert lost and not world.visible


def test_a_renewal_that_was_under_way_does_not_tell_that_the_lock_binds() -> None:
    world = ready(clients=1, latency=(20 * MS, 20 * MS))
    worker = held(world, "n3")
    world.command(worker, "renew")
    world.run(MS)
    world.lose = lambda at, a, b, message: isinstance(message, Renew) and message.items[0].binds
    world.command(worker, "bind")
    world.run(100 * MS)
    assert of(world, events.Renewed) == []
    node = world.nodes["n3"]
    assert node.holder is not None and node.holder.bind(worker.request, world.instant(node)) != [], "still to be waited for"
    world.lose = None
    assert world.run_until(lambda: bool(of(world, events.Renewed)), S)


def test_the_end_of_a_lease_is_told_also_after_every_voter_has_lost_its_memory() -> None:
    world = ready(clients=1)
    held(world, "n3", kind="lease")
    assert world.visible
    for name in ("n0", "n1", "n2", "n3"):
        world.crash(name)
    world.run(100 * MS)
    for name in ("n0", "n1", "n2", "n3"):
        world.start(name)
    world.run(5 * S)
    assert world.visible, "no register knows of it"
    world.recheck()
    world.run(S)
    assert not world.visible


def test_a_recheck_of_a_lease_that_is_held_costs_nothing_and_ends_nothing() -> None:
    world = ready(clients=1)
    worker = held(world, "n3", kind="lease")
    world.run(300 * MS)
    before = world.sent
    world.recheck()
    assert world.sent == before
    world.run(S)
    assert world.valid(worker) and world.visible


# --- what is told ---------------------------------------------------------------------------------------------------


def test_a_ttl_above_the_mesh_s_longest_is_refused_at_once_and_says_so() -> None:
    world = ready()
    worker = world.acquire("n0", KEY, ttl=4 * S)
    assert worker.state == "unavailable"
    told = of(world, events.Unavailable)[-1][1]
    assert isinstance(told, events.Unavailable) and "3 s" in told.reason and told.missing == ()
