"""What one follower of keys has not read yet. Sans I/O; a peer's watches and those of thin clients are both made of it.

    changes     come in as they happen (`offer`), and are handed out one by one (`next`), revisions rising
    coalescing  a key that has changed since the last look stands in line once, with what was seen before: so a slow reader
                costs the keys and not the changes. Changes are read in *rounds*: while one is being read, a key that changes
                again waits for the next. (In one line a key that never rests would either carry its revision past those of
                the others, or never have its turn.)
    every       each change stands in line by itself
    a snapshot  is the store as it was at its *base*, the revision at which it began, though it is read slowly and the store
                goes on: what is replaced meanwhile ahead of the reader is kept for it. So it costs what changes, not a copy
    lagging     a reader that has more than `limit` in line is told so: `RESYNC`, then a fresh snapshot. Until it has read
                that, nothing is kept for it
    falling     so is a reader of a key that falls back to an older write than was told: it begins anew, and need not know of
                stamps that fall

Law: what was handed out, folded over the last snapshot, is what the store had told at the last revision that was handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from coordination.following.interest import disjoint
from crdt.cell import Cell
from crdt.change import Change, ChangeKind
from crdt.clock import Stamp
from crdt.store import Store

__all__ = ["LIMIT", "RESYNC", "SYNCED", "Feed", "Position", "Told"]

LIMIT = 65_536
"""Keys that wait for a reader that coalesces."""

EXPIRED = 256
"""So many values are dropped before a snapshot; of more than that it shows some, and then that they have expired."""

SYNCED, RESYNC = "synced", "resync"

FENCED_MARK = "\0fenced"
"""That a write was overruled stands in line by itself: the change of what is seen comes with it."""


class Told(NamedTuple):
    """One event, values as they are stored."""

    kind: str
    key: str
    value: bytes | None
    old: bytes | None
    stamp: Stamp
    origin: bytes
    """The actor; empty for `synced` and `resync`."""
    revision: int


class Position(NamedTuple):
    """How far a reader has come. All revisions."""

    floor: int
    """It knows exactly what the store had told then."""
    read: int
    """Of the round after that, what last changed by then."""
    ceiling: int
    """With the rest of the round it will know exactly this one."""


class Feed:
    """Parameters
    ----------
    keys, prefixes: what is followed; what is covered twice is followed once.
    snapshot: whether to begin with what is there.
    limit: in line before the reader counts as lagging.
    every: whether each change is kept, or the last of each key.
    kinds: which kinds are wanted; None for all. Synced and resync always are.
    """

    __slots__ = (
        "_ahead",
        "_ceiling",
        "_cursor",
        "_every",
        "_floor",
        "_fresh",
        "_held",
        "_lagging",
        "_latest",
        "_limit",
        "_line",
        "_read",
        "_round",
        "_source",
        "_told",
        "base",
        "keys",
        "kinds",
        "prefixes",
    )

    def __init__(
        self,
        keys: Collection[str],
        prefixes: Collection[str],
        *,
        snapshot: bool = False,
        limit: int = LIMIT,
        every: bool = False,
        kinds: frozenset[str] | None = None,
    ) -> None:
        self.keys, self.prefixes = disjoint(keys, prefixes)
        self.kinds = kinds
        self.base = 0
        """The revision up to which everything is told by the snapshot, or is not wanted."""
        self._limit = limit
        self._every = every
        self._fresh: dict[str, Change] = {}
        """Its last change, of each key that has changed since the last look; `old` is what was seen then."""
        self._round: Iterator[Change] = iter(())
        self._line: deque[Change] = deque()
        self._read = 0
        """How many of the round have not been read."""
        self._floor = self._ceiling = 0
        self._latest = 0
        """That came in."""
        self._told = 0
        """The revision that was handed out last."""
        self._lagging = False
        self._source: Iterator[Cell] | None = None
        """Of the snapshot; None when it is over."""
        self._ahead = False
        """Whether it has keys yet to come to."""
        self._cursor: str | None = None
        """The last key of it that was come to."""
        self._held: dict[str, Cell | None] = {}
        """What keys ahead of it held at the base, if they have changed since."""
        if snapshot:
            self._source = iter(())

    def __len__(self) -> int:
        """What waits."""
        return len(self._fresh) + self._read + len(self._line) + len(self._held)

    @property
    def waiting(self) -> bool:
        """Whether there may be something to read."""
        return bool(self._source is not None or self._lagging or self._fresh or self._read or self._line)

    @property
    def settled(self) -> bool:
        """Whether no snapshot is under way, nor to come: the reader knows what there was at a revision."""
        return self._source is None and not self._lagging

    @property
    def position(self) -> Position:
        """Of a reader that is settled."""
        if self._every or not self._read:
            last = max(self._told, self._ceiling)
            return Position(last, last, last)
        return Position(self._floor, self._told, self._ceiling)

    def begin(self, store: Store, stamp: Stamp) -> None:
        """Follow from now on."""
        store.expire(stamp, EXPIRED)  # what has expired and nobody has said so is better said first
        self._start(store.revision)
        if self._source is not None:
            self._source, self._ahead = self._cells(store), True

    def go_on(self, position: Position, changes: Sequence[Change]) -> None:
        """Follow on from where a reader had come to.

        Parameters
        ----------
        changes: all of what is followed since `position.floor`. In the middle of a round some keys have been told, up to their
            last change in it, and the others not at all: that round is ended first.
        """
        self._source = None
        self._start(position.floor)
        ceiling = position.ceiling
        last = {_place(change): change.revision for change in changes if change.revision <= ceiling}
        for change in changes:
            if change.revision <= ceiling and last[_place(change)] > position.read:
                self.offer(change)
        if self._fresh:
            self._turn()
        self._floor, self._told, self._ceiling = position
        for change in changes:
            if change.revision > ceiling:
                self.offer(change)

    def _start(self, base: int) -> None:
        self.base = self._floor = self._ceiling = self._told = base

    def lag(self) -> None:
        """Keep nothing more: the reader is to be told, and given a fresh snapshot."""
        self._lagging = True
        self._fresh.clear()
        self._round, self._read = iter(()), 0
        self._line.clear()
        self._held.clear()
        self._source, self._ahead = None, False

    # --- changes -----------------------------------------------------------------------------------------------------

    def offer(self, change: Change) -> None:
        """Keep a change for the reader; never waits."""
        if self._lagging or change.revision <= self.base:
            return
        if change.fell:
            self.lag()
            return
        key, fenced = change.key, change.kind is ChangeKind.FENCED
        if self._ahead and not fenced and (self._cursor is None or key > self._cursor):
            self._held.setdefault(key, change.old)
        if self._every:
            if self.kinds is None or change.kind in self.kinds:
                self._line.append(change)
        else:
            name, self._latest = key + FENCED_MARK if fenced else key, change.revision
            waits = self._fresh.pop(name, None)
            if waits is not None:
                change = change._replace(old=waits.old)
            if change.old is not None or change.kind is ChangeKind.PUT:  # else it was put and is gone again since the last look
                self._fresh[name] = change
        if len(self._fresh) + self._read + len(self._line) + len(self._held) > self._limit:  # a call costs more than all that
            self.lag()

    # --- reading -----------------------------------------------------------------------------------------------------

    def next(self, store: Store, stamp: Stamp) -> Told | None:
        """The next event; None if there is none for now. `stamp`: the present one, of a feed that is not settled."""
        if self._lagging:
            self._lagging = False
            store.expire(stamp, EXPIRED)
            self._source, self._ahead, self._cursor = self._cells(store), True, None
            self._start(store.revision)
            return Told(RESYNC, self.name, None, None, 0, b"", self.base)
        if self._source is not None:
            return self._shown()
        while (change := self._first()) is not None:
            old = change.old
            self._told = change.revision
            put = change.kind is ChangeKind.PUT
            if self.kinds is not None and change.kind not in self.kinds:
                continue
            written = change.new.order[1]
            assert isinstance(written, int)
            return Told(
                change.kind.value,
                change.key,
                change.new.body if put else None,
                old.body if old is not None else None,
                written,
                change.origin,
                change.revision,
            )
        return None

    @property
    def name(self) -> str:
        """What `synced` and `resync` are about, if that is one thing."""
        names = (*self.keys, *self.prefixes)
        return names[0] if len(names) == 1 else ""

    def _first(self) -> Change | None:
        """In line."""
        if self._line:
            return self._line.popleft()
        if not self._read:
            if not self._fresh:
                return None
            self._turn()
        self._read -= 1
        return next(self._round)

    def _turn(self) -> None:
        """Begin a round with all that waits."""
        self._floor = max(self._told, self._ceiling)
        self._round, self._read = iter(self._fresh.values()), len(self._fresh)
        self._ceiling = self._latest  # what came and went counts: the reader need not know of it
        self._fresh = {}

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def _shown(self) -> Told:
        """The next value of the snapshot, or that it is over."""
        assert self._source is not None
        for cell in self._source:
            self._cursor = cell.key
            before = self._held.pop(cell.key, cell)
            if before is not None and (told := self._put(before)) is not None:
                return told
        self._ahead = False
        while self._held:  # what was there at the base, and is no more
            key = next(iter(self._held))
            before = self._held.pop(key)
            if before is not None and (told := self._put(before)) is not None:
                return told
        self._source = None
        return Told(SYNCED, self.name, None, None, 0, b"", self.base)

    def _put(self, cell: Cell) -> Told | None:
        if self.kinds is not None and ChangeKind.PUT not in self.kinds:
            return None
        written = cell.order[1]
        assert isinstance(written, int)
        return Told(ChangeKind.PUT.value, cell.key, cell.body, None, written, cell.actor, self.base)

    def _cells(self, store: Store) -> Iterator[Cell]:
        """What the store has told of what is followed, in the order of keys. (At the stamp 0 nothing has expired but what was
        said to have.)"""
        for name in sorted((*self.keys, *self.prefixes)):
            if name in self.keys:
                cell = store.get(name, 0)
                if cell is not None:
                    yield cell
            else:
                yield from store.scan(name, 0)


def _place(change: Change) -> str:
    """In line."""
    return change.key + FENCED_MARK if change.kind is ChangeKind.FENCED else change.key
