"""What a holder is giving back: releases, and cancels of requests whose lease is not known.

Each is told to the owner at once, and then repeated until it is confirmed or the lease has run out by itself: a release to
the first of the group that is alive and, as `Drop`, to each acceptor, until the owner or q acceptors have it; a cancel to
every owner that was asked, until all have it. The next acquire of that key carries the unconfirmed releases, so that one's
own lost release costs nothing; but not those of leases that bind something: their end has to be told to everyone, and
only `Release` says so.

Notes count that are of the roster by which this node counts, and of processes that have not been replaced, as far as it or any
of those that noted it knows. (Those of two rosters, or of a voter that has forgotten it since and of another one, are together
no quorum that a later reading has to meet: the lock would stay closed for a ttl.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coordination.agreed.holding.requests import Request
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.boots import NO_BOOT, BootRecord
from coordination.agreed.vocabulary.events import Released
from coordination.agreed.vocabulary.messages import Cancel, CancelDone, Drop, Dropped, Release, ReleaseDone
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.values import LeaseId
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Emit, Send

__all__ = ["Leaving", "LeavingKey", "Leavings"]

REPEAT = 250_000_000
REPEAT_SLOWER = 4
"""The pauses grow to so many times the first."""
CAP = 4096
"""Beyond it the oldest is left to run out."""
CARRIED = 8

LeavingKey = LeaseId | tuple[int]
"""A release by its identity, a cancel by its wire number."""


class Leaving:
    """One release or cancel, until it is confirmed or has run out."""

    __slots__ = ("acks", "asked", "asker", "binds", "group", "key", "lease", "names", "noting", "tries", "until")

    def __init__(self, request: Request, until: int, *, tell: bool) -> None:
        self.key = request.key
        self.lease = request.lease
        self.asker = request.wire
        self.names = (request.name,) if tell else ()
        self.group: Group | None = request.group
        self.asked: Iterable[str] = request.asked
        self.binds = request.binds
        self.acks: dict[str, Boot] = {}
        """Who has confirmed it; of a note, the process that did."""
        self.noting = False
        """Whether this node's own acceptor has been asked to note it."""
        self.tries = 0
        self.until = until

    def votes(self, name: str) -> bool:
        return self.group is not None and name in self.group


class Leavings:
    """All of one holder. Due times are entries of the holder's agenda."""

    __slots__ = ("_agenda", "_boots", "_counts", "_identity", "_leaving", "_view", "epoch")

    def __init__(
        self, identity: Identity, view: View, agenda: Agenda[int | LeavingKey], boots: BootRecord, counts: Counter[str]
    ) -> None:
        self._identity = identity
        self._view = view
        self._agenda = agenda
        self._boots = boots
        self._counts = counts
        self._leaving: dict[LeavingKey, Leaving] = {}
        self.epoch = 1
        """Of the roster by whose groups notes are counted."""

    def __len__(self) -> int:
        return len(self._leaving)

    def __contains__(self, key: LeavingKey) -> bool:
        return key in self._leaving

    def tells(self, request: int) -> bool:
        """Whether `Released` of this request is still to come."""
        return any(request in leaving.names for leaving in self._leaving.values())

    def unconfirmed(self, key: str) -> tuple[LeaseId, ...]:
        """What the next acquire of this register says beside."""
        if not self._leaving:
            return ()
        found = [
            leaving.lease
            for leaving in self._leaving.values()
            if leaving.lease is not None and leaving.key == key and not leaving.binds
        ]
        return tuple(found[:CARRIED])

    def start(self, record: Request, now: Instant, out: list[Directive], *, tell: bool) -> None:
        """Give back what `record` holds or may be granted. `Released` follows, if it is to be told."""
        if len(self._leaving) >= CAP:
            self.done(next(iter(self._leaving)), out)
        # By then every acceptor has let go of it by itself.
        leaving = Leaving(record, now.mono + record.ttl + record.delay + record.ttl // 8, tell=tell)
        key: LeavingKey = record.lease if record.lease is not None else (record.wire,)
        self._leaving[key] = leaving
        if record.lease is not None:
            target = record.owner or (record.group[0] if record.group else self._identity.name)
            out.append(Send(target, Release(record.key, record.lease, record.binds)))
            if leaving.votes(self._identity.name) and target != self._identity.name and not (record.binds or record.queued_at):
                self._note(leaving, record.lease, out)
        else:
            cancel = Cancel(record.key, self._identity.name, self._identity.boot, record.wire)
            for name in record.asked:
                out.append(Send(name, cancel))
        self._agenda.at(key, now.mono + REPEAT, out)

    def _note(self, leaving: Leaving, lease: LeaseId, out: list[Directive]) -> None:
        """Have this node's own acceptor note the end."""
        leaving.noting = True
        out.append(Send(self._identity.name, Drop(leaving.key, lease, self.epoch)))

    def repeat(self, key: LeavingKey, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving.get(key)
        if leaving is None:
            return
        if now.mono >= leaving.until:
            self.done(key, out)
            return
        leaving.tries += 1
        if leaving.lease is not None and leaving.group is not None:
            target = next((name for name in leaving.group if self._view.is_alive(name)), leaving.group[0])
            out.append(Send(target, Release(leaving.key, leaving.lease, leaving.binds)))
            drop = Drop(leaving.key, leaving.lease, self.epoch)
            noted = self._noted(leaving)
            out.extend(Send(name, drop) for name in leaving.group if name not in noted)
        elif leaving.lease is None:
            cancel = Cancel(leaving.key, self._identity.name, self._identity.boot, leaving.asker)
            out.extend(Send(name, cancel) for name in leaving.asked if name not in leaving.acks)
        self._agenda.at(key, now.mono + REPEAT * min(REPEAT_SLOWER, leaving.tries), out)

    def regroup(self, placement: Placement | None) -> None:
        """Another roster counts: what acceptors of the old groups have noted says nothing about the new ones."""
        if placement is None:
            return
        for leaving in self._leaving.values():
            if leaving.group is not None:
                leaving.group = placement.group(leaving.key)
                if leaving.lease is not None:
                    leaving.acks.clear()

    def on_release_done(self, answer: ReleaseDone, now: Instant, out: list[Directive]) -> None:
        self.over(answer.lease, out)

    def over(self, lease: LeaseId, out: list[Directive]) -> None:
        """Its end is decided."""
        if lease in self._leaving:
            self.done(lease, out)

    def on_dropped(self, answer: Dropped, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving.get(answer.lease)
        if leaving is None or leaving.group is None or answer.acceptor not in leaving.group:
            return
        if answer.epoch != self.epoch:
            self._counts["noted_elsewhere"] += 1
            return
        if answer.boots:
            self._boots.learn(leaving.group, answer.boots)
        acks = leaving.acks
        acks[answer.acceptor] = max(answer.boot, acks.get(answer.acceptor, NO_BOOT))
        if len(acks) >= leaving.group.quorum and len(self._noted(leaving)) >= leaving.group.quorum:
            self.done(answer.lease, out)
        elif not leaving.noting and leaving.votes(self._identity.name) and self._identity.name not in acks:
            self._note(leaving, answer.lease, out)

    def _noted(self, leaving: Leaving) -> list[str]:
        """Whose notes count."""
        return [name for name, boot in leaving.acks.items() if boot >= self._boots.of(name)]

    def on_cancel_done(self, answer: CancelDone, now: Instant, out: list[Directive]) -> None:
        leaving = self._leaving.get((answer.request,))
        if leaving is None or answer.boot != self._identity.boot or answer.owner not in leaving.asked:
            return
        leaving.acks[answer.owner] = answer.boot
        if all(name in leaving.acks for name in leaving.asked):
            self.done((answer.request,), out)

    def done(self, key: LeavingKey, out: list[Directive]) -> None:
        """Confirmed, or run out."""
        leaving = self._leaving.pop(key, None)
        if leaving is not None:
            self._agenda.drop(key)
            for name in leaving.names:
                out.append(Emit(Released(name)))
