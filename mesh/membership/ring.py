"""Whom to probe, or to gossip with, next: everyone once, in random order, then everyone again in another (SWIM, section 4.3).

A newcomer is put in at a random place, so every member is probed within 2N-1 rounds at the latest."""

from __future__ import annotations

from random import Random

from mesh.membership.member import Member
from mesh.membership.table import Table

__all__ = ["Ring"]


class Ring:
    __slots__ = ("_names", "_next", "_random", "_table")

    def __init__(self, table: Table, random: Random) -> None:
        self._table = table
        self._random = random
        self._names: list[str] = []
        self._next = 0

    def add(self, name: str) -> None:
        """A member that was not reachable before. One whose turn is to come keeps it: flapping must not make the ring long."""
        if name in self._names[self._next :]:
            return
        place = self._random.randint(0, len(self._names))
        self._names.insert(place, name)
        if place < self._next:
            self._next += 1

    def next(self) -> Member | None:
        """The next one alive or suspect; None when this node is alone."""
        for _ in range(2):
            while self._next < len(self._names):
                member = self._table.get(self._names[self._next])
                self._next += 1
                if member is not None and member.reachable and member.name != self._table.own_name:
                    return member
            self._names = [member.name for member in self._table.others()]
            self._random.shuffle(self._names)
            self._next = 0
        return None
