"""Who follows which keys, and what a follower has not read yet. Shared by a peer's watches and by those of thin clients.

A follower holds one slot for each key that changed since it last read, so a slow one costs the keys and not the changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from crdt.cell import Cell
from crdt.change import Change, ChangeKind

__all__ = ["Follower", "Interest", "Slot", "note"]


FENCED_MARK = "\0fenced"
"""That a write was overruled stands in a slot of its own: the change of what is seen comes with it."""


class Follower(Protocol):
    @property
    def key(self) -> str | None: ...
    @property
    def prefix(self) -> str | None:
        """Set if `key` is not."""

    def offer(self, change: Change) -> None:
        """A change that it wants; never waits."""


F = TypeVar("F", bound=Follower)


@dataclass(slots=True)
class Slot:
    """What a follower has not read yet of one key."""

    old: Cell | None
    """What it saw before."""
    change: Change

    @property
    def void(self) -> bool:
        """Put and gone again since the last look."""
        return self.old is None and self.change.kind is not ChangeKind.PUT


def note(slots: dict[str, Slot] | dict[str, Slot | None], change: Change) -> None:
    """Keep a change for later: the first stays in line, the last is what is read."""
    name = change.key if change.kind is not ChangeKind.FENCED else change.key + FENCED_MARK
    slot = slots.get(name)
    if slot is None:
        slots[name] = Slot(change.old, change)
    else:
        slot.change = change


class Interest(Generic[F]):
    """Followers by what they follow; a change is handed to those that want it, whatever their number."""

    __slots__ = ("_by_key", "_prefixed")

    def __init__(self) -> None:
        self._by_key: dict[str, list[F]] = {}
        self._prefixed: dict[str, list[F]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_key or self._prefixed)

    def _place(self, follower: F) -> tuple[dict[str, list[F]], str]:
        if follower.key is not None:
            return self._by_key, follower.key
        return self._prefixed, follower.prefix or ""

    def add(self, follower: F) -> None:
        table, name = self._place(follower)
        table.setdefault(name, []).append(follower)

    def remove(self, follower: F) -> None:
        table, name = self._place(follower)
        followers = table.get(name, [])
        if follower in followers:
            followers.remove(follower)
            if not followers:
                del table[name]

    def all(self) -> list[F]:
        return [follower for table in (self._by_key, self._prefixed) for followers in table.values() for follower in followers]

    def tell(self, changes: Iterable[Change]) -> None:
        if not self:
            return
        for change in changes:
            key = change.key
            for follower in self._by_key.get(key, ()):
                follower.offer(change)
            if self._prefixed:
                for length in range(len(key) + 1):
                    for follower in self._prefixed.get(key[:length], ()):
                        follower.offer(change)
