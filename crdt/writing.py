"""Local writes of a replica.

A local write is in the store at once, without a dot. `flush` gives each key written since its one dot. Whatever states the
claims (`dots`) to somebody flushes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crdt.cell import COUNTER, KEY, LEASE_END, Cell, Mark, Place, expiry_of, fence_of, put_of
from crdt.clock import Stamp
from crdt.content import Content
from crdt.counter import added_slot, counter_of, set_slot, slot_key
from crdt.keys import SortedKeys

__all__ = ["Flushed", "Put", "StoreFencedError", "Writing"]


class StoreFencedError(Exception):
    """The key carries a higher fence than the write, or belongs to another lock (`lock`, if it is known)."""

    def __init__(self, key: str, fence: int, lock: str = "") -> None:
        super().__init__(f"the key {key!r} carries the fence {fence}{f' of {lock!r}' if lock else ''}")
        self.key = key
        self.fence = fence
        self.lock = lock


class Flushed(NamedTuple):
    cell: Cell
    previous: int
    """The writer's dot before this one under the same key, if that was its cell; else 0."""


class Put(NamedTuple):
    """One put of a batch, or with a body of None one delete."""

    key: str
    body: bytes | None
    expiry: Stamp = 0
    bound: str | None = None


class Writing(Content):
    __slots__ = ("_pending",)

    def __init__(self, actor: bytes) -> None:
        super().__init__(actor)
        self._pending: dict[Place, int] = {}
        """What has no dot yet, and the own dot that it replaces."""

    def put(
        self,
        key: str,
        body: bytes | None,
        stamp: Stamp,
        expiry: Stamp = 0,
        bound: str | None = None,
        fence: int = 0,
        lock: str = "",
    ) -> Cell:
        """Put a value, or a tombstone (None), under a fresh stamp; `fence`: under that token of `lock`.

        Raises
        ------
        StoreFencedError: the key's cell carries a higher fence, or one of another lock. Nothing was written.
        """
        self._expire_key(key, stamp)
        old = self._keys.get(key)
        lock = self._check_fence(key, old, fence, lock)
        cell = Cell(KEY, key, (fence, stamp, self.actor, expiry, 0, b""), body, bound, self.actor, 0, b"", lock)
        self._write(old, cell, stamp)
        return cell

    def put_batch(self, puts: Sequence[Put], stamp: Stamp, fence: int = 0, lock: str = "") -> list[Flushed]:
        """Put several keys, each named once, so that every replica sees all of them or none. They have their dots at once:
        what was written before must have been flushed.

        Raises
        ------
        StoreFencedError: as `put`, for one of them. Nothing was written.
        """
        assert not self._pending, "a batch is never coalesced with other writes: its dots stand in a row"
        locks = self.check_fences(puts, fence, lock)
        actor, first, count = self.actor, self.dots.last(self.actor) + 1, len(puts)
        # A clone that writes as this actor has taken dots ahead: then there are no such dots in a row, and no promise.
        row = count > 1 and not any(first <= n < first + count for n in self.dots.extras(actor))
        for index, ((key, body, expiry, bound), own_lock) in enumerate(zip(puts, locks, strict=True)):
            self._expire_key(key, stamp)
            mark = Mark(first, count, index) if row else None
            order = (fence, stamp, actor, expiry, 0, b"")
            self._write(self._keys.get(key), Cell(KEY, key, order, body, bound, actor, 0, b"", own_lock, mark), stamp)
        return self.flush()

    def check_fences(self, puts: Sequence[Put], fence: int, lock: str) -> list[str]:
        """The locks that the keys of a batch will belong to. Raises `StoreFencedError`."""
        return [self._check_fence(put.key, self._keys.get(put.key), fence, lock) for put in puts]

    @staticmethod
    def _check_fence(key: str, old: Cell | None, fence: int, lock: str) -> str:
        """The lock that the new cell belongs to. Raises `StoreFencedError`."""
        if old is not None and (fenced := fence_of(old)):
            if fenced > fence or (lock and old.lock and lock != old.lock):
                raise StoreFencedError(key, fenced, old.lock)
            return lock or old.lock
        return lock

    def touch(self, key: str, stamp: Stamp, expiry: Stamp) -> Cell | None:
        """Let a key that has an expiry live longer; None if it is not visible at this fresh stamp. Never shortens."""
        old = self.get(key, stamp)
        if old is None or not 0 < expiry_of(old) < expiry:
            return old
        cell = old._replace(order=(*put_of(old), expiry, stamp, self.actor), actor=self.actor, n=0)
        self._write(old, cell, stamp)
        return cell

    def add(self, name: str, amount: int, stamp: Stamp) -> None:
        """Add to a counter."""
        if amount and not self.add_more(name, amount):
            slots = self._slots.get(name, {})
            own = slots.get(slot_key(name, self.actor))
            cell = added_slot(name, self.actor, amount, own, slots.values())
            self._write(own, cell, stamp)
            self._adding[name] = cell

    def add_more(self, name: str, amount: int) -> bool:
        """Add to a counter that was added to in this window, which needs no stamp; False if it was not, and nothing is done.

        It is told with the window's end. Whatever else has come to the counter since is looked at first: by `add`."""
        own = self._adding.get(name)
        if own is None:
            return False
        kind, key, (stamp, actor, added, subtracted), base, _, writer, n, _, _, _ = own
        order = (stamp, actor, added + amount, subtracted) if amount >= 0 else (stamp, actor, added, subtracted - amount)  # type: ignore[operator]
        cell = Cell(kind, key, order, base, None, writer, n)
        self._adding[name] = self._cells[COUNTER][key] = self._slots[name][key] = cell
        self._counters[name] = None
        self.revision += 1
        return True

    def set_counter(self, name: str, base: int, stamp: Stamp) -> None:
        """Begin an epoch of a counter at a fresh stamp: it stands at `base`, whatever was added that is not known here."""
        own = self._slots.get(name, {}).get(slot_key(name, self.actor))
        self._write(own, set_slot(name, self.actor, base, stamp), stamp)

    def rewrite(self, cell: Cell, stamp: Stamp, mark: Mark | None = None) -> None:
        """Write again, under an own dot, what was written elsewhere: its order stays."""
        if cell.kind not in self._cells:
            self._cells[cell.kind], self._order[cell.kind] = {}, SortedKeys()
        self._write(self.cell(cell.kind, cell.key), cell._replace(actor=self.actor, n=0, batch=mark), stamp)

    def take_slot(self, slot: Cell, stamp: Stamp) -> None:
        """Add what a slot has that nobody else has seen to the own one, in its epoch; nothing, if a higher epoch is known."""
        name = counter_of(slot.key)
        own = self.cell(COUNTER, slot_key(name, self.actor))
        added, subtracted = slot.order[2:]
        epochs = [each.order[:2] for each in self._slots.get(name, {}).values() if each.kind == COUNTER]
        if any(epoch > slot.order[:2] for epoch in epochs):
            return
        if own is not None and own.order[:2] == slot.order[:2]:
            added, subtracted = added + own.order[2], subtracted + own.order[3]  # type: ignore[operator]
        order = (*slot.order[:2], added, subtracted)
        key = slot_key(name, self.actor)
        self._write(own, Cell(COUNTER, key, order, slot.body, None, self.actor, 0), stamp)

    def end_lease(self, lease: str, stamp: Stamp) -> bool:
        """State the end of a lease; False if it is known to have ended already."""
        if lease in self._ended:
            return False
        self._write(None, Cell(LEASE_END, lease, (stamp, self.actor), b"", None, self.actor, 0), stamp)
        return True

    def _write(self, old: Cell | None, cell: Cell, stamp: Stamp) -> None:
        place = (cell.kind, cell.key)
        if place not in self._pending:
            self._pending[place] = old.n if old is not None and old.actor == self.actor else 0
        self._place(old, cell, stamp)

    @property
    def pending(self) -> int:
        """Keys written since the last flush."""
        return len(self._pending)

    def flush(self) -> list[Flushed]:
        """Give each key written since the last flush its dot, in the order in which they were first written."""
        if not self._pending:
            return []
        flushed = []
        actor, dots = self.actor, self.dots
        own = self._by_actor.setdefault(actor, {})
        for (kind, key), previous in self._pending.items():
            n = dots.last(actor) + 1  # also above what a clone of this process may have written
            cells = self._cells[kind]
            _, _, order, body, bound, _, _, hash_, lock, batch = cells[key]
            cells[key] = own[n] = cell = Cell(kind, key, order, body, bound, actor, n, hash_, lock, batch)
            if kind == COUNTER:
                self._slots[counter_of(key)][key] = cell
            dots.claim(actor, n)
            if self._dirty is not None:
                self._dirty[kind, key] = None
            if self.fingerprint is not None:
                self.fingerprint.add(cell)
            flushed.append(Flushed(cell, previous))
        self._pending.clear()
        self._adding.clear()
        return flushed
