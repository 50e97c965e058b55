"""The secret of a mesh of real nodes is changed while they work."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from coordination import BadConfig, JoinFailed, SecretLacking, open_peer
from coordination.commands.key import command
from mesh.keyring import Keyring
from tests.coordination.meshes import SECRET, joined, mesh_of, until

NEW = "another secret of the tests, at least 32 bytes"
OLD_KEY, NEW_KEY = Keyring([SECRET]).primary.hex(), Keyring([NEW]).primary.hex()


async def test_a_rotation_is_not_noticed(caplog: pytest.LogCaptureFixture) -> None:
    async with mesh_of(3) as peers, trio.open_nursery() as nursery:
        first, second, third = peers
        deaths = []

        async def follow() -> None:
            async with first.watch_members() as changes:
                async for event in changes:
                    deaths.append(event.kind)

        async def work() -> None:
            while True:
                async with second.lock("busy", ttl=2):
                    await trio.sleep(0.01)

        nursery.start_soon(follow)
        nursery.start_soon(work)
        (only,) = await first.secrets.list()
        assert (only.key, only.primary, only.lacking, only.removed) == (OLD_KEY, True, (), False)
        with trio.fail_after(20):
            added = await first.secrets.add(NEW)
            assert added == NEW_KEY
            await first.secrets.spread(added)
            for peer in peers:
                assert added in [row.key for row in await peer.secrets.list()]
            await second.secrets.use(added)
            for peer in peers:
                await until(lambda peer=peer: peer._core.assembly.keyring.primary.hex() == NEW_KEY)
            await until(lambda: not third._core.assembly.rotation.blocking_remove(bytes.fromhex(OLD_KEY)))
            with pytest.raises(BadConfig, match="use another"):
                await third.secrets.remove(NEW_KEY)
            await third.secrets.remove(OLD_KEY)
            for peer in peers:
                await until(lambda peer=peer: peer.stats()["rotation.keys"] == 1, within=10)
            async with first.lock("after it all", ttl=2):
                pass
        assert deaths == [], "nobody noticed"
        with pytest.raises(JoinFailed):
            with trio.fail_after(20):
                async with joined(first, "late"):
                    pass
        async with open_peer(name="fresh", seeds=[first.address], secret=NEW, voter=False, profile="local"):
            await until(lambda: len(third.members) == 4)
        nursery.cancel_scope.cancel()
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("change it where that stands" in text for text in told)
    assert any("a secret that this node does not have" in text for text in told)


async def test_a_joiner_with_the_old_secret_is_given_the_new_one() -> None:
    async with mesh_of(1) as (peer,):
        added = await peer.secrets.add(NEW)
        await peer.secrets.use(added)
        async with joined(peer, "late") as late:
            await until(lambda: late._core.assembly.keyring.primary.hex() == NEW_KEY)
            await peer.secrets.spread(NEW_KEY)
            (row, _) = await peer.secrets.list()
            assert (row.key, row.lacking, row.unknown) == (NEW_KEY, (), ())
            await late.kv.put("k", 1)
            await until(lambda: peer.kv.get("k") == 1)


async def test_what_is_refused() -> None:
    async with open_peer(name="solo") as peer:
        with pytest.raises(BadConfig, match="no secret"):
            await peer.secrets.add(NEW)
    async with mesh_of(1) as (peer,):
        with pytest.raises(BadConfig, match="too short"):
            await peer.secrets.add("short")
        with pytest.raises(BadConfig, match="too long"):
            await peer.secrets.add("x" * 5_000)
        with pytest.raises(BadConfig, match="add it first"):
            await peer.secrets.use(NEW_KEY)
        with pytest.raises(BadConfig, match="8 hexadecimal digits"):
            await peer.secrets.use(NEW)
        for number in range(31):
            await peer.secrets.add(f"secret number {number:03} of many, long enough to be one")
        with pytest.raises(BadConfig, match="32"):
            await peer.secrets.add(NEW)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


async def test_the_commands(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(SECRET)
    new.write_text(NEW + "\n")
    async with mesh_of(2) as (first, second):

        async def run(*arguments: str, secret: Path = old) -> tuple[int, str]:
            options = ("--node", second.address, "--secret-file", str(secret))
            return await trio.to_thread.run_sync(partial(invoke, *arguments, *options))

        with trio.fail_after(30):
            assert await run("list") == (0, f"{OLD_KEY}  seals\n")
            assert await run("use", NEW_KEY) == (1, f"mesh: no secret {NEW_KEY} in the ring: add it first\n")
            assert await run("add", str(new)) == (0, f"{NEW_KEY}\n")
            assert await run("remove", OLD_KEY) == (1, f"mesh: the secret {OLD_KEY} seals: use another one first\n")
            assert await run("use", NEW_KEY, "--json") == (0, f'{{"key": "{NEW_KEY}"}}\n')
            await until(lambda: not second._core.assembly.rotation.blocking_remove(bytes.fromhex(OLD_KEY)))
            assert await run("remove", OLD_KEY) == (0, "")
            await until(lambda: second.stats()["rotation.keys"] == first.stats()["rotation.keys"] == 1, within=10)
            assert await run("list", secret=new) == (0, f"{NEW_KEY}  seals\n")
            code, told = await run("list")
            assert code == 1 and "secret" in told


async def test_the_dead_hold_up_the_removal() -> None:
    async with mesh_of(2) as (first, second):
        added = await first.secrets.add(NEW)
        await first.secrets.spread(added)
        rotation = first._core.assembly.rotation
        far = rotation._far[second._core.assembly.identity.boot.session]
        far.holds = (bytes.fromhex(OLD_KEY),)  # as if it had slept since before
        await first.secrets.use(added, force=True)
        far.holds = (bytes.fromhex(OLD_KEY),)
        with pytest.raises(SecretLacking, match="p1 may not hold") as caught:
            await first.secrets.remove(OLD_KEY)
        assert caught.value.names == ("p1",)
