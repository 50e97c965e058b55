"""The cell: one mergeable value under a key, of whatever kind.

Every kind is a maximum over an *order*, a tuple that is compared from the left. So one join serves all kinds, also those
that this version does not know, which are kept and passed on:

    join(a, b) = the one with the higher (order, dot)

    KEY        order = (fence, put stamp, put actor, expiry, touch stamp, touch actor)    body = the value, CBOR
    COUNTER    order = (epoch stamp, epoch actor, added, subtracted), of one writer        body = the base, CBOR
    LEASE_END  order = (stamp, actor)                                                     body empty

For a key: a higher put or delete replaces all; within one put a touch extends the expiry; put against delete at one stamp
cannot be, for one actor stamps each write anew. The total order (stamp, then actor) is what makes last-writer-wins give one
answer everywhere (Shapiro et al., 2011, LWW-element). A body of None is a tombstone, or an expired value: it is not shown,
and stays, so that nothing older comes back.

A cell carries one *dot*, (actor, n): that of its last write. `n` is 0 while a local write waits for its window."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "COUNTER",
    "EXPIRY",
    "KEY",
    "LEASE_END",
    "ZERO_ACTOR",
    "Actor",
    "Cell",
    "Order",
    "counter_key",
    "counter_name",
    "outranks",
    "stamp_of",
    "well_formed",
]

Actor = bytes
"""Who writes: one process, by its 16-byte session."""
Order = tuple[int | bytes, ...]

KEY = 0
COUNTER = 1
LEASE_END = 2

ZERO_ACTOR = b""

FENCE, STAMP, ACTOR, EXPIRY, TOUCH_STAMP, TOUCH_ACTOR = range(6)
"""Where things stand in a key's order."""

_SHAPES: dict[int, tuple[type, ...]] = {
    KEY: (int, int, bytes, int, int, bytes),
    COUNTER: (int, bytes, int, int),
    LEASE_END: (int, bytes),
}
_STAMPS: dict[int, tuple[int, ...]] = {KEY: (STAMP, TOUCH_STAMP), COUNTER: (0,), LEASE_END: (0,)}


class Cell(NamedTuple):
    kind: int
    key: str
    order: Order
    body: bytes | None
    bound: str | None
    """The lease whose end hides it."""
    actor: Actor
    n: int

    @property
    def expiry(self) -> int:
        """The stamp at which a key's value expires, 0 for never."""
        expiry = self.order[EXPIRY]
        assert isinstance(expiry, int)
        return expiry


def outranks(a: Cell, b: Cell) -> bool:
    """Whether `a` replaces `b` under the same kind and key. Total, and the same everywhere."""
    if a.order == b.order:
        return (a.actor, a.n) > (b.actor, b.n)
    if a.kind in _SHAPES:
        return a.order > b.order
    return _mixed(a.order) > _mixed(b.order)


def _mixed(order: Order) -> tuple[tuple[bool, int | bytes], ...]:
    """Comparable although a position may hold a number here and bytes there, as a later version's kinds may."""
    return tuple((isinstance(part, bytes), part) for part in order)


def well_formed(cell: Cell) -> bool:
    """Whether a cell that was received has the order that its kind demands."""
    shape = _SHAPES.get(cell.kind)
    if shape is None:
        return True
    return (
        len(cell.order) == len(shape)
        and all(type(part) is kind for part, kind in zip(cell.order, shape, strict=True))
        and (cell.kind != COUNTER or counter_name(cell.key) is not None)
    )


def stamp_of(cell: Cell) -> int:
    """The latest stamp that the cell carries, which its receiver's clock must follow."""
    return max([stamp for place in _STAMPS.get(cell.kind, ()) if isinstance(stamp := cell.order[place], int)], default=0)


def counter_key(name: str, actor: Actor) -> str:
    """The key of one writer's slot of a counter."""
    return f"{name}\0{actor.hex()}"


def counter_name(key: str) -> str | None:
    name, mark, actor = key.rpartition("\0")
    return name if mark and actor else None
