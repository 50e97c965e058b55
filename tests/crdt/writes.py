"""What tests write into a store from elsewhere, and read from it."""

from __future__ import annotations

from crdt.cell import KEY, LEASE_END, Cell
from crdt.change import ChangeKind
from crdt.store import Store

LATE = 1 << 40
"""A stamp above all others."""


def told(store: Store) -> list[tuple[ChangeKind, str, bytes | None, bytes | None]]:
    """(kind, key, old, new), with the value that is shown."""
    return [
        (kind, key, old and old.body, new.body if kind is ChangeKind.PUT else None)
        for kind, key, new, old, *_ in store.take_changes()[0]
    ]


def shown(store: Store, stamp: int = LATE) -> dict[str, bytes | None]:
    return {cell.key: cell.body for cell in store.scan("", stamp)}


def remote(actor: bytes, key: str, body: bytes | None, stamp: int, expiry: int = 0, n: int = 1, fence: int = 0) -> Cell:
    return Cell(KEY, key, (fence, stamp, actor, expiry, 0, b""), body, None, actor, n)


def touched(cell: Cell, actor: bytes, stamp: int, expiry: int, n: int) -> Cell:
    return cell._replace(order=(*cell.order[:3], expiry, stamp, actor), actor=actor, n=n)


def lease_end(actor: bytes, lease: str, stamp: int, n: int = 1) -> Cell:
    return Cell(LEASE_END, lease, (stamp, actor), b"", None, actor, n)
