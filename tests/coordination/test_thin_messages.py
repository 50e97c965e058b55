"""Thin clients send and broadcast through their node, once, and are told what came of it."""

from __future__ import annotations

import pytest
import trio
from click.testing import CliRunner

from coordination import BadConfig, BadKey, BadValue, NotDelivered, TooLarge, connect
from coordination.commands.send import broadcast, command
from tests.coordination.meshes import SECRET, mesh_of, until


async def test_a_client_sends_and_broadcasts() -> None:
    async with mesh_of(2) as (first, second), connect(first.address, secret=SECRET) as client:
        async with first.subscribe("news") as one, second.subscribe("news", limit=2) as other:
            await client.send("p1", "news", {"id": 7})
            message = await anext(other)
            assert (message.sender, message.value, message.broadcast) == ("p0", {"id": 7}, False)
            await client.broadcast("news", "to all")
            for messages in (one, other):
                message = await anext(messages)
                assert (message.value, message.broadcast) == ("to all", True)
            await client.send("p0", "news", 1)
            assert (await anext(one)).value == 1
            await client.send("p1", "news", 2)
            await client.send("p1", "news", 3)
            with pytest.raises(NotDelivered, match="does not read") as caught:
                await client.send("p1", "news", 4)
            assert caught.value.why == "full"
        with pytest.raises(NotDelivered, match="nobody at p1 subscribes"):
            await client.send("p1", "news", 1)
        with pytest.raises(NotDelivered, match="no member"):
            await client.send("p9", "news", 1)
        with pytest.raises(TooLarge, match="broadcast the key"):
            await client.broadcast("news", b"x" * 900)
        with pytest.raises(BadKey):
            await client.send("p1", "", 1)
        with pytest.raises(BadValue):
            await client.send("p1", "news", object())


async def test_a_client_is_told_that_only_peers_read_and_ask() -> None:
    async with mesh_of(1) as (first,), connect(first.address, secret=SECRET) as client:
        with pytest.raises(BadConfig, match="open a peer"):
            client.subscribe("news")
        with pytest.raises(BadConfig, match="open a peer"):
            client.request({}, "news", "well?", timeout=2)


async def test_a_message_that_is_given_up_leaves_nothing() -> None:
    async with mesh_of(2) as (first, second), connect(first.address, secret=SECRET) as client:
        gateway = first._core.assembly.gateway
        for _ in range(5):
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.send("p1", "news", 1)
        with trio.move_on_after(0.0):
            await client.send("p1", "news", 1)
        async with second.subscribe("news") as messages:
            await client.send("p1", "news", "after")
            while (await anext(messages)).value != "after":
                pass
        await until(lambda: not gateway._letters._waiting and first.stats()["messaging.pending"] == 0)


async def test_the_commands() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("jobs") as messages:

        def invoke(*arguments: str) -> tuple[int, str]:
            options = ["--node", first.address]
            which, *rest = arguments
            result = CliRunner(env={"MESH_SECRET": SECRET}).invoke(command if which == "send" else broadcast, [*rest, *options])
            return result.exit_code, result.output

        with trio.fail_after(20):
            assert await trio.to_thread.run_sync(invoke, "send", "p1", "jobs", '{"id": 7}', "--parse") == (0, "")
            assert (await anext(messages)).value == {"id": 7}
            assert await trio.to_thread.run_sync(invoke, "broadcast", "jobs", "now", "--json") == (0, '{"topic": "jobs"}\n')
            assert (await anext(messages)).value == "now"
            code, told = await trio.to_thread.run_sync(invoke, "send", "p0", "jobs", "x")
            assert (code, told) == (1, "mesh: nobody at p0 subscribes to 'jobs'\n")
            code, told = await trio.to_thread.run_sync(invoke, "send", "p1", "jobs", "{", "--parse")
            assert code == 2 and "not JSON" in told
