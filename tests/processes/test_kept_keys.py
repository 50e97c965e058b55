"""Keys on the disks of real nodes: killed all at once, with a disk that takes nothing, with one that is broken."""

from __future__ import annotations

import resource
import signal

import pytest
import trio

from coordination import DiskFailed
from tests.processes.nodes import Mesh, mesh_of_processes, see_alive

NAMES = ("n0", "n1", "n2")


async def kill_all(nodes: Mesh) -> None:
    for name in NAMES:
        nodes.send(name, signal.SIGKILL)
    for name in NAMES:
        await nodes.nodes[name].kill()


async def start_all(nodes: Mesh) -> None:
    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(nodes.start, name)


async def test_what_was_acknowledged_outlives_a_kill_of_all_and_a_broken_disk() -> None:
    async with mesh_of_processes() as nodes:
        async with nodes.client("n0") as client:
            await client.kv.put_many({f"k/{n}": [n, "x" * 50] for n in range(500)}, acks=2)
            async with client.kv.batch(acks=2) as batch:
                batch.put("batch/a", 1)
                batch.put("batch/b", b"x" * 200_000)
            await client.kv.put("short", 1, ttl=3_600, acks=2)
            await client.kv.delete("k/0", acks=2)
        await kill_all(nodes)
        await nodes.start("n1")  # alone: it has its state before it has peers
        async with nodes.client("n1") as client:
            assert len(await client.kv.scan("k/")) == 499
            assert await client.kv.get("batch/a") == 1 and len(await client.kv.get("batch/b")) == 200_000
            entry = await client.kv.entry("short")
            assert entry is not None and entry.remaining is not None and 3_500 < entry.remaining < 3_600
            assert entry.writer is None, "the process that wrote it is gone, whoever has its name now"
            await client.kv.put("k/0", "new")
        database = nodes.programs.directory / "n2" / "memory.db"
        database.write_bytes(b"no database" * 1_000)
        for companion in database.parent.glob("memory.db-*"):  # from its log alone it would be mended
            companion.unlink()
        await nodes.start("n0")
        await nodes.start("n2")
        assert database.with_name("memory.db.damaged-1").read_bytes().startswith(b"no database")
        async with nodes.client("n2") as client:
            await see_alive(client, 3)
            with trio.fail_after(10):
                while len(await client.kv.scan("")) != 503 or await client.kv.get("k/0") != "new":
                    await trio.sleep(0.02)


async def test_a_disk_that_is_full_refuses_writes_and_loses_nothing_that_others_hold() -> None:
    """Its file may grow no further: what a full disk is to it."""
    async with mesh_of_processes() as nodes, nodes.client("n0") as client, nodes.client("n1") as other:
        pid = nodes.nodes["n0"].pid
        await client.kv.put("before", 1, acks=2)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        with trio.fail_after(10), pytest.raises(DiskFailed, match="takes nothing more"):
            while True:
                await client.kv.put("meanwhile", 1)
                await trio.sleep(0.01)
        await other.kv.put("theirs", 2)
        with trio.fail_after(5):
            while await other.kv.get("meanwhile") is None or await client.kv.get("theirs") is None:
                await trio.sleep(0.01)
            await other.kv.put("majority", 3, acks=1)
            with trio.move_on_after(0.3) as scope:
                await other.kv.put("everyone", 4, acks=2)
            assert scope.cancelled_caught, "one of the two others cannot keep it"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with trio.fail_after(10):
            while True:
                try:
                    await client.kv.put("after", 5, acks=2)
                    break
                except DiskFailed:
                    await trio.sleep(0.05)
        await kill_all(nodes)
        await nodes.start("n0")
        async with nodes.client("n0") as again:
            assert dict(await again.kv.scan("")) == {
                "before": 1, "meanwhile": 1, "theirs": 2, "majority": 3, "everyone": 4, "after": 5,
            }  # fmt: skip
