"""Real nodes in network namespaces of their own: lossy links, links that lead one way, and a partition that heals by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
import trio

from coordination.demo.programs import Program, Programs
from tests.processes.flock import Flock, flock
from tests.processes.switch import Switch, switch, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "none")

NODES = 5


@asynccontextmanager
async def switched(count: int = NODES, profile: str = "local") -> AsyncIterator[tuple[Flock, Switch]]:
    """Members that follow each other over a switch."""
    with switch(count) as made:

        async def start(programs: Programs, name: str, told: str) -> Program:
            return await programs.start(name, "tests.processes.member", told, before=made.inside(int(name[1:])))

        addresses = [made.address(number) for number in range(count)]
        async with flock(count, profile=profile, addresses=addresses, start_child=start) as mesh:
            yield mesh, made


async def quiet(mesh: Flock, seconds: float, but: Iterable[str] = ()) -> None:
    """For so long nobody is called dead, but by these."""
    since = len(mesh.seen)
    await trio.sleep(seconds)
    assert [seen for seen in mesh.accused(since) if seen.observer not in set(but)] == []


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
async def test_bad_links_are_no_death_and_a_partition_heals_by_itself(seconds: float) -> None:
    async with switched() as (mesh, made):
        made.loss = 0.3
        await quiet(mesh, seconds)
        assert made.lost > seconds
        made.loss = 0.0
        await mesh.until(mesh.whole, 60)

        made.cut = frozenset({(0, 1), (3, 2)})
        lost = made.lost
        await quiet(mesh, seconds)
        assert made.lost > lost
        made.cut = frozenset()
        await mesh.until(mesh.whole, 60)

        made.cut = made.sides([0, 1])
        await trio.sleep(seconds)
        await mesh.until(lambda: mesh.views["m0"].get("m4") == "dead" and mesh.views["m4"].get("m0") == "dead", 60)
        made.cut = frozenset()
        await mesh.until(mesh.whole, 60)
        await quiet(mesh, 5)
        assert mesh.whole()
