"""Following the members.

A watcher holds one mark for each member that changed since it last looked, and no more: what it is shown is the difference
between what it saw before and what is known now. So a slow one costs the members and not the changes, a member that came and
went between two looks is not shown at all, and events folded by name over a snapshot are equal to `peer.members` whenever no
mark is left (M19); but for incarnations, which rise untold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

import trio

from coordination.arguments.tags import matches
from coordination.core import Core
from mesh.membership import Member, MemberChanged, MemberForgotten, State

__all__ = ["MemberEvent", "MemberEventKind", "MemberHub", "MemberWatch"]


class MemberEventKind(StrEnum):
    """What happened to a member, as this peer knows it."""

    JOINED = "joined"
    """It was not there before, or is another process than the one that was (`previous` is that one then)."""
    UPDATED = "updated"
    """Its tags or its address changed, and its state did not."""
    ALIVE = "alive"
    """It is well again: a suspicion was refuted, or a partition has healed."""
    SUSPECT = "suspect"
    """It does not answer; most come back, so do nothing that you would regret."""
    DEAD = "dead"
    """It is taken for dead: it stopped without a word, or cannot be reached."""
    LEFT = "left"
    """It has said that it stops."""
    UNMATCHED = "unmatched"
    """It is there, but its tags are no longer those that this watch asks for."""
    FORGOTTEN = "forgotten"
    """Long dead or left, it is no longer listed."""
    SYNCED = "synced"
    """The snapshot is over; what follows are changes."""


STATE_KINDS = {state: MemberEventKind(state.value) for state in State}


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """One change, as the watcher sees it."""

    kind: MemberEventKind
    member: Member | None
    """As it is now, or was last if it is forgotten; None for `synced` alone."""
    previous: Member | None
    """What this watcher saw before, None if nothing."""


class MemberHub:
    """The watches of one peer."""

    __slots__ = ("_watches", "core")

    def __init__(self, core: Core) -> None:
        self.core = core
        self._watches: dict[MemberWatch, None] = {}
        core.dispatch.handle(MemberChanged, self._on_event)
        core.dispatch.handle(MemberForgotten, self._on_event)
        core.endings.append(self.close)

    def add(self, watch: MemberWatch) -> None:
        self._watches[watch] = None

    def remove(self, watch: MemberWatch) -> None:
        self._watches.pop(watch, None)

    def close(self) -> None:
        """The peer has ended, and every watch with it."""
        for watch in list(self._watches):
            watch.close()

    def _on_event(self, event: MemberChanged | MemberForgotten) -> None:
        for watch in self._watches:
            watch.offer(event.member.name)


class MemberWatch:
    """`async with peer.watch_members(tags=…, snapshot=False) as changes: async for event in changes: …`

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time."""

    __slots__ = ("_entered", "_hub", "_marks", "_shown", "_snapshot", "_wake", "_wanted")

    def __init__(self, hub: MemberHub, wanted: dict[str, str | None], snapshot: bool) -> None:
        self._hub = hub
        self._wanted = wanted
        self._snapshot = snapshot
        self._marks: dict[str, None] = {}
        self._shown: dict[str, Member] = {}
        self._wake: trio.Event | None = None
        self._entered = False

    async def __aenter__(self) -> MemberWatch:
        """Begin. A checkpoint. Raises `Closed` if the peer has ended."""
        await trio.lowlevel.checkpoint()
        self._hub.core.driver.check()
        members = {member.name: member for member in self._hub.core.assembly.membership.members()}
        if self._snapshot:
            self._shown = {}
            self._marks = dict.fromkeys((*members, SYNCED_NAME))
        else:
            self._shown = {name: member for name, member in members.items() if matches(member, self._wanted)}
        self._hub.add(self)
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """It ends."""
        self._entered = False
        self._hub.remove(self)
        self._marks.clear()
        self._shown.clear()
        if self._wake is not None:
            self._wake.set()

    def offer(self, name: str) -> None:
        """Something changed about this member; never waits."""
        self._marks[name] = None
        if name not in self._shown and self._hub.core.assembly.membership.get(name) is None:
            del self._marks[name]  # it came and went: names that are never looked at must not add up
        if self._wake is not None:
            self._wake.set()

    def __aiter__(self) -> AsyncIterator[MemberEvent]:
        return self

    async def __anext__(self) -> MemberEvent:
        while self._entered:
            if self._marks:
                await self._hub.core.turn()
                if self._marks:  # leaving the context empties it
                    name = next(iter(self._marks))
                    del self._marks[name]
                    event = self._event(name)
                    if event is not None:
                        return event
                continue
            self._wake = trio.Event()
            try:
                await self._wake.wait()
            finally:
                self._wake = None
        raise StopAsyncIteration

    def _event(self, name: str) -> MemberEvent | None:
        """What a look at a member shows, None if nothing is new."""
        if name == SYNCED_NAME:
            return MemberEvent(MemberEventKind.SYNCED, None, None)
        old = self._shown.pop(name, None)
        new = self._hub.core.assembly.membership.get(name)
        if new is None:
            return None if old is None else MemberEvent(MemberEventKind.FORGOTTEN, old, old)
        if not matches(new, self._wanted):
            return None if old is None else MemberEvent(MemberEventKind.UNMATCHED, new, old)
        self._shown[name] = new
        if old is None or old.boot.session != new.boot.session:
            kind = MemberEventKind.JOINED if new.reachable else STATE_KINDS[new.state]
            return MemberEvent(kind, new, old)
        if old.state is not new.state:
            return MemberEvent(STATE_KINDS[new.state], new, old)
        if (old.tags, old.address) != (new.tags, new.address):
            return MemberEvent(MemberEventKind.UPDATED, new, old)
        self._shown[name] = old  # a higher incarnation alone is not told, so it is not what has been shown
        return None


SYNCED_NAME = ""
"""No member has this name; it stands in line behind the snapshot."""
