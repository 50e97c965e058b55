"""The store: every cell this replica has, what of it is visible, and which dots it may claim.

    write      a local change: visible at once, without a dot
    flush      the window ends: what was written gets this actor's next dots, one a key, and may be pushed
    apply      a cell that was received: claimed by its own dot, merged if it outranks what is here
    expire     what is due: the value is dropped, the cell stays

Each answers with changes, which carry all that a watcher needs; events folded over a snapshot equal what is visible. Nothing
here costs more than a logarithm of the number of cells, but `scan` after new keys, which sorts them in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

from crdt.cell import COUNTER, EXPIRY, KEY, LEASE_END, Actor, Cell, Order, counter_name, outranks
from crdt.counter import counter_value
from crdt.dots import DotSet, Summary

__all__ = ["Change", "Reason", "Store"]


class Reason(IntEnum):
    """Why what is visible under a key changed."""

    PUT = 0
    DELETE = 1
    EXPIRE = 2
    LEASE_ENDED = 3


class Change(NamedTuple):
    revision: int
    """Of this store, strictly increasing."""
    reason: Reason
    cell: Cell
    """The cell that stands now."""
    old: Cell | None
    """What was visible before."""


class Store:
    """One replica.

    Parameters
    ----------
    actor: who writes here: the session of this process.
    """

    __slots__ = (
        "_bound", "_by_actor", "_cells", "_counters", "_ended", "_expiries", "_fresh", "_pending", "_sequence", "_sorted",
        "_values", "actor", "claimed", "keys", "revision",
    )  # fmt: skip

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.claimed = DotSet()
        self.keys: dict[str, Cell] = {}
        """Every cell of kind KEY, visible or not; read it, but write through `write`."""
        self.revision = 0
        self._cells: dict[int, dict[str, Cell]] = {KEY: self.keys, COUNTER: {}, LEASE_END: {}}
        self._ended: dict[str, None] = {}
        self._bound: dict[str, dict[str, None]] = {}
        self._by_actor: dict[Actor, dict[int, tuple[int, str]]] = {}
        self._pending: dict[tuple[int, str], None] = {}
        self._sequence = 0
        self._expiries: list[tuple[int, str]] = []
        self._sorted: list[str] = []
        self._fresh: list[str] = []
        self._counters: dict[str, dict[str, None]] = {}
        self._values: dict[str, int] = {}

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, kind: int, key: str) -> Cell | None:
        """The cell, visible or not."""
        return self._cells.get(kind, {}).get(key)

    def visible(self, key: str, stamp: int) -> Cell | None:
        """The cell of a key that has a value now; `stamp` is the clock's."""
        cell = self.keys.get(key)
        if cell is None or cell.body is None or (cell.bound is not None and cell.bound in self._ended):
            return None
        expiry = cell.order[EXPIRY]
        return None if expiry and stamp >= expiry else cell  # type: ignore[operator]

    def scan(self, prefix: str, stamp: int) -> Iterator[Cell]:
        """What is visible under a prefix, in key order; what changes meanwhile is seen if it is still ahead."""
        after = None
        while (key := self._next(prefix, after)) is not None:
            cell = self.visible(key, stamp)
            if cell is not None:
                yield cell
            after = key

    def _next(self, prefix: str, after: str | None) -> str | None:
        if self._fresh:
            self._sorted += self._fresh
            self._sorted.sort()
            self._fresh.clear()
        place = bisect_left(self._sorted, prefix if after is None else after + "\0")
        if place < len(self._sorted) and self._sorted[place].startswith(prefix):
            return self._sorted[place]
        return None

    def counter(self, name: str) -> int:
        """The value of a counter, 0 for one that nobody has used."""
        value = self._values.get(name)
        if value is None:
            slots = self._cells[COUNTER]
            value = self._values[name] = counter_value(slots[key] for key in self._counters.get(name, ()))
        return value

    def counters(self) -> list[str]:
        return sorted(self._counters)

    def has_ended(self, lease: str) -> bool:
        return lease in self._ended

    def bound_leases(self) -> list[str]:
        """The leases that a key is bound to and that are not known to have ended."""
        return sorted(lease for lease in self._bound if lease not in self._ended)

    def __len__(self) -> int:
        return sum(len(cells) for cells in self._cells.values())

    # --- local writes ------------------------------------------------------------------------------------------------

    def write(self, kind: int, key: str, order: Order, body: bytes | None, bound: str | None = None) -> list[Change]:
        """A local change, whose order is above what stands here. Its dot follows at the next `flush`."""
        self._pending[kind, key] = None
        return self._set(Cell(kind, key, order, body, bound, self.actor, 0))

    @property
    def pending(self) -> bool:
        """Whether something waits for its dot."""
        return bool(self._pending)

    def flush(self) -> list[Cell]:
        """End the window: the written cells that still stand, each with its dot."""
        flushed = []
        for kind, key in self._pending:
            cells = self._cells[kind]
            cell = cells[key]
            if cell.n or cell.actor != self.actor:
                continue  # a higher cell came meanwhile: this write never had a dot, nobody misses it
            self._sequence += 1
            cell = cells[key] = cell._replace(n=self._sequence)
            self._by_actor.setdefault(self.actor, {})[self._sequence] = (kind, key)
            self.claimed.claim(self.actor, self._sequence)
            flushed.append(cell)
        self._pending.clear()
        return flushed

    # --- merging -----------------------------------------------------------------------------------------------------

    def apply(self, cell: Cell, stamp: int) -> list[Change]:
        """Merge a cell that was received. One whose dot is claimed already is ignored.

        The claim is right whether or not the cell replaces what is here: then what is here outranks it."""
        if not self.claimed.claim(cell.actor, cell.n):
            return []
        current = self._cells.setdefault(cell.kind, {}).get(cell.key)
        if current is not None and not outranks(cell, current):
            return []
        return self._set(cell, stamp)

    def _set(self, cell: Cell, stamp: int | None = None) -> list[Change]:
        kind, key = cell.kind, cell.key
        cells = self._cells[kind]
        current = cells.get(key)
        if current is not None and current.n:
            del self._by_actor[current.actor][current.n]
        cells[key] = cell
        if cell.n:
            self._by_actor.setdefault(cell.actor, {})[cell.n] = (kind, key)
        if kind == KEY:
            return self._set_key(cell, current, stamp)
        if kind == LEASE_END:
            return self._end_lease(key)
        if kind == COUNTER:
            name = counter_name(key)
            assert name is not None
            self._counters.setdefault(name, {})[key] = None
            self._values.pop(name, None)
            return [self._change(Reason.PUT, cell, current)]
        return []

    def _set_key(self, cell: Cell, current: Cell | None, stamp: int | None) -> list[Change]:
        key, bound = cell.key, cell.bound
        if current is None:
            self._fresh.append(key)
        elif current.bound is not None and current.bound != bound:
            self._unbind(current.bound, key)
        old = current if current is not None and self._shows(current) else None
        if bound is not None and cell.body is not None:
            self._bound.setdefault(bound, {})[key] = None
        expiry = cell.expiry
        if expiry and cell.body is not None:
            if stamp is not None and stamp >= expiry:
                self.keys[key] = cell = cell._replace(body=None)
                return [self._change(Reason.EXPIRE, cell, old)] if old is not None else []
            heappush(self._expiries, (expiry, key))
        if self._shows(cell):
            return [self._change(Reason.PUT, cell, old)]
        if old is None:
            return []
        if cell.body is None:
            return [self._change(Reason.EXPIRE if expiry else Reason.DELETE, cell, old)]
        return [self._change(Reason.LEASE_ENDED, cell, old)]

    def _shows(self, cell: Cell) -> bool:
        return cell.body is not None and (cell.bound is None or cell.bound not in self._ended)

    def _unbind(self, lease: str, key: str) -> None:
        keys = self._bound.get(lease)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._bound[lease]

    def _end_lease(self, lease: str) -> list[Change]:
        if lease in self._ended:
            return []
        self._ended[lease] = None
        changes = []
        for key in self._bound.get(lease, ()):
            cell = self.keys[key]
            changes.append(self._change(Reason.LEASE_ENDED, cell, cell))
        return changes

    def _change(self, reason: Reason, cell: Cell, old: Cell | None) -> Change:
        self.revision += 1
        return Change(self.revision, reason, cell, old)

    # --- expiry ------------------------------------------------------------------------------------------------------

    def next_expiry(self) -> int | None:
        """The stamp at which something expires next."""
        heap = self._expiries
        while heap:
            expiry, key = heap[0]
            cell = self.keys[key]
            if cell.body is not None and cell.order[EXPIRY] == expiry:
                return expiry
            heappop(heap)
        return None

    def expire(self, stamp: int, limit: int) -> list[Change]:
        """Drop the values that are due, `limit` of them at the most: the rest at the next call."""
        changes: list[Change] = []
        while len(changes) < limit and (due := self.next_expiry()) is not None and due <= stamp:
            _, key = heappop(self._expiries)
            cell = self.keys[key]
            shown = self._shows(cell)
            if cell.bound is not None:
                self._unbind(cell.bound, key)
            gone = self.keys[key] = cell._replace(body=None)
            if shown:
                changes.append(self._change(Reason.EXPIRE, gone, cell))
        return changes

    # --- transfer ----------------------------------------------------------------------------------------------------

    def missing(self, asker: DotSet) -> list[tuple[int, str]]:
        """The keys of all cells whose dot the asker lacks, in order of kind and key."""
        found: list[tuple[int, str]] = []
        for actor, dots in self._by_actor.items():
            reached = asker.reached(actor)
            if self.claimed.highest(actor) <= reached:
                continue
            found += [place for n, place in dots.items() if n > reached and not asker.covers(actor, n)]
        found.sort()
        return found

    def summary(self) -> Summary:
        """What this replica claims. Call `flush` before it, in the same step: a write without a dot is in no summary."""
        assert not self._pending
        return self.claimed.summary()
