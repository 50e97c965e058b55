"""The value of a counter from its slots.

A slot is written by one actor alone: `(epoch stamp, epoch actor, added, subtracted)`, where both sums only grow within an
epoch. The value is the base of the highest epoch plus what the slots *of that epoch* hold; setting a counter starts an
epoch, and adds that were concurrent with it are lost by definition (PN-counter with resets, Baquero et al.)."""

from __future__ import annotations

from collections.abc import Iterable

from crdt.cell import Cell

__all__ = ["counter_value"]


def counter_value(slots: Iterable[Cell]) -> int:
    """Base and sum over the slots of the highest epoch."""
    highest: tuple[int, bytes] = (0, b"")
    base = total = 0
    for slot in slots:
        stamp, actor, added, subtracted = slot.order
        assert isinstance(stamp, int) and isinstance(actor, bytes)
        assert isinstance(added, int) and isinstance(subtracted, int)
        epoch = (stamp, actor)
        if epoch > highest:
            highest, total, base = epoch, 0, 0
        if epoch == highest:
            total += added - subtracted
            if slot.body:
                base = int.from_bytes(slot.body, "big", signed=True)
    return base + total
