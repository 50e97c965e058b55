"""Users' services in the world: what befalls their processes, which are paused, killed, stopped."""

from __future__ import annotations

import threading

import pytest
import trio

from simulations import SECOND, World
from simulations.faults import Crash, Fault, Faults, Pause, Rate, Slow, Suspend, WallStep
from simulations.hybrid import Host, Hosts
from tests.simulated.hybrid_service import Log, alone, locking, peer_of


async def ticking(host: Host, log: Log, every: float = 0.5) -> None:
    while True:
        await trio.sleep(every)
        log.append((host.world.now, host.name, "tick"))


@pytest.mark.parametrize("also", [[], [Slow(0, 60 * SECOND, "n0", 1_000_000)]])
def test_a_paused_service_stands_still(also: list[Fault]) -> None:
    world, log = World(1), Log()

    async def service(host: Host) -> None:
        await ticking(host, log)

    with Hosts(world) as hosts:
        hosts.add("n0", service)
        hosts.start()
        Faults(world).set([Pause(2 * SECOND, 3 * SECOND, "n0"), *also])
        world.run(7 * SECOND)
    times = [at for at, _, _ in log]
    assert not [at for at in times if 2 * SECOND <= at < 5 * SECOND]
    assert 5 * SECOND in times, "what was due meanwhile is due at once"


def test_each_host_has_its_clock() -> None:
    world, log = World(1), Log()

    async def service(host: Host) -> None:
        begun, wall = trio.current_time(), host.wall_time()
        await trio.sleep(10)
        log.append((world.now, host.name, (round(trio.current_time() - begun, 6), round(host.wall_time() - wall, 2))))

    with Hosts(world) as hosts:
        for name in ("even", "fast", "asleep"):
            hosts.add(name, service)
        hosts.start()
        Faults(world).set(
            [
                Rate(0, 60 * SECOND, "fast", 10_000),
                Suspend(SECOND, 2 * SECOND, "asleep"),
                WallStep(SECOND, 60 * SECOND, "even", 500),
            ]
        )
        world.run(15 * SECOND)
    took = {name: (at, clocks) for at, name, clocks in log}
    assert took["even"] == (10 * SECOND, (10.0, 10.5))
    assert took["asleep"] == (12 * SECOND, (10.0, 12.0)), "its monotonic clock stood still for two seconds"
    at, clocks = took["fast"]
    assert clocks == (10.0, 9.9)
    assert at == pytest.approx(10 * SECOND / 1.01, abs=1_000)


def test_a_killed_service_does_not_clean_up() -> None:
    world, log = World(1), Log()

    async def service(host: Host) -> None:
        log.append((world.now, host.name, host.starts))
        try:
            await trio.sleep_forever()
        finally:
            log.append((world.now, host.name, "cleaned up"))

    with Hosts(world) as hosts:
        hosts.add("n0", service)
        hosts.start()
        Faults(world).set([Crash(2 * SECOND, SECOND, "n0")])
        world.run(5 * SECOND)
        assert log == [(0, "n0", 1), (3 * SECOND, "n0", 2)]
    assert [what for _, _, what in log[2:]] == ["cleaned up", "cleaned up"], "only when nobody looks any more"


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    locking(7, [Crash(2 * SECOND, SECOND, "n0"), Crash(5 * SECOND, SECOND, "n0"), Pause(9 * SECOND, 3 * SECOND, "n1")])
    assert threading.active_count() == before


def test_unwinding_lets_time_run_for_what_is_shielded(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def service(host: Host) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)
            ended.append(host.name)

    before = threading.active_count()
    alone(service)
    assert ended == ["n0"]
    assert threading.active_count() == before

    async def stubborn(host: Host) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    alone(stubborn)
    assert "wait in shielded scopes for ever" in caplog.text


def test_a_stopped_service_says_goodbye() -> None:
    world, log = World(1), Log()

    async def service(host: Host) -> None:
        try:
            async with peer_of(host):
                await trio.sleep_forever()
        finally:
            log.append((world.now, host.name, "out"))

    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service)
        hosts.start()
        world.run(2 * SECOND)
        world.stop("b")
        world.run(3 * SECOND)
        assert [name for _, name, _ in log] == ["b"]
        assert hosts["b"].exits == [""]
        assert not hosts["b"].running
