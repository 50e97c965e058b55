"""Which voters keep a register: rendezvous hashing, the same in every Python version and process.

The weight of a voter for a key is BLAKE2b(voter, then key), read as a big-endian number; the group is the R voters of
the highest weight, in that order. Removing a voter moves only the keys that it kept. The first of the group that is
alive in the local view acts as the owner: a matter of speed only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from hashlib import blake2b
from heapq import nlargest
from typing import Self
from weakref import WeakValueDictionary

from coordination.agreed.vocabulary.roster import RosterValue

__all__ = ["Group", "Placement", "Remains", "placement_of"]

CACHE_KEYS = 65_536
CACHE_NAMES = 8_192
FEW = 8
"""A group that is so much smaller than the roster is picked, not sorted."""
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

    def outranks(self, one: str, other: str) -> bool:
        """Whether one stands before the other one; who is not of the group stands behind all."""
        return one in self and (other not in self or self.index(one) < self.index(other))

    def silent(self, answered: Mapping[str, int], since: int) -> tuple[str, ...]:
        """Who has not answered since then."""
        return tuple([name for name in self if answered.get(name, since) <= since])


class Remains(Group):
    """What an operator's reset of the roster has left of an earlier group: all are asked, and who has forgotten has nothing."""

    def __new__(cls, group: Group, left: Iterable[str]) -> Remains:
        names = set(left)
        remains = super().__new__(cls, tuple([name for name in group if name in names]))
        remains.witnesses = len(remains)
        return remains


@lru_cache(maxsize=CACHE_NAMES)
def _begun(name: str) -> tuple[str, blake2b]:
    """A voter, and the hash of its part of every weight. Of all rosters that it is in: they differ little."""
    text = name.encode()
    return name, blake2b(bytes([len(text)]) + text, digest_size=WEIGHT_BYTES)


def _rank(voters: tuple[tuple[str, blake2b], ...], size: int, groups: dict[tuple[str, ...], Group], key: str) -> Group:
    text = key.encode()
    weights = []
    for name, begun in voters:
        mixed = begun.copy()
        mixed.update(text)
        weights.append((mixed.digest(), name))
    best = nlargest(size, weights) if size * FEW < len(weights) else sorted(weights, reverse=True)[:size]
    names = tuple([name for _, name in best])
    if len(groups) >= CACHE_KEYS:
        groups.clear()  # of a large roster nearly every key has a group of its own, and keys come without end
    return groups.setdefault(names, Group(names))


class Placement:
    """Groups of one roster. Ask `placement_of` for it.

    What it remembers may be asked for and added to by several threads at a time, each with a node of its own."""

    __slots__ = ("__weakref__", "group", "roster")

    def __init__(self, roster: RosterValue) -> None:
        self.roster = roster
        voters = tuple([_begun(name) for name in roster.voters])
        groups: dict[tuple[str, ...], Group] = {}
        self.group: Callable[[str], Group] = lru_cache(maxsize=CACHE_KEYS)(partial(_rank, voters, roster.R, groups))
        """Of a key."""


_placements: WeakValueDictionary[RosterValue, Placement] = WeakValueDictionary()


def placement_of(roster: RosterValue) -> Placement:
    """The placement of this roster: one for all parts of a node, and for all nodes of a process, as long as one uses it.
    (Of 500 voters a key takes a third of a millisecond to rank, and the hashes that are begun take a quarter of a megabyte.)"""
    placement = _placements.get(roster)
    return placement if placement is not None else _placements.setdefault(roster, Placement(roster))
