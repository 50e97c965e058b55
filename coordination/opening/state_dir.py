"""A directory that belongs to one node at a time: its name, and what it remembers.

    lock           held with flock for as long as the peer is open, so that two processes never run from one memory
    name           of the node
    memory.db      its promises (`mesh.shell.sqlite_store`)

A memory that is damaged is set aside under another name, and the node begins with an empty one: as a new voter it abstains."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from pathlib import Path

import trio

from coordination.agreed.voting.voter_memory import check_tables
from coordination.errors import BadConfig
from mesh.records import DamagedRecordError, NewerRecordError
from mesh.shell.sqlite_store import DamagedStoreError, NewerStoreError, SqliteStore, sync_directory

__all__ = ["StateDir", "open_state_dir"]

MEMORY = "memory.db"
COMPANIONS = ("", "-wal", "-shm")

logger = logging.getLogger("mesh")


class StateDir:
    """Open and locked from its construction to `close`. Blocks: the disk may be slow.

    Raises
    ------
    BadConfig: it cannot be made or read, another process has it, or a newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise BadConfig(f"the state directory {str(path)!r} cannot be used: {problem.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise BadConfig(f"the state directory {str(path)!r} is in use by another node: give this one its own") from None
        try:
            self.store = self._open_store()
        except BaseException:
            os.close(self._lock)
            raise

    def _open_store(self) -> SqliteStore:
        file = self.path / MEMORY
        try:
            store = SqliteStore(file)
            try:
                check_tables(store.tables)
            except BaseException:
                store.close()
                raise
            return store
        except (DamagedStoreError, DamagedRecordError) as problem:
            aside = self._set_aside(file)
            logger.error("the memory %s is damaged (%s): kept as %s, and this node begins anew", file, problem, aside.name)
            return SqliteStore(file)
        except (NewerStoreError, NewerRecordError) as problem:
            raise BadConfig(f"the memory {str(file)!r} was written by a newer version ({problem}): run that one") from None
        except OSError as problem:
            raise BadConfig(f"the memory {str(file)!r} cannot be used: {problem}") from None

    def _set_aside(self, file: Path) -> Path:
        number = 1
        while (aside := file.with_name(f"{file.name}.damaged-{number}")).exists():
            number += 1
        for companion in COMPANIONS:
            part = file.with_name(file.name + companion)
            if part.exists():
                part.rename(aside.with_name(aside.name + companion))
        sync_directory(self.path)
        return aside

    def name(self) -> str:
        """The name kept here; one is invented and kept if there is none."""
        try:
            return (self.path / "name").read_text().strip()
        except FileNotFoundError:
            name = f"node-{secrets.token_hex(4)}"
            self.keep(name)
            return name

    def keep(self, name: str) -> None:
        """Keep the name; refuse another than the one that is kept."""
        file = self.path / "name"
        if file.exists():
            kept = file.read_text().strip()
            if kept != name:
                raise BadConfig(
                    f"the state directory {str(self.path)!r} belongs to the node {kept!r}, not {name!r}: "
                    "use that name, or another directory"
                )
            return
        part = self.path / "name.part"
        with part.open("w") as out:
            out.write(name + "\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
        sync_directory(self.path)

    def close(self) -> None:
        """Give it to whoever wants it next. Blocks: what is in the log moves to the file."""
        self.store.close()
        os.close(self._lock)

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.close)


async def open_state_dir(path: Path) -> StateDir:
    """Open it in a thread. A checkpoint. Raises as `StateDir` does."""
    return await trio.to_thread.run_sync(StateDir, path)
