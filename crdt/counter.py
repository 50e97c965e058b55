"""Counters: one slot per counter and actor, each with one writer, so that nothing added is lost or counted twice.

A slot's order is (epoch stamp, epoch actor, added, subtracted): its writer only raises it. An *epoch* begins when somebody
sets the counter; slots of lower epochs do not count any more. The value is the base of the highest epoch plus what its
slots added, less what they subtracted (a PN-counter within the epoch; Shapiro et al., 2011)."""

from __future__ import annotations

from collections.abc import Iterable

from crdt.cbor import read_int, write_int
from crdt.cell import COUNTER, Cell

__all__ = ["added_slot", "counter_of", "set_slot", "slot_key", "value"]

FIRST_EPOCH: tuple[int, bytes] = (0, b"")
ZERO = write_int(0)


def slot_key(name: str, actor: bytes) -> str:
    return f"{name}\0{actor.hex()}"


def counter_of(key: str) -> str:
    """The counter's name, from a slot's key."""
    return key.rpartition("\0")[0]


def _epoch(slots: Iterable[Cell]) -> tuple[tuple[int, bytes], bytes]:
    """The highest epoch and its base, encoded."""
    highest, base = FIRST_EPOCH, ZERO
    for slot in slots:
        epoch = slot.order[:2]
        if epoch > highest:
            highest, base = epoch, slot.body or ZERO  # type: ignore[assignment]
    return highest, base


def value(slots: Iterable[Cell]) -> int:
    """What the counter stands at."""
    slots = list(slots)
    epoch, base = _epoch(slots)
    total = read_int(base) or 0
    for _, _, order, *_ in slots:
        if order[:2] == epoch:
            total += order[2] - order[3]  # type: ignore[operator]
    return total


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
