"""Renewals of many leases of one node travel together."""

from __future__ import annotations

import pytest

from coordination.agreed.vocabulary.messages import Renew
from coordination.agreed.vocabulary.modes import EXCLUSIVE, SHARED, Mode
from mesh.contacts import Contact
from mesh.directives import Boot, Directive, Message, Source
from mesh.packing import LAN_DATAGRAM_BYTES, Packer
from mesh.seal import DATAGRAM_OVERHEAD
from mesh.wire import FRAME_OVERHEAD, encode
from tests.coordination.agreed_world import MS, S, World
from tests.coordination.one_lock import ready

LEASES = 40
BATCHES = {32, LEASES - 32}
"""What they are renewed in."""
ROOM = LAN_DATAGRAM_BYTES - DATAGRAM_OVERHEAD - FRAME_OVERHEAD
"""Of messages in a datagram, as a node has it."""


def named(leases: int) -> list[str]:
    """Of the usual length."""
    return [f"lock/orders/2026-11-27/{number:06}" for number in range(leases)]


def several(world: World, keys: list[str], ttl: int, mode: Mode = EXCLUSIVE) -> None:
    """Held by the node that does not vote."""
    name = f"n{world.voters}"
    workers = [world.acquire(name, key, ttl=ttl, mode=mode) for key in keys]
    assert world.run_until(lambda: all(worker.state == "held" for worker in workers), S)


def cut_off(world: World, keys: list[str], ttl: int, mode: Mode = EXCLUSIVE) -> dict[int, list[Renew]]:
    """What one voter is sent while no renewal comes through, turn by turn: first what is new, then what is repeated."""
    several(world, keys, ttl, mode)
    turns: dict[int, list[Renew]] = {}

    def note(at: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, Renew) and to == "n0":
            turns.setdefault(world.now, []).append(message)
        return isinstance(message, Renew)

    world.lose = note
    world.run(ttl * 3 // 4)
    world.lose = None
    return turns


def packed(messages: list[Renew]) -> tuple[list[int], int]:
    """How many messages each datagram to one receiver holds, and how many go over a stream."""
    packer = Packer(ROOM, ())
    source = Source(b"", "", "n0", None, None)
    contact = Contact(b"n0", "n0", Boot(1, b"n0"), "", source)
    streamed = sum(not packer.add(contact, encode(message)) for message in messages)
    batches = [batch for _, batch in packer.take()]
    assert all(sum(map(len, batch)) <= ROOM for batch in batches)
    return [len(batch) for batch in batches], streamed


@pytest.mark.parametrize("apart", [0, 23 * MS])
def test_all_leases_of_a_node_are_renewed_together(apart: int) -> None:
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
    assert set(renewed) == {(f"n{voter}", batch) for voter in range(3) for batch in BATCHES}
    assert rounds - 1 <= len(renewed) / 3 / len(BATCHES) <= rounds
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


def test_no_message_grows_with_the_leases_of_a_node() -> None:
    """Also where another roster has all of them renewed at once."""
    world = ready(clients=1)
    several(world, named(LEASES), 2 * S)
    sent: dict[str, list[int]] = {}

    def note(at: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, Renew):
            sent.setdefault(to, []).append(len(message.items))
        return False

    world.lose = note
    node = world.nodes["n3"]
    assert node.holder is not None
    out: list[Directive] = []
    node.holder._keeper.regroup(world.instant(node), out)
    world.perform(node, node.holder, out)
    assert sent == {f"n{voter}": sorted(BATCHES, reverse=True) for voter in range(3)}


def test_what_is_repeated_leaves_as_datagrams() -> None:
    """A stream that was cut off sends again when TCP does, and what is repeated would wait behind it."""
    world = ready(clients=1)
    first, *repeated = cut_off(world, named(12), 3 * S).values()
    assert [len(message.items) for message in first] == [12] and packed(first) == ([], 1), "at first all in one, over a stream"
    assert len(repeated) >= 4
    for turn in repeated:
        assert len({item.key for message in turn for item in message.items}) == 12
        assert packed(turn) == ([3] * 4, 0)
    sent: list[int] = []

    def note(at: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, Renew) and to == "n0":
            sent.append(len(message.items))
        return False

    world.run(300 * MS)
    world.lose = note
    world.run(2 * S)
    assert sent == [12, 12], "together again, once they have been answered"


def test_what_is_repeated_fits_a_datagram_also_if_it_quotes_many() -> None:
    """How many do depends on the length of names, on the group, and on who stands in the value: of these not three."""
    world = ready(clients=1, voters=5)
    _, *repeated = cut_off(world, [f"rwlock/{number // 8:030}" for number in range(16)], 3 * S, SHARED).values()
    sizes = [len(encode(message)) for turn in repeated for message in turn]
    assert len(repeated) >= 4 and max(sizes) > ROOM // 3
    for turn in repeated:
        datagrams, streamed = packed(turn)
        assert sum(datagrams) == 16 and not streamed
