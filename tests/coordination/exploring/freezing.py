"""States of parts as values: `freeze` for comparing them, `Shelf` for going back to them.

Two states are the same if everything is that the code may ever look at. Left out is what it only counts for people, and in
what order it came to know things that it looks up by name; numbers that only tell entries of one heap apart go by order. What
nobody changes once it is made (messages, ballots, values, rosters) stands for itself, and is shared by all states."""

from __future__ import annotations

import io
import pickle
import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.tickets import Queue
from mesh.directives import Event, Message

__all__ = ["Pool", "Seen", "Shelf", "freeze", "publish", "settle"]

IGNORED = frozenset((
    "_counts", "_handlers", "_identity", "_random", "_view", "_sequence", "_heap", "_lines", "_armed", "tables", "commits",
    "_number", "_sent_at",
))  # fmt: skip
ATOMS = frozenset((int, str, bytes, bool, float, type(None), type))


class Content:
    """Stands for what one object holds: there is one for each content."""

    __slots__ = ()


Pool = dict[Hashable, Content]


class Seen(dict[int, int]):
    """Objects that have been met, by id, with their number."""

    __slots__ = ("pool",)

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool


How = Callable[[Any, Seen], Hashable]


def freeze(thing: Any, seen: Seen) -> Hashable:
    """What `thing` holds, as a value that can be compared and hashed."""
    kind = type(thing)
    if kind in ATOMS:
        return thing  # type: ignore[no-any-return]
    return (_how.get(kind) or _learn(kind, thing))(thing, seen)


def _itself(thing: Any, seen: Seen) -> Hashable:
    return thing  # type: ignore[no-any-return]


def _list(thing: Any, seen: Seen) -> Hashable:
    return tuple([freeze(each, seen) for each in thing])


def _dict(thing: Any, seen: Seen) -> Hashable:
    return frozenset([(key, freeze(value, seen)) for key, value in thing.items()])


def _queue(thing: Any, seen: Seen) -> Hashable:
    """Its order says whose turn it is."""
    return tuple([freeze(ticket, seen) for ticket in thing.all()])


_how: dict[type, How] = {
    tuple: _list,
    list: _list,
    deque: _list,
    dict: _dict,
    Counter: _dict,
    set: lambda thing, seen: frozenset(thing),
    frozenset: _itself,
    Group: lambda thing, seen: (*thing, thing.quorum),
    Placement: lambda thing, seen: thing.roster,
    Queue: _queue,
}


def _is_value(kind: type) -> bool:
    return issubclass(kind, Message | Event | Enum) or hasattr(kind, "_fields")


def _learn(kind: type, thing: Any) -> How:
    if _is_value(kind):
        _how[kind] = _itself
        return _itself
    slots = [name for base in reversed(kind.__mro__) for name in base.__dict__.get("__slots__", ())]
    names = tuple([name for name in dict.fromkeys([*slots, *getattr(thing, "__dict__", ())]) if name not in IGNORED])

    def fields(thing: Any, seen: Seen) -> Hashable:
        known = seen.get(id(thing))
        if known is not None:
            return ("@", known)
        seen[id(thing)] = len(seen)
        key = (kind, *[freeze(getattr(thing, name, None), seen) for name in names])
        return seen.pool.get(key) or seen.pool.setdefault(key, Content())

    _how[kind] = fields
    return fields


class Shelf:
    """Keeps objects as bytes, and makes equal ones of them again. What is shared is kept here, once."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._index: dict[Hashable, int] = {}
        self._table = _Table(self)

    def keep(self, thing: Any) -> bytes:
        out = io.BytesIO()
        pickler = pickle.Pickler(out, pickle.HIGHEST_PROTOCOL)
        pickler.dispatch_table = self._table
        pickler.dump(thing)
        return out.getvalue()

    def wake(self, data: bytes) -> Any:
        global _open
        _open = self._values
        return pickle.loads(data)

    def share(self, kind: type) -> None:
        """Nobody ever changes one of these, and none is copied."""
        self._table[kind] = lambda thing: (_fetch, (self._number((kind, id(thing)), thing),))

    def share_equal(self, kind: type) -> Callable[[Any], Any]:
        self._table[kind] = how = lambda thing: (_fetch, (self._number((kind, thing), thing),))
        return how

    def share_placements(self) -> None:
        self._table[Placement] = lambda thing: (_fetch, (self._number((Placement, thing.roster), thing),))

    def _number(self, key: Hashable, thing: Any) -> int:
        known = self._index.get(key)
        if known is None:
            known = self._index[key] = len(self._values)
            self._values.append(thing)
        return known


class _Table(dict[type, Callable[[Any], Any]]):
    """How each kind of thing is kept: values by their number, all else as it would be anyway."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self._shelf = shelf

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if issubclass(kind, Message) or hasattr(kind, "_fields"):
            return self._shelf.share_equal(kind)
        if issubclass(kind, type):
            raise KeyError(kind)  # a class goes by its name
        how = self[kind] = lambda thing: thing.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return how


_open: list[Any] = []


def _fetch(number: int) -> Any:
    return _open[number]


def publish(kind: type) -> None:
    """Let a class that a function has made be found by its name."""
    if "<locals>" in kind.__qualname__:
        kind.__qualname__ = f"{kind.__name__}_{id(kind)}"
        kind.__module__ = __name__
        setattr(sys.modules[__name__], kind.__qualname__, kind)
        for base in kind.__bases__:
            publish(base)


def settle(agenda: Agenda[Any]) -> int | None:
    """Let an agenda hold what is due and nothing else, and say when the next is: a wake-up for nothing changes nothing."""
    due = agenda._due
    kept: dict[tuple[int, Any], None] = {}
    for when, _, key in sorted([entry for entries in (agenda._heap, *agenda._lines) for entry in entries]):
        if due.get(key) == when:
            kept[when, key] = None
    for line in agenda._lines:
        line.clear()
    agenda._heap[:] = [(when, number, key) for number, (when, key) in enumerate(kept)]
    agenda._sequence = len(kept)
    agenda._armed = agenda._heap[0][0] if kept else None
    return agenda._armed
