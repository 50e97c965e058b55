"""What is to be watched, and how: the arguments of `watch`, checked once, for peers, thin clients and sponsors."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from coordination.arguments.checks import check_key, check_prefix
from coordination.errors import BadKey, BadValue
from coordination.following.feed import LIMIT, RESYNC, SYNCED, Feed
from crdt.change import ChangeKind

__all__ = ["KINDS", "MAX_FOLLOWED", "Wanted", "check_one", "check_wanted"]

KINDS = frozenset({*[kind.value for kind in ChangeKind], SYNCED, RESYNC})

MAX_FOLLOWED = 1_024
"""Keys and prefixes of one watch."""
MAX_HISTORY = 1_000_000


class Wanted(NamedTuple):
    """What a watch of keys asks for, checked already."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    kinds: frozenset[str] | None
    history: int | None

    def feed(self, snapshot: bool) -> Feed:
        return Feed(
            self.keys,
            self.prefixes,
            snapshot=snapshot,
            limit=self.history or LIMIT,
            every=self.history is not None,
            kinds=self.kinds,
        )


def check_one(**given: Any) -> str:
    """The one thing of these that is to be watched. Raises `BadKey`."""
    found = [name for name, value in given.items() if value is not None]
    if len(found) != 1:
        raise BadKey(
            f"watch one of {', '.join([f'{name}=…' for name in given])} (prefix='' follows every key); "
            f"{', '.join(found) + ' are given' if found else 'none is given'}"
        )
    return found[0]


def check_wanted(
    keys: Collection[str], prefixes: Collection[str], kinds: Iterable[str] | None = None, history: int | None = None
) -> Wanted:
    """Raises `BadKey`, `BadValue`."""
    for names in (keys, prefixes):
        if isinstance(names, str) or not isinstance(names, Collection):
            raise BadKey(f"{names!r} is no list of keys or prefixes")
    if not 0 < len(keys) + len(prefixes) <= MAX_FOLLOWED:
        raise BadKey(f"{len(keys) + len(prefixes)} keys and prefixes cannot be watched in one: 1 to {MAX_FOLLOWED}")
    for key in keys:
        check_key(key)
    for prefix in prefixes:
        check_prefix(prefix)
    if history is not None and (type(history) is not int or not 0 < history <= MAX_HISTORY):
        raise BadValue(f"the history {history!r} is refused: how many changes may wait, an integer from 1 to {MAX_HISTORY:,}")
    return Wanted(tuple(keys), tuple(prefixes), _check_kinds(kinds), history)


def _check_kinds(kinds: Iterable[str] | None) -> frozenset[str] | None:
    if kinds is None:
        return None
    try:
        wanted = frozenset([str(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)])
    except TypeError:
        wanted = frozenset({repr(kinds)})
    if not wanted or not wanted <= KINDS:
        raise BadValue(f"{kinds!r} are no kinds of events: choose from {', '.join(sorted(KINDS))}")
    return wanted
