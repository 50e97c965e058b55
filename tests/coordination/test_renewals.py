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
