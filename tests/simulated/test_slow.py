"""A slow process, with fake nodes: everything waits its turn, within bounds, and late."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from mesh.outputs import Commit
from simulations.faults import Crash, Fault, Faults, Pause, Slow
from simulations.network.network import Conditions
from simulations.world import MS, SECOND, World
from tests.simulated.fake import FakeNode, build_fakes

FOREVER = 1_000 * SECOND


def world_of(*faults: Fault, seed: int = 1) -> tuple[World, FakeNode, FakeNode]:
    world = World(seed, conditions=Conditions((MS, MS)))
    nodes = build_fakes(world, "a", "b")
    Faults(world).set(faults)
    world.run(1)
    return world, nodes["a"], nodes["b"]


def times(world: World, node: FakeNode, kind: str) -> list[int]:
    """True times, ns."""
    ahead = node.process.instant().mono - world.now
    return [now.mono - ahead for known, now, _ in node.seen if known == kind]


def test_each_input_takes_its_time_and_the_next_waits() -> None:
    world, a, b = world_of(Slow(0, FOREVER, "b", 10 * MS))
    begun = world.now
    for number in range(50):
        a.send(b.process.address, bytes([number]))
    world.run(SECOND)
    assert [data[0] for data, _ in b.of("datagram")] == list(range(50))
    assert times(world, b, "datagram") == [begun + MS + 10 * MS * (number + 1) for number in range(50)]
    world.run(SECOND)
    begun = world.now
    a.send(b.process.address, b"alone")
    world.run(SECOND)
    assert times(world, b, "datagram")[-1] == begun + 11 * MS


def test_a_slow_nodes_socket_overflows_and_is_counted() -> None:
    world, a, b = world_of(Slow(0, FOREVER, "b", 100 * MS))
    size = 232
    for _ in range(600):
        a.send(b.process.address, bytes(size))
    world.run(100 * SECOND)
    fits = world.machines["b"].socket_bytes // (size + 768)
    assert len(b.of("datagram")) == fits
    assert b.process.stats() == {"world.udp_full": 600 - fits}


def test_timers_come_late_and_behind_what_waits() -> None:
    world, a, b = world_of(Slow(0, FOREVER, "b", 10 * MS))
    begun = world.now
    b.arm(5 * MS)
    world.run(100 * MS)
    assert times(world, b, "due") == [begun + 15 * MS]
    late = []
    for _ in range(20):
        begun = world.now
        for _ in range(20):
            a.send(b.process.address, b"x")
        b.arm(50 * MS)
        world.run(SECOND)
        late.append(times(world, b, "due")[-1] - begun - 50 * MS)
        assert not b.timers
    assert min(late) >= 0
    assert 5 * MS < sum(late) // 20 < 40 * MS  # at even odds with the datagrams
    assert max(late) > 20 * MS


def test_a_timer_that_is_put_off_costs_nothing() -> None:
    world, _, b = world_of(Slow(0, FOREVER, "b", 10 * MS))
    begun = world.now
    b.arm(5 * MS)
    b.timers[:] = [b.timers[0] + 20 * MS]
    b.process.perform()
    world.run(100 * MS)
    assert times(world, b, "due") == [begun + 35 * MS]


def test_streams_wait_too_and_lose_nothing() -> None:
    world, a, b = world_of(Slow(0, FOREVER, "b", 10 * MS))
    a.dial(1, b.process.address)
    a.dial(2, b.process.address)
    world.run(5 * MS)
    assert a.of("connected") == [1, 2]
    assert not b.of("accept")
    for number in range(20):
        a.write(1, bytes([number]))
        a.write(2, bytes([100 + number]))
    a.close(2)
    world.run(200 * MS)
    assert 0 < len(b.of("stream")) <= 20
    world.run(SECOND)
    one, other = b.of("accept")
    assert [data[0] for number, data in b.of("stream") if number == one] == list(range(20))
    assert [data[0] for number, data in b.of("stream") if number == other] == list(range(100, 120))
    assert b.of("end") == [(other, "closed")]
    b.dial(7, a.process.address)
    b.dial(8, "10.9.9.9:1")
    b.send("10.0.0.1:7946", b"x")
    world.run(5 * MS)
    assert not b.of("connected")
    world.run(SECOND)
    assert b.of("connected") == [7]
    world.run(5 * SECOND)
    assert b.of("end") == [(other, "closed"), (8, "silent")]


def test_stalls_come_as_often_as_stated_and_from_the_seed() -> None:
    def served(seed: int, **stalls: Any) -> list[int]:
        world, a, b = world_of(Slow(0, FOREVER, "b", MS, **stalls), seed=seed)
        for _ in range(400):
            a.send(b.process.address, b"x")
        world.run(100 * SECOND)
        return times(world, b, "datagram")

    with_stalls = served(1, stall=100 * MS, stalls=0.1)
    gaps = [later - one for one, later in pairwise(with_stalls)]
    assert set(gaps) == {MS, 101 * MS}
    assert 20 < gaps.count(101 * MS) < 60
    assert with_stalls == served(1, stall=100 * MS, stalls=0.1)
    assert with_stalls != served(2, stall=100 * MS, stalls=0.1)
    assert served(1, stall=100 * MS)[-1] < SECOND


def test_what_waited_comes_when_the_node_is_quick_again() -> None:
    world, a, b = world_of(Slow(0, SECOND, "b", 100 * MS))
    for _ in range(50):
        a.send(b.process.address, b"x")
    world.run(950 * MS)
    assert len(b.of("datagram")) == 9
    world.run(100 * MS)
    assert len(b.of("datagram")) == 50
    begun = world.now
    a.send(b.process.address, b"x")
    world.run(2 * MS)
    assert times(world, b, "datagram")[-1] == begun + MS


def test_slow_nodes_can_be_paused_and_restarted_and_the_latest_pace_counts() -> None:
    world, a, b = world_of(
        Slow(0, 20 * SECOND, "b", 100 * MS),
        Slow(4 * SECOND, SECOND, "b", 10 * MS),
        Pause(SECOND, SECOND, "b"),
        Crash(6 * SECOND, 0, "b"),
    )
    b.arm(1_500 * MS)
    for _ in range(80):
        a.send(b.process.address, b"x")
    world.run(SECOND)
    assert 8 <= len(b.of("datagram")) <= 10
    assert not b.process.overdue
    world.run(SECOND - 1)
    assert len(b.of("datagram")) <= 10
    world.run(MS)
    assert b.process.overdue
    world.run(SECOND)
    assert 18 <= len(b.of("datagram")) + len(b.of("due")) <= 20
    world.run(2 * SECOND)
    assert len(b.of("datagram")) == 80
    world.run(2 * SECOND)
    again = world.machines["b"].process
    assert again is not None
    assert again.boot == 2
    assert again.slow
    world.run(15 * SECOND)
    assert not again.slow
    assert not again.holds


def test_a_slow_node_that_is_paused_when_the_slowness_ends_reads_on_resumption() -> None:
    world, a, b = world_of(Slow(0, SECOND, "b", 100 * MS), Pause(500 * MS, SECOND, "b"))
    for _ in range(50):
        a.send(b.process.address, b"x")
    world.run(1_400 * MS)
    assert len(b.of("datagram")) <= 5
    world.run(200 * MS)
    assert len(b.of("datagram")) == 50


@pytest.mark.parametrize("step", [0, MS])
def test_whose_turn_it_is_is_a_matter_of_chance(step: int) -> None:
    def first(seed: int) -> str:
        world, a, b = world_of(Slow(0, FOREVER, "b", step), seed=seed)
        world.pause("b")
        b.timers.append(b.process.instant().mono + MS)
        a.send(b.process.address, b"x")
        world.run(SECOND)
        world.resume(b.process)
        world.run(10 * MS)
        assert not b.timers
        return next(kind for kind, _, _ in b.seen if kind != "start")

    assert {first(seed) for seed in range(20)} == {"datagram", "due"}


def test_what_a_disk_has_done_waits_its_turn_too() -> None:
    world, a, b = world_of(Slow(0, 2 * SECOND, "b", 100 * MS))
    for _ in range(30):
        a.send(b.process.address, b"x")
    b._outputs.append(Commit(1, ()))
    b.process.perform()
    world.run(50 * MS)
    assert not b.of("committed")
    world.run(3 * SECOND)
    assert len(b.of("committed")) == 1
    assert len(b.of("datagram")) == 30
