"""The disk task of the Trio shell: one batch at a time goes to the store in a worker thread, never on the loop's own.

A commit cannot be cancelled. Leaving waits for the one under way, for the store must not be closed, nor its directory given
to another process, while a thread writes to it."""

from __future__ import annotations

from typing import Protocol

import trio

from mesh.memory import Tables
from mesh.outputs import Commit
from mesh.shell.clocks import read_instant
from mesh.shell.host import Host

__all__ = ["Disk", "Store"]


class Store(Protocol):
    """Where a node's memory is kept. Every call may block, and is made from one thread at a time."""

    @property
    def tables(self) -> Tables:
        """What it held when it was opened."""

    def commit(self, commit: Commit, /) -> None:
        """Make the records durable, all of them or none.

        Raises
        ------
        OSError: none of them is.
        """


class Disk:
    def __init__(self, driver: Host, store: Store) -> None:
        self._driver = driver
        self._store = store
        self._limiter = trio.CapacityLimiter(1)
        self._next: Commit | None = None
        self._wanted = trio.Event()
        self._idle = trio.Event()
        self._idle.set()

    def commit(self, commit: Commit) -> None:
        assert self._next is None, "one batch at a time"
        self._next = commit
        self._idle = trio.Event()
        self._wanted.set()

    async def run(self) -> None:
        driver = self._driver
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            commit = self._next
            assert commit is not None
            error = ""
            try:
                await trio.to_thread.run_sync(self._store.commit, commit, limiter=self._limiter)
            except OSError as problem:
                error = str(problem) or type(problem).__name__
            self._next = None
            if not driver.deaf:
                if error:
                    driver.counts["failed_commits"] += 1
                    driver.node.on_commit_failed(commit.number, error, read_instant())
                else:
                    driver.node.on_committed(commit.number, read_instant())
                driver.perform()
            if self._next is None:
                self._idle.set()

    async def drained(self) -> None:
        """Until no batch is under way. A checkpoint."""
        await self._idle.wait()
