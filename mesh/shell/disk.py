"""The disk of the Trio shell: one batch at a time goes to the store in a worker thread, never on the loop's own.

A commit cannot be cancelled. Leaving waits for the one under way, for the store must not be closed, nor its directory given
to another process, while a thread writes to it."""

from __future__ import annotations

from queue import SimpleQueue
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
    """One task, which is the thread for as long as the driver lives. What came of a batch is told to the node at once when the
    loop hears of it. (A thread called anew for each batch, and a task woken for each answer, cost half as much again of the
    processor.)"""

    def __init__(self, driver: Host, store: Store) -> None:
        self._driver = driver
        self._store = store
        self._limiter = trio.CapacityLimiter(1)
        self._queue: SimpleQueue[Commit | None] = SimpleQueue()
        self.under_way = False
        """A batch is."""
        self._idle = trio.Event()
        self._failed: Exception | None = None
        """A bug above, which the thread's task raises."""
        self._idle.set()

    def commit(self, commit: Commit) -> None:
        assert not self.under_way, "one batch at a time"
        self.under_way = True
        self._idle = trio.Event()
        self._queue.put(commit)

    async def serve(self) -> None:
        token = trio.lowlevel.current_trio_token()
        await trio.to_thread.run_sync(self._work, token, limiter=self._limiter)
        if self._failed is not None:
            raise self._failed

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        """In the thread: one batch after the other, until `close`."""
        while (commit := self._queue.get()) is not None:
            error = ""
            try:
                self._store.commit(commit)
            except OSError as problem:
                error = str(problem) or type(problem).__name__
            token.run_sync_soon(self._answer, commit.number, error)

    def _answer(self, number: int, error: str) -> None:
        """Called by Trio itself: nothing may be raised into it."""
        try:
            self._tell(number, error)
        except Exception as failed:
            self._failed = failed
            self.close()

    def _tell(self, number: int, error: str) -> None:
        driver = self._driver
        self.under_way = False
        if not driver.deaf:
            if error:
                driver.counts["failed_commits"] += 1
                driver.node.on_commit_failed(number, error, read_instant())
            else:
                driver.node.on_committed(number, read_instant())
            driver.perform()
        if not self.under_way:
            self._idle.set()

    async def drained(self) -> None:
        """Until no batch is under way. A checkpoint."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the thread end, after the batch under way."""
        self._queue.put(None)
