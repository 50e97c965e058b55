"""The desks of one node: a bounded table of the registers that it acts for.

A desk is made at the first question and forgotten when nobody has wanted anything of it for M: nothing of it is needed for
safety, but its ballots must not be used again, so the highest counter of all that were forgotten stays."""

from __future__ import annotations

from collections import Counter

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.proposer import RESEND_LONGEST, Proposer
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.ports import Identity, View
from crdt.clock import Instant
from mesh.directives import Directive

__all__ = ["Desks"]

CAP = 65_536
"""An idle desk is forgotten earlier for a new one; if none is found, the new one has to wait."""
ROOM_TRIES = 8


class Desks:
    __slots__ = ("_agenda", "_counts", "_desks", "_identity", "_proposer", "placement")

    def __init__(self, identity: Identity, proposer: Proposer, agenda: Agenda[str], counts: Counter[str]) -> None:
        self._identity = identity
        self._proposer = proposer
        self._agenda = agenda
        self._counts = counts
        self._desks: dict[str, Desk] = {}
        self.placement: Placement | None = None
        """Of the roster; None as long as there is none."""

    def __len__(self) -> int:
        return len(self._desks)

    def get(self, key: str) -> Desk | None:
        return self._desks.get(key)

    def acts_for(self, key: str, view: View) -> bool:
        """Whether this node is the first of the group that is alive in its view."""
        if self.placement is None:
            return False
        for name in self.placement.group(key):
            if name == self._identity.name:
                return True
            if view.is_alive(name):
                return False
        return False

    def open(self, key: str, now: Instant) -> Desk | None:
        """The desk of a register, new if need be; None if this node may not act for it, or has too many."""
        desk = self._desks.get(key)
        if desk is None:
            if self.placement is None:
                self._counts["no_roster"] += 1
                return None
            group = self.placement.group(key)
            if self._identity.name not in group:
                self._counts["misrouted"] += 1
                return None
            if len(self._desks) >= CAP and not self._make_room():
                self._counts["desks_full"] += 1
                return None
            desk = self._desks[key] = Desk(key, group)
        desk.used = now.mono
        return desk

    def regroup(self) -> list[Desk]:
        """Another roster counts: all desks, each with its new group."""
        placement = self.placement
        if placement is None:
            return []
        for desk in self._desks.values():
            desk.regroup(placement.group(desk.key))
        return list(self._desks.values())

    def leave(self, desk: Desk) -> None:
        """Another group keeps that register now."""
        self._forget(desk)

    def look_again(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        """Keep a time for every desk: a waiting one soon, an idle one when it may be forgotten."""
        if desk.wanted() or desk.round is not None:
            self._agenda.sooner(desk.key, now.mono + RESEND_LONGEST, out)
            return
        assert self.placement is not None
        end = desk.used + self.placement.roster.abstention
        if now.mono < end:
            self._agenda.sooner(desk.key, end, out)
        else:
            self._forget(desk)

    def _make_room(self) -> bool:
        """Forget an idle desk, if one is among those that came first."""
        for _ in range(ROOM_TRIES):
            key = next(iter(self._desks))
            desk = self._desks.pop(key)
            if desk.round is None and not desk.wanted():
                self._forget(desk)
                return True
            self._desks[key] = desk
        return False

    def _forget(self, desk: Desk) -> None:
        self._proposer.floor = max(self._proposer.floor, desk.counter + 1)
        self._agenda.drop(desk.key)
        self._desks.pop(desk.key, None)
