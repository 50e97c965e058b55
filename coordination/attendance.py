"""Who has to report to a round, and whom the next cut ends (see docs/cuts.md): a node's view of it, for the case that it leads.

An actor is a process in one of its lives. It is alive, or its name is known, or it is a stranger: somebody of whom only dots or
reports speak. Ended are

  - older processes and older lives of a name that is alive;
  - who has left;
  - who has been dead for `end_after`, or was given up by an operator, whose word is repeated for a while to whoever leads;
  - what returning members name.

Nothing is decided here: an opening names the ends, and it is the register that decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from coordination.errors import BadConfig
from crdt.clock import Instant
from crdt.cuts import End, Report
from mesh.directives import NANOSECONDS
from mesh.membership import Member, State
from mesh.replication import Replication
from mesh.replication.applying import actor_of
from mesh.replication.cut_messages import RoundState
from mesh.replication.standing import Standing

__all__ = ["Attendance", "Members", "View"]

END_AFTER = 600 * NANOSECONDS
NAMES_KEPT = 4_096
GIVEN_UP_FOR = 120 * NANOSECONDS
"""For which an operator's word is repeated to whoever leads."""
LIVES_TRIED = 16


class Members(Protocol):
    def get(self, name: str) -> Member | None: ...


class View(Protocol):
    def names_alive(self) -> Sequence[str]:
        """The same object as long as nothing has changed of those that are alive."""

    def session(self, name: str) -> bytes | None: ...


class Attendance:
    """Parameters
    ----------
    own: this node's name.
    """

    def __init__(self, own: str, replication: Replication, view: View, members: Members) -> None:
        assert replication.standing is not None
        self.end_after = END_AFTER
        """ns after which a member that is dead is ended."""
        self._own = own
        self._replication = replication
        self._standing: Standing = replication.standing
        self._view = view
        self._members = members
        self._named: dict[bytes, tuple[str, bytes]] = {}
        """Of actors that were alive: name and session."""
        self._missing: dict[bytes, int] = {}
        """Since when an actor that has to report is not alive (mono ns)."""
        self._given_up: dict[bytes, int] = {}
        """Sessions that an operator has given up, and until when that is repeated (mono ns)."""
        self._seen: tuple[Sequence[str], bytes, int] = ((), b"", -1)
        """Who was alive, under which actor, and how many lives had been noted, when `_living` was made."""
        self._living: dict[bytes, tuple[str, bytes]] = {}
        self._noted: dict[bytes, tuple[str, bytes]] = {}
        """Those alive whose names were noted last."""

    # --- an operator's word ------------------------------------------------------------------------------------------

    def give_up(self, name: str, now: Instant) -> None:
        """A member that is dead will not come back.

        Raises
        ------
        BadConfig: there is no such member, or it is alive.
        """
        member = self._members.get(name)
        if member is None:
            raise BadConfig(f"there is no member {name!r}: `mesh members` lists them")
        if name == self._own or member.reachable:
            raise BadConfig(f"{name!r} is {member.state.value}: stop it first, or have it leave with `mesh leave`")
        self._given_up[member.boot.session] = now.mono + GIVEN_UP_FOR

    def give_up_session(self, session: bytes, now: Instant) -> None:
        """Another node passes on what an operator has told it."""
        alive = [each for _, each in self.alive().values()]
        if session not in alive:
            self._given_up[session] = now.mono + GIVEN_UP_FOR

    def given_up(self, now: Instant) -> tuple[bytes, ...]:
        """The sessions of those that are given up and still counted."""
        if not self._given_up:
            return ()
        cut = self._standing.cut
        for session, until in list(self._given_up.items()):
            if now.mono > until or not any(cut.counts(actor) for actor in self._actors_of(session)):
                del self._given_up[session]
        return tuple(self._given_up)

    # --- who is there ------------------------------------------------------------------------------------------------

    def alive(self) -> dict[bytes, tuple[str, bytes]]:
        """The actors of those alive, this node among them. Not to be changed: it is made anew when one of them has changed."""
        standing = self._standing
        names, actor = self._view.names_alive(), standing.actor
        seen, own, noted = self._seen
        if names is seen and actor == own and noted == standing.noted:
            return self._living
        alive = {actor: (self._own, standing.session)}
        for name in names:
            session = self._view.session(name)
            if session is not None:
                alive[actor_of(session, standing.lives.get(session, 0))] = (name, session)
        self._seen, self._living = (names, actor, standing.noted), alive
        return alive

    def note(self) -> None:
        """Who is alive has its name noted, and is missed no more."""
        alive = self.alive()
        if alive is not self._noted:
            self._noted = alive
            self._named.update(alive)
            while len(self._named) > NAMES_KEPT:
                del self._named[next(iter(self._named))]
                self._noted = {}  # it may have been one of them
        if self._missing:
            for actor in [actor for actor in self._missing if actor in alive]:
                del self._missing[actor]

    def name_of(self, actor: bytes) -> str:
        name, _ = self._named.get(actor, ("", b""))
        return name or f"a process that is gone ({actor.hex()[:8]})"

    def another_can(self, named: set[bytes]) -> bool:
        """Whether somebody else is alive who was counted in an earlier life: its store is the better one to go on from."""
        standing = self._standing
        for _, session in self.alive().values():
            last = standing.lives.get(session, 0)
            lives = range(max(0, last - LIVES_TRIED), last + 1)
            if session != standing.session and any(actor_of(session, life) in named for life in lives):
                return True
        return False

    # --- who is ended ------------------------------------------------------------------------------------------------

    def ends(self, state: RoundState, reports: Iterable[Report], strangers: Iterable[bytes], now: Instant) -> dict[bytes, End]:
        """Whom the round has to end, in its opening or in a further one.

        Parameters
        ----------
        state: what the register of the rounds holds.
        reports: those that have come for what is open.
        strangers: whom they name beside, as ended.
        """
        cut, opening = state.cut, state.opening
        standing = self._standing
        gone = {each.actor for each in cut.retired}
        ends = {end.actor: end for end in (opening.ends if opening is not None else cut.ended)}
        summary = self._replication.store.dots.summary()
        wanted = {*cut.counted, *[actor for actor, _ in (*summary.vector, *summary.extras)], *standing.joiners}
        wanted.update(opening.members if opening is not None else ())
        for report in reports:
            wanted.update(report.joiners)
        self._recognise(wanted - gone - {*ends} - {*self.alive()})
        alive = self.alive()
        for actor in sorted(wanted - gone - {*ends} - {*alive}):
            end = self._ended(actor, alive, now)
            if end is not None:
                ends[actor] = end
        for actor in strangers:
            if actor not in gone and actor not in ends and actor not in alive:
                ends[actor] = End(actor, lost=True)
        for actor in [actor for actor in self._missing if actor not in wanted]:
            del self._missing[actor]
        for actor in [actor for actor in self._named if actor in gone]:
            del self._named[actor]
            self._noted = {}
        return ends

    def _recognise(self, strangers: set[bytes]) -> None:
        """Some may be later lives of those that are alive: what life a member leads is told by its frames, and in a large mesh
        most have sent this one none yet. (They were taken for dead, ended, and began anew again and again.)"""
        standing = self._standing
        for actor in sorted(strangers - {*self._named}):
            for _, session in self.alive().values():
                known = standing.lives.get(session, 0)
                for life in range(known + 1, known + 1 + LIVES_TRIED if session != standing.session else 0):
                    if actor_of(session, life) == actor:
                        standing.note_life(session, life)

    def _ended(self, actor: bytes, alive: dict[bytes, tuple[str, bytes]], now: Instant) -> End | None:
        name, session = self._named.get(actor, ("", b""))
        successor = next((other for other in alive.values() if other[0] == name), None) if name else None
        if successor is not None:
            return End(actor, lost=successor[1] == session)  # a new life of one process may bring something back
        member = self._members.get(name) if name else None
        if member is not None and member.state is State.LEFT:
            return End(actor, lost=False)
        if any(actor in self._actors_of(each) for each in self._given_up):
            return End(actor, lost=True)
        since = self._missing.setdefault(actor, now.mono)
        return End(actor, lost=True) if now.mono - since >= self.end_after else None

    def _actors_of(self, session: bytes) -> tuple[bytes, ...]:
        return session, actor_of(session, self._standing.lives.get(session, 0))
