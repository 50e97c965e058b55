"""Which voters keep a register: rendezvous hashing, the same in every Python version and process.

The weight of a voter for a key is BLAKE2b(voter, then key), read as a big-endian number; the group is the R voters of
the highest weight, in that order. Removing a voter moves only the keys that it kept. The first of the group that is
alive in the local view acts as the owner: a matter of speed only."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Self

from coordination.agreed.roster import RosterValue

__all__ = ["Group", "Placement", "Remains"]

CACHE_KEYS = 65_536
WEIGHT_BYTES = 8


class Group(tuple[str, ...]):
    """The voters of one register, best ranked first, shared by all keys that have the same one."""

    quorum: int
    witnesses: int
    """So many of it share one with any quorum: enough to read from voters that never change anything again."""

    def __new__(cls, names: tuple[str, ...]) -> Self:
        group = super().__new__(cls, names)
        group.quorum = len(names) // 2 + 1
        group.witnesses = len(names) - group.quorum + 1
        return group


class Remains(Group):
    """What an operator's reset of the roster has left of an earlier group: all are asked, and who has forgotten has nothing."""

    def __new__(cls, group: Group, left: Iterable[str]) -> Remains:
        names = set(left)
        remains = super().__new__(cls, tuple([name for name in group if name in names]))
        remains.witnesses = len(remains)
        return remains


class Placement:
    """Groups of one roster. A new roster gets a new object, so the cache is by (epoch, key)."""

    __slots__ = ("_groups", "_keys", "_states", "roster")

    def __init__(self, roster: RosterValue) -> None:
        self.roster = roster
        self._states = []
        for name in roster.voters:
            text = name.encode()
            self._states.append((name, blake2b(bytes([len(text)]) + text, digest_size=WEIGHT_BYTES)))
        self._keys: dict[str, Group] = {}
        self._groups: dict[tuple[str, ...], Group] = {}

    def group(self, key: str) -> Group:
        group = self._keys.get(key)
        if group is None:
            group = self._rank(key)
            if len(self._keys) >= CACHE_KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[key] = group
        return group

    def _rank(self, key: str) -> Group:
        text = key.encode()
        weights = []
        for name, state in self._states:
            mixed = state.copy()
            mixed.update(text)
            weights.append((mixed.digest(), name))
        weights.sort(reverse=True)
        names = tuple(name for _, name in weights[: self.roster.R])
        return self._groups.setdefault(names, Group(names))
