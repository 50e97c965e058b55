"""One replica: cells, what is claimed of them, and what readers see.

Rules:
  - A received cell whose dot is claimed is ignored. Any other is joined to the own cell, and its dot is claimed: the own
    cell is then at least it (see `crdt.dots` for why that is the one rule).
  - Cells of a batch wait until it is here in whole (`crdt.batches`), and are joined in one step.

What is written here is in `crdt.writing`, what readers see in `crdt.content`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdt.batches import Batches, batch_of, whole
from crdt.cell import COUNTER, KEY, Cell, Place, above, drop, encode_cell, fence_of, fill, is_dropped, put_of
from crdt.change import Change, ChangeKind
from crdt.clock import Stamp
from crdt.content import Content
from crdt.counter import counter_of
from crdt.dots import NOBODY, DotSet, Summary
from crdt.fingerprint import row_of
from crdt.keys import SortedKeys
from crdt.writing import Flushed, Put, StoreFencedError, Writing

__all__ = ["Flushed", "Place", "Put", "Store", "StoreFencedError"]


class Store(Writing):
    """Parameters
    ----------
    actor: under which this replica writes; 16 bytes, never used by another."""

    __slots__ = ("_batches", "_stamp", "again", "origins", "skipped")

    def __init__(self, actor: bytes) -> None:
        super().__init__(actor)
        self.skipped: dict[bytes, set[int]] = {}
        """Dots of ended actors that are claimed as void, by the last cut that was applied: not held."""
        self.again: dict[bytes, set[int]] = {}
        """Void dots that were held here, and that stand under own ones (see `crdt.returning`)."""
        self.origins: dict[bytes, dict[int, bytes]] = {}
        """Of what others have put again: the dots that it was first written under, by actor, and who put it again."""
        self._batches = Batches()
        self._stamp: Stamp = 0
        """At which a cell of a batch arrived last."""

    # --- received cells --------------------------------------------------------------------------------------------

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        """Join a received cell; False if its dot was claimed already: then nothing happened. None if it waits for the rest of
        its batch: then nothing is claimed."""
        if self.dots.covers(cell.actor, cell.n):
            return False
        if batch_of(cell) is None:
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
        if cell.batch is None:
            return
        if cell.batch.size == 1:
            self.origins.setdefault(cell.order[2], {}).setdefault(cell.batch.first, cell.actor)  # type: ignore[arg-type]
        elif cell.order[2] != self.actor:
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

    def mend(self, cell: Cell, stamp: Stamp, *, trusted: bool = False) -> bool:
        """Join a cell whatever is claimed: this replica and another claim the same and hold something else. Whether the own one
        changed. Of two that differ under one order and dot, which no join can tell apart, the one with the higher bytes stays.

        Parameters
        ----------
        trusted: the own cell is known to have changed without a write, and is replaced even if it is the higher one.
        """
        old = self.cell(cell.kind, cell.key)
        if old is None or above(cell, old):
            self._join(cell, stamp)
            self.dots.claim(cell.actor, cell.n)
            return True
        if row_of(cell) == row_of(old):
            return False
        same = cell.order == old.order and cell[5:7] == old[5:7]
        if not trusted and not (same and encode_cell(drop(cell)) > encode_cell(drop(old))):
            return False
        shown, told = self.peek(cell.key) if cell.kind == KEY else None, len(self._changes)
        self._pending.pop((cell.kind, cell.key), None)
        self._place(old, cell, stamp)
        now_shown = self.peek(cell.key) if cell.kind == KEY else None
        if shown is not None and now_shown is not None and put_of(shown) == put_of(now_shown):
            self.revision += 1  # which otherwise is a touch, of which nobody is told
            self._changes.append(Change(ChangeKind.PUT, cell.key, now_shown, shown, cell.actor, self.revision))
        self._changes[told:] = [change._replace(fell=True) for change in self._changes[told:]]
        self.dots.claim(cell.actor, cell.n)
        return True

    def drop(self, places: Iterable[Place]) -> None:
        """Forget cells, with dots, that were never written anywhere: what readers saw of them is gone."""
        for place in places:
            cell = self.cell(*place)
            if cell is None or not cell.n:
                continue
            shown = self.peek(cell.key) if cell.kind == KEY else None
            self.remove((cell,))
            if shown is not None:
                self.revision += 1
                self._changes.append(Change(ChangeKind.DELETE, cell.key, shown, shown, cell.actor, self.revision, True))

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

    def _overrule(self, old: Cell, cell: Cell) -> None:
        """Tell of a write of this replica that loses to a fence alone: it is the later one."""
        if old.order[2] == self.actor and old.order[1] > cell.order[1]:  # type: ignore[operator]
            self.revision += 1
            self._changes.append(Change(ChangeKind.FENCED, old.key, old, old, cell.actor, self.revision))

    # --- forgetting (see `crdt.forgetting`) ------------------------------------------------------------------------

    def faded(self) -> list[Cell]:
        """The keys without a value, deleted or expired, and those hidden by the end of their lease."""
        cells = [self._keys[key] for key in self._faded]
        for lease in self._ended:
            cells += [self._keys[key] for key in self._bound.get(lease, ()) if key not in self._faded]
        return cells

    def replace(self, cell: Cell) -> None:
        """Put a cell in the place of what nobody sees, or in a free one."""
        self._place(self.cell(cell.kind, cell.key), cell, 0)

    def settle(self, actor: bytes) -> None:
        """The actor is forgotten: its cells are as good as nobody's."""
        for cell in self._by_actor.pop(actor, {}).values():
            settled = cell._replace(actor=NOBODY, n=1)
            if self.fingerprint is not None:
                self.fingerprint.remove(cell)
                self.fingerprint.add(settled)
            self._cells[cell.kind][cell.key] = settled
            if self._dirty is not None:
                self._dirty[cell.kind, cell.key] = None
            if cell.kind == COUNTER:
                self._slots[counter_of(cell.key)][cell.key] = settled
        self.dots.unretire(actor)

    def slim(self, actors: Iterable[bytes]) -> None:
        """Keep no index of those who have no cell here any more, nor will write one."""
        for actor in actors:
            if self._by_actor.get(actor) == {}:
                del self._by_actor[actor]

    def remove(self, cells: Iterable[Cell]) -> None:
        """Forget cells that nobody sees."""
        gone: dict[int, set[str]] = {}
        for cell in cells:
            kind, key = cell.kind, cell.key
            del self._cells[kind][key]
            gone.setdefault(kind, set()).add(key)
            if self.fingerprint is not None and cell.n:
                self.fingerprint.remove(cell)
            if cell.n and cell.actor != NOBODY:
                self._by_actor.get(cell.actor, {}).pop(cell.n, None)
            if kind == KEY:
                self._faded.pop(key, None)
                self._lose(cell)
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
            if batch_of(cell) is not None and cell.batch is not None:
                # It was held in whole. Were the dots of its replaced keys forgotten, and by everyone in one blackout, whoever
                # lacks it would wait for them for ever.
                first, size, _ = cell.batch
                for n in range(first, first + size):
                    self.dots.claim(cell.order[2], n)  # type: ignore[arg-type]

    def become(self, other: Store, stamp: Stamp) -> Store:
        """Take the content and the actor of another store, which is used up; the own ones as a store of their own.

        Told is what readers see otherwise. What the other store has of a key may be older than what was told of it: then that
        change is one that falls."""
        self.expire(stamp)
        other.expire(stamp)
        old = Store(self.actor)
        for name in (*Content.__slots__, *Writing.__slots__, *Store.__slots__):
            if name not in ("revision", "_changes", "_counters", "_forgotten"):
                setattr(old, name, getattr(self, name))
                setattr(self, name, getattr(other, name))
        if old._dirty is not None:  # what keeps the one has the other to keep now
            self._dirty = dict.fromkeys([cell[:2] for store in (old, self) for cell in store.cells()])
            old._dirty = None
        lost = []
        for key in sorted({*old._keys, *self._keys}):
            had, has = old._keys.get(key), self._keys.get(key)
            before, after = old.peek(key), self.peek(key)
            fell = had is not None and (has is None or put_of(has) <= put_of(had))
            if after is not None and (before is None or put_of(before) != put_of(after)):
                kind, new = ChangeKind.PUT, after
                fell |= before is None and after.order[1] <= self._forgotten  # type: ignore[operator]
            elif after is None and before is not None:
                kind, new = ChangeKind.DELETE, has or before
            else:
                if fell and had is not None:  # nobody sees that; but what comes next may lie between the two
                    lost.append(had)
                continue
            self.revision += 1
            self._changes.append(Change(kind, key, new, before, new.actor, self.revision, fell))
        for each in lost:
            self._lose(each)
        self._counters.update(dict.fromkeys([*old._slots, *self._slots]))
        return old
