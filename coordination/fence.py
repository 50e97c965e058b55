"""Fences: a resource of one's own that refuses those who held a lock before.

A body that cannot be cancelled, or a process that stood still, may write after its lock was granted to another. Nothing that
runs there can prevent it; the resource can, for the fencing token of the later holder is higher (Burrows, 2006; Kleppmann,
2016). It has to remember the highest token that it has admitted, and refuse lower ones, and an equal one of somebody else.

    Fence()            in memory: of a resource that lives in one process
    Fence(path)        in a file of its own: of one that several processes of a machine reach, and that outlives them
    SqliteFence(...)   a row in the transaction in which the resource itself is changed

What is admitted must be remembered *before* or *with* the change that it is admitted for. (A fence that is written after it
admits again whom it has refused.) See docs/fencing.md for recipes."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from coordination.errors import BadConfig, Fenced

__all__ = ["Admitted", "Fence", "SqliteFence", "Token"]


class Token(Protocol):
    """A lock that is held: `Held`."""

    @property
    def token(self) -> int: ...
    @property
    def id(self) -> str: ...


class Admitted(NamedTuple):
    """The highest token that was admitted, and whose it was."""

    token: int
    holder: str


NOBODY = Admitted(0, "")


def pair(held: Token | int, holder: str | None) -> Admitted:
    """What is to be admitted: a `Held`, or a token with the identity of its holder."""
    token = held if isinstance(held, int) else getattr(held, "token", None)
    if not isinstance(token, int) or isinstance(token, bool) or not 0 < token < 1 << 63:
        raise BadConfig(
            f"{held!r} is no fencing token: give what `async with peer.lock(…)` gave, or its token, a positive integer "
            "(`held.token`, or MESH_TOKEN)"
        )
    whose = getattr(held, "id", None) if holder is None else holder
    if whose is None or whose == "":
        raise BadConfig("a token alone does not say whose it is: give holder=… (`held.id`, or MESH_HOLDER)")
    return Admitted(token, text(whose, "holder"))


def text(value: str, what: str) -> str:
    """Refuse what would be read back as something else than was written, or never found again."""
    if not isinstance(value, str) or not value:
        raise BadConfig(f"{what}={value!r} is refused: a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadConfig(f"{what}={value!r} holds lone surrogates, which is no UTF-8: clean it first") from None
    return value


def refuse(what: str, known: Admitted, new: Admitted) -> None:
    """Raise `Fenced` unless the new one may follow."""
    if new.token < known.token:
        raise Fenced(what, known.token, why=f"the token {new.token} is an earlier holder's", what="resource")
    if new.token == known.token and new.holder != known.holder:
        raise Fenced(what, known.token, why=f"that token is {known.holder!r}'s, not {new.holder!r}'s", what="resource")


class Fence:
    """Remembers the highest token of one resource.

    Not async, and no checkpoint: with a path each new holder costs one write to the disk (a few ms), a holder that is known
    already a read. From a busy Trio task use `trio.to_thread.run_sync(fence.admit, held)`.

    Parameters
    ----------
    path: a file that is this fence's alone; None keeps it in this process's memory. Beside it `path + ".lock"` is made, on
        which processes wait for each other.

    Raises
    ------
    BadConfig: the path is none. Using it: OSError, if the file cannot be read or written.
    """

    __slots__ = ("_admitted", "_path")

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is not None and (not isinstance(path, str | os.PathLike) or not str(path)):
            raise BadConfig(f"path={path!r} is refused: give the path of a file that is this fence's alone")
        self._path = Path(path) if path is not None else None
        self._admitted = NOBODY

    def admit(self, held: Token | int, holder: str | None = None) -> None:
        """Let this holder go on, or raise; with a path, what is admitted is on the disk when this returns.

        Parameters
        ----------
        held: the lock as it is held; or its token, together with `holder`.
        holder: who holds it, unique to the grant (`held.id`).

        Raises
        ------
        Fenced: a later holder was admitted, or another one with this very token.
        BadConfig: the token is none, or nothing says whose it is; the file is not a fence's.
        """
        new = pair(held, holder)
        with self._locked():
            known = self.admitted()
            refuse(str(self._path or "in memory"), known, new)
            if new != known:
                self._keep(new)

    def admitted(self) -> Admitted:
        """The highest token so far, and whose it is: (0, "") if there was none."""
        if self._path is None:
            return self._admitted
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return NOBODY
        try:
            token, holder = json.loads(text)
            if type(token) is int and type(holder) is str:
                return Admitted(token, holder)
        except ValueError:
            pass
        raise BadConfig(f"{str(self._path)!r} is no fence's file: name another one")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        with open(f"{self._path}.lock", "w") as lock:  # never the file itself: that is replaced
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _keep(self, new: Admitted) -> None:
        if self._path is None:
            self._admitted = new
            return
        replace_durably(self._path, json.dumps(new))


def replace_durably(path: Path, text: str) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one, and the new one once this has returned."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(number, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class SqliteFence:
    """The fence of a resource that is kept in a SQLite database, admitted in the transaction that changes the resource.

    So both are there after a crash, or neither. SQLite lets one writer go at a time, so nothing comes between the check and
    the change.

    Parameters
    ----------
    resource: which of several resources in one database it is for.
    table: of the fences; made when it is first used, in that transaction. Letters, digits and `_`.

    Raises
    ------
    BadConfig: the resource is no text, or the table no name.
    """

    __slots__ = ("_make", "_raise", "_read", "resource", "table")

    def __init__(self, resource: str, table: str = "fences") -> None:
        if not isinstance(table, str) or not table.isidentifier() or not table.isascii():
            raise BadConfig(f"the table {table!r} is refused: use letters, digits and _")
        self.resource = text(resource, "resource")  # (None equals nothing in SQL: such a fence refused nobody)
        self.table = table
        # (Quoted: a table may be called like a word of SQL.)
        self._make = (
            f'CREATE TABLE IF NOT EXISTS "{table}" (resource TEXT PRIMARY KEY, token INTEGER NOT NULL, holder TEXT NOT NULL)'
        )
        self._read = f'SELECT token, holder FROM "{table}" WHERE resource = ?'
        self._raise = f'INSERT OR REPLACE INTO "{table}" (resource, token, holder) VALUES (?, ?, ?)'

    def admit(self, connection: sqlite3.Connection, held: Token | int, holder: str | None = None) -> None:
        """Let this holder go on, or raise; to be called first in a transaction that writes.

        Begin it with `BEGIN IMMEDIATE`: one that has read before it writes may find that another has written meanwhile
        (`database is locked`). On `Fenced` roll back.

        Raises
        ------
        Fenced, BadConfig: as `Fence.admit`. BadConfig also outside of a transaction, where the check would stand alone.
        """
        new = pair(held, holder)
        if not isinstance(connection, sqlite3.Connection):
            raise BadConfig(f"{connection!r} is no connection to a SQLite database")
        if not connection.in_transaction:
            raise BadConfig("a fence is admitted inside of the transaction that it guards: BEGIN IMMEDIATE first")
        connection.execute(self._make)
        refuse(self.resource, self._known(connection), new)
        connection.execute(self._raise, (self.resource, new.token, new.holder))

    def admitted(self, connection: sqlite3.Connection) -> Admitted:
        """The highest token so far, and whose it is: (0, "") if there was none."""
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (self.table,)).fetchone()
        return NOBODY if made is None else self._known(connection)

    def _known(self, connection: sqlite3.Connection) -> Admitted:
        row = connection.execute(self._read, (self.resource,)).fetchone()
        return NOBODY if row is None else Admitted(row[0], row[1])
