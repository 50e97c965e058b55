"""The world's machines and processes, with fake nodes: clocks, timers, restarts, commands, the trace."""

from __future__ import annotations

import pytest

from mesh.errors import ClosedError
from mesh.outputs import Halt
from simulations.faults import Crash, Faults, Rate, Suspend, WallDrift, WallStep
from simulations.machine.process import PausedError
from simulations.network.network import Conditions
from simulations.plans.plans import random_plan
from simulations.world import MS, SECOND, World
from tests.simulated.fake import FakeNode, Note, build_fakes


class Anything:
    name = "anything"


def one(seed: int = 1) -> tuple[World, FakeNode]:
    world = World(seed, conditions=Conditions((MS, 2 * MS)))
    return world, build_fakes(world, "a")["a"]


def test_a_timer_fires_at_its_own_clocks_time() -> None:
    world, node = one()
    begun = node.process.instant().mono
    for ppm in (10_000, -10_000, 3):
        world.set_rate("a", ppm)
        since, own = world.now, node.process.instant().mono
        node.arm(SECOND)
        world.run(2 * SECOND)
        _, now, due = node.seen[-1]
        assert due == own + SECOND
        assert 0 <= now.mono - due <= 1
        assert abs((now.mono - own) * 1_000_000 // (1_000_000 + ppm) - SECOND * 1_000_000 // (1_000_000 + ppm)) <= 1
        assert world.now - since == 2 * SECOND
    assert node.process.instant().mono - begun == pytest.approx(6 * SECOND, rel=1e-4)


def test_a_changed_rate_moves_the_timers_that_are_armed() -> None:
    world, node = one()
    node.arm(10 * SECOND)
    Faults(world).set([Rate(0, 100 * SECOND, "a", 100_000)])
    world.run(9 * SECOND)
    assert not node.of("due")
    world.run(SECOND // 10)
    assert node.of("due")


def test_the_three_clocks_go_their_own_ways() -> None:
    world, node = one()
    start = node.process.instant()
    Faults(world).set([WallStep(0, 5 * SECOND, "a", -3_000), Suspend(SECOND, 2 * SECOND, "a")])
    world.run(4 * SECOND)
    now = node.process.instant()
    assert now.mono - start.mono == 2 * SECOND
    assert now.boot - start.boot == 4 * SECOND
    assert now.wall - start.wall == 1_000
    world.run(2 * SECOND)
    assert node.process.instant().wall - start.wall == 6_000
    Faults(world).set([WallDrift(0, 10 * SECOND, "a", 1_000)])
    world.run(20 * SECOND)
    assert node.process.instant().wall - start.wall == 26_010


def test_a_timer_sleeps_with_its_machine() -> None:
    world, node = one()
    node.arm(3 * SECOND)
    Faults(world).set([Suspend(SECOND, 60 * SECOND, "a")])
    world.run(62 * SECOND)
    assert not node.of("due")
    world.run(SECOND + 1)
    assert node.of("due")


def test_a_restart_keeps_the_disk_and_the_clocks_and_has_new_sources() -> None:
    world = World(3)
    nodes = build_fakes(world, "a")
    first = nodes["a"].process
    first.disk.kept["kept"] = b"x"
    Faults(world).set([Crash(SECOND, SECOND, "a"), Crash(3 * SECOND, SECOND, "a", wipe=True)])
    uptime = first.instant().mono
    world.run(2 * SECOND)
    second = nodes["a"].process
    assert (first.alive, second.alive, second.boot) == (False, True, 2)
    assert second.disk.kept == {"kept": b"x"}
    assert second.instant().mono == uptime + 2 * SECOND
    mine, theirs = first.sources(), second.sources()
    assert mine.session != theirs.session
    assert mine.entropy(16) != theirs.entropy(16)
    assert first.sources().entropy(16) != mine.entropy(16)
    assert first.sources().session == mine.session
    world.run(2 * SECOND)
    assert nodes["a"].process.disk.kept == {}


def test_commands_are_refused_as_a_driver_refuses_them() -> None:
    world, node = one()
    process = node.process
    process.command(Anything(), ["directive"])  # type: ignore[arg-type,list-item]
    assert node.of("command") == [["directive"]]
    world.pause("a")
    with pytest.raises(PausedError):
        process.command(Anything(), ())  # type: ignore[arg-type]
    world.resume(process)
    world.stop("a")
    assert node.of("stop") == [None]
    with pytest.raises(ClosedError):
        process.command(Anything(), ())  # type: ignore[arg-type]
    assert not process.alive


def test_a_node_that_halts_is_deaf_at_once_says_its_last_and_is_gone() -> None:
    world = World(1)
    nodes = build_fakes(world, "a", "b")
    a, process = nodes["a"], nodes["a"].process
    reason = ValueError("the name is taken")
    a.arm(SECOND)
    nodes["b"].send(process.address, b"x")
    a._outputs.append(Halt(reason))
    process.perform()
    with pytest.raises(ValueError, match="taken"):
        process.command(Anything(), ())  # type: ignore[arg-type]
    world.run(2 * SECOND)
    assert [kind for kind, _, _ in a.seen] == ["start", "stop"]
    assert world.machines["a"].process is None


def test_events_are_held_for_the_first_subscriber_and_its_commands_wait_their_turn() -> None:
    _, node = one()
    got: list[str] = []
    node.say("early")

    def hear(event: object) -> None:
        assert isinstance(event, Note)
        got.append(event.text)
        if event.text == "go":
            node.process.command(Anything(), ())  # type: ignore[arg-type]
            got.append("commanded")

    node.then = lambda kind, what: node.say("answer") if kind == "command" else None
    unsubscribe = node.process.subscribe(hear)
    assert got == ["early"]
    node.say("go")
    assert got == ["early", "go", "commanded", "answer"]
    unsubscribe()
    node.say("late")
    assert got[-1] == "answer"


def test_an_error_inside_names_the_seed_and_the_moment() -> None:
    world, node = one(77)

    def explode(kind: str, what: object) -> None:
        raise RuntimeError("a bug")

    node.then = explode
    node.arm(SECOND)
    with pytest.raises(RuntimeError, match="a bug") as caught:
        world.run(2 * SECOND)
    assert "seed 77 at 1000000000 ns" in caught.value.__notes__[0]


def test_the_digest_covers_every_byte_and_the_ring_is_bounded() -> None:
    def run(last: bytes) -> str:
        world = World(1)
        nodes = build_fakes(world, "a", "b")
        for n in range(10_000):
            nodes["a"].send(nodes["b"].process.address, n.to_bytes(4, "big"))
        nodes["a"].send(nodes["b"].process.address, last)
        world.run(SECOND)
        digest = world.trace.digest()
        assert len(world.trace.ring) == 1_024
        assert world.trace.lines > 20_000
        return digest

    assert run(b"1") == run(b"1")
    assert run(b"1") != run(b"2")


def test_a_plan_is_a_prefix_of_a_longer_one_and_ends_in_time() -> None:
    names = ["a", "b", "c", "d"]
    short, long = (random_plan(9, names, count, 30 * SECOND) for count in (10, 40))
    assert long[:10] == short
    assert all(fault.at + fault.lasts <= 30 * SECOND for fault in long)
    assert len({type(fault) for fault in long}) > 8
