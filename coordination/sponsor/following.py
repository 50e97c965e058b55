"""What one thin client follows, on the sponsor's side: a watch that sends as much as the client takes.

A batch is sent only while the client has granted it; meanwhile each changed key waits in one slot. A snapshot is read from the
store page by page as batches are granted, so that it costs a cursor and not a copy: a change behind the cursor waits in its
slot, one ahead of it will be met there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coordination.interest import Slot, note
from coordination.sponsor.messages import WINDOW, Happening
from crdt.cell import Cell
from crdt.change import Change, ChangeKind
from crdt.clock import Stamp
from crdt.store import Store

__all__ = ["BATCH_BYTES", "BATCH_EVENTS", "SYNCED", "Following"]

BATCH_EVENTS = 256
BATCH_BYTES = 64 << 10
"""A batch ends with the event that reaches this; the largest event holds two values."""
SYNCED = "synced"


class Following:
    __slots__ = ("_cursor", "_slots", "_snapshot", "credit", "key", "prefix", "watch")

    def __init__(self, watch: int, key: str | None, prefix: str | None, *, snapshot: bool) -> None:
        self.watch = watch
        self.key = key
        self.prefix = prefix
        self.credit = WINDOW
        """Batches that may be sent."""
        self._slots: dict[str, Slot] = {}
        self._snapshot = snapshot
        """Whether there is more of it to come."""
        self._cursor: str | None = None
        """The last key of it that was read."""

    def __len__(self) -> int:
        return len(self._slots)

    def offer(self, change: Change) -> None:
        if not self._snapshot or change.kind is ChangeKind.FENCED or (self._cursor is not None and change.key <= self._cursor):
            note(self._slots, change)

    def batch(self, store: Store, stamp: Stamp, name_of: Callable[[bytes], str | None]) -> tuple[Happening, ...]:
        """The next events; none if there is nothing to tell, or the client has enough."""
        if not self.credit or not (self._snapshot or self._slots):
            return ()
        events: list[Happening] = []
        size = 0
        if self._snapshot:
            for cell in self._found(store, stamp):
                put = self._event(Change(ChangeKind.PUT, cell.key, cell, None, cell.actor, store.revision), None, name_of)
                events.append(put)
                self._cursor = cell.key
                size += _size(put)
                if len(events) == BATCH_EVENTS or size >= BATCH_BYTES:
                    break
            else:
                self._snapshot = False
                events.append(Happening(SYNCED, self.key or self.prefix or "", None, None, 0, None, store.revision))
        while self._slots and not self._snapshot and len(events) < BATCH_EVENTS and size < BATCH_BYTES:
            slot = self._slots.pop(next(iter(self._slots)))
            if not slot.void:
                event = self._event(slot.change, slot.old, name_of)
                events.append(event)
                size += _size(event)
        if events:
            self.credit -= 1
        return tuple(events)

    def _found(self, store: Store, stamp: Stamp) -> Iterable[Cell]:
        """The next page of the snapshot."""
        if self.key is not None:
            cell = store.get(self.key, stamp) if self._cursor is None else None
            return [] if cell is None else [cell]
        return store.scan(self.prefix or "", stamp, self._cursor)

    @staticmethod
    def _event(change: Change, old: Cell | None, name_of: Callable[[bytes], str | None]) -> Happening:
        stamp = change.new.order[1]
        assert isinstance(stamp, int)
        value = change.new.body if change.kind is ChangeKind.PUT else None
        before = old.body if old is not None else None
        return Happening(change.kind.value, change.key, value, before, stamp, name_of(change.origin), change.revision)


def _size(event: Happening) -> int:
    return len(event.key) + len(event.value or b"") + len(event.old or b"")
