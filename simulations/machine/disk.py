"""The disk of a simulated machine: it keeps what was committed, and takes its time.

It is what a file of SQLite in full synchronous mode is to the shell. A batch is there whole or not at all, and what was
acknowledged stays, whatever happens to the process or the power. Of the one batch that was under way when the process
ended, chance decides (torn last write): it may have died before the write, or after it and before the answer.

While it is full, no batch is taken; damaged, it is found empty by the next process, as a file that has been set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol

from mesh.directives import Record
from mesh.memory import Tables
from mesh.outputs import Commit

__all__ = ["LATENCY", "Disk", "Snapshot", "Timeline"]

US = 1_000
LATENCY = (100 * US, 1_500 * US)
"""Shortest and longest ns of a commit, on a good day."""

SLOW = 900_000 * US
"""ns of a commit after which a disk may count as standing still."""

FULL = "the disk is full"

Snapshot = dict[str, dict[bytes, bytes]]


class Timeline(Protocol):
    """What calls the disk back: the schedule of a world."""

    def after(self, delay: int, action: Callable[..., object], /, *args: Any) -> None: ...


class _Write(NamedTuple):
    number: int
    commit: Commit
    done: Callable[[int, str], None]


class Disk:
    """Parameters
    ----------
    seed: of its latencies, and of what a torn write leaves."""

    def __init__(self, schedule: Timeline, seed: int) -> None:
        self.kept: dict[str, Any] = {}
        """What a program keeps beside its memory."""
        self.files: dict[str, str] = {}
        """Of its state directory: its name."""
        self.full = 0
        """How many faults let it be full."""
        self.slower: dict[int, int] = {}
        """ns that each fault adds to a commit."""
        self.damaged = False
        self.tears: Callable[[], None] | None = None
        """What happens in the middle of the next commit."""
        self.tables: Tables = {}
        """What the newest process found."""
        self.commits = 0
        self.failures = 0
        """Commits that were refused."""
        self.set_aside = 0
        """Damaged memories that a process found."""
        self.remembered = 0
        """Processes that found a memory."""
        self._schedule = schedule
        self._random = Random(seed)
        self._tables: Snapshot = {}
        self._write: _Write | None = None
        self._writes = 0
        self._slowest = 0
        self._wipes = 0
        self._restored = 0

    def open(self) -> Tables:
        """What a process that starts now finds."""
        if self.damaged:
            self.damaged = False
            self.set_aside += 1
            self._tables = {}
        self.remembered += bool(self._tables)
        self.tables = self.snapshot()
        return self.tables

    def take(self, commit: Commit, done: Callable[[int, str], None]) -> None:
        """Take a batch; `done(number, error)` is called once it is durable, or is not."""
        self._writes += 1
        self._write = _Write(self._writes, commit, done)
        latency = self._random.randint(*LATENCY) + sum(self.slower.values())
        self._slowest = max(self._slowest, latency)
        self._schedule.after(latency, self._finish, self._writes)
        if self.tears is not None:
            self._schedule.after(latency // 2, self.tears)
            self.tears = None

    def _finish(self, number: int) -> None:
        write = self._write
        if write is None or write.number != number:
            return
        self._write = None
        if self.full:
            self.failures += 1
            write.done(write.commit.number, FULL)
        else:
            self._apply(write.commit.records)
            write.done(write.commit.number, "")

    def commit(self, commit: Commit) -> None:
        """What a thread that waits for the disk would do (`mesh.shell.Store`), done at once. A process of the world does not
        wait: its commits come by `take`.

        Raises
        ------
        OSError: the disk is full.
        """
        if self.full:
            self.failures += 1
            raise OSError(FULL)
        self._apply(commit.records)

    def finish(self) -> None:
        """The process closes its memory: it waits for what is under way."""
        if self._write is not None:
            self._finish(self._write.number)

    def torn(self) -> None:
        """The process has ended: what was under way is there whole, or not at all."""
        write, self._write = self._write, None
        if write is not None and not self.full and self._random.random() < 0.5:
            self._apply(write.commit.records)

    @property
    def takes(self) -> bool:
        """Whether it has always taken what it was given, in good time, and lost nothing."""
        return not (self.full or self.failures or self.losses or self.damaged or self._slowest >= SLOW)

    @property
    def losses(self) -> int:
        """How often what was kept was lost."""
        return self.set_aside + self._wipes + self._restored

    def _apply(self, records: Sequence[Record]) -> None:
        self.commits += 1
        for table, key, value in records:
            rows = self._tables.setdefault(table, {})
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value

    def row(self, table: str, key: bytes) -> bytes | None:
        """What is durable under a key at this moment."""
        return self._tables.get(table, {}).get(key)

    def snapshot(self) -> Snapshot:
        """A copy of the memory as it is now."""
        return {table: dict(rows) for table, rows in self._tables.items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Let the memory be as it was: what a backup does, and what breaks every promise since."""
        self._tables = {table: dict(rows) for table, rows in snapshot.items()}
        self._restored += 1

    def wipe(self) -> None:
        """Nothing is left of it."""
        self.kept.clear()
        self.files.clear()
        self._wipes += 1
        self._tables = {}
        self._write = None
        self.damaged = False
