"""Narrow and noisy links, rings and random cuts, with fake nodes: each does what it says, and nothing else."""

from __future__ import annotations

import pytest

from simulations.dice import mix
from simulations.faults import Corruption, Fault, Faults, OneWay, RandomCuts, Ring, Throttle, Weather
from simulations.network.corruption import flipped, spoilt
from simulations.network.network import Conditions
from simulations.network.streams import STREAM_BYTES
from simulations.trace import Line
from simulations.world import MS, SECOND, World
from tests.simulated.fake import FakeNode, build_fakes

NAMES = ["a", "b", "c", "d", "e", "f"]
FOREVER = 1_000 * SECOND


def world_of(*faults: Fault, names: list[str] = NAMES[:2], seed: int = 1) -> tuple[World, dict[str, FakeNode]]:
    world = World(seed, conditions=Conditions((MS, MS)))
    nodes = build_fakes(world, *names)
    Faults(world).set(faults)
    world.run(1)
    return world, nodes


def datagrams(node: FakeNode) -> list[bytes]:
    return [data for data, _ in node.of("datagram")]


def connect(world: World, a: FakeNode, b: FakeNode) -> int:
    a.dial(1, b.process.address)
    assert world.run_until(lambda: bool(a.of("connected")), 10 * SECOND) is not None
    return int(b.of("accept")[-1])


def count(node: FakeNode, what: str) -> int:
    return node.process.stats().get(f"world.{what}", 0)


# --- limited links ---------------------------------------------------------------------------------------------------------


def test_a_limited_link_carries_what_it_says_one_after_another() -> None:
    world, nodes = world_of(Throttle(0, FOREVER, 100_000, 1 << 20))
    a, b = nodes["a"], nodes["b"]
    begun = world.now
    for number in range(100):
        a.send(b.process.address, number.to_bytes(2, "big") + bytes(970))  # 1,000 bytes with its headers
    world.run(10 * SECOND)
    assert [int.from_bytes(data[:2], "big") for data in datagrams(b)] == list(range(100))
    uptime = b.process.instant().mono - world.now
    at = [now.mono - uptime - begun - MS for kind, now, _ in b.seen if kind == "datagram"]
    assert at == [10 * MS * (number + 1) for number in range(100)]
    assert count(a, "link_full") == 0


def test_what_does_not_fit_into_the_queue_of_a_link_is_dropped_and_counted() -> None:
    world, nodes = world_of(Throttle(0, FOREVER, 100_000, 10_000))
    a, b = nodes["a"], nodes["b"]
    for number in range(100):
        a.send(b.process.address, number.to_bytes(2, "big") + bytes(970))
    world.run(SECOND)
    assert [int.from_bytes(data[:2], "big") for data in datagrams(b)] == list(range(10))
    assert count(a, "link_full") == 90
    a.send(b.process.address, b"there is room again")
    b.send(a.process.address, b"and the way back is another link")
    world.run(10 * MS)
    assert (datagrams(b)[-1], len(datagrams(a))) == (b"there is room again", 1)


def test_a_datagram_larger_than_the_queue_passes_an_idle_link() -> None:
    world, nodes = world_of(Throttle(0, FOREVER, 100_000, 0))
    for _ in range(2):
        nodes["a"].send(nodes["b"].process.address, bytes(972))
    world.run(SECOND)
    assert len(datagrams(nodes["b"])) == 1


def test_a_stream_over_a_limited_link_is_slow_and_loses_nothing() -> None:
    world, nodes = world_of(Throttle(SECOND, FOREVER, 100_000, 20_000))
    a, b = nodes["a"], nodes["b"]
    number = connect(world, a, b)
    world.run(SECOND)
    sent = b"".join([each.to_bytes(4, "big") for each in range(125_000)])
    a.write(1, sent[:400_000])
    a.write(1, sent[400_000:])
    a.close(1)
    world.run(4 * SECOND)
    got = sum([len(data) for _, data in b.of("stream")])
    assert 370_000 < got < 400_000  # headers take their share
    assert not b.of("end")
    world.run(2 * SECOND)
    assert b"".join([data for _, data in b.of("stream")]) == sent
    assert b.of("end") == [(number, "closed")]


def test_streams_and_datagrams_share_a_limited_link() -> None:
    """A stream fills half of the queue: datagrams come late, and pass."""
    world, nodes = world_of(Throttle(SECOND, FOREVER, 100_000, 20_000))
    a, b = nodes["a"], nodes["b"]
    connect(world, a, b)
    world.run(SECOND)
    a.write(1, bytes(1_000_000))
    for _ in range(50):
        a.send(b.process.address, bytes(72))
        world.run(20 * MS)
    assert count(a, "link_full") == 0
    world.run(SECOND)
    assert len(datagrams(b)) == 50
    streamed = sum([len(data) for _, data in b.of("stream")])
    assert 170_000 < streamed < 200_000


def test_two_streams_share_a_limited_link_evenly() -> None:
    world, nodes = world_of(Throttle(SECOND, FOREVER, 100_000, 20_000))
    a, b = nodes["a"], nodes["b"]
    for stream in (1, 2):
        a.dial(stream, b.process.address)
    world.run(2 * SECOND)
    one, other = b.of("accept")
    for stream in (1, 2):
        a.write(stream, bytes(1_000_000))
    world.run(10 * SECOND)
    got = {number: sum([len(data) for known, data in b.of("stream") if known == number]) for number in (one, other)}
    assert got[one] == pytest.approx(got[other], rel=0.1)
    assert 900_000 < got[one] + got[other] < 1_000_000


def test_when_the_limit_ends_what_waited_goes_at_once_and_in_order() -> None:
    world, nodes = world_of(Throttle(SECOND, 2 * SECOND, 10_000, 20_000))
    a, b = nodes["a"], nodes["b"]
    connect(world, a, b)
    world.run(SECOND)
    for each in range(200):
        a.write(1, bytes([each]) * 1_000)
    world.run(SECOND)
    assert sum([len(data) for _, data in b.of("stream")]) < 15_000
    world.run(3 * SECOND)
    assert b"".join([data for _, data in b.of("stream")]) == b"".join([bytes([each]) * 1_000 for each in range(200)])


def test_a_writer_that_is_too_far_ahead_of_a_limited_link_is_cut_off() -> None:
    world, nodes = world_of(Throttle(SECOND, FOREVER, 100_000, 20_000))
    a, b = nodes["a"], nodes["b"]
    connect(world, a, b)
    world.run(SECOND)
    for _ in range(3):
        a.write(1, bytes(STREAM_BYTES // 2))
    world.run(10 * MS)
    assert a.of("end") == [(1, "reset")]


# --- noisy links -----------------------------------------------------------------------------------------------------------


def test_spoilt_datagrams_differ_in_few_bits_or_are_cut_short() -> None:
    data = bytes(range(100))
    short, bits = 0, set()
    for number in range(1_000):
        changed = spoilt(data, mix(number))
        assert changed != data
        if len(changed) < len(data):
            assert data.startswith(changed)
            short += 1
        else:
            bits.add(sum([(one ^ other).bit_count() for one, other in zip(data, changed, strict=True)]))
    assert bits == set(range(1, 9))
    assert 200 < short < 300
    assert flipped(b"", 1, 3) == b""
    assert flipped(b"\x0f", 1, 99) == b"\xf0"


def test_noise_changes_as_many_datagrams_as_it_says_in_its_direction() -> None:
    world, nodes = world_of(Corruption(0, FOREVER, 0.1, 0.0, ("a",), ("b",)))
    a, b = nodes["a"], nodes["b"]
    for number in range(2_000):
        a.send(b.process.address, number.to_bytes(4, "big") * 10)
        b.send(a.process.address, b"clear")
        world.run(MS // 10)
    world.run(SECOND)
    spoilt_ones = [data for data in datagrams(b) if len(data) < 40 or data != data[:4] * 10]
    assert len(datagrams(b)) == 2_000
    assert 150 < len(spoilt_ones) < 250
    assert count(a, "corrupted") == len(spoilt_ones)
    assert set(datagrams(a)) == {b"clear"}


def test_noise_changes_streams_rarely_and_never_their_length() -> None:
    world, nodes = world_of(Corruption(0, FOREVER, 0.0, 0.01))
    a, b = nodes["a"], nodes["b"]
    connect(world, a, b)
    for _ in range(2_000):
        a.write(1, bytes(100))
        world.run(MS // 10)
    world.run(SECOND)
    pieces = [data for _, data in b.of("stream")]
    assert sum([len(data) for data in pieces]) == 200_000
    assert 8 < sum([any(data) for data in pieces]) < 40
    assert {sum(each.bit_count() for each in data) for data in pieces} <= {0, 1, 2, 3, 4}


# --- shapes of partitions --------------------------------------------------------------------------------------------------


def reaches(world: World, nodes: dict[str, FakeNode]) -> set[str]:
    for node in nodes.values():
        node.seen.clear()
    for one, node in nodes.items():
        for other, far in nodes.items():
            if one != other:
                node.send(far.process.address, (one + other).encode())
    world.run(10 * MS)
    return {data.decode() for node in nodes.values() for data in datagrams(node)}


def test_in_a_ring_each_hears_its_two_neighbours_alone() -> None:
    world, nodes = world_of(Ring(0, SECOND, ("c", "a", "e", "b", "d")), names=NAMES)
    ring = {"ca", "ae", "eb", "bd", "dc"}
    outside = {one + "f" for one in "abcde"} | {"f" + one for one in "abcde"}
    assert reaches(world, nodes) == ring | {pair[::-1] for pair in ring} | outside
    world.run(SECOND)
    assert len(reaches(world, nodes)) == 30


def test_a_ring_of_three_cuts_nothing() -> None:
    world, nodes = world_of(Ring(0, SECOND, ("a", "b", "c")), names=NAMES[:3])
    assert len(reaches(world, nodes)) == 6


def test_random_cuts_are_of_single_directions_and_of_their_own_draw_alone() -> None:
    def heard(chance: float, draw: int, seed: int = 1) -> set[str]:
        world, nodes = world_of(RandomCuts(0, SECOND, chance, draw), names=NAMES, seed=seed)
        return reaches(world, nodes)

    assert len(heard(0.0, 1)) == 30
    assert not heard(1.0, 1)
    some = [heard(0.5, draw) for draw in range(20)]
    assert 220 < sum(map(len, some)) < 380
    assert any((one + other in each) != (other + one in each) for each in some for one, other in [("a", "b"), ("c", "d")])
    assert len({frozenset(each) for each in some}) == 20
    assert heard(0.5, 3, seed=2) == some[3]
    assert heard(0.3, 3) >= some[3]


# --- one fault shifts no other ---------------------------------------------------------------------------------------------

NOISY: list[Fault] = [
    Weather(0, FOREVER, Conditions((MS, 30 * MS), loss=0.3, duplicate=0.2, reorder=0.3), ("a",), ("c",)),
    Corruption(0, FOREVER, 0.3, 0.1, ("a",), ("c",)),
    Throttle(0, FOREVER, 8_000, 2_000, ("a",), ("c",)),
]
OTHERS: list[Fault] = [
    Corruption(200 * MS, 300 * MS, 0.9, 0.9, ("a", "b"), ("b",)),
    Throttle(0, 400 * MS, 1_000, 1_000, None, ("b",)),
    OneWay(100 * MS, 300 * MS, ("d",), ("a",)),
    Ring(0, 600 * MS, ("a", "c", "b", "d")),
]


@pytest.mark.parametrize("left_out", [None, 0, 1, 2, 3])
def test_leaving_out_a_fault_changes_the_fate_of_nothing_on_another_link(left_out: int | None) -> None:
    def fates(plan: list[Fault]) -> list[tuple[int, str, bytes]]:
        world = World(5, conditions=Conditions((MS, 20 * MS), loss=0.1))
        nodes = build_fakes(world, "a", "b", "c", "d")
        seen: list[tuple[int, str, bytes]] = []

        def note(line: Line) -> None:
            if (line.machine, line.text) == ("c", address) or (line.machine, line.text) == ("a", "c"):
                assert isinstance(line.data, bytes)
                seen.append((line.at, line.kind, line.data))

        address = nodes["a"].process.address
        world.trace.follow(note)
        Faults(world).set([*NOISY, *plan])
        for number in range(200):
            for other in "bcd":
                nodes["a"].send(nodes[other].process.address, number.to_bytes(2, "big") * 30)
                nodes[other].send(nodes["a"].process.address, bytes(60))
            world.run(4 * MS)
        return seen

    everything = fates(OTHERS)
    assert {kind for _, kind, _ in everything} == {"send", "recv", "lost", "full", "corrupt"}
    fewer = OTHERS[:left_out] + OTHERS[left_out + 1 :] if left_out is not None else []
    assert fates(fewer) == everything


@pytest.mark.parametrize("fault", NOISY)
def test_a_fault_that_is_over_leaves_no_trace_in_what_follows(fault: Fault) -> None:
    """The n-th datagram of a link fares as it would have fared: what came before took no other draws."""

    def fates(plan: list[Fault]) -> list[tuple[int, bytes]]:
        world = World(5, conditions=Conditions((MS, 20 * MS), loss=0.3))
        nodes = build_fakes(world, "a", "c")
        faults = Faults(world)
        faults.set(plan)
        connect(world, nodes["a"], nodes["c"])
        for number in range(100):
            nodes["a"].send(nodes["c"].process.address, bytes([number]) * 30)
            nodes["a"].write(1, bytes(50_000 if number == 50 else 10))
        world.run(SECOND)
        faults.heal()
        world.run(10 * SECOND)
        nodes["c"].seen.clear()
        for number in range(100):
            nodes["a"].send(nodes["c"].process.address, bytes([number]))
        world.run(SECOND)
        return [(now.boot, data[0]) for kind, now, data in nodes["c"].seen if kind == "datagram"]

    assert fates([fault]) == fates([])
