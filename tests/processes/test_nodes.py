"""Real processes: they join, share keys, exclude each other by a lock, die, and come back."""

from __future__ import annotations

import json
import signal

import pytest
import trio

from coordination import NoQuorum
from coordination.demo.programs import Programs
from tests.processes.nodes import SECRET, mesh, mesh_of_processes


async def command(*arguments: str) -> tuple[int, str, str]:
    done = await trio.to_thread.run_sync(lambda: mesh(*arguments))
    return done.returncode, done.stdout, done.stderr


async def test_keys_cross_and_the_commands_show_them() -> None:
    async with mesh_of_processes() as nodes:
        n0, n2 = nodes.address("n0"), nodes.address("n2")
        assert await command("kv", "put", "greeting", "hello", "--node", n0) == (0, "", "")
        async with nodes.client("n2") as client:
            with trio.fail_after(5):
                while await client.kv.get("greeting") is None:
                    await trio.sleep(0.01)
        assert await command("kv", "get", "greeting", "--node", n2) == (0, "hello\n", "")
        assert (await command("kv", "put", "limit", '{"rps": 10}', "--parse", "--node", n2))[0] == 0
        assert await command("kv", "get", "limit", "--node", n2) == (0, '{"rps": 10}\n', "")
        assert (await command("kv", "scan", "g", "--node", n2))[1] == 'greeting\t"hello"\n'
        assert await command("kv", "delete", "greeting", "--node", n2) == (0, "", "")
        code, out, err = await command("kv", "get", "greeting", "--node", n2)
        assert (code, out, err) == (1, "", "mesh: there is no value under 'greeting'\n")
        batch = nodes.programs.directory / "batch"
        batch.write_text(
            '{"put": "batch/a", "value": 1, "ttl": 60}\n\n{"put": "batch/b", "value": [2]}\n{"delete": "nothing"}\n'
        )
        assert await command("kv", "batch", str(batch), "--acks", "2", "--node", n2) == (0, "", "")
        assert (await command("kv", "scan", "batch/", "--node", n0))[1] == "batch/a\t1\nbatch/b\t[2]\n"
        assert await command("kv", "touch", "batch/a", "--ttl", "90", "--acks", "majority", "--node", n0) == (0, "", "")
        assert (await command("kv", "touch", "batch/b", "--ttl", "90", "--node", n0))[0] == 1
        assert await command("kv", "clear", "batch/", "--node", n0) == (0, "2\n", "")
        code, out, err = await command("kv", "put", "k", "v", "--acks", "9", "--within", "0.2", "--node", n0)
        assert (code, out) == (1, "") and "not acknowledged within 0.2 s" in err
        assert await command("counter", "add", "orders", "5", "--node", n2) == (0, "5\n", "")
        assert await command("counter", "add", "orders", "-2", "--node", n2) == (0, "3\n", "")
        assert await command("counter", "set", "orders", "-7", "--node", n2) == (0, "", "")
        assert await command("counter", "get", "orders", "--json", "--node", n2) == (0, '{"name": "orders", "value": -7}\n', "")
        code, out, _ = await command("watch", "--counter", "orders", "--snapshot", "--count", "2", "--node", n2)
        assert (code, out) == (0, "put\torders\t-7\nsynced\torders\tnull\n")
        code, out, _ = await command("watch", "li", "--snapshot", "--count", "1", "--json", "--node", n0)
        event = json.loads(out)
        assert (code, event["kind"], event["key"], event["value"], event["origin"]) == (0, "put", "limit", {"rps": 10}, "n2")
        assert (await command("watch", "p", "--key", "k", "--node", n0))[0] == 2
        code, out, err = await command("members", "--node", n0)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()] == ["n0", "n1", "n2"]
        assert all("alive" in line for line in out.splitlines())


async def test_a_lock_is_exclusive_between_processes_and_free_after_kill_9() -> None:
    async with mesh_of_processes() as nodes:
        holder = await nodes.programs.start(
            "worker", "coordination.demo.worker", "hold",
            f'{{"name": "w", "seeds": ["{nodes.address("n0")}"], "lock": "l", "ttl": 1.0}}',
        )  # fmt: skip
        token = (await holder.read())["token"]
        async with nodes.client("n1") as client:
            assert await client.lock("l", ttl=5).try_acquire() is None
            await holder.kill()
            began = trio.current_time()
            with trio.fail_after(5):
                async with client.lock("l", ttl=5) as held:
                    assert held.token > token
            assert trio.current_time() - began < 1.0 + 0.3


async def test_the_minority_is_told_and_works_again() -> None:
    async with mesh_of_processes() as nodes, nodes.client("n0") as client:
        async with client.lock("l", ttl=1.0):
            pass
        for name in ("n1", "n2"):
            nodes.send(name, signal.SIGSTOP)
        began = trio.current_time()
        with pytest.raises(NoQuorum, match=r"n1.*n2|n2.*n1"):
            async with client.lock("l", ttl=1.0):
                pass
        assert 1.5 < trio.current_time() - began < 2.5
        await client.kv.put("still", "writable")
        for name in ("n1", "n2"):
            nodes.send(name, signal.SIGCONT)
        with trio.fail_after(2):
            async with client.lock("l", ttl=1.0):
                pass


async def test_a_killed_node_that_lost_its_memory_comes_back_and_is_told_what_it_forgot() -> None:
    async with mesh_of_processes() as nodes:
        async with nodes.client("n0") as client:
            await nodes.nodes["n2"].kill()
            for file in (nodes.programs.directory / "n2").glob("memory.db*"):
                file.unlink()
            await client.kv.put("missed", [1, 2])
            async with client.lock("l") as held:
                before = held.token
            await nodes.start("n2")
            async with nodes.client("n2") as back:
                with trio.fail_after(10):
                    while await back.kv.get("missed") != [1, 2]:
                        await trio.sleep(0.01)
                    while not (await back.explain("l")).group:  # it asks the others for the roster first
                        await trio.sleep(0.01)
                with trio.fail_after(10):  # not the 15 s for which it would abstain else
                    while (await back.explain("l")).abstaining:
                        await trio.sleep(0.01)
                async with back.lock("l") as held:
                    assert held.token > before


async def test_a_node_stops_in_order_on_sigterm() -> None:
    async with mesh_of_processes() as nodes, nodes.client("n0") as client:
        nodes.send("n1", signal.SIGTERM)
        assert await nodes.nodes["n1"].read() == {"event": "stopped"}
        await nodes.nodes["n1"].end_input()
        with trio.fail_after(2):
            while {member.name: member.state for member in await client.members()}["n1"] != "left":
                await trio.sleep(0.01)


async def test_a_wrong_secret_is_shut_out_and_counted() -> None:
    async with mesh_of_processes(1) as nodes:
        address = nodes.address("n0")
        done = await trio.to_thread.run_sync(
            lambda: mesh(
                "node", "--name", "stranger", "--bind", "127.0.0.1:0", "--seed", address,
                "--state-dir", str(nodes.programs.directory / "stranger"), secret="another secret, of more than 32 bytes",
            )
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("mesh: could not join within 10 s") and "same secret" in line
        async with nodes.client("n0") as client:
            stats = await client.stats()
            assert stats["node.stream_unknown_key"] >= 1
            assert [member.name for member in await client.members()] == ["n0"]
        done = await trio.to_thread.run_sync(lambda: mesh("members", "--node", address, secret="x" * 40))
        assert (done.returncode, done.stdout) == (1, "")
        assert "secret" in done.stderr and len(done.stderr.splitlines()) == 1


async def test_lock_commands() -> None:
    async with mesh_of_processes(1) as nodes:
        node = nodes.address("n0")
        code, out, err = await command("lock", "l", "--node", node, "--", "sh", "-c", 'echo "$MESH_TOKEN"; exit 3')
        assert (code, err) == (3, "")
        assert int(out) > 0
        code, out, err = await command("lock", "l", "--node", node, "--", "/no/such/command")
        assert (code, err) == (127, "mesh: there is no command '/no/such/command'\n")
        code, out, err = await command("lock", "l", "--node", node)
        assert code == 2


async def test_what_is_locked_is_listed_and_explained() -> None:
    async with mesh_of_processes(1) as nodes, nodes.client("n0") as client:
        node = nodes.address("n0")
        async with client.lock("jobs/nightly") as held, client.semaphore("seats", 5, 3):
            code, out, err = await command("locks", "--node", node)
            assert (code, err) == (0, "")
            assert [line.split()[:4] for line in out.splitlines()] == [
                ["lock", "jobs/nightly", client.name, "alone"],
                ["semaphore", "seats", client.name, "3"],
            ]
            async with client.lock("two\nlines"):
                code, out, err = await command("locks", "two", "--node", node)
                assert out.startswith("lock       two\\nlines ") and out.count("\n") == 1
            code, out, err = await command("locks", "jobs/", "--json", "--node", node)
            row = json.loads(out)
            assert (row["kind"], row["name"], row["holder"], row["token"]) == ("lock", "jobs/nightly", client.name, held.token)
            code, out, err = await command("explain", "jobs/nightly", "--node", node)
            assert (code, err) == (0, "")
            first, holder, *_ = out.splitlines()
            assert (first, holder.split()[:2]) == ("lock/jobs/nightly: held", ["holder", client.name])
            code, out, err = await command("explain", "semaphore/seats", "--json", "--node", node)
            found = json.loads(out)
            assert (found["limit"], found["holders"][0]["permits"], found["voters"][0]["name"]) == (5, 3, "n0")
        code, out, err = await command("locks", "--node", node)
        assert (code, out, err) == (0, "", "")


async def test_a_lock_command_whose_node_dies_is_ended_in_time() -> None:
    async with mesh_of_processes(1) as nodes:
        marks = nodes.programs.directory / "marks"
        script = f'trap "echo term >> {marks}; exit 0" TERM; echo "{{}}"; while true; do sleep 0.05; done'
        program = await nodes.programs.start(
            "locked", "coordination.cli", "lock", "l", "--ttl", "1", "--node", nodes.address("n0"), "--", "sh", "-c", script
        )
        assert await program.read() == {}
        await nodes.nodes["n0"].kill()
        began = trio.current_time()
        late = 0.0
        with trio.fail_after(3):
            while not marks.exists():
                looked = trio.current_time()
                await trio.sleep(0.01)
                late += trio.current_time() - looked - 0.01
        assert 0.2 < trio.current_time() - began < 1.1 + late, "its ttl, and what a busy machine takes"
        with trio.fail_after(3):
            await program._process.wait()
        assert program._process.returncode == 74
        assert "not held any more" in program.complaint()


async def test_workers_increment_a_file_without_loss() -> None:
    async with mesh_of_processes() as nodes:
        file = nodes.programs.directory / "number"
        file.write_text("0")
        programs: Programs = nodes.programs
        workers = [
            await programs.start(
                f"w{n}", "coordination.demo.worker", "increment",
                f'{{"name": "w{n}", "seeds": ["{nodes.address("n1")}"], "file": "{file}", "rounds": 50}}',
            )
            for n in range(3)
        ]  # fmt: skip
        for worker in workers:
            assert (await worker.read())["rising"]
        for worker in workers:
            await worker.end_input()
        assert file.read_text() == "150"
        assert SECRET not in (programs.directory / "number").read_text()


async def test_a_taken_name_and_a_bad_key_are_one_clear_line() -> None:
    async with mesh_of_processes(1) as nodes:
        address = nodes.address("n0")
        twin = str(nodes.programs.directory / "twin")
        code, out, err = await command(
            "node", "--name", "n0", "--bind", "127.0.0.1:0", "--seed", address, "--state-dir", twin
        )  # fmt: skip
        assert (code, out) == (1, "")
        assert err.startswith("mesh: the name 'n0' is taken by a process at") and len(err.splitlines()) == 1
        code, out, err = await command("kv", "put", "k" * 600, "value", "--node", address)
        assert (code, out) == (1, "")
        assert "600 bytes long, above 512" in err and len(err.splitlines()) == 1
        code, out, err = await command("kv", "put", "k", "value", "--ttl", "0.1", "--node", address)
        assert (code, out) == (1, "")
        assert "out of range" in err and len(err.splitlines()) == 1
        assert await command("kv", "scan", "--node", address) == (0, "", "")
