"""Renewals of many leases of one node travel together."""

from __future__ import annotations

import pytest

from coordination.agreed.vocabulary.messages import Renew
from mesh.directives import Message
from tests.coordination.agreed_world import MS, S
from tests.coordination.one_lock import ready

LEASES = 40


@pytest.mark.parametrize("apart", [0, 23 * MS])
def test_all_leases_of_a_node_are_renewed_by_one_message(apart: int) -> None:
    """Also those that were granted one after the other, with other ttls: the shortest ttl sets the pace. (Each for itself they
    were 447 messages to each voter in 9 s.)"""
    world = ready(clients=1)
    workers = []
    for number in range(LEASES):
        workers.append(world.acquire("n3", f"lock/{number}", ttl=(2 + number % 2) * S))
        world.run(apart)
    assert world.run_until(lambda: all(worker.state == "held" for worker in workers), S)
    world.run(2 * S)
    renewed: list[tuple[str, int]] = []

    def note(at: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, Renew):
            renewed.append((to, len(message.items)))
        return False

    world.lose = note
    world.run(6 * S)
    rounds = 6 * S // (2 * S // 3)
    assert set(renewed) == {(f"n{voter}", LEASES) for voter in range(3)}
    assert rounds - 1 <= len(renewed) / 3 <= rounds
    assert all(worker.state == "held" for worker in workers)


def test_a_long_lease_is_repeated_no_sooner_beside_a_short_one() -> None:
    """While nobody answers the short one is sent again each ttl/12, and the other one only as often as its own ttl asks for."""
    world = ready(clients=1)
    long, short = (world.acquire("n3", f"lock/{name}", ttl=ttl) for name, ttl in (("long", 3 * S), ("short", S // 2)))
    assert world.run_until(lambda: long.state == short.state == "held", S)
    world.run(S)
    sent: list[str] = []

    def note(at: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, Renew) and to == "n0":
            sent.extend([item.key for item in message.items])
        return isinstance(message, Renew)

    world.lose = note
    world.run(400 * MS)
    assert sent.count("lock/short") >= 5
    assert sent.count("lock/long") <= 2
