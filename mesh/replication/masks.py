"""Actors whose clocks are too far ahead.

The stamps of one actor rise with its n, so its first stamp that is too far in the future *masks* the actor from there on:
one record, and nothing is hoarded. Masked cells are not merged, not adopted by the clock, and left out of pulls, until this
node's own clock has come near enough. One bad clock never drags the mesh, and what it wrote is not offered again and again."""

from __future__ import annotations

from crdt.clock import COUNTER_BITS, Stamp

__all__ = ["Masks"]


class Masks:
    __slots__ = ("_masks", "_max_drift")

    def __init__(self, max_drift_ms: int) -> None:
        self._masks: dict[bytes, tuple[int, Stamp]] = {}
        self._max_drift = max_drift_ms << COUNTER_BITS

    def hides(self, actor: bytes, n: int, stamp: Stamp) -> bool:
        """Whether a dot is masked; a mask that is due, by the clock's stamp, is dropped."""
        mask = self._masks.get(actor)
        if mask is None:
            return False
        if stamp >= mask[1]:
            del self._masks[actor]
            return False
        return n >= mask[0]

    def add(self, actor: bytes, n: int, ahead: Stamp) -> None:
        """The dot's stamp is `ahead`, too far: nothing of this actor from `n` on until the clock is within reach of it."""
        due = ahead - self._max_drift
        known = self._masks.get(actor)
        if known is None or n < known[0]:
            self._masks[actor] = (n, due)

    def active(self, stamp: Stamp) -> list[tuple[bytes, int]]:
        """(actor, n) of the masks that are not due yet, sorted."""
        if not self._masks:
            return []
        return sorted((actor, n) for actor, (n, due) in self._masks.items() if due > stamp)

    def __len__(self) -> int:
        return len(self._masks)
