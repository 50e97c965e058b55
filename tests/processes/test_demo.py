"""The demonstration and the example, as a reader runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from coordination.demo.programs import LOWEST_PORT, free_addresses, lowest_ephemeral

ROOT = Path(__file__).parent.parent.parent


def processes_of(mark: str) -> list[int]:
    """Living processes whose environment holds a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark.encode() in environment and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    """Set in the environment of everything that a test starts."""
    name = f"MESH_TEST_MARK={os.getpid()}-{os.urandom(4).hex()}"
    yield name
    assert processes_of(name) == []


def marked(mark: str) -> dict[str, str]:
    key, _, value = mark.partition("=")
    return {**os.environ, key: value}


def test_the_demonstration_holds_and_leaves_nothing_behind(mark: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coordination.cli", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=90,
        env=marked(mark),
        check=False,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    assert all(step["ok"] for step in steps)
    assert [step["step"] for step in steps[:-1]] == list(range(1, 10))
    assert steps[-1]["steps"] == 9
    assert steps[-1]["seconds"] < 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demonstration_leaves_nothing_behind(mark: str, number: signal.Signals) -> None:
    demo = await trio.lowlevel.open_process(
        [sys.executable, "-m", "coordination.cli", "demo", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=marked(mark),
    )
    assert demo.stdout is not None
    with trio.fail_after(30):
        await demo.stdout.receive_some()  # the first step is done: three nodes run
        assert len(processes_of(mark)) >= 4
        os.kill(demo.pid, number)
        assert await demo.wait() != 0


async def test_the_example_writes_each_report_once(tmp_path: Path) -> None:
    addresses = free_addresses(3)
    instances = []
    for name, address in zip("abc", addresses, strict=True):
        arguments = [sys.executable, str(ROOT / "examples" / "embedded_worker.py"), "--directory", str(tmp_path)]
        arguments += ["--reports", "12", "--name", name, "--bind", address, "--expect", "3"]
        for seed in addresses:
            arguments += ["--seed", seed]
        instances.append(await trio.lowlevel.open_process(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    outputs = ["", "", ""]

    async def collect(index: int) -> None:
        stdout, stderr = instances[index].stdout, instances[index].stderr
        assert stdout is not None and stderr is not None
        async for data in stdout:
            outputs[index] += data.decode()
        complaint = b"".join([data async for data in stderr])
        assert await instances[index].wait() == 0, complaint.decode()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(collect, index)
    reports = sorted(tmp_path.glob("report-*"))
    assert len(reports) == 12
    tokens = [int(report.read_text().split()[1]) for report in reports]
    assert tokens == sorted(set(tokens))
    assert sum(output.count(" wrote report ") for output in outputs) == 12
    assert any("12 reports in all" in output for output in outputs)


def test_no_address_of_a_node_is_one_that_a_connection_may_be_given() -> None:
    ports = [int(address.rpartition(":")[2]) for address in free_addresses(40)]
    assert len(set(ports)) == 40
    assert min(ports) >= LOWEST_PORT and max(ports) < max(lowest_ephemeral(), LOWEST_PORT + 1_000)
