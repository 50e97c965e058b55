"""The README's snippets and the examples run in the simulated world, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from coordination import open_peer
from examples import embedded_worker
from examples.ledger import CAREFUL, CARELESS, HALFWAY
from simulations import SECOND, Conditions, Result, Scenario, World, shrink
from simulations.faults import Crash, Cut, Fault, Faults, Pause, Rate, Suspend, WallStep, Weather
from simulations.hybrid import Host, Hosts
from tests.test_readme import IN_A_MESH_OF_ONE, PORTS, SECRET, compiled, snippet_with


def run(service, seconds: float = 10.0, *, seed: int = 1) -> None:  # type: ignore[no-untyped-def]
    world = World(seed)
    with Hosts(world) as hosts:
        hosts.add("n0", service)
        hosts.start()
        world.run(int(seconds * SECOND))
        assert hosts["n0"].exits == [""], "it came to its end"


# --- the README --------------------------------------------------------------------------------------------------------


def test_a_whole_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = snippet_with("trio.run(main)").replace("trio.run(main)", "await main()")
    run(lambda host: compiled(program)())
    assert capsys.readouterr().out == "{'rps': 10}\nTrue True\n"


@pytest.mark.parametrize("text", IN_A_MESH_OF_ONE)
def test_in_a_mesh_of_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def service(host: Host) -> None:
        async with open_peer(name="solo", tags={"role": "db"}) as peer:
            await peer.kv.put_many({"config/a": 1, "config/b": 2})
            await compiled(snippet_with(text), peer=peer)()

    run(service)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(IN_A_MESH_OF_ONE[text]), lines
    for line, wanted in zip(lines, IN_A_MESH_OF_ONE[text], strict=True):
        assert re.fullmatch(wanted, line), line


def test_three_founders(capsys: pytest.CaptureFixture[str]) -> None:
    async def other(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=True
        ):
            await trio.sleep(5)

    world = World(1)
    with Hosts(world) as hosts:
        hosts.add("web-1", lambda host: compiled(snippet_with("expect=3"))(), address=PORTS[0])
        hosts.add("web-2", other, address=PORTS[1])
        hosts.add("web-3", other, address=PORTS[2])
        hosts.start()
        assert hosts.until(lambda: all(host.exits for host in hosts), within=10) is not None
    assert "('web-1', <State.ALIVE: 'alive'>)" in capsys.readouterr().out


def test_a_thin_client(capsys: pytest.CaptureFixture[str]) -> None:
    async def node(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=True
        ):
            await trio.sleep_forever()

    world = World(1)
    with Hosts(world, founders=2) as hosts:
        hosts.add("a", node, address=PORTS[0])
        hosts.add("b", node, address=PORTS[1])
        hosts.start()
        world.run(SECOND)
        client = hosts.add("client", lambda host: compiled(snippet_with("connect("))())
        world.boot("client")
        assert hosts.until(lambda: client.exits == [""], within=5) is not None
    first, second = capsys.readouterr().out.splitlines()
    assert first == "hello"
    assert int(second) > 0


# --- the examples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [[], [Pause(1_200_000_000, 8 * SECOND, "b")], [Suspend(1_100_000_000, 2 * SECOND, "a")]])
def test_the_embedded_worker(plan: list[Fault], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def service(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=True
        ) as peer:
            await embedded_worker.work(peer, tmp_path, reports=20, instances=3)

    world = World(2)
    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service, restart=1.0)
        hosts.start()
        Faults(world).set(plan)
        assert hosts.until(lambda: embedded_worker.count_reports(tmp_path) == 20, within=60) is not None
        world.run(30 * SECOND)
    written = sorted(tmp_path.glob("report-*"))
    assert [path.name for path in written] == [f"report-{number:04}" for number in range(1, 21)], "each of them once"
    if not plan:
        assert capsys.readouterr().out.count("20 reports in all") == 3


DECOYS: list[Fault] = [
    Weather(5 * SECOND, 4 * SECOND, Conditions(loss=0.1)),
    WallStep(2 * SECOND, 9 * SECOND, "n2", 80),
    Rate(6 * SECOND, 9 * SECOND, "n1", 5_000),
    Cut(12 * SECOND, SECOND, "n0", "n1"),
]


def paused_somewhere(seed: int) -> list[Fault]:
    """A pause a little longer than the lease, at one of many moments, and faults that do not matter."""
    return [*DECOYS, Pause(3 * SECOND + seed * 37_000_000, 1_050_000_000, "n0")]


def first_failing(scenario: Scenario) -> Result:
    return next(result for seed in range(10, 60) if (result := scenario.run(seed, paused_somewhere(seed))).law == "money")


def test_the_careless_tellers_lose_money_and_one_pause_is_enough() -> None:
    found = first_failing(CARELESS)
    small = shrink(CARELESS, found.seed, found.plan)
    (fault,) = small.result.plan
    assert isinstance(fault, Pause), fault
    assert fault.lasts >= SECOND * 9 // 10, "no shorter than what a holder believes"
    assert small.result.law == "money"
    assert CAREFUL.run(found.seed, small.result.plan).violation is None
    assert CAREFUL.run(found.seed, found.plan).violation is None


def test_a_bank_that_looks_at_the_token_too_late_loses_money_too() -> None:
    """B reads; A, whose lease is over, writes; B writes. Both are told that it is paid."""
    found = first_failing(HALFWAY)
    assert CAREFUL.run(found.seed, found.plan).violation is None


def test_without_faults_nobody_loses_money() -> None:
    result = CARELESS.run(1, [])
    assert result.violation is None
    assert result.reached["paid"] > 80


def test_a_crash_in_the_middle_of_a_payment_loses_nothing() -> None:
    for seed in range(3):
        result = CARELESS.run(seed, [Crash(3 * SECOND + seed * 77_000_000, 3 * SECOND, "n1")])
        assert result.violation is None
        assert result.reached["paid"] > 60
