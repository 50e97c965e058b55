"""Promises on disk: what a batch costs, and locks with state directories, beside a bare SQLite commit on the same disk."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import trio

from mesh.outputs import Commit
from mesh.shell.sqlite_store import SqliteStore
from tests.benchmarks.figures import rate, title
from tests.benchmarks.limits import bare_commits
from tests.benchmarks.locks import locks
from tests.benchmarks.processes import founders

__all__ = ["main"]

SECONDS = 2.0
RECORD_BYTES = 150
"""A register with one lease."""


def batches(path: Path, records: int) -> float:
    """Durable batches a second of so many records each."""
    store = SqliteStore(path)
    count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        count += 1
        rows = tuple([("register", b"lock/%d" % n, os.urandom(RECORD_BYTES)) for n in range(records)])
        store.commit(Commit(count, rows))
    took = time.perf_counter() - began
    store.close()
    reopened = SqliteStore(path)
    assert reopened.tables["register"][b"lock/0"] == rows[0][2], "the last batch is not there"
    reopened.close()
    return count / took


async def through_threads(path: Path) -> float:
    """The same with one record, each in a worker thread of Trio: what the shell does."""
    store = SqliteStore(path)
    count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        count += 1
        await trio.to_thread.run_sync(store.commit, Commit(count, (("register", b"lock", os.urandom(RECORD_BYTES)),)))
    took = time.perf_counter() - began
    store.close()
    return count / took


async def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
        directory = Path(name)
        bare = bare_commits(directory / "bare.db", SECONDS)
        limit = "a bare SQLite commit"
        title("Promises on disk")
        rate("batches of 1 record", batches(directory / "one.db", 1), None, bare, limit)
        rate("batches of 32 records", batches(directory / "many.db", 32), None, bare, limit)
        rate("batches of 1 record, in threads", await through_threads(directory / "threads.db"), None, bare, limit)
        async with founders(durable=True) as nodes:
            bare = statistics.mean([bare, bare_commits(directory / "again.db", SECONDS)])
            done = await locks(nodes, [1, 0, 0], shared=False)
            rate("lock acquire + release, 1 client, 3 processes", done.per_second, 600, bare, limit)
            done = await locks(nodes, [6, 5, 5], shared=False)
            rate("lock acquire + release, 16 clients", done.per_second, None, bare, limit)
            done = await locks(nodes, [6, 5, 5], shared=True, body=True)
            rate("hand-over, 16 clients on one lock", done.per_second, None, bare, limit)
        print("  acquire and release are two batches, one after the other, on a majority of the disks", flush=True)


def main() -> None:
    trio.run(measure)
