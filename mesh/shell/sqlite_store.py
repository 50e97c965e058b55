"""A node's memory in one SQLite file: write-ahead log, full synchronous mode.

Each batch is one transaction, durable when `commit` returns. Every row carries a hash of itself, because SQLite notices a
broken page but not a changed byte in a value, and a changed ballot is a broken promise.

After a failed commit the file is closed and opened anew before the next one: what the kernel could not write it may have
forgotten (a failed fsync reports once), so nothing of that attempt is relied on, and the batch is written again in full."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from mesh.memory import Tables
from mesh.outputs import Commit

__all__ = ["ONE_STATEMENT", "DamagedStoreError", "NewerStoreError", "SqliteStore"]

APPLICATION = 0x6D657368
VERSION = 1
PAGE_BYTES = 1_024
"""A batch is mostly one small record: with larger pages most of what is written is padding."""
SUM_BYTES = 8

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
PRIMARY = 0xFF
"""The bits of an extended error code that say what it is of."""

ONE_STATEMENT = 32
"""Rows that are written by one statement, which is a transaction of its own. At each call this thread gives up Python's lock
and waits for it again, while the loop is busy: one in place of three takes a tenth less of the processor for a whole lock."""

KEEP, ROW = "insert or replace into records values (?, ?, ?, ?)", ", (?, ?, ?, ?)"

CREATE = """create table if not exists records (
    name text not null, key blob not null, value blob not null, sum blob not null, primary key (name, key)
) without rowid"""


class DamagedStoreError(Exception):
    """The file is no store, or is not as it was written."""


class NewerStoreError(Exception):
    """The file was written by a newer version of this program."""


class SqliteStore:
    """Open from its construction to `close`. One thread at a time.

    Raises
    ------
    DamagedStoreError, NewerStoreError: see there. OSError: the file cannot be opened, or is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        try:
            connection = self._connect()
            self.tables: Tables = self._load(connection)
        except sqlite3.Error as problem:
            self.close()
            if damage(problem):
                raise DamagedStoreError(str(problem)) from None
            raise OSError(str(problem)) from None
        except BaseException:
            self.close()
            raise

    def commit(self, commit: Commit) -> None:
        """Make a batch durable, all of it or nothing.

        Raises
        ------
        OSError: nothing of it is.
        """
        try:
            connection = self._connection or self._connect()
            gone = [(table, key) for table, key, value in commit.records if value is None]
            kept = [
                (table, key, value, checksum(table, key, value)) for table, key, value in commit.records if value is not None
            ]
            if kept and not gone and len(kept) <= ONE_STATEMENT:
                connection.execute(KEEP + ROW * (len(kept) - 1), [field for row in kept for field in row])
                return
            connection.execute("begin immediate")
            connection.executemany("delete from records where name = ? and key = ?", gone)
            connection.executemany(KEEP, kept)
            connection.execute("commit")
        except sqlite3.Error as problem:
            self.close()
            raise OSError(str(problem)) from None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # it is given up: what was acknowledged is in the log
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        connection.execute("pragma locking_mode = exclusive")  # no other process reads it: no shared memory, no locks
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        version = connection.execute("pragma user_version").fetchone()[0]
        application = connection.execute("pragma application_id").fetchone()[0]
        if version == 0:
            connection.execute("begin immediate")
            if connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                raise DamagedStoreError("a database of something else")
            connection.execute(CREATE)
            connection.execute(f"pragma application_id = {APPLICATION}")
            connection.execute(f"pragma user_version = {VERSION}")
            connection.execute("commit")
            sync_directory(self.path.parent)
        elif application != APPLICATION:
            raise DamagedStoreError("a database of something else")
        elif version > VERSION:
            raise NewerStoreError(f"its format is {version}, and this version knows {VERSION}")
        return connection

    def _load(self, connection: sqlite3.Connection) -> Tables:
        problem = connection.execute("pragma quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise DamagedStoreError(problem)
        tables: dict[str, dict[bytes, bytes]] = {}
        for name, key, value, kept in connection.execute("select name, key, value, sum from records"):
            if not (isinstance(name, str) and isinstance(key, bytes) and isinstance(value, bytes)):
                raise DamagedStoreError("a row of other types")
            if kept != checksum(name, key, value):
                raise DamagedStoreError(f"the row {key!r} of {name!r} is not as it was written")
            tables.setdefault(name, {})[key] = value
        return tables


def checksum(table: str, key: bytes, value: bytes) -> bytes:
    return blake2b(b"%d %d " % (len(table), len(key)) + table.encode() + key + value, digest_size=SUM_BYTES).digest()


def damage(problem: sqlite3.Error) -> bool:
    """Whether an error says that the file is broken, and not that it cannot be had."""
    code = getattr(problem, "sqlite_errorcode", None)
    return code is not None and code & PRIMARY in DAMAGED


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a file whose name is lost is lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
