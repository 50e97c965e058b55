"""Real processes: who is killed is known to be dead by its streams, before anybody's probe could have met a refusal."""

from __future__ import annotations

import signal

import pytest
import trio

from coordination import Client
from tests.processes.nodes import Mesh, mesh_of_processes

NEIGHBOURS = 2
LATEST = 10
"""Seconds; on a machine with time to spare it takes some 20 ms."""


async def woven(client: Client) -> None:
    """Until there are streams between it and its two neighbours."""
    while (await client.stats())["membership.lifelines"] < NEIGHBOURS:
        await trio.sleep(0.05)


async def seconds_until_known(nodes: Mesh, victim: str, state: str, clients: list[Client]) -> float:
    """From the signal until each of these sees the victim so. One request after another: an answer takes about a ms."""
    began = trio.current_time()
    nodes.send(victim, signal.SIGKILL if state == "dead" else signal.SIGTERM)
    with trio.fail_after(LATEST):
        for client in clients:
            while {member.name: member.state for member in await client.members()}[victim] != state:
                await trio.sleep(0.001)
    return trio.current_time() - began


async def test_a_kill_of_one_of_three_is_known_to_all_by_the_end_of_its_streams(capsys: pytest.CaptureFixture[str]) -> None:
    async with mesh_of_processes() as nodes, nodes.client("n0") as one, nodes.client("n1") as other:
        with trio.fail_after(20):
            for client in (one, other):
                await woven(client)
        took = await seconds_until_known(nodes, "n2", "dead", [one, other])
        with capsys.disabled():
            print(f"a kill was known to all after {1000 * took:.0f} ms")
        for client in (one, other):
            stats = await client.stats()
            assert stats["membership.lifelines_broken"] >= 1
            assert stats.get("membership.deaths_by_suspicion", 0) == 0
        convicted = [(await client.stats()).get("membership.deaths_by_evidence", 0) for client in (one, other)]
        assert sum(convicted) >= 1


async def test_who_stops_in_order_leaves_no_evidence() -> None:
    async with mesh_of_processes() as nodes, nodes.client("n0") as one, nodes.client("n1") as other:
        with trio.fail_after(20):
            for client in (one, other):
                await woven(client)
        await seconds_until_known(nodes, "n2", "left", [one, other])
        for client in (one, other):
            assert (await client.stats()).get("membership.lifelines_broken", 0) == 0
