"""What a gauge's holders contribute, read from keys, and kept up to date by their changes. Sans I/O, for peers and sponsors.

Law: a tally that was given every change since it was made is the sum of what is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from crdt.cell import Cell
from crdt.change import Change, ChangeKind
from mesh.values import decode_value

__all__ = ["Tally", "contributions", "shown"]


def contributions(prefix: str, cells: Iterable[tuple[str, Any, bool]]) -> dict[str, int]:
    """What each holder contributes, by its name, from (key, value, whether it is bound to a lease)."""
    found: dict[str, int] = {}
    for key, value, bound in cells:
        holder = holder_of(key[len(prefix) :])
        if holder is not None and bound and type(value) is int:
            found[holder] = found.get(holder, 0) + value
    return found


def holder_of(rest: str) -> str | None:
    """Whose contribution stands under a key, from what follows the prefix; None if it is none."""
    holder, _, number = rest.rpartition(".")
    return holder.rpartition(".")[0] if holder and "/" not in holder and number else None


def shown(cell: Cell) -> tuple[str, Any, bool]:
    """As `contributions` wants it."""
    return cell.key, decode_value(cell.body) if cell.body is not None else None, cell.bound is not None


class Tally:
    """The sum of one gauge. Follows its keys (`coordination.following.interest`).

    prefix: under which the shares stand.
    cells: those that are there."""

    __slots__ = ("_held", "_prefix", "keys", "prefixes", "total")

    def __init__(self, prefix: str, cells: Iterable[Cell]) -> None:
        self._prefix = prefix
        self.keys: Sequence[str] = ()
        self.prefixes: Sequence[str] = (self._prefix,)
        self._held: dict[str, int] = {}
        """What is contributed under each key."""
        self.total = 0
        for cell in cells:
            self._note(*shown(cell))

    def offer(self, change: Change) -> None:
        """One of its keys has changed."""
        if change.kind is ChangeKind.PUT:
            self._note(*shown(change.new))
        elif change.kind is not ChangeKind.FENCED:  # what is seen now, if that is another, the next change tells
            self._note(change.key, None, False)

    def _note(self, key: str, value: Any, bound: bool) -> None:
        self.total -= self._held.pop(key, 0)
        if bound and type(value) is int and holder_of(key[len(self._prefix) :]) is not None:
            self._held[key] = value
            self.total += value
