"""Recall: keeps which process this is, and from when on its memory is complete.

A memory is complete once it holds every promise of this name that may still matter: at once, if this process was exempt
from abstention when it learned the roster, else when its own abstention has passed, during which whatever it had promised
before ran out. From then on every process on this disk votes at once.

Of two founders it says beside, until one process has lived for M, that this is only an operator's word, `fresh`: such a process
votes, and tells nobody that there is nothing (`lease_memory`), and neither does the next one on its disk. (Said wrongly of one,
after both had lost the roster; it restarts at once, the other one reads from it that nothing is held, and a lock has a second
holder.)"""

from __future__ import annotations

from collections.abc import Hashable

from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import Arm, Directive, Directives, Event, Message, Source
from mesh.membership import Joined

__all__ = ["Recall"]


class Recall:
    """Does nothing for a node without a memory."""

    name = "recall"
    messages: tuple[type[Message], ...] = ()
    hears = (Joined, RosterDecided)

    def __init__(self, identity: Identity, birth: Birth, memory: VoterMemory | None) -> None:
        self._identity = identity
        self._birth = birth
        self._memory = memory
        self._kept = 0
        self._by_word = memory is not None and memory.by_word()
        """It is written down as complete by an operator's word."""
        self._complete = memory is not None and memory.complete() and not self._by_word

    def start(self, now: Instant) -> Directives:
        """Before every vote of this process its boot is durable: they stand behind it."""
        return self._keep_boot()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return self._keep_boot() if isinstance(event, Joined) else self._look(now)

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return self._look(now)

    def stats(self) -> dict[str, int]:
        return {"complete": int(self._complete)} if self._memory is not None else {}

    def _keep_boot(self) -> Directives:
        out: list[Directive] = []
        stamp = self._identity.boot.stamp
        if self._memory is not None and stamp != self._kept:
            self._kept = stamp
            self._memory.keep_boot(stamp, out)
        return out

    def _look(self, now: Instant) -> Directives:
        """Note that the memory is complete, once it is."""
        roster = self._birth.roster
        if self._memory is None or self._complete or roster is None:
            return ()
        until = self._birth.incomplete_until(now)
        if until is not None:
            return (Arm("complete", until),)
        out: list[Directive] = []
        until = self._birth.by_word_until(now)
        if until is None or not (self._by_word or len(roster.voters) == 2):
            self._complete = True
            self._memory.keep_complete(self._identity.boot.stamp, out)
            return out
        if not self._by_word:
            self._by_word = True
            self._memory.keep_complete(self._identity.boot.stamp, out, by_word=True)
        out.append(Arm("complete", until))
        return out
