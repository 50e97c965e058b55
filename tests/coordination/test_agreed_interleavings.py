"""Interleavings that were suspected to break a rule, one by one; `test_two_owners` has those of two that act for one register.
See `docs/agreed.md` for those that did."""

from __future__ import annotations

import pytest

from coordination.agreed.atomics.calls import CallWaiting
from coordination.agreed.holding.keeper import TICK_TIMER
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.messages import Release, Renew, Waiting
from coordination.agreed.vocabulary.placement import placement_of
from mesh.directives import Message
from tests.coordination.agreed_world import MS, S
from tests.coordination.one_lock import KEY, group, held, of, ready

# --- paused processes -----------------------------------------------------------------------------------------------


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


# --- who is named as silent -----------------------------------------------------------------------------------------


class Fading:
    """The owner has just heard the others when they die. It answers, but what it says of them later is lost."""

    def __init__(self, key: str) -> None:
        self.world = world = ready(clients=2)
        parts = world.nodes["n4"].parts
        assert parts is not None and parts.birth.roster is not None
        self.caller = parts.caller
        self.owner, *self.others = placement_of(parts.birth.roster).group(key)
        self.lost = 0

    def lose(self, number: int, a: str, b: str, message: Message) -> bool:
        late = b == "n4" and isinstance(message, Waiting | CallWaiting) and bool(message.missing)
        self.lost += late
        return late

    def named(self, kind: type[events.Unavailable | events.CallFailed]) -> tuple[str, ...]:
        world = self.world
        assert world.run_until(lambda: bool(of(world, kind)), 5 * S) and self.lost
        ((_, told),) = of(world, kind)
        assert isinstance(told, kind)
        return told.missing if isinstance(told, events.Unavailable) else told.names

    def die(self) -> None:
        self.world.lose = self.lose
        for name in self.others:
            self.world.crash(name)

    def call(self, key: str) -> None:
        node = self.world.nodes["n4"]
        self.world.perform(node, self.caller, self.caller.call(self.caller.next_call(), key, None, self.world.instant(node)))
        self.world.run(200 * MS)


def test_an_owner_that_tells_who_waits_is_not_named_as_silent() -> None:
    fading = Fading(KEY)
    held(fading.world, "n3")
    fading.world.acquire("n4", KEY, ttl=3 * S)
    fading.world.run(300 * MS)
    fading.die()
    assert fading.named(events.Unavailable) == tuple(fading.others)


def test_an_owner_that_is_at_work_on_a_call_is_not_named_as_silent() -> None:
    fading = Fading("atomic/x")
    fading.call("atomic/x")
    fading.die()
    fading.call("atomic/x")
    assert fading.named(events.CallFailed) == tuple(fading.others)


# --- thin clients ---------------------------------------------------------------------------------------------------


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


# --- leases that bind something --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("what", ["bind", "renew"])
def test_a_renewal_of_the_same_moment_answers_nothing_that_was_asked_after_it(what: str) -> None:
    """Both are sent in one nanosecond: which of them was answered, their serials tell."""
    world = ready(clients=1)
    worker = held(world, "n3")
    node = world.nodes["n3"]
    holder = node.holder
    assert holder is not None
    record = holder._requests[worker.request]
    serials: list[int] = []

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, Renew):
            serials.append(message.items[0].serial)
            return message.items[0].serial == serials[0] + 1
        return False

    world.lose = lose
    record.renew_at = world.instant(node).boot
    world.perform(node, holder, holder.on_timer(TICK_TIMER, world.instant(node)))
    world.command(worker, what)
    assert serials == [serials[0]] * 3 + [serials[0] + 1] * 3
    world.run(100 * MS)
    assert record.belief.confirmed(2)[1] == serials[0] and of(world, events.Renewed) == []
    world.lose = None
    assert world.run_until(lambda: bool(of(world, events.Renewed)), 2 * S), "a later sending follows"


def test_a_sending_of_the_same_moment_is_answered_at_once() -> None:
    """Though it moves no deadline any more: no further sending has to follow."""
    world = ready(clients=1)
    worker = held(world, "n3")
    world.command(worker, "renew")
    world.command(worker, "bind")
    world.run(5 * MS)
    record = world.nodes["n3"].holder._requests[worker.request]  # type: ignore[union-attr]
    assert not record.bind_asked and len(of(world, events.Renewed)) == 1


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
