"""`peer.atomic` and `client.atomic`, of real peers over loopback; and `mesh atomic`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import cbor2
import pytest
import trio
from click.testing import CliRunner

from coordination import (
    AtomicRegister,
    BadKey,
    BadValue,
    Closed,
    MemoryLost,
    NoQuorum,
    OutcomeUnknown,
    Peer,
    TooLarge,
    connect,
    open_peer,
)
from coordination.agreed.vocabulary.events import CallFailed, Failure
from coordination.arguments.calling import outcome_of
from coordination.commands.atomic import command
from coordination.thin.atomic import ThinAtomicRegister
from mesh.values import encode_value
from tests.coordination.meshes import SECRET, joined, mesh_of, until
from tests.coordination.thin_pair import Pair

Register = AtomicRegister | ThinAtomicRegister


async def every_operation(register: Register) -> None:
    assert await register.get() is None
    assert await register.compare_and_set(None, {"v": [1, None, "x"]})
    assert not await register.compare_and_set(None, 1)
    assert await register.get() == {"v": [1, None, "x"]}
    with pytest.raises(BadValue, match="does not hold an integer"):
        await register.add()
    assert await register.get() == {"v": [1, None, "x"]}
    await register.set(5)
    assert [await register.add(), await register.add(-10), await register.add(0)] == [6, -4, -4]
    assert await register.compare_and_set(-4, b"bytes") and await register.get() == b"bytes"
    assert not await register.compare_and_set("bytes", 1)
    large = "x" * 60_000
    await register.set(large)
    assert await register.get() == large


async def what_is_wrong(register: Register) -> None:
    with pytest.raises(BadValue, match="of type object"):
        await register.set(object())
    with pytest.raises(TooLarge, match="65,536"):
        await register.compare_and_set(None, "x" * (64 << 10))
    with pytest.raises(BadValue, match="use an integer"):
        await register.add(1.5)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="use an integer"):
        await register.add(True)
    with pytest.raises(TooLarge):
        await register.add(1 << 9000)
    await register.set((1 << 8192) - 1)
    with pytest.raises(TooLarge, match="nothing was added"):
        await register.add(1)


async def test_a_mesh_of_one() -> None:
    async with open_peer() as peer:
        await every_operation(peer.atomic("r"))
        await what_is_wrong(peer.atomic("other"))
        for name in ("", "x" * 513, 3):
            with pytest.raises(BadKey):
                peer.atomic(name)  # type: ignore[arg-type]
        register = peer.atomic("r")
    with pytest.raises(Closed):
        await register.get()


async def test_three_peers_a_joiner_and_a_client() -> None:
    async with mesh_of(3) as peers, joined(peers[0], "guest") as guest:
        async with connect(peers[1].address, secret=SECRET) as client:
            everyone: list[Peer | Any] = [*peers, guest, client]
            for number, one in enumerate(everyone):
                await every_operation(one.atomic(f"r/{number}"))
            await what_is_wrong(client.atomic("wrong"))
            total = 0

            async def add(register: Register, count: int) -> None:
                nonlocal total
                for _ in range(count):
                    await register.add(2)
                    total += 2

            async with trio.open_nursery() as nursery:
                for one in everyone:
                    for _ in range(4):
                        nursery.start_soon(add, one.atomic("sum"), 25)
            for one in everyone:
                assert await one.atomic("sum").get() == total == 1000
            explained = await peers[2].explain("atomic/sum")
            assert explained.key == "atomic/sum" and len(explained.ballots) == 3 and not explained.missing
            assert (await client.explain("atomic/sum")).group == explained.group
            register = client.atomic("sum")
        with pytest.raises(Closed):
            await register.get()


async def test_what_tasks_ask_together_travels_together() -> None:
    async with mesh_of(3) as peers:
        register = peers[0].atomic("r")
        await register.add(0)
        rounds = sum(peer.stats().get("owner.calls", 0) for peer in peers)
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(register.add)
        assert await register.get() == 16
        assert sum(peer.stats().get("owner.calls", 0) for peer in peers) - rounds <= 4


@pytest.mark.parametrize(
    ("why", "kind", "says"),
    [
        (Failure.UNAVAILABLE, NoQuorum, "could not be reached: it is; without an answer: b. Try again"),
        (Failure.UNKNOWN, OutcomeUnknown, "may or may not have happened: it is. Read before"),
        (Failure.MEMORY, MemoryLost, "is lost: b restarted without memory"),
        (Failure.NOT_INTEGER, BadValue, "does not hold an integer"),
        (Failure.TOO_LARGE, TooLarge, "nothing was added"),
    ],
)
def test_every_failure_has_its_error(why: Failure, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        outcome_of(CallFailed(1, why, ("b",), "it is"), "r")


@pytest.mark.parametrize("what", ["get", "set", "compare_and_set", "add"])
async def test_cancelled_at_every_checkpoint_nothing_stays_behind(what: str) -> None:
    async with mesh_of(3) as peers:
        peer = peers[2]
        register = peer.atomic("r")
        arguments: dict[str, tuple[Any, ...]] = {"get": (), "set": (1,), "compare_and_set": (0, 1), "add": (1,)}
        call: Callable[..., Awaitable[Any]] = getattr(register, what)
        for deadline in (0, 0.0001, 0.0005, 0.001, 0.01):
            with trio.move_on_after(deadline):
                await call(*arguments[what])
            await until(lambda: peer.stats()["caller.calls"] == 0)
            assert not peer._core.dispatch._calls
        await register.set("still works")
        assert await register.get() == "still works"


def test_a_change_that_a_client_asks_for_twice_is_done_once() -> None:
    pair = Pair()
    guest = pair.welcomed()
    assert guest.do("atomic_add", "r", 2) == 2
    again = guest.ask("atomic_add", "r", 2, sequence=guest.sequence)
    assert again is not None and cbor2.loads(again.result) == 2
    assert guest.do("atomic_get", "r") == encode_value(2)
    assert pair.sponsor.gateway.stats()["repeated_writes"] == 1
    assert guest.fails("atomic_set", "r", b"\xff")[0] == "BadValue"
    assert guest.fails("atomic_cas", "r", 1, 2)[0] == "BadConfig"
    assert guest.fails("atomic_get", "")[0] == "BadKey"


def mesh_atomic(address: str, *arguments: str) -> Any:
    return CliRunner(env={"MESH_SECRET": SECRET, "MESH_NODE": address}).invoke(command, arguments)


async def test_the_command() -> None:
    async with mesh_of(1) as (peer,):

        async def run(*arguments: str) -> tuple[int, str, str]:
            done = await trio.to_thread.run_sync(mesh_atomic, peer.address, *arguments)
            return done.exit_code, done.stdout.strip(), done.stderr.strip()

        assert await run("get", "r") == (0, "null", "")
        assert await run("set", "r", "hello") == (0, "", "")
        assert await run("get", "r") == (0, "hello", "")
        assert await run("add", "r") == (
            1, "", "mesh: the register 'r' does not hold an integer, so nothing can be added to it: set it first",
        )  # fmt: skip
        assert await run("set", "r", "[1]", "--parse", "--json") == (0, '{"name": "r", "value": [1]}', "")
        assert await run("cas", "r", "[1]", "7", "--parse", "--json") == (0, '{"name": "r", "set": true}', "")
        assert await run("cas", "r", "8", "9", "--parse") == (1, "", "mesh: the register 'r' has another value than 8")
        assert await run("add", "r") == (0, "8", "")
        assert await run("add", "r", "-10", "--json") == (0, '{"name": "r", "value": -2}', "")
        code, shown, _ = await run("get", "r", "--json")
        assert code == 0 and json.loads(shown) == {"name": "r", "value": -2}
        code, _, told = await run("set", "r", "{", "--parse")
        assert code == 2 and "is not JSON" in told
