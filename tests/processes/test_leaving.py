"""`mesh leave`: a node process leaves for good, and ends."""

from __future__ import annotations

import trio

from coordination.demo.programs import Programs, free_addresses
from tests.processes.nodes import SECRET, Mesh, mesh


async def command(*arguments: str) -> tuple[int, str, str]:
    done = await trio.to_thread.run_sync(lambda: mesh(*arguments))
    return done.returncode, done.stdout, done.stderr


async def test_a_node_leaves_an_elastic_mesh_and_its_process_ends() -> None:
    async with Programs.opened(SECRET) as programs:
        nodes = Mesh(programs, free_addresses(2))
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for name in ("n0", "n1"):
                    nursery.start_soon(nodes.start, name, "--fresh", "--elastic")
            async with nodes.client("n0") as client:
                async with client.lock("l"):
                    pass
                code, _, error = await command("reset-roster", "--node", nodes.address("n1"))
                assert code == 1 and "mesh: the roster was not reset: no reset is needed: n0, n1 remember" in error
                code, _, error = await command("leave", "n0", "--node", nodes.address("n1"))
                assert code == 1 and "is the node 'n1', not 'n0'" in error
                code, out, error = await command("leave", "n1", "--node", nodes.address("n1"), "--json")
                assert (code, out) == (0, '{"event": "left", "name": "n1"}\n'), error
                assert await nodes.nodes["n1"].read() == {"event": "left", "removed": True}
                while [each.state.value for each in await client.members()] != ["alive", "left"]:
                    await trio.sleep(0.02)
                async with client.lock("l"):
                    pass  # n0 is enough now
