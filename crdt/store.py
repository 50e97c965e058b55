"""One replica: cells, what is claimed of them, and what readers see.

Rules:
  - A local write is in the store at once, without a dot. `flush` gives each key written since its one dot. Whatever states
    the claims (`dots`) to somebody flushes first.
  - A received cell whose dot is claimed is ignored. Any other is joined to the own cell, and its dot is claimed: the own
    cell is then at least it (see `crdt.dots` for why that is the one rule).
  - A value that has expired by the given stamp is dropped before anything else happens to its key: what readers were not
    shown any more comes back only by a change that says so. Stamps given must not go back. The others that have expired are
    dropped by `expire`, as many at once as its caller has time for: readers are not shown them anyway.
  - Cells of a batch wait until it is here in whole (`crdt.batches`), and are joined in one step.
  - A cell bound to a lease is hidden from the moment that the lease's end is known, also if it arrives later.
  - Nothing here takes time in proportion to the store, but sorting new keys when an order is asked for.

Every change of what readers see is collected, in order, until `take_changes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from crdt.batches import Batches, whole
from crdt.cell import (
    COUNTER,
    FOLD,
    KEY,
    LEASE_END,
    Cell,
    Mark,
    above,
    drop,
    expiry_of,
    fence_of,
    fill,
    is_dropped,
    put_of,
)
from crdt.change import Change, ChangeKind
from crdt.clock import Stamp
from crdt.counter import added_slot, counter_of, set_slot, slot_key, value
from crdt.dots import NOBODY, DotSet, Summary
from crdt.expiry import Expiries
from crdt.keys import SortedKeys

__all__ = ["Flushed", "Place", "Put", "Store", "StoreFencedError"]

Place = tuple[int, str]
"""Kind and key."""

SCAN_STEP = 128
MAX_KEYS = 1 << 62
WALK_STEP = 512


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


class Store:
    """Parameters
    ----------
    actor: under which this replica writes; 16 bytes, never used by another."""

    __slots__ = (
        "_adding",
        "_batches",
        "_bound",
        "_by_actor",
        "_cells",
        "_changes",
        "_counters",
        "_dirty",
        "_ended",
        "_expiries",
        "_faded",
        "_keys",
        "_order",
        "_pending",
        "_slots",
        "_stamp",
        "actor",
        "dots",
        "revision",
    )

    def __init__(self, actor: bytes) -> None:
        self.actor = actor
        self.dots = DotSet()
        self.revision = 0
        self._keys: dict[str, Cell] = {}
        self._cells: dict[int, dict[str, Cell]] = {KEY: self._keys, COUNTER: {}, LEASE_END: {}, FOLD: {}}
        self._ended = self._cells[LEASE_END]
        self._order: dict[int, SortedKeys] = {kind: SortedKeys() for kind in self._cells}
        self._slots: dict[str, dict[str, Cell]] = {}
        self._adding: dict[str, Cell] = {}
        """Own slots that were added to in this window, and are of the highest epoch."""
        self._by_actor: dict[bytes, dict[int, Cell]] = {}
        self._bound: dict[str, dict[str, None]] = {}
        self._expiries = Expiries()
        self._batches = Batches()
        self._stamp: Stamp = 0
        """At which a cell of a batch arrived last."""
        self._faded: dict[str, None] = {}
        """Keys without a value: deleted, or expired."""
        self._pending: dict[Place, int] = {}
        self._changes: list[Change] = []
        self._counters: dict[str, None] = {}
        self._dirty: dict[Place, None] | None = None
        """What has changed since `take_dirty`, if somebody keeps it."""

    # --- what readers see ------------------------------------------------------------------------------------------

    def peek(self, key: str) -> Cell | None:
        """The visible cell of a key. The caller compares its expiry, if it has one, with the current stamp: see `get`."""
        cell = self._keys.get(key)
        if cell is None or cell.body is None or (cell.bound is not None and cell.bound in self._ended):
            return None
        return cell

    def get(self, key: str, stamp: Stamp) -> Cell | None:
        """The visible cell of a key, or None."""
        cell = self.peek(key)
        return None if cell is not None and 0 < expiry_of(cell) <= stamp else cell

    def scan(self, prefix: str, stamp: Stamp, after: str | None = None) -> Iterator[Cell]:
        """The visible cells under a prefix, by key, from behind `after` if that is given. The store may change meanwhile: each
        key is shown as it is when it is come to, also one that is added ahead; one that is added behind is not shown."""
        order = self._order[KEY]
        keys = order.after(prefix, 8, inclusive=True) if after is None or after < prefix else order.after(after, 8)
        while keys:
            known, last = len(order), keys[-1]
            for key in keys:
                if not key.startswith(prefix):
                    return
                cell = self.get(key, stamp)
                if cell is not None:
                    yield cell
                    if len(order) != known:
                        last = key
                        break
            keys = order.after(last, SCAN_STEP)

    def counter(self, name: str) -> int:
        """What a counter stands at; 0 if nobody has added to it."""
        slots = self._slots.get(name)
        return value(slots.values()) if slots else 0

    def lease_ended(self, lease: str) -> bool:
        return lease in self._ended

    def visible_leases(self) -> list[str]:
        """The leases, not known to have ended, that something here is bound to."""
        return [lease for lease in self._bound if lease not in self._ended]

    def cell(self, kind: int, key: str) -> Cell | None:
        """The cell itself, visible or not."""
        cells = self._cells.get(kind)
        return cells.get(key) if cells is not None else None

    def cells(self) -> Iterator[Cell]:
        """Every cell, by kind and key. For tests, checkers and exports: it walks the whole store."""
        for kind in sorted(self._cells):
            for key in sorted(self._cells[kind]):
                yield self._cells[kind][key]

    def __len__(self) -> int:
        return sum([len(cells) for cells in self._cells.values()])

    # --- local writes ----------------------------------------------------------------------------------------------

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

    def rewrite(self, cell: Cell, stamp: Stamp) -> None:
        """Write again, under an own dot, what was written elsewhere: its order stays."""
        if cell.kind not in self._cells:
            self._cells[cell.kind], self._order[cell.kind] = {}, SortedKeys()
        self._write(self.cell(cell.kind, cell.key), cell._replace(actor=self.actor, n=0, batch=None), stamp)

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
            flushed.append(Flushed(cell, previous))
        self._pending.clear()
        self._adding.clear()
        return flushed

    # --- received cells --------------------------------------------------------------------------------------------

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        """Join a received cell; False if its dot was claimed already: then nothing happened. None if it waits for the rest of
        its batch: then nothing is claimed."""
        if self.dots.covers(cell.actor, cell.n):
            return False
        if cell.batch is None:
            self._join(cell, stamp)
            return True
        self._stamp = stamp
        ready = self._batches.add(cell, self.dots.covers)
        for each in ready:
            self._join(each, stamp)
        return True if ready else None

    def apply_together(self, cells: Sequence[Cell], stamp: Stamp) -> bool:
        """Join cells of one batch that came in one message, none of whose dots is claimed. False, and nothing happens, if
        they are not all of it that is lacking here."""
        if not whole(cells, self.dots.covers):
            return False
        for cell in cells:
            self._join(cell, stamp)
        return True

    @property
    def waiting(self) -> int:
        """Cells that wait for the rest of their batch."""
        return len(self._batches)

    def forget_waiting(self) -> None:
        """Another transfer begins: it will bring them again."""
        self._batches.clear()

    def absorb(self, cell: Cell, stamp: Stamp) -> None:
        """Join a cell whatever its dot: a joiner's, into its empty store. Of the retired it has nothing, and claims all."""
        self._join(cell, stamp)

    def _join(self, cell: Cell, stamp: Stamp) -> None:
        if cell.kind == KEY:
            self._expire_key(cell.key, stamp)
        cells = self._cells.get(cell.kind)
        if cells is None:
            cells = self._cells[cell.kind] = {}
            self._order[cell.kind] = SortedKeys()
        old = cells.get(cell.key)
        if old is None or above(cell, old):
            if old is not None:
                cell = fill(cell, old)
                self._pending.pop((cell.kind, cell.key), None)
                if cell.kind == KEY and fence_of(cell) > fence_of(old):
                    self._overrule(old, cell)
            self._place(old, cell, stamp)
        elif old.hash and cell.body is not None:
            filled = fill(old, cell)
            if filled is not old:
                self._place(old, filled, stamp)
        self.dots.claim(cell.actor, cell.n)
        if cell.batch is not None and cell.order[2] != self.actor:
            # A touched cell stands for what it touched: else others of the batch would wait for a dot that nobody has any more.
            self.dots.claim(cell.order[2], cell.batch.first + cell.batch.place)  # type: ignore[arg-type]

    def apply_touch(self, touch: Cell, stamp: Stamp) -> bool | None:
        """Join a touch that travelled without its value.

        None if the put that it touches is not here: then nothing is claimed, and the whole cell must be fetched."""
        if self.dots.covers(touch.actor, touch.n):
            return False
        self._expire_key(touch.key, stamp)
        old = self._keys.get(touch.key)
        if old is None:
            return None
        whole = fill(touch, old)
        if is_dropped(whole) and above(whole, old):
            return None
        return self.apply(whole, stamp)

    def claim_previous(self, cell: Cell, previous: int) -> None:
        """Claim the writer's earlier dot under the key of a cell that was applied: what is held is at least that.

        Of the own writes nothing is learnt from others, and none comes before itself."""
        if 0 < previous < cell.n and cell.actor != self.actor:
            self.dots.claim(cell.actor, previous)

    def raise_to(self, snapshot: Summary) -> bool:
        """The transfer of this snapshot has ended. False, and it is not claimed, if a batch waits that it does not cover. Of
        the own writes nothing is learnt from others."""
        vector = tuple([entry for entry in snapshot.vector if entry[0] != self.actor])
        extras = tuple([entry for entry in snapshot.extras if entry[0] != self.actor])
        if self.waiting:
            claims = DotSet(self.dots.summary())
            claims.retire(self.dots.retired())
            claims.raise_to(Summary(vector, extras))
            ready = self._batches.end(claims.covers)
            if ready is None:
                return False
            for cell in ready:
                self._join(cell, self._stamp)
        self.dots.raise_to(Summary(vector, extras))
        return True

    # --- placing and ending ----------------------------------------------------------------------------------------

    def _place(self, old: Cell | None, cell: Cell, stamp: Stamp) -> None:
        """Put a cell in its place and tell what readers see of it."""
        kind, key = cell.kind, cell.key
        if kind == KEY:
            expiry = expiry_of(cell)
            if expiry and cell.body is not None:
                if expiry <= stamp:
                    cell = drop(cell)
                else:
                    self._expiries.schedule(key, expiry)
        if old is None:
            self._order[kind].add(key)
        elif old.n and old.actor != NOBODY:
            del self._by_actor[old.actor][old.n]
        self._cells[kind][key] = cell
        if kind == KEY:
            if cell.body is None:
                self._faded[key] = None
            elif old is not None and old.body is None:
                self._faded.pop(key, None)
        if self._dirty is not None:
            self._dirty[kind, key] = None
        if cell.n and cell.actor != NOBODY:
            held = self._by_actor.get(cell.actor)
            if held is None:
                held = self._by_actor[cell.actor] = {}
            held[cell.n] = cell
        if kind == KEY:
            self._tell(old, cell, stamp)
        elif kind in (COUNTER, FOLD):
            name = counter_of(key)
            self._slots.setdefault(name, {})[key] = cell
            self._counters[name] = None
            self._adding.pop(name, None)
            self.revision += 1
        elif kind == LEASE_END and old is None:
            self._hide(cell)

    def _tell(self, old: Cell | None, cell: Cell, stamp: Stamp) -> None:
        ended, bound = self._ended, cell.bound
        if old is not None:
            if old.bound is not None and old.bound != bound:
                self._unbind(old.bound, cell.key)
            if old.body is None or (old.bound is not None and old.bound in ended):
                old = None
        if bound is not None:
            self._bound.setdefault(bound, {})[cell.key] = None
        if cell.body is not None and (bound is None or bound not in ended):
            if old is not None and old.order[:3] == cell.order[:3]:
                return  # a touch
            kind = ChangeKind.PUT
        elif old is None:
            return
        elif cell.hash:
            kind = ChangeKind.EXPIRE
        elif cell.body is None:
            kind = ChangeKind.DELETE
        else:
            kind = ChangeKind.LEASE_ENDED
        self.revision = revision = self.revision + 1
        self._changes.append(Change(kind, cell.key, cell, old, cell.actor, revision))

    def _overrule(self, old: Cell, cell: Cell) -> None:
        """Tell of a write of this replica that loses to a fence alone: it is the later one."""
        if old.order[2] == self.actor and old.order[1] > cell.order[1]:  # type: ignore[operator]
            self.revision += 1
            self._changes.append(Change(ChangeKind.FENCED, old.key, old, old, cell.actor, self.revision))

    def _unbind(self, lease: str, key: str) -> None:
        keys = self._bound[lease]
        keys.pop(key, None)
        if not keys:
            del self._bound[lease]

    def _hide(self, end: Cell) -> None:
        """Hide what is bound to a lease that has just ended."""
        for key in self._bound.get(end.key, ()):
            cell = self._keys[key]
            if cell.body is not None:
                self.revision += 1
                self._changes.append(Change(ChangeKind.LEASE_ENDED, key, cell, cell, end.actor, self.revision))

    def _expire_key(self, key: str, stamp: Stamp) -> None:
        """Drop the value of one key, if it has expired by this stamp."""
        cell = self._keys.get(key)
        if cell is not None and cell.body is not None and 0 < expiry_of(cell) <= stamp:
            self._place(cell, cell, stamp)

    def expire(self, stamp: Stamp, limit: int = MAX_KEYS) -> None:
        """Drop values that have expired by this stamp, in the order of their expiries, after a look at so many keys at most."""
        expiries = self._expiries
        while limit and (key := expiries.pop(stamp)) is not None:
            limit -= 1
            cell = self._keys.get(key)
            if cell is not None and cell.body is not None and expiry_of(cell):
                self._place(cell, cell, stamp)

    def next_expiry(self) -> Stamp | None:
        """When `expire` has to look again; it may be early, never late."""
        return self._expiries.next()

    def take_changes(self) -> tuple[tuple[Change, ...], tuple[str, ...]]:
        """What changed since the last call, in order; and the counters of which a slot did."""
        if not self._changes and not self._counters:
            return (), ()
        changes, counters = tuple(self._changes), tuple(self._counters)
        self._changes.clear()
        self._counters.clear()
        return changes, counters

    # --- forgetting (see `crdt.forgetting`) ------------------------------------------------------------------------

    def faded(self) -> list[Cell]:
        """The keys without a value, deleted or expired, and those hidden by the end of their lease."""
        cells = [self._keys[key] for key in self._faded]
        for lease in self._ended:
            cells += [self._keys[key] for key in self._bound.get(lease, ()) if key not in self._faded]
        return cells

    def of_kind(self, kind: int) -> Iterable[Cell]:
        """Not to be held while the store changes."""
        return self._cells.get(kind, {}).values()

    def by_actor(self, actor: bytes) -> list[Cell]:
        """The cells that were last written by it."""
        return list(self._by_actor.get(actor, {}).values())

    def replace(self, cell: Cell) -> None:
        """Put a cell in the place of what nobody sees, or in a free one."""
        self._place(self.cell(cell.kind, cell.key), cell, 0)

    def settle(self, actor: bytes) -> None:
        """The actor is forgotten: its cells are as good as nobody's."""
        for cell in self._by_actor.pop(actor, {}).values():
            settled = cell._replace(actor=NOBODY, n=1)
            self._cells[cell.kind][cell.key] = settled
            if self._dirty is not None:
                self._dirty[cell.kind, cell.key] = None
            if cell.kind == COUNTER:
                self._slots[counter_of(cell.key)][cell.key] = settled
        self.dots.unretire(actor)

    def remove(self, cells: Iterable[Cell]) -> None:
        """Forget cells that nobody sees."""
        gone: dict[int, set[str]] = {}
        for cell in cells:
            kind, key = cell.kind, cell.key
            del self._cells[kind][key]
            gone.setdefault(kind, set()).add(key)
            if cell.n and cell.actor != NOBODY:
                del self._by_actor[cell.actor][cell.n]
            if kind == KEY:
                self._faded.pop(key, None)
                if cell.bound is not None:
                    self._unbind(cell.bound, key)
            elif kind == COUNTER:
                del self._slots[counter_of(key)][key]
        for kind, keys in gone.items():
            self._order[kind].discard(keys)
            if self._dirty is not None:
                self._dirty.update(dict.fromkeys([(kind, key) for key in sorted(keys)]))

    # --- what is kept on disk --------------------------------------------------------------------------------------

    def restore(self, cells: Iterable[Cell], claims: Summary, stamp: Stamp) -> None:
        """Take back what an earlier process of this node held: all of it at once, so no batch waits."""
        self.dots.raise_to(claims)
        for cell in cells:
            self._join(cell, stamp)
            if cell.batch is not None:
                # It was held in whole. Were the dots of its replaced keys forgotten, and by everyone in one blackout, whoever
                # lacks it would wait for them for ever.
                first, size, _ = cell.batch
                for n in range(first, first + size):
                    self.dots.claim(cell.order[2], n)  # type: ignore[arg-type]

    def keep(self) -> None:
        """From now on remember what changes, for `take_dirty`."""
        self._dirty = {}

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty)

    def take_dirty(self) -> list[Place]:
        """The places of the cells that have changed since the last call; of one that is gone too."""
        dirty, self._dirty = self._dirty, {}
        return list(dirty or ())

    def become(self, other: Store, stamp: Stamp) -> Store:
        """Take the content and the actor of another store, which is used up; the own ones as a store of their own.

        Told is what readers see otherwise. As after a purge, the order of a key's puts starts anew."""
        self.expire(stamp)
        other.expire(stamp)
        old = Store(self.actor)
        for name in Store.__slots__:
            if name not in ("revision", "_changes", "_counters"):
                setattr(old, name, getattr(self, name))
                setattr(self, name, getattr(other, name))
        if old._dirty is not None:  # what keeps the one has the other to keep now
            self._dirty = dict.fromkeys([cell[:2] for store in (old, self) for cell in store.cells()])
            old._dirty = None
        for key in sorted({*old._keys, *self._keys}):
            before, after = old.peek(key), self.peek(key)
            if after is not None and (before is None or put_of(before) != put_of(after)):
                kind, new = ChangeKind.PUT, after
            elif after is None and before is not None:
                kind, new = ChangeKind.DELETE, self._keys.get(key, before)
            else:
                continue
            self.revision += 1
            self._changes.append(Change(kind, key, new, before, new.actor, self.revision))
        self._counters.update(dict.fromkeys([*old._slots, *self._slots]))
        return old

    # --- what others lack (see `crdt.transfer`) --------------------------------------------------------------------

    def walk(self, after: Place) -> Iterator[Cell]:
        """Every cell after a place, in order of place. The store must not change meanwhile."""
        for kind in sorted(self._cells):
            if kind < after[0]:
                continue
            cells, order = self._cells[kind], self._order[kind]
            keys = order.after(after[1], WALK_STEP) if kind == after[0] else order.after("", WALK_STEP, inclusive=True)
            while keys:
                for key in keys:
                    yield cells[key]
                keys = order.after(keys[-1], WALK_STEP)

    def lacking(self, known: DotSet, limit: int) -> list[Cell] | None:
        """The cells with a dot that is not known, in no order; None if finding them may take more than `limit` steps."""
        found: list[Cell] = []
        steps = 0
        for actor, cells in self._by_actor.items():
            first, last = known.last(actor) + 1, self.dots.last(actor)
            span = max(0, last + 1 - first)
            extras = self.dots.extras(actor)
            steps += min(span + len(extras), len(cells)) + 1
            if steps > limit:
                return None
            if span + len(extras) < len(cells):
                numbers = [n for n in (*range(first, last + 1), *extras) if n in cells]
            else:
                numbers = list(cells)
            found += [cells[n] for n in numbers if not known.covers(actor, n)]
        return found
