"""Several leases in one register: readers and writers, permits, barriers, delays, and the faults of them."""

from __future__ import annotations

from typing import Any

import pytest

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.owning.usher import Usher
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.messages import Reason
from coordination.agreed.vocabulary.modes import EXCLUSIVE, SHARED, Mode
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.values import Value
from crdt.clock import Instant
from tests.coordination.agreed_campaign import hunt
from tests.coordination.agreed_world import MS, Changes, S, Worker, World
from tests.coordination.mode_faults import FAULTS, CountsTheDead, LetsPass, with_queue
from tests.coordination.test_agreed_rules import accept, acceptor, ballot, holding, lease, renew

TWO = Mode(2, 3)
ONE = Mode(1, 3)


def ready(seed: int = 1, **options: object) -> World:
    world = World(seed, **{"latency": (MS, MS), **options})
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def group_of(world: World, key: str) -> tuple[str, ...]:
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    return Placement(parts.birth.roster).group(key)


def held(world: World, name: str, key: str, mode: Mode, **how: Any) -> Worker:
    worker = world.acquire(name, key, mode=mode, **{"ttl": 2 * S, **how})
    assert world.run_until(lambda: worker.state == "held", S), worker
    return worker


# --- acceptors ------------------------------------------------------------------------------------------------------


def test_an_acceptor_that_learns_of_one_holder_by_its_renewal_neither_knows_nor_denies_the_others() -> None:
    part = acceptor()
    first, second = (holding(lease(number))._replace(permits=1) for number in (1, 2))
    both = Value((first, second), b"")
    assert renew(part, second, 2, 10, ballot(2), value=both) == Reason.OK
    register = part.register("lock/x")
    assert register is not None
    assert list(register.leases) == [second.lease]
    # The other one's renewal is older than what was adopted: it has to be re-proposed, and is then acknowledged again.
    assert renew(part, first, 2, 20, ballot(1)) == Reason.BALLOT
    accept(part, ballot(3), None, 30, value=both, waits=(S // 2, S))
    assert renew(part, first, 3, 40, ballot(1)) == Reason.OK


def test_a_renewal_without_a_value_is_good_for_those_who_know_the_lease() -> None:
    part = acceptor()
    held = holding(lease(1))._replace(permits=1)
    assert renew(part, held, 2, 10, ballot(1), value=Value((), b"")) == Reason.BEHIND
    accept(part, ballot(1), held, 20)
    assert renew(part, held, 3, 30, ballot(1), value=Value((), b"")) == Reason.OK


# --- the world ------------------------------------------------------------------------------------------------------


def test_readers_share_and_a_writer_is_alone() -> None:
    world = ready()
    readers = [held(world, name, "rwlock/x", SHARED) for name in ("n0", "n1", "n2", "n0")]
    writer = world.acquire("n1", "rwlock/x", ttl=2 * S)
    late = world.acquire("n2", "rwlock/x", ttl=2 * S, mode=SHARED)
    world.run(S)
    assert (writer.state, late.state) == ("asking", "asking"), "the writer waits, and whoever came after it"
    for reader in readers:
        world.command(reader, "release")
    assert world.run_until(lambda: writer.state == "held", 100 * MS)
    assert late.state == "asking"
    world.command(writer, "release")
    assert world.run_until(lambda: late.state == "held", 100 * MS)


def test_permits_are_counted_and_a_large_request_is_not_starved() -> None:
    world = ready()
    first, second = held(world, "n0", "semaphore/x", TWO), held(world, "n1", "semaphore/x", ONE)
    large = world.acquire("n2", "semaphore/x", ttl=2 * S, mode=Mode(3, 3))
    world.run(50 * MS)
    small = world.acquire("n0", "semaphore/x", ttl=2 * S, mode=ONE)
    world.run(50 * MS)
    world.command(second, "release")
    world.run(200 * MS)
    assert (large.state, small.state) == ("asking", "asking"), "one permit is free, and the large request is first"
    world.command(first, "release")
    assert world.run_until(lambda: large.state == "held", 100 * MS)
    world.command(large, "release")
    assert world.run_until(lambda: small.state == "held", 100 * MS)


def test_a_try_finds_the_permits_taken() -> None:
    world = ready()
    held(world, "n0", "semaphore/x", TWO)
    tried = world.acquire("n1", "semaphore/x", mode=TWO, wait=False)
    assert world.run_until(lambda: tried.state == "busy", S)
    held(world, "n1", "semaphore/x", ONE, wait=False)


def test_another_limit_is_declined_also_after_all_have_left() -> None:
    world = ready()
    first = held(world, "n0", "semaphore/x", TWO)
    for wait in (True, False):
        wrong = world.acquire("n1", "semaphore/x", mode=Mode(1, 4), wait=wait)
        assert world.run_until(lambda wrong=wrong: wrong.state == "otherlimit", S)  # type: ignore[misc]
        assert wrong.limit_told == 3
    world.command(first, "release")
    world.run(S)
    wrong = world.acquire("n1", "semaphore/x", mode=Mode(1, 4))
    assert world.run_until(lambda: wrong.state == "otherlimit", S)
    world.run(20 * S)  # forgotten
    held(world, "n1", "semaphore/x", Mode(1, 4))


def test_a_dead_reader_keeps_a_writer_waiting_for_its_ttl_and_other_readers_not_at_all() -> None:
    world = ready(clients=1)
    mortal = held(world, "n3", "rwlock/x", SHARED)
    reader = held(world, "n0", "rwlock/x", SHARED)
    world.crash("n3")
    held(world, "n1", "rwlock/x", SHARED)
    writer = world.acquire("n2", "rwlock/x", ttl=2 * S)
    world.run(100 * MS)
    for worker in world.all_workers():
        if worker.mode == SHARED:
            world.command(worker, "release")
    assert world.run_until(lambda: writer.state == "held", 2 * S + 300 * MS)
    assert writer.token > max(mortal.token, reader.token)


def come_and_go(world: World) -> None:
    """Readers, so that there is always one."""

    def read(name: str) -> None:
        worker = world.acquire(name, "rwlock/x", ttl=2 * S, mode=SHARED)

        def leave() -> None:
            if worker.state == "held":
                world.command(worker, "release")
                world.after(MS, lambda: read(name))
            else:
                world.after(5 * MS, leave)

        world.after(120 * MS, leave)

    for turn, name in enumerate(sorted(world.nodes)):
        world.after(1 + turn * 40 * MS, lambda name=name: read(name))
    world.run(S)


def starve(faults: Changes) -> bool:
    """Whether a writer was served among readers that come and go."""
    world = ready(faults=faults)
    come_and_go(world)
    writer = world.acquire("n1", "rwlock/x", ttl=2 * S)
    return world.run_until(lambda: writer.state == "held", 3 * S)


def test_a_writer_is_not_starved() -> None:
    assert starve(())
    assert not starve(((Owner, with_queue(LetsPass)),)), "readers that pass a writer were not noticed"


def longest_wait(seed: int, faults: Changes = ()) -> int:
    """Of eight writers among readers, where nodes disagree about who is the owner, and messages are lost; ns."""
    world = ready(seed, faults=faults)
    world.loss = 0.1
    world.lies.update({"n1": {"n0"}, "n2": {"n1"}})
    come_and_go(world)
    longest = 0
    for turn in range(8):
        begun = world.now
        writer = world.acquire(f"n{turn % 3}", "rwlock/x", ttl=2 * S)
        world.run_until(lambda writer=writer: writer.state == "held", 20 * S)  # type: ignore[misc]
        longest = max(longest, world.now - begun)
        world.command(writer, "release")
        world.run(300 * MS)
    return longest


class NeverJoins(Usher):
    """Keeps to its own queue, whoever else is at work."""

    __slots__ = ()

    def at_work(self, desk: Desk, now: Instant) -> str:
        return ""


WRITERS = (2, 3, 5, 12, 18, 20, 22, 23, 30, 31, 32, 33, 34, 48, 68, 72, 84, 91, 98, 104, 114, 123, 127, 131, 135, 143, 189)


def test_a_writer_is_not_starved_by_two_owners() -> None:
    assert max(longest_wait(seed) for seed in WRITERS) < 5 * S
    for seed in (104, 114, 123):
        assert longest_wait(seed, ((Usher, NeverJoins),)) > 5 * S, "it took longer before"


def test_a_lost_grant_of_one_of_several_costs_a_refresh() -> None:
    world = ready(clients=1)
    held(world, group_of(world, "rwlock/x")[0], "rwlock/x", SHARED)
    lost: list[int] = []

    def lose(number: int, source: str, to: str, message: Any) -> bool:
        if type(message).__name__ == "Grant" and not lost:
            lost.append(number)
            return True
        return False

    world.lose = lose
    reader = world.acquire("n3", "rwlock/x", ttl=2 * S, mode=SHARED)  # no voter, which would learn it without a grant
    world.run(20 * MS)
    other = held(world, group_of(world, "rwlock/x")[2], "rwlock/x", SHARED)
    assert lost
    assert world.run_until(lambda: reader.state == "held", 600 * MS)
    assert reader.token < other.token, "the first grant, and no second one"


def test_many_readers_are_kept_alive_and_one_voter_that_missed_them_is_mended() -> None:
    world = ready(voters=3)
    owner, behind, other = group_of(world, "rwlock/x")
    world.cut(owner, behind)
    world.cut(other, behind)
    readers = [held(world, other if number % 2 else owner, "rwlock/x", SHARED, ttl=3 * S) for number in range(12)]
    world.heal()
    world.run(4 * S)
    node = world.nodes[behind]
    assert node.parts is not None
    register = node.parts.acceptor.register("rwlock/x")
    assert register is not None and len(register.leases) == 12
    # Now it counts: without it there is no majority.
    world.crash(owner)
    alive = [reader for reader in readers if reader.node == other]
    world.run(8 * S)
    assert all(world.valid(reader) for reader in alive)


def test_a_lock_with_a_delay_stays_closed_behind_its_dead_and_not_behind_a_release() -> None:
    world = ready(clients=1)
    mortal = held(world, "n3", "lock/x", EXCLUSIVE, ttl=S, delay=S)
    waiter = world.acquire("n0", "lock/x")
    world.run(2500 * MS)  # renewed, and held for long
    world.command(mortal, "release")
    assert world.run_until(lambda: waiter.state == "held", 100 * MS), "given back"
    world.command(waiter, "release")
    mortal = held(world, "n3", "lock/x", EXCLUSIVE, ttl=S, delay=S)
    waiter = world.acquire("n0", "lock/x")
    world.run(10 * MS)
    world.crash("n3")
    begun = world.now
    assert world.run_until(lambda: waiter.state == "held", 3 * S)
    assert world.now - begun > (S + S) * 66 // 100, "at least two thirds of the ttl, and all of the delay"


def test_a_ttl_and_delay_above_the_longest_are_refused() -> None:
    world = ready()
    worker = world.acquire("n0", "lock/x", ttl=2 * S, delay=2 * S)
    assert worker.state == "unavailable"
    said = world.log[-1][2]
    assert isinstance(said, events.Unavailable) and "lock_delay" in said.reason


# --- barriers -------------------------------------------------------------------------------------------------------

BOTH = Mode(1, 2, together=True)


def test_nobody_enters_a_barrier_while_a_round_is_leaving() -> None:
    world = ready()
    first, second = held(world, "n0", "barrier/x", BOTH), held(world, "n1", "barrier/x", BOTH)
    late = [world.acquire("n2", "barrier/x", ttl=2 * S, mode=BOTH), world.acquire("n0", "barrier/x", ttl=2 * S, mode=BOTH)]
    world.run(200 * MS)
    world.command(first, "release")
    world.run(S)
    assert [worker.state for worker in late] == ["asking", "asking"], "there is room, but the round is not over"
    world.command(second, "release")
    assert world.run_until(lambda: all(worker.state == "held" for worker in late), 200 * MS)


def lonely_round(faults: Changes) -> bool:
    """One party dies while it waits, another comes much later; whether the barrier is taken for full."""
    world = ready(clients=1, faults=faults)
    held(world, "n3", "barrier/x", BOTH, ttl=S)
    world.crash("n3")
    world.run(2500 * MS)
    late = held(world, "n0", "barrier/x", BOTH)
    holder = world.nodes["n0"].holder
    assert holder is not None
    return holder._requests[late.request].value.shut


def test_a_party_that_died_while_it_waited_is_not_counted() -> None:
    assert not lonely_round(())
    assert lonely_round(((Owner, CountsTheDead),)), "a dead party was counted, and nobody noticed"


# --- planted faults -------------------------------------------------------------------------------------------------


SEEDS_FOR_FAULTS = range(100)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    changes, focus, law = FAULTS[fault]
    found = hunt(SEEDS_FOR_FAULTS, changes, focus)
    assert found is not None, f"{fault}: no checker noticed in {len(SEEDS_FOR_FAULTS)} seeds"
    assert law in found[1], found
