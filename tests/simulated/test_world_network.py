"""The world's network, with fake nodes: what links, sockets and streams do."""

from __future__ import annotations

from simulations.faults import Crash, Cut, Faults, Isolate, OneWay, Partition, Pause, Weather
from simulations.machine.process import BATCH
from simulations.network.network import Conditions
from simulations.network.streams import STREAM_BYTES
from simulations.world import MS, SECOND, World
from tests.simulated.fake import FakeNode, build_fakes

STEADY = Conditions((MS, 2 * MS))


def address(world: World, name: str) -> str:
    return world.machines[name].address


def payloads(node: FakeNode) -> list[bytes]:
    return [data for data, _ in node.of("datagram")]


def pair(**conditions: float) -> tuple[World, FakeNode, FakeNode]:
    world = World(1, conditions=Conditions((MS, 2 * MS), **conditions))  # type: ignore[arg-type]
    nodes = build_fakes(world, "a", "b")
    return world, nodes["a"], nodes["b"]


def connected(world: World, a: FakeNode, b: FakeNode) -> int:
    """The number at b of a stream that a dialled as 1."""
    a.dial(1, address(world, "b"))
    world.run(10 * MS)
    assert a.of("connected") == [1]
    return int(b.of("accept")[-1])


# --- datagrams -----------------------------------------------------------------------------------------------------------


def test_a_datagram_arrives_after_the_latency_from_the_senders_address() -> None:
    world, a, b = pair()
    a.send(address(world, "b"), b"x")
    world.run(MS - 1)
    assert not b.of("datagram")
    world.run(MS + 1)
    assert b.of("datagram") == [(b"x", address(world, "a"))]


def test_loss_duplication_and_reordering_happen_as_often_as_stated() -> None:
    world, a, b = pair(loss=0.3, duplicate=0.2, reorder=0.5)
    for n in range(2_000):
        a.send(address(world, "b"), n.to_bytes(2, "big"))
        world.run(MS // 10)
    world.run(SECOND)
    got = [int.from_bytes(data, "big") for data in payloads(b)]
    assert 0.65 < len(set(got)) / 2_000 < 0.75
    assert 0.15 < 1 - len(set(got)) / len(got) < 0.22
    assert got != sorted(got)


def test_what_befalls_the_nth_datagram_of_a_link_does_not_depend_on_other_links() -> None:
    def run(noise: bool) -> list[bytes]:
        world = World(5, conditions=Conditions((MS, 20 * MS), loss=0.5))
        nodes = build_fakes(world, "a", "b", "c")
        for n in range(50):
            nodes["a"].send(address(world, "b"), bytes([n]))
            if noise:
                nodes["a"].send(address(world, "c"), bytes([n]))
                nodes["c"].send(address(world, "b"), b"noise")
        world.run(SECOND)
        return [data for data in payloads(nodes["b"]) if data != b"noise"]

    assert run(False) == run(True)
    assert 10 < len(run(False)) < 40


def test_a_dead_process_refuses_and_a_dead_machine_is_silent() -> None:
    world, a, _ = pair()
    world.kill("b")
    a.send(address(world, "b"), b"x")
    world.run(10 * MS)
    assert a.of("refused") == [address(world, "b")]
    world.kill("b", power=True)
    a.send(address(world, "b"), b"x")
    a.send("10.9.9.9:1", b"nobody")
    world.run(SECOND)
    assert len(a.of("refused")) == 1


def test_cuts_hold_in_the_directions_they_name_and_end_one_by_one() -> None:
    world = World(1, conditions=STEADY)
    nodes = build_fakes(world, "a", "b", "c")

    def reaches() -> set[str]:
        for node in nodes.values():
            node.seen.clear()
        for one in nodes:
            for other in nodes:
                if one != other:
                    nodes[one].send(address(world, other), (one + other).encode())
        world.run(10 * MS)
        return {data.decode() for node in nodes.values() for data in payloads(node)}

    everything = reaches()
    assert len(everything) == 6
    faults = Faults(world)
    faults.set([Partition(0, 100 * MS, ("a",))])
    world.run(1)
    assert reaches() == {"bc", "cb"}
    world.run(100 * MS)
    faults.set([OneWay(0, 100 * MS, ("a",), ("b",)), Cut(0, 200 * MS, "b", "c")])
    world.run(1)
    assert reaches() == everything - {"ab", "bc", "cb"}
    world.run(100 * MS)
    assert reaches() == everything - {"bc", "cb"}
    faults.set([Isolate(0, SECOND, "b")])
    world.run(1)
    assert reaches() == {"ac", "ca"}
    faults.heal()
    assert reaches() == everything


def test_what_is_under_way_when_the_cut_comes_is_lost() -> None:
    world, a, b = pair()
    a.send(address(world, "b"), b"x")
    Faults(world).set([Isolate(0, 500 * MS, "b")])
    world.run(SECOND)
    assert not b.of("datagram")


def test_weather_covers_its_links_only() -> None:
    world, a, b = pair()
    Faults(world).set([Weather(0, SECOND, Conditions((300 * MS, 300 * MS)), ("a",), ("b",))])
    world.run(1)
    a.send(address(world, "b"), b"slow")
    b.send(address(world, "a"), b"quick")
    world.run(100 * MS)
    assert payloads(a) == [b"quick"]
    assert not payloads(b)
    world.run(300 * MS)
    assert payloads(b) == [b"slow"]


# --- a process that is paused ----------------------------------------------------------------------------------------------


def test_a_paused_process_reads_what_its_socket_held_and_the_rest_is_lost() -> None:
    world, a, b = pair()
    Faults(world).set([Pause(0, 2 * SECOND, "b")])
    world.run(1)
    for n in range(1_000):
        a.send(address(world, "b"), n.to_bytes(2, "big") + bytes(500))
    world.run(SECOND)
    assert not b.of("datagram")
    world.run(2 * SECOND)
    got = payloads(b)
    assert len(got) == world.machines["b"].socket_bytes // (502 + 768)
    assert world.machines["b"].process is not None
    assert world.machines["b"].process.stats() == {"world.udp_full": 1_000 - len(got)}
    assert len({now.mono for kind, now, _ in b.seen if kind == "datagram"}) == 1


def test_the_order_of_timers_and_reads_after_a_pause_is_a_matter_of_chance() -> None:
    def first(seed: int) -> str:
        world = World(seed, conditions=STEADY)
        nodes = build_fakes(world, "a", "b")
        world.pause("b")
        nodes["b"].timers.append(nodes["b"].process.instant().mono + MS)
        nodes["a"].send(address(world, "b"), b"x")
        world.run(SECOND)
        world.resume(nodes["b"].process)
        assert not nodes["b"].process.waking
        return next(kind for kind, _, _ in nodes["b"].seen if kind != "start")

    assert {first(seed) for seed in range(20)} == {"datagram", "due"}


def test_what_waited_is_read_together_some_at_a_time() -> None:
    def batches(seed: int) -> list[int]:
        world = World(seed, conditions=STEADY)
        nodes = build_fakes(world, "a", "b")
        world.pause("b")
        for n in range(40):
            nodes["a"].send(address(world, "b"), bytes([n]))
        world.run(SECOND)
        world.resume(nodes["b"].process)
        assert sorted(data[0] for data in payloads(nodes["b"])) == list(range(40))
        return nodes["b"].batches

    seen = [batches(seed) for seed in range(20)]
    assert all(sum(each) == 40 for each in seen)
    assert {each[0] for each in seen} >= {1, BATCH} and max(map(max, seen)) == BATCH


# --- streams ---------------------------------------------------------------------------------------------------------------


def test_bytes_of_a_stream_arrive_once_and_in_order_whatever_is_lost() -> None:
    world, a, b = pair(loss=0.3, reorder=0.5)
    a.dial(1, address(world, "b"))
    world.run(4 * SECOND)
    number = b.of("accept")[0]
    for n in range(100):
        a.write(1, bytes([n]))
        b.write(number, bytes([n]))
        world.run(MS // 2)
    world.run(60 * SECOND)
    assert [data for _, data in b.of("stream")] == [bytes([n]) for n in range(100)]
    assert [data for _, data in a.of("stream")] == [bytes([n]) for n in range(100)]


def test_dials_are_refused_or_silent_and_a_short_cut_only_delays_them() -> None:
    world, a, _ = pair()
    world.kill("b")
    a.dial(1, address(world, "b"))
    a.dial(2, "10.9.9.9:1")
    world.run(10 * MS)
    assert a.of("end") == [(1, "refused")]
    world.run(6 * SECOND)
    assert a.of("end") == [(1, "refused"), (2, "silent")]
    world.boot("b")
    faults = Faults(world)
    faults.set([Isolate(0, 2 * SECOND, "b")])
    world.run(1)
    a.dial(3, address(world, "b"))
    world.run(2 * SECOND)
    assert not a.of("connected")
    world.run(2 * SECOND)
    assert a.of("connected") == [3]


def test_a_close_arrives_behind_what_was_written() -> None:
    world, a, b = pair()
    number = connected(world, a, b)
    a.write(1, b"last words")
    a.close(1)
    world.run(100 * MS)
    assert b.of("stream") == [(number, b"last words")]
    assert b.of("end") == [(number, "closed")]
    b.write(number, b"nobody hears it")
    world.run(100 * MS)
    assert not a.of("stream")
    assert not a.of("end")
    assert len(world.streams) == 0


def test_a_kill_ends_streams_behind_what_was_written() -> None:
    world, a, b = pair()
    number = connected(world, a, b)
    a.write(1, b"last words")
    world.kill("a")
    world.run(100 * MS)
    assert b.of("stream") == [(number, b"last words")]
    assert b.of("end") == [(number, "closed")]


def test_a_kill_with_unread_bytes_resets() -> None:
    world, a, b = pair()
    number = connected(world, a, b)
    world.pause("a")
    b.write(number, b"never read")
    world.run(100 * MS)
    world.kill("a")
    world.run(100 * MS)
    assert b.of("end") == [(number, "reset")]


def test_a_machine_without_power_is_found_out_by_keepalive_or_by_writing() -> None:
    world, a, b = pair()
    number = connected(world, a, b)
    world.kill("a", power=True)
    world.run(59 * SECOND)
    assert not b.of("end")
    world.run(2 * SECOND)
    assert b.of("end") == [(number, "reset")]

    world, a, b = pair()
    number = connected(world, a, b)
    world.kill("a", power=True)
    world.boot("a")
    b.write(number, b"are you there?")
    world.run(100 * MS)
    assert b.of("end") == [(number, "reset")]


def test_a_cut_holds_a_stream_back_and_a_long_one_breaks_it() -> None:
    world, a, b = pair()
    number = connected(world, a, b)
    faults = Faults(world)
    faults.set([Isolate(0, 20 * SECOND, "b")])
    world.run(MS)
    a.write(1, b"one")
    a.write(1, b"two")
    world.run(19 * SECOND)
    assert not b.of("stream")
    world.run(25 * SECOND)
    assert b.of("stream") == [(number, b"one"), (number, b"two")]
    faults.set([Isolate(0, 100 * SECOND, "b")])
    world.run(59 * SECOND)
    assert not a.of("end")
    world.run(2 * SECOND)
    assert a.of("end") == [(1, "reset")]
    assert b.of("end") == [(number, "reset")]


def test_a_paused_process_is_connected_to_and_written_to_within_bounds() -> None:
    world, a, b = pair()
    world.pause("b")
    a.dial(1, address(world, "b"))
    world.run(10 * MS)
    assert a.of("connected") == [1]
    a.write(1, b"early")
    world.run(10 * MS)
    assert not b.of("accept")
    world.resume(b.process)
    world.run(10 * MS)
    assert [data for _, data in b.of("stream")] == [b"early"]
    world.pause("b")
    for _ in range(3):
        a.write(1, bytes(STREAM_BYTES // 2))
        world.run(10 * MS)
    assert a.of("end") == [(1, "reset")]


def test_a_crash_during_a_dial_closes_what_was_established() -> None:
    world, a, b = pair()
    a.dial(1, address(world, "b"))
    world.run(2 * MS + MS // 2)
    world.kill("a")
    world.run(SECOND)
    assert not b.of("accept") or b.of("end")


def test_overlapping_crashes_keep_the_machine_down_until_the_last_ends() -> None:
    world, a, _ = pair()
    Faults(world).set([Crash(0, 2 * SECOND, "b"), Crash(SECOND, 3 * SECOND, "b")])
    world.run(3 * SECOND)
    assert world.machines["b"].process is None
    world.run(SECOND + 1)
    assert world.machines["b"].process is not None
    assert world.machines["b"].boots == 2
    assert a.process.alive
