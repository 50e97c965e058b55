"""The state directory: what is durable, what is damaged, and what a peer does with it."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from coordination import DifferentMesh, MeshConfig, Peer, open_peer
from coordination.demo.programs import free_addresses
from coordination.errors import BadConfig
from coordination.opening.state_dir import StateDir
from mesh.memory import Tables
from mesh.outputs import Commit
from mesh.shell.sqlite_store import ONE_STATEMENT, SqliteStore
from tests.coordination.meshes import SECRET, joined, until

SHORT = MeshConfig(max_ttl=3.0)
"""A voter without memory abstains for 3 s."""

WRITER = """
import sys
from pathlib import Path
from mesh.outputs import Commit
from mesh.shell.sqlite_store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
for number in range(1, 100_000):
    text = b"%d" % number
    store.commit(Commit(number, (("t", b"one", text), ("t", b"two", text), ("t", b"drop", text if number % 2 else None))))
    print(number, flush=True)
"""

FULL = """
import resource, signal, sys
from pathlib import Path
from mesh.outputs import Commit
from mesh.shell.sqlite_store import SqliteStore
path = Path(sys.argv[1])
store = SqliteStore(path)
store.commit(Commit(1, (("t", b"kept", b"1"),)))
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
size = path.with_name(path.name + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1500, unlimited[1]))
failures = 0
for _ in range(3):
    try:
        store.commit(Commit(2, (("t", b"kept", b"2"), ("t", b"large", bytes(50_000)))))
    except OSError:
        failures += 1
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
store.commit(Commit(3, (("t", b"after", b"3"),)))
store.close()
store = SqliteStore(path)
print(failures, sorted((key, len(value)) for key, value in store.tables["t"].items()))
"""


def test_a_batch_is_durable_when_commit_returns_and_whole_whenever_the_process_dies(tmp_path: Path) -> None:
    dice = random.Random(1)
    for turn in range(4):
        file = tmp_path / f"{turn}.db"
        program = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        last = dice.randrange(1, 30)
        for line in program.stdout:
            if int(line) >= last:
                break
        program.send_signal(signal.SIGKILL)
        said = [int(line) for line in program.stdout.read().split() if line.strip().isdigit()]
        program.wait()
        acknowledged = max([last, *said[:-1]])
        store = SqliteStore(file)
        rows = store.tables["t"]
        number = int(rows[b"one"])
        assert number >= acknowledged, "an acknowledged batch is lost"
        assert rows[b"two"] == rows[b"one"] and (b"drop" in rows) == (number % 2 == 1), "half a batch"
        store.close()


def test_a_full_disk_fails_whole_batches_and_nothing_before_or_after(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "m.db")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 [(b'after', 1), (b'kept', 1)]", done.stderr


def fill(directory: Path, tables: dict[str, dict[bytes, bytes]]) -> None:
    state = StateDir(directory)
    records = [(table, key, value) for table, rows in tables.items() for key, value in rows.items()]
    state.store.commit(Commit(1, tuple(records)))
    state.close()


def flip_value(file: Path) -> None:
    """A byte of a value, which SQLite itself does not notice."""
    connection = sqlite3.connect(file)
    connection.execute("update records set value = x'83'")
    connection.commit()
    connection.close()


def tear(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def overwrite(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 100)


def scramble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[1024:] = random.Random(3).randbytes(len(data) - 1024)
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [flip_value, tear, overwrite, scramble])
def test_a_damaged_memory_is_set_aside_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    fill(tmp_path, {"boot": {b"": b"\x82\x01\x05"}})
    damage(tmp_path / "memory.db")
    newer = {"boot": {b"": b"\x82\x01\x06"}}
    for found in ({}, newer):
        with caplog.at_level(logging.ERROR, "mesh"):
            state = StateDir(tmp_path)
        assert state.store.tables == found
        state.store.commit(Commit(1, (("boot", b"", newer["boot"][b""]),)))
        state.close()
        assert len(caplog.records) == 1 and "kept as memory.db.damaged-1" in caplog.text
        assert (tmp_path / "memory.db.damaged-1").exists()


def test_a_record_that_no_program_wrote_is_damage_and_one_of_a_newer_program_is_not(tmp_path: Path) -> None:
    damaged, newer, table = tmp_path / "damaged", tmp_path / "newer", tmp_path / "table"
    fill(damaged, {"boot": {b"": b"\x82\x01\x61a"}})
    state = StateDir(damaged)
    assert state.store.tables == {}
    state.close()
    fill(newer, {"boot": {b"": b"\x82\x02\x05"}})
    fill(table, {"later": {b"": b"\x82\x01\x05"}})
    for directory in (newer, table):
        with pytest.raises(BadConfig, match="written by a newer version"):
            StateDir(directory)
        with pytest.raises(BadConfig, match="written by a newer version"):  # nothing was moved, and nothing stays locked
            StateDir(directory)


def test_the_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfig, match="cannot be used"):
        StateDir(tmp_path / "file" / "sub")


# --- peers ------------------------------------------------------------------------------------------------------------


def peer_on(directory: Path, **arguments: Any) -> Any:
    return open_peer(
        **{"name": "a", "bind": "127.0.0.1:0", "secret": SECRET, "state_dir": directory, "config": SHORT, **arguments}
    )


async def token_of(peer: Peer, key: str = "lock") -> int:
    held = await peer.lock(key, ttl=2.0).acquire()
    await held.release()
    return held.token


async def test_a_voter_with_memory_votes_at_once_and_tokens_rise(tmp_path: Path) -> None:
    async with peer_on(tmp_path, fresh=True) as peer:
        tokens = [await token_of(peer)]
        assert peer.stats()["memory.commits"] >= 3
    for _ in range(2):
        with trio.fail_after(2):  # less than an abstention
            async with peer_on(tmp_path) as peer:
                tokens.append(await token_of(peer))
    assert tokens == sorted(set(tokens))


async def test_without_memory_it_abstains(tmp_path: Path) -> None:
    async with peer_on(tmp_path, fresh=True) as peer:
        await token_of(peer)
    for file in tmp_path.glob("memory.db*"):
        file.unlink()
    async with peer_on(tmp_path) as peer:
        began = trio.current_time()
        await token_of(peer)
        assert trio.current_time() - began > 2.5, "a wiped disk looks new"


async def test_memory_is_complete_only_after_an_abstention(tmp_path: Path) -> None:
    async with peer_on(tmp_path) as peer:  # not fresh, so it abstains; and is stopped before that is over
        with trio.move_on_after(0.3):
            await token_of(peer)
    async with peer_on(tmp_path) as peer:
        began = trio.current_time()
        await token_of(peer)
        assert trio.current_time() - began > 2.5, "its memory began a moment ago, and it takes it for complete"
    async with peer_on(tmp_path) as peer:
        with trio.fail_after(1.5):
            await token_of(peer)


async def test_fresh_over_a_mesh_is_refused(tmp_path: Path) -> None:
    async with peer_on(tmp_path, fresh=True) as peer:
        await token_of(peer)
    with pytest.raises(BadConfig, match="remembers a mesh"):
        async with peer_on(tmp_path, fresh=True):
            pass


async def test_a_directory_of_another_mesh_ends_the_node(tmp_path: Path) -> None:
    async with peer_on(tmp_path / "b", name="b", fresh=True) as other:
        await token_of(other)
    # Alone, it would go over: it is the later one.
    async with peer_on(tmp_path / "a", fresh=True) as peer, joined(peer, "c") as guest:
        await token_of(guest)
        with (
            pytest.raises(DifferentMesh, match=r"belongs to a mesh of b, and [ac] is of (another one|one of a)"),
            trio.fail_after(40),
        ):
            async with peer_on(tmp_path / "b", name="b", seeds=[peer.address]):
                await trio.sleep_forever()
        with trio.fail_after(5):
            await token_of(peer)


@asynccontextmanager
async def elastic(directory: Path, addresses: Sequence[str], names: str, **options: Any) -> AsyncIterator[list[Peer]]:
    """Founders of an elastic mesh, or what they are after a restart."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_peer(
                    name=name,
                    bind=address,
                    seeds=addresses,
                    expect=len(addresses),
                    secret=SECRET,
                    state_dir=directory / name,
                    profile="local",
                    config=MeshConfig(elastic=True),
                    **options,
                )
            )
            for name, address in zip(names, addresses, strict=False)
        ]


async def test_a_stray_node_ends_and_no_member_that_had_restarted_does(tmp_path: Path) -> None:
    """A voter of an elastic mesh that comes back is told by the chain of rosters that it is of this mesh. (It went on asking,
    for ever, and the word of one stray node ended it.)"""
    addresses = free_addresses(3)
    async with elastic(tmp_path, addresses, "abc", fresh=True) as peers:
        await token_of(peers[0])
    async with peer_on(tmp_path / "stray", name="stray", fresh=True) as stray:
        await token_of(stray)
    async with elastic(tmp_path, addresses, "abc") as peers:
        births = [peer._core.assembly.agreed.birth for peer in peers]
        await until(lambda: not any(birth.doubted for birth in births))
        with pytest.raises(DifferentMesh, match="belongs to a mesh of stray"), trio.fail_after(40):
            async with peer_on(tmp_path / "stray", name="stray", seeds=addresses):
                await trio.sleep_forever()
        with trio.fail_after(5):
            for peer in peers:
                await token_of(peer)


async def test_a_directory_of_another_elastic_mesh_ends_the_node(tmp_path: Path) -> None:
    async with elastic(tmp_path / "one", free_addresses(2), "xy", fresh=True) as others:
        await token_of(others[0])
    addresses = free_addresses(3)
    async with elastic(tmp_path / "two", addresses, "abc", fresh=True) as peers:
        await token_of(peers[0])
        with (
            pytest.raises(DifferentMesh, match=r"belongs to a mesh of x, y, and [abc] is of one of a, b, c"),
            trio.fail_after(20),
        ):
            async with peer_on(tmp_path / "one" / "x", name="x", seeds=addresses):
                await trio.sleep_forever()
        with trio.fail_after(5):
            for peer in peers:
                await token_of(peer)


async def test_a_mesh_of_one_remembers_too(tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        async with open_peer(state_dir=tmp_path) as peer:
            tokens.append(await token_of(peer))
    assert tokens == sorted(set(tokens))


class Failing(SqliteStore):
    """A store whose disk can be full."""

    full = False

    def commit(self, commit: Commit) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().commit(commit)


async def test_while_the_disk_is_full_it_does_not_vote_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("coordination.opening.state_dir.SqliteStore", Failing)
    async with peer_on(tmp_path, fresh=True) as peer:
        first = await token_of(peer)
        Failing.full = True
        try:
            with trio.move_on_after(0.5) as scope:
                await token_of(peer)
            assert scope.cancelled_caught, "granted by a voter that could not write it down"
            explained = await peer.explain("lock")
            assert "does not vote: its disk fails ([Errno 28] No space left on device)" in str(explained)
            await until(lambda: peer.stats()["node.failed_commits"] >= 2)  # it is tried again
        finally:
            Failing.full = False
        with trio.fail_after(5):
            assert await token_of(peer) > first
        messages = [record.message for record in caplog.records if "state directory" in record.message]
        assert [("takes nothing more" in each, "promised again" in each) for each in messages] == [(True, False), (False, True)]


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        StateDir(tmp_path).close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("rows", [1, 2, ONE_STATEMENT - 1, ONE_STATEMENT, ONE_STATEMENT + 1, 200])
def test_a_batch_of_any_size_is_kept_and_replaced(tmp_path: Path, rows: int) -> None:
    store = SqliteStore(tmp_path / "m.db")
    for number in range(2):
        store.commit(Commit(number, tuple([("t", b"%d" % row, b"%d" % number) for row in range(rows)])))
    store.commit(Commit(3, ()))
    store.close()
    assert SqliteStore(tmp_path / "m.db").tables == {"t": {b"%d" % row: b"1" for row in range(rows)}}


def test_tables_are_what_was_committed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "m.db")
    store.commit(Commit(1, (("a", b"k", b"1"), ("b", b"k", b"2"), ("a", b"gone", b"3"))))
    store.commit(Commit(2, (("a", b"gone", None), ("a", b"", b""))))
    store.close()
    expected: Tables = {"a": {b"k": b"1", b"": b""}, "b": {b"k": b"2"}}
    assert SqliteStore(tmp_path / "m.db").tables == expected
