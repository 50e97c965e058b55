"""Counters: one slot per counter and actor, each with one writer, so that nothing added is lost or counted twice.

A slot's order is (epoch stamp, epoch actor, added, subtracted): its writer only raises it. An *epoch* begins when somebody
sets the counter; slots of lower epochs do not count any more. The value is the base of the highest epoch plus what its
slots added, less what they subtracted (a PN-counter within the epoch; Shapiro et al., 2011)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdt.cbor import read_int, write_int
from crdt.cell import COUNTER, FOLD, Cell, Order
from crdt.dots import NOBODY

__all__ = ["added_slot", "counter_of", "fold_key", "folded", "set_slot", "slot_actor", "slot_key", "value"]

FIRST_EPOCH: tuple[int, bytes] = (0, b"")
ZERO = write_int(0)


def slot_key(name: str, actor: bytes) -> str:
    return f"{name}\0{actor.hex()}"


def counter_of(key: str) -> str:
    """The counter's name, from the key of a slot, or of what is folded of it."""
    return key.rpartition("\0")[0]


def slot_actor(key: str) -> bytes:
    """Whose slot it is, whoever brought it."""
    return bytes.fromhex(key.rpartition("\0")[2])


def fold_key(name: str) -> str:
    return f"{name}\0"


def _parts(slot: Cell) -> Order:
    """(epoch stamp, epoch actor, added, subtracted)"""
    return slot.order if slot.kind == COUNTER else slot.order[1:]


def _epoch(slots: Iterable[Cell]) -> tuple[tuple[int, bytes], bytes]:
    """The highest epoch and its base, encoded."""
    highest, base = FIRST_EPOCH, ZERO
    for slot in slots:
        epoch = _parts(slot)[:2]
        if epoch > highest:
            highest, base = epoch, slot.body or ZERO  # type: ignore[assignment]
    return highest, base


def value(slots: Iterable[Cell]) -> int:
    """What the counter stands at."""
    slots = list(slots)
    epoch, base = _epoch(slots)
    total = read_int(base) or 0
    for slot in slots:
        order = _parts(slot)
        if order[:2] == epoch:
            total += order[2] - order[3]  # type: ignore[operator]
    return total


def folded(name: str, fold: Cell | None, slots: Sequence[Cell], tag: int) -> Cell:
    """One cell in the place of slots that nobody writes any more, and of what was folded before.

    It depends on them alone: slots of others may begin a higher epoch, and make it count for nothing, but are not asked."""
    cells = [*slots] if fold is None else [fold, *slots]
    epoch, base = _epoch(cells)
    added = subtracted = 0
    for cell in cells:
        order = _parts(cell)
        if order[:2] == epoch:
            added += order[2]  # type: ignore[operator]
            subtracted += order[3]  # type: ignore[operator]
    return Cell(FOLD, fold_key(name), (tag, *epoch, added, subtracted), base, None, NOBODY, 1)


def added_slot(name: str, actor: bytes, amount: int, own: Cell | None, slots: Iterable[Cell]) -> Cell:
    """The actor's slot after adding an amount, in the highest epoch that it knows. Not dotted yet."""
    epoch, base = _epoch(slots)
    added = subtracted = 0
    if own is not None and own.order[:2] == epoch:
        added, subtracted = own.order[2], own.order[3]  # type: ignore[assignment]
    if amount >= 0:
        added += amount
    else:
        subtracted -= amount
    return Cell(COUNTER, slot_key(name, actor), (*epoch, added, subtracted), base, None, actor, 0)


def set_slot(name: str, actor: bytes, base: int, stamp: int) -> Cell:
    """The actor's slot with which it begins an epoch. Not dotted yet."""
    return Cell(COUNTER, slot_key(name, actor), (stamp, actor, 0, 0), write_int(base), None, actor, 0)
