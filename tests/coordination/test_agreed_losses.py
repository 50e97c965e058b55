"""L13: a hand-over, a release, a cancel, a wake-up that loses any one message costs at most 2 s. Every message, one by one.

The same situation is run once to count its messages, and then once for each of them, lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordination.agreed.holding.holder import Holder
from coordination.agreed.holding.leavings import Leavings
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.modes import SHARED, Mode
from tests.coordination.agreed_faults import ReleasesOnce
from tests.coordination.agreed_world import MS, Changes, S, Violation, Worker, World

KEY = "lock/x"
COST = 2 * S + 300 * MS


def ready(durable: bool = False, faults: Changes = ()) -> World:
    world = World(3, clients=1, thin=1, latency=(MS, 2 * MS), faults=faults, durable=durable)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def until(world: World, condition: Callable[[], bool], what: str) -> None:
    if not world.run_until(condition, COST):
        raise Violation(f"L13: {what} takes longer than {COST / S} s")


def held(world: World, name: str, *, ttl: int = 3 * S, kind: str = "lock") -> Worker:
    worker = world.acquire(name, KEY, ttl=ttl, kind=kind)
    until(world, lambda: worker.state == "held", f"{name} acquiring")
    return worker


def hand_over(world: World, first: str, second: str) -> None:
    """Held by one, wanted by another, released; then the same again from the other side."""
    holder = held(world, first)
    waiter = world.acquire(second, KEY, ttl=3 * S)
    world.run(50 * MS)
    world.command(holder, "release")
    until(world, lambda: waiter.state == "held", "the hand-over")
    world.command(waiter, "release")
    until(world, lambda: waiter.state == "released", "the release")
    held(world, first)


def cancelled(world: World, first: str, second: str) -> None:
    """Of two waiters the earlier one gives up just before its turn."""
    holder = held(world, first)
    gone = world.acquire(second, KEY, ttl=3 * S)
    world.run(20 * MS)
    last = world.acquire(first, KEY, ttl=3 * S)
    world.run(20 * MS)
    world.command(holder, "release")
    world.command(gone, "cancel")
    until(world, lambda: last.state == "held", "the wake-up of the second waiter")


def binding(world: World, first: str, second: str) -> None:
    """A lease that binds something is released, and asked for again at once."""
    lease = held(world, first, kind="lease").lease
    world.command(next(iter(world.nodes[first].workers.values())), "release")
    again = world.acquire(first, KEY, ttl=3 * S)
    until(world, lambda: again.state == "held", "the lock after a lease")
    told = lambda: any(isinstance(e, events.LeaseOver) and e.lease_id == lease for _, _, e in world.log)  # noqa: E731
    until(world, told, "the end of the lease")


def granted(world: World, name: str, key: str, mode: Mode) -> Worker:
    worker = world.acquire(name, key, ttl=3 * S, mode=mode)
    until(world, lambda: worker.state == "held", f"{name} acquiring {mode}")
    return worker


def readers_and_a_writer(world: World, first: str, second: str) -> None:
    """Two readers hold it, a writer waits, a third reader behind it."""
    readers = [granted(world, name, "rwlock/x", SHARED) for name in (first, second)]
    writer = world.acquire(second, "rwlock/x", ttl=3 * S)
    world.run(20 * MS)
    late = world.acquire(first, "rwlock/x", ttl=3 * S, mode=SHARED)
    world.run(30 * MS)
    for reader in readers:
        world.command(reader, "release")
    until(world, lambda: "held" in (writer.state, late.state), "whose turn it is")
    # With a question lost, or two owners for a moment, the later one may come first; both come.
    for worker in sorted((writer, late), key=lambda each: each.state != "held"):
        until(world, lambda worker=worker: worker.state == "held", f"the turn of {worker}")  # type: ignore[misc]
        world.command(worker, "release")


def permits(world: World, first: str, second: str) -> None:
    """A large request waits for two small ones."""
    small = [granted(world, name, "semaphore/x", Mode(1, 3)) for name in (first, second)]
    large = world.acquire(second, "semaphore/x", ttl=3 * S, mode=Mode(3, 3))
    world.run(30 * MS)
    for worker in small:
        world.command(worker, "release")
    until(world, lambda: large.state == "held", "the large request")
    wrong = world.acquire(first, "semaphore/x", ttl=3 * S, mode=Mode(1, 9))
    until(world, lambda: wrong.state == "otherlimit", "the word that the limit is another")


def rounds(world: World, first: str, second: str) -> None:
    """A barrier's round, a party that comes while it leaves, and the next round."""
    pair = Mode(1, 2, together=True)
    parties = [granted(world, name, "barrier/x", pair) for name in (first, second)]
    late = [world.acquire(name, "barrier/x", ttl=3 * S, mode=pair) for name in (second, first)]
    world.run(30 * MS)
    for party in parties:
        world.command(party, "release")
    until(world, lambda: all(party.state == "held" for party in late), "the next round")


Story = Callable[[World, str, str], None]


def lose_each(story: Story, first: str, second: str, faults: Changes = (), *, durable: bool = False) -> int:
    """How many messages the story has; each of them was lost once."""
    world = ready(durable, faults)
    begun = world.sent
    story(world, first, second)
    count = world.sent - begun
    for number in range(begun + 1, begun + count + 1):
        world = ready(durable, faults)
        lost: list[str] = []

        def lose(at: int, a: str, b: str, message: object, number: int = number, lost: list[str] = lost) -> bool:
            if at == number:
                lost.append(f"{a} to {b}: {message}")
            return at == number

        world.lose = lose
        try:
            story(world, first, second)
        except Violation as violation:
            raise Violation(f"{violation}, having lost message {number - begun} of {count}, {lost}") from None
    return count


@pytest.mark.parametrize("durable", [False, True])
def test_any_one_message_of_a_hand_over_may_be_lost(durable: bool) -> None:
    thin = next(name for name in ready().nodes if "@" in name)
    for first, second in (("n0", "n1"), ("n1", "n2"), ("n2", "n3"), ("n3", thin), (thin, "n0")):
        assert lose_each(hand_over, first, second, durable=durable) > 12


@pytest.mark.parametrize("durable", [False, True])
def test_any_one_message_of_a_cancel_may_be_lost(durable: bool) -> None:
    for first, second in (("n0", "n1"), ("n3", "n2"), ("n2", "n0")):
        assert lose_each(cancelled, first, second, durable=durable) > 15


@pytest.mark.parametrize("durable", [False, True])
def test_any_one_message_of_a_binding_release_may_be_lost_and_its_end_is_told(durable: bool) -> None:
    for first in ("n0", "n1", "n2", "n3"):
        assert lose_each(binding, first, "n0", durable=durable) > 8


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("story", [readers_and_a_writer, permits, rounds])
def test_any_one_message_among_several_holders_may_be_lost(story: Story, durable: bool) -> None:
    for first, second in (("n0", "n1"), ("n2", "n3")):
        assert lose_each(story, first, second, durable=durable) > 20


def test_a_release_that_is_not_repeated_is_noticed() -> None:
    """The tests above can fail."""
    for name in ("n0", "n1", "n2"):
        try:
            lose_each(hand_over, name, "n3", ((Leavings, ReleasesOnce),))
        except Violation:
            return
    raise AssertionError("nobody noticed")


class NeverSaysAgain(Holder):
    """Asks once, and waits to be called."""

    def _ask_again(self, record: object, *rest: object) -> None:
        return


def test_a_waiter_that_asks_only_once_is_noticed() -> None:
    try:
        lose_each(hand_over, "n0", "n1", ((Holder, NeverSaysAgain),))
    except Violation:
        return
    raise AssertionError("nobody noticed")
