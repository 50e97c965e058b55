"""Real processes: a kill is known to all, a stopped process accuses nobody when it goes on, and load is no death."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from tests.benchmarks.membership import burning, kills, side_by_side
from tests.processes.flock import Flock, flock


async def stopped(mesh: Flock, name: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after so long; then everyone is seen alive again, and nobody was called dead but the sleeper."""
    since = len(mesh.seen)
    mesh.nodes[name].send(signal.SIGSTOP)
    await trio.sleep(seconds)
    mesh.nodes[name].send(signal.SIGCONT)
    await mesh.until(mesh.whole, 60)
    await trio.sleep(5)
    assert mesh.whole()
    by_the_sleeper = [seen for seen in mesh.seen[since:] if seen.observer == name and seen.state in ("dead", "suspect")]
    assert by_the_sleeper == []
    assert [seen for seen in mesh.accused(since) if seen.member != name] == []


async def late_rounds(mesh: Flock, name: str) -> int:
    return int((await mesh.report(name))["stats"]["membership.late_rounds"])


async def test_a_stopped_process_accuses_nobody_and_a_kill_is_known_to_all() -> None:
    async with flock(4, profile="local") as mesh:
        before = await late_rounds(mesh, "m2")
        await stopped(mesh, "m2", 3)
        assert await late_rounds(mesh, "m2") > before, "it did not notice that it was away"
        first, all_ = await kills(mesh, 1)
        assert first[0] <= all_[0] < 10


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", ["local", "lan"])
async def test_a_process_that_was_stopped_for_20_s_accuses_nobody(profile: str) -> None:
    async with flock(6, profile=profile) as mesh:
        for name in ("m1", "m4"):
            await stopped(mesh, name, 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_ten_minutes_of_rest_and_of_full_load_accuse_nobody() -> None:
    async with flock(3) as three, flock(10) as ten, flock(30) as thirty:
        meshes = (three, ten, thirty)
        assert [of.dead for of in await side_by_side(meshes, 600)] == [0, 0, 0]
        with burning(os.cpu_count() or 1):
            assert [of.dead for of in await side_by_side(meshes, 600)] == [0, 0, 0]
