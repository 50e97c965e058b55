"""The transfer of what one replica lacks from another, in slices.

    asker     start: states its claims                      sender   states its claims (the *snapshot*), sends the first slice
              merges each cell, claims its dot                       walks on in order of place from where it stopped
              after the last slice claims the snapshot

Both stores may change meanwhile. It is correct because every cell of the sender at the moment of the snapshot is either
claimed by the asker, or sent when its place is come to: it, or what replaced it. So a transfer that broke goes on from the
last place with any sender whose own claims cover the snapshot; another sender starts it anew.

It stays unclaimed as a whole if anything was left out or refused, or waits for the rest of a batch: a dot of the snapshot may
live on only in the cell that was left out. Every other cell has claimed its own dot by then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from crdt.cell import FOLD, Cell, Place, encode_cell
from crdt.dots import DotSet, Summary
from crdt.store import Store

__all__ = ["FIRST", "Slice", "Transfer", "missing", "rest"]

FIRST: Place = (-1, "")
"""Before every cell."""

INDEXED = 2_048
"""Up to so many lacking cells are found through the index of dots; more by a walk over the keys."""

WALKED = 16_384
"""Cells that one slice may pass over: bounds the time of a step to a few ms."""


class Slice(NamedTuple):
    """A part of what another replica lacks, in order of place."""

    cells: list[bytes]
    """Encoded."""
    last: Place
    """Everything up to here has been sent or passed over."""
    done: bool
    complete: bool
    """Nothing was left out because the asker masks its actor."""


def missing(
    store: Store, known: DotSet, masks: Mapping[bytes, int], after: Place, limit_bytes: int, *, everything: bool = False
) -> Slice:
    """The next cells with a dot that the asker has not claimed, after a place, up to a size (but at least one).

    The store must have been flushed. `masks`: actors from whom the asker takes nothing from a number on. `everything`: the
    asker's store is empty, and wants every cell whatever its dot: also those of retired actors, which nobody else lacks."""
    assert not store.pending, "a cell without its dot would be passed over, and claimed all the same"
    few = None
    if not everything:
        known.retire(store.dots.retired())
        few = store.lacking(known, INDEXED)
    walk = store.walk(after) if few is None else _sorted_after(few, after)
    cells: list[bytes] = []
    size, last, complete = 0, after, True
    for passed, cell in enumerate(walk):
        if few is None:
            if passed == WALKED:
                return Slice(cells, last, False, complete)
            if not everything and known.covers(cell.actor, cell.n):
                last = cell[:2]
                continue
        if cell.n >= masks.get(cell.actor, cell.n + 1):
            complete = False
        else:
            data = encode_cell(cell)
            if cells and size + len(data) > limit_bytes:
                return Slice(cells, last, False, complete)
            cells.append(data)
            size += len(data)
        last = cell[:2]
    return Slice(cells, last, True, complete)


def rest(store: Store, known: DotSet | None, upto: Place, after: Place, limit_bytes: int, holes: Iterable[Place]) -> Slice:
    """The next cells after a place, for somebody who holds up to another place what is claimed in `known` (None: nothing);
    before them what stands at some places. Folds have no dot of their own: they are always sent."""
    assert not store.pending, "a cell without its dot would be passed over, and claimed all the same"
    cells = [encode_cell(cell) for place in holes if (cell := store.cell(*place)) is not None]
    size, last = sum(map(len, cells)), after
    for passed, cell in enumerate(store.walk(after)):
        if passed == WALKED or (passed and size > limit_bytes):
            return Slice(cells, last, False, True)
        held = known is not None and cell[:2] <= upto and cell.kind != FOLD and known.covers(cell.actor, cell.n)
        if not held:
            data = encode_cell(cell)
            if passed and size + len(data) > limit_bytes:
                return Slice(cells, last, False, True)
            cells.append(data)
            size += len(data)
        last = cell[:2]
    return Slice(cells, last, True, True)


def _sorted_after(cells: list[Cell], after: Place) -> Iterator[Cell]:
    places = {cell[:2]: cell for cell in cells}
    return iter([places[place] for place in sorted(places) if place > after])


class Transfer:
    """The asker's side of one transfer."""

    __slots__ = ("after", "clean", "known", "snapshot")

    def __init__(self, known: Summary) -> None:
        self.known = known
        """What the asker had claimed when it began: stays the same, as what came since is only more."""
        self.snapshot: Summary | None = None
        self.after: Place = FIRST
        self.clean = True

    def begins(self, snapshot: Summary) -> None:
        """A sender begins from its first place, with these claims."""
        self.snapshot, self.after, self.clean = snapshot, FIRST, True

    def received(self, last: Place, complete: bool) -> None:
        """One slice has been merged; `complete` is False if any of its cells was left out or refused."""
        self.after = last
        self.clean = self.clean and complete

    def finish(self, store: Store) -> bool:
        """The last slice has been merged: claim the snapshot; False if it may not be."""
        if self.snapshot is None or not self.clean:
            return False
        return store.raise_to(self.snapshot)
