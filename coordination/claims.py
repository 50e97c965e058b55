"""Which task has entered what with `async with`: nobody may wait for himself.

Locks are not re-entrant: exclusion is per acquire, also between tasks of one peer. A task that has entered one and asks for it
again would wait for itself for ever, so that is refused. Known are the entries of this very task; one that waits for what its
parent or its child has entered is not found out, and a `Held` that `acquire` returned belongs to nobody."""

from __future__ import annotations

from typing import Protocol, TypeVar

import trio

from coordination.agreed.vocabulary.modes import Mode
from coordination.errors import AlreadyHeld

__all__ = ["Claims", "Entry"]


class Entry(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def permits(self) -> int: ...


E = TypeVar("E", bound=Entry)


class Claims:
    """Of one peer or thin client."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[trio.lowlevel.Task, list[Entry]] = {}

    def check(self, key: str, mode: Mode, what: object) -> None:
        """Refuse what this task would wait for itself for; `what` is how that is spoken of.

        A semaphore may be entered again as long as there can be permits left; a reader not, for a writer may wait between; nor
        a barrier, whose round is shut until all have left."""
        if not self._entries:
            return
        taken = [entry.permits for entry in self._entries.get(trio.lowlevel.current_task(), ()) if entry.key == key]
        if taken and (mode.together or not (mode.limit and sum(taken) + mode.permits <= mode.limit)):
            raise AlreadyHeld(str(what))

    def enter(self, entry: Entry) -> None:
        self._entries.setdefault(trio.lowlevel.current_task(), []).append(entry)

    def leave(self, key: str, kind: type[E]) -> E | None:
        """What this task entered last under a key."""
        task = trio.lowlevel.current_task()
        entries = self._entries.get(task, [])
        for entry in reversed(entries):
            if entry.key == key and isinstance(entry, kind):
                entries.remove(entry)
                if not entries:
                    del self._entries[task]
                return entry
        return None
