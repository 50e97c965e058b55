"""The cells of a replica under their indexes, and what readers see of them.

Rules:
  - A value that has expired by the given stamp is dropped before anything else happens to its key: what readers were not
    shown any more comes back only by a change that says so. Stamps given must not go back. The others that have expired are
    dropped by `expire`, as many at once as its caller has time for: readers are not shown them anyway.
  - A cell bound to a lease is hidden from the moment that the lease's end is known, also if it arrives later.
  - Nothing here takes time in proportion to the store, but sorting new keys when an order is asked for.

Every change of what readers see is collected, in order, until `take_changes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crdt.cell import COUNTER, FOLD, KEY, LEASE_END, Cell, Place, drop, expiry_of
from crdt.change import Change, ChangeKind
from crdt.clock import Stamp
from crdt.counter import counter_of, value
from crdt.dots import NOBODY, DotSet
from crdt.expiry import Expiries
from crdt.fingerprint import Fingerprint
from crdt.keys import SortedKeys

__all__ = ["Content"]

SCAN_STEP = 128
MAX_KEYS = 1 << 62
WALK_STEP = 512


class Content:
    """Parameters
    ----------
    actor: under which this replica writes; 16 bytes, never used by another."""

    __slots__ = (
        "_adding",
        "_bound",
        "_by_actor",
        "_cells",
        "_changes",
        "_counters",
        "_dirty",
        "_ended",
        "_expiries",
        "_faded",
        "_forgotten",
        "_keys",
        "_order",
        "_slots",
        "actor",
        "dots",
        "fingerprint",
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
        self._faded: dict[str, None] = {}
        """Keys without a value: deleted, or expired."""
        self._forgotten: Stamp = 0
        """The highest stamp of a key's write that was known here and is not any more. What is no later, and comes to a key that
        shows nothing, may be older than what readers were told of that key last. (One number for all keys: it is seldom that
        something comes which is older than what has been forgotten, and then it costs a follower a snapshot.)"""
        self._changes: list[Change] = []
        self._counters: dict[str, None] = {}
        self._dirty: dict[Place, None] | None = None
        """What has changed since `take_dirty`, if somebody keeps it."""
        self.fingerprint: Fingerprint | None = None
        """Of the cells with a dot, if it has been asked for."""

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
        prints = self.fingerprint
        if prints is not None:
            if old is not None and old.n:
                prints.remove(old)
            if cell.n:
                prints.add(cell)
        if old is None:
            self._order[kind].add(key)
        elif old.n and old.actor != NOBODY:
            held = self._by_actor.get(old.actor)
            if held is not None:  # a clone of this process may have written under the same dot
                held.pop(old.n, None)
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
            if old.order[0] < cell.order[0] and old.order[1] > cell.order[1]:  # type: ignore[operator]
                self._lose(old)  # a fence beats what is later: once that is forgotten, so is how late this was
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
        # (Nothing that was forgotten was above the present stamp: a higher number is of a cell that was damaged.)
        fell = old is None and cell.order[1] <= self._forgotten <= stamp  # type: ignore[operator]
        self._changes.append(Change(kind, cell.key, cell, old, cell.actor, revision, fell))

    def _lose(self, cell: Cell) -> None:
        """A key's write is not known any more."""
        self._forgotten = max(self._forgotten, cell.order[1])  # type: ignore[assignment]

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

    def fading(self) -> int:
        """How many keys show nothing, and wait until a cut forgets them."""
        return len(self._faded) + sum([len(self._bound.get(lease, ())) for lease in self._ended])

    def of_kind(self, kind: int) -> Iterable[Cell]:
        """Not to be held while the store changes."""
        return self._cells.get(kind, {}).values()

    def by_actor(self, actor: bytes) -> list[Cell]:
        """The cells that were last written by it."""
        return list(self._by_actor.get(actor, {}).values())

    def by_dot(self, actor: bytes, n: int) -> Cell | None:
        """The cell that carries this dot."""
        return self._by_actor.get(actor, {}).get(n)

    # --- what is kept on disk --------------------------------------------------------------------------------------

    def keep(self) -> None:
        """From now on remember what changes, for `take_dirty`."""
        self._dirty = {}

    @property
    def kept(self) -> bool:
        """Whether somebody keeps what changes: then it may be met again, as it was."""
        return self._dirty is not None

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty)

    def take_dirty(self) -> list[Place]:
        """The places of the cells that have changed since the last call; of one that is gone too."""
        dirty, self._dirty = self._dirty, {}
        return list(dirty or ())

    # --- whether others hold the same (see `crdt.fingerprint`) -----------------------------------------------------

    def recount(self, limit: int) -> list[int]:
        """Go on counting, over so many cells; the buckets of which a walk has shown that they hold something else than was
        written."""
        if self.fingerprint is None:
            self.fingerprint = Fingerprint()
        return self.fingerprint.count(self.walk(self.fingerprint.cursor), limit)

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
