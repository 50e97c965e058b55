"""Who follows which keys. Shared by a peer's watches and by those of thin clients.

A change is handed to those that want it, whatever the number of the others: by its key, and by each length that a followed
prefix has. Ten thousand prefixes of three lengths cost three look-ups a change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from crdt.change import Change

__all__ = ["Follower", "Interest", "disjoint", "wants"]


class Follower(Protocol):
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def prefixes(self) -> Sequence[str]:
        """No key, and no other prefix, begins with any of them: see `disjoint`."""

    def offer(self, change: Change) -> None:
        """A change that it wants; never waits."""


F = TypeVar("F", bound=Follower)


def disjoint(keys: Iterable[str], prefixes: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys and prefixes, sorted, of which none covers another: so that nobody is told of one change twice."""
    wide: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not wide or not prefix.startswith(wide[-1]):
            wide.append(prefix)
    return tuple(sorted({key for key in keys if not key.startswith(tuple(wide))})), tuple(wide)


def wants(follower: Follower, key: str) -> bool:
    return key in follower.keys or key.startswith(tuple(follower.prefixes))


class Interest(Generic[F]):
    """Followers by what they follow."""

    __slots__ = ("_by_key", "_lengths", "_prefixed")

    def __init__(self) -> None:
        self._by_key: dict[str, dict[F, None]] = {}
        self._prefixed: dict[str, dict[F, None]] = {}
        self._lengths: tuple[int, ...] = ()
        """Of the prefixes, rising."""

    def __bool__(self) -> bool:
        return bool(self._by_key or self._prefixed)

    def add(self, follower: F) -> None:
        for key in follower.keys:
            self._by_key.setdefault(key, {})[follower] = None
        for prefix in follower.prefixes:
            self._prefixed.setdefault(prefix, {})[follower] = None
            if len(prefix) not in self._lengths:
                self._lengths = tuple(sorted((*self._lengths, len(prefix))))

    def remove(self, follower: F) -> None:
        for table, names in ((self._by_key, follower.keys), (self._prefixed, follower.prefixes)):
            for name in names:
                followers = table.get(name)
                if followers is not None:
                    followers.pop(follower, None)
                    if not followers:
                        del table[name]
        if not self._prefixed:
            self._lengths = ()

    def all(self) -> list[F]:
        return [follower for table in (self._by_key, self._prefixed) for followers in table.values() for follower in followers]

    def tell(self, changes: Iterable[Change]) -> None:
        by_key, prefixed = self._by_key, self._prefixed
        if not by_key and not prefixed:
            return
        for change in changes:
            key = change.key
            for follower in by_key.get(key, ()):
                follower.offer(change)
            for length in self._lengths:
                if length > len(key):
                    break
                for follower in prefixed.get(key[:length], ()):
                    follower.offer(change)
