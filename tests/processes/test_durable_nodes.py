"""Real nodes with state directories: everyone is killed at once, and a disk takes nothing more."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import trio

from coordination import open_peer
from tests.processes.nodes import SECRET, Mesh, mesh_of_processes, see_alive

NAMES = ("n0", "n1", "n2")


async def restart_all(nodes: Mesh) -> float:
    """Kill everyone at once, start everyone again; the seconds from their start to all being up."""
    for name in NAMES:
        nodes.send(name, signal.SIGKILL)
    for name in NAMES:
        await nodes.nodes[name].kill()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(nodes.start, name)
    return trio.current_time() - began


async def test_everyone_is_killed_twice_and_locks_go_on_with_higher_tokens() -> None:
    """A peer that does not vote holds a lock through it; nobody abstains."""
    async with mesh_of_processes() as nodes:
        tokens = []
        async with open_peer(name="p", voter=False, seeds=nodes.addresses, secret=SECRET, profile="local") as peer:
            kept = await peer.lock("kept", ttl=15.0).acquire()
            async with trio.open_nursery() as nursery:

                async def renew() -> None:
                    while True:
                        await kept.renew()
                        await trio.sleep(1)

                async with nodes.client("n0") as client, client.lock("l") as held:
                    tokens.append(held.token)
                nursery.start_soon(renew)
                for _ in range(2):
                    up = await restart_all(nodes)
                    began = trio.current_time()
                    async with nodes.client("n1") as client:
                        with trio.fail_after(10):  # an abstention lasts 15 s
                            async with client.lock("l") as held:
                                tokens.append(held.token)
                        took = trio.current_time() - began
                        assert took < 5 + up, f"{took:.2f} s until a lock was had, though starting took only {up:.2f} s"
                        explanation = await client.explain("l")
                        assert explanation.abstaining == ()
                        assert await client.lock("kept").try_acquire() is None
                        assert kept.valid()
                        await see_alive(client, 4)
                nursery.cancel_scope.cancel()
            await kept.release()
            async with nodes.client("n2") as client:
                with trio.fail_after(5):
                    async with client.lock("kept") as held:
                        assert held.token > kept.token
        assert tokens == sorted(set(tokens))


async def test_a_voter_whose_disk_is_full_is_missing_until_it_has_room() -> None:
    """Files of one node may grow no further: what a full disk is to it. With two such nodes of three nothing is granted."""

    def limit(name: str, size: int) -> None:
        pid = nodes.nodes[name].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async with mesh_of_processes() as nodes, nodes.client("n0") as client:
        async with client.lock("l") as held:
            token = held.token
        limit("n1", 1)
        with trio.fail_after(10):  # two others vote
            for _ in range(5):
                async with client.lock("l") as held:
                    assert held.token > token
                    token = held.token
            while "n1: does not vote: its disk fails" not in (await client.explain("l")).note:
                async with client.lock("l") as held:
                    token = held.token
        limit("n2", 1)
        with trio.move_on_after(30):
            try:
                while True:
                    async with client.lock("l") as held:
                        token = held.token
            except Exception as error:
                assert type(error).__name__ == "NoQuorum"
            else:
                raise AssertionError("granted by one voter of three")
        limit("n1", resource.RLIM_INFINITY)
        limit("n2", resource.RLIM_INFINITY)
        with trio.fail_after(10):
            while True:
                try:
                    async with client.lock("l") as held:
                        assert held.token > token
                    break
                except Exception as error:
                    assert type(error).__name__ == "NoQuorum"
        assert Path(nodes.programs.directory / "n1" / "memory.db").exists()
