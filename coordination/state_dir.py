"""A directory that belongs to one node at a time, and keeps its name.

It is locked with flock for as long as the peer is open, so that two processes never run from one memory."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from coordination.errors import BadConfig

__all__ = ["StateDir"]


class StateDir:
    """Open and locked from its construction to `close`.

    Raises
    ------
    BadConfig: it cannot be made or read, or another process has it.
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

    def close(self) -> None:
        os.close(self._lock)
