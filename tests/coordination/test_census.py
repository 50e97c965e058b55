"""Which locks are held: what is told page by page, while registers come and are forgotten."""

from __future__ import annotations

import pytest

from coordination.agreed.telling import census
from coordination.agreed.vocabulary.events import Listed
from coordination.agreed.vocabulary.telling_messages import ListAnswer, ListAsk
from mesh.directives import Message
from tests.coordination.agreed_world import MS, S, World
from tests.coordination.one_lock import of, ready

NAMES = [f"lock/{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "KEYS_A_PAGE", 4)


def begin() -> World:
    """All of them are held."""
    world = ready(clients=2)
    workers = [world.acquire("n3", key, ttl=3 * S) for key in NAMES]
    assert world.run_until(lambda: all(worker.state == "held" for worker in workers), 2 * S)
    world.command(workers[0], "renew")
    world.run(S)  # and known to all, by their renewals
    return world


def count(world: World, query: int) -> None:
    node = world.nodes["n4"]
    assert node.parts is not None
    world.perform(node, node.parts.census, node.parts.census.count(query, "", world.instant(node)))


def listed(world: World) -> list[str]:
    """The locks that are told to be held."""
    assert world.run_until(lambda: bool(of(world, Listed)), 3 * S)
    ((_, found),) = of(world, Listed)
    assert isinstance(found, Listed) and found.quorum and not found.missing
    return [key for key, _ in found.locks]


def forget(world: World, keys: list[str]) -> None:
    """At every voter, as what is idle is forgotten."""
    for name in ("n0", "n1", "n2"):
        parts = world.nodes[name].parts
        assert parts is not None
        for key in keys:
            del parts.acceptor._registers[key]


def test_a_page_that_is_asked_for_again_follows_the_one_before_it() -> None:
    """The last page is lost, and some registers that were told before it are forgotten when it is asked for again."""
    world = begin()
    lost: list[str] = []

    def lose(number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, ListAnswer) and a not in lost and NAMES[-1] in [row.key for row in message.rows]:
            lost.append(a)
            return True
        return False

    world.lose = lose
    count(world, 1)
    world.run(100 * MS)
    assert len(lost) == 3
    forget(world, NAMES[:4])
    assert listed(world)[-6:] == NAMES[4:]


def test_the_next_process_is_told_what_is_held_when_it_asks() -> None:
    """The first one has gone through a part of them, and died."""
    world = begin()
    world.lose = lambda number, a, b, message: isinstance(message, ListAsk) and bool(message.after)
    count(world, 1)
    world.run(100 * MS)
    world.lose = None
    world.crash("n4")
    late = world.acquire("n3", "lock/late", ttl=3 * S)
    assert world.run_until(lambda: late.state == "held", S)
    world.start("n4")
    world.run(2 * S)
    count(world, 1)
    assert listed(world) == [*NAMES, "lock/late"]


def test_what_was_told_to_an_earlier_process_is_nothing_to_the_next() -> None:
    world = begin()
    late: list[tuple[str, Message]] = []

    def lose(number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, ListAnswer):
            late.append((a, message))
        return isinstance(message, ListAnswer)

    world.lose = lose
    count(world, 1)
    world.run(50 * MS)
    world.crash("n4")
    world.start("n4")
    world.run(2 * S)
    for worker in world.all_workers():
        world.command(worker, "release")
    world.run(S)
    count(world, 1)
    world.lose = None
    for name, message in late:
        world.transmit(world.nodes[name], "n4", message)
    assert listed(world) == []
