"""Batches: cells that are seen together or not at all.

The cells of a batch have one stamp and consecutive dots of one actor, and each carries the batch's mark. A push brings all of
them in one message. In a transfer they come at their places, in several slices, some of them touched, and some of them no
more, for they have been replaced. So they wait. Rules:

  - A cell of a batch is joined once each of the batch's dots is either claimed or waits here, and then all that wait are
    joined in one step. Until then nothing of it is claimed, so that whoever is asked sends it again.
  - The end of a transfer claims the sender's snapshot. A batch that this covers is whole: in place of a cell that did not
    come, one that had replaced it has. It is joined before the claim. (After it, what waits would count as known, and its
    values were lost.)
  - If anything waits that the snapshot does not cover, because it was written while the transfer ran, then nothing that waits
    is joined, and the snapshot is not claimed. (What waits has replaced cells that the snapshot does cover, and they are not
    here; and what had replaced a cell of another batch may be what waits.) The next transfer is short.
  - What waits is forgotten when another transfer begins. With it nothing is lost: nobody was told that it is here.

A sender holds a batch in whole or not at all, by these same rules; so a snapshot covers all of its dots or none, but for
those of keys that have been replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from crdt.cell import Cell

__all__ = ["Batches", "Covers", "batch_of", "whole"]

Covers: TypeAlias = Callable[[bytes, int], bool]
Name: TypeAlias = tuple[bytes, int]
"""Of a batch: the actor of the put, and the first dot."""


def batch_of(cell: Cell) -> Name | None:
    """The batch that a cell was put in, if it was (one that was put again by itself is in none)."""
    if cell.batch is None or cell.batch.size == 1:
        return None
    return cell.order[2], cell.batch.first  # type: ignore[return-value]


def whole(cells: Iterable[Cell], covers: Covers) -> bool:
    """Whether these cells of one batch, with what is claimed, are all of it."""
    batches = Batches()
    return any(batches.add(cell, covers) for cell in cells)


@dataclass(slots=True)
class _Batch:
    cells: dict[tuple[bytes, int], Cell] = field(default_factory=dict)
    """By their dots, in order of arrival: a touched one beside what it touched."""
    missing: int = 0
    """A bit for each that is neither claimed nor here: whoever names a batch of thousands must not cost their room."""


class Batches:
    """The batches of which something waits."""

    __slots__ = ("_batches", "_count")

    def __init__(self) -> None:
        self._batches: dict[Name, _Batch] = {}
        self._count = 0

    def add(self, cell: Cell, covers: Covers) -> list[Cell]:
        """What may be joined now: all that waited of the cell's batch, and itself; nothing if some of it is not here."""
        mark, name = cell.batch, batch_of(cell)
        assert mark is not None and name is not None
        actor, first = name
        batch = self._batches.get(name)
        if batch is None:
            missing = sum([1 << place for place in range(mark.size) if not covers(actor, first + place)])
            if missing in (0, 1 << mark.place):
                return [cell]
            batch = self._batches[name] = _Batch(missing=missing)
        dot = (cell.actor, cell.n)
        self._count += dot not in batch.cells
        batch.cells[dot] = cell
        batch.missing &= ~(1 << mark.place)
        if batch.missing:
            return []
        del self._batches[name]
        self._count -= len(batch.cells)
        return list(batch.cells.values())

    def end(self, claims: Covers) -> list[Cell] | None:
        """All that waits, to be joined now, if with these claims everything of it is whole; else None."""
        for (actor, first), batch in self._batches.items():
            for place in range(batch.missing.bit_length()):
                if batch.missing >> place & 1 and not claims(actor, first + place):
                    return None
        ready = [cell for batch in self._batches.values() for cell in batch.cells.values()]
        self.clear()
        return ready

    def clear(self) -> None:
        self._batches.clear()
        self._count = 0

    def __len__(self) -> int:
        """Cells that wait."""
        return self._count
