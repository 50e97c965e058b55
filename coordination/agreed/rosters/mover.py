"""The mover: carries atomic registers into the newest roster unasked, and sees when an earlier one is of no more use.

A register that nobody touches stays where it is, with voters that may be evicted next, and switched off. So whoever keeps one
of which something was accepted reads it, once a newer roster is decided: a read is an accept by the newest group (`server`),
and moves it. Rules, each with what breaks without it:

  - A register counts as moved once a read of it was accepted in a roster that is newer than where it is moved from. (The
    old owner answers, which has not heard of the newer roster.)
  - A voter *reports* a roster e once all that it keeps has been moved to e or later. Of an earlier roster m with N voters N-q+1
    reports are enough, by voters that remember everything from m on: q of a group accepted whatever was decided, so one of them
    kept it. Then m is *settled*: nothing is searched for there any more. (A register that was not moved reads as new.)
  - After an operator's reset all that it has left of m have to report, whatever they remember.
  - Reports are never taken back: what has been moved stays so, whoever restarts. (A voter that has reported forgets what it
    kept, reports that of a later roster, and the earlier one never settles.)
  - In a large roster reports go to the stewards, and these say to everyone what is settled (see `stewards`). It is taken from
    whoever has the same newest roster. (After a reset two may go on, each of which has moved everything, but not to the other.)
  - A roster that is settled, and of which no lease can be alive, leaves the chain, the oldest first.
  - What is settled, and what has left the chain, is written down; neither is ever taken back. (All restart, the earlier voters
    are gone for good, and whatever is called for the first time is searched for with them, for ever.)
  - Whoever still keeps a longer chain says so by its own reports, and is told the shorter one. (A voter that restarts has
    forgotten what was reported, and those who reported are gone.)

The electorate waits for it, within reason, before it proposes the next roster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from itertools import takewhile

from coordination.agreed.atomics.caller import Caller
from coordination.agreed.atomics.calls import Moved
from coordination.agreed.rosters.stewards import SHARE, SMALL, stewards
from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary.ballot import ZERO
from coordination.agreed.vocabulary.events import Called, CallFailed, RosterDecided
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.voting.acceptor import NEVER_WHOLE, Acceptor
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Act, Arm, Directive, Directives, Event, Message, Send, Source

__all__ = ["Mover"]

AT_ONCE = 16
"""Registers that are read at the same time."""
REPORT_EVERY = 2 * NANOSECONDS
"""As long as an earlier roster is in the chain."""
PATIENCE = 3
"""Reports that bring no end before everyone is told, not the stewards alone."""
PAUSE = NANOSECONDS // 2
"""Before a register that could not be read is tried again."""


class Mover:
    name = "mover"
    messages = (Moved,)
    hears = (RosterDecided, Called, CallFailed)
    small = SMALL

    def __init__(
        self, identity: Identity, view: View, standing: Standing, succession: Succession, acceptor: Acceptor, caller: Caller
    ) -> None:  # fmt: skip
        self._identity = identity
        self._view = view
        self._standing = standing
        self._succession = succession
        self._acceptor = acceptor
        self._caller = caller
        self._started = False
        """The acceptor has been, and knows again what it keeps on its disk."""
        self._target = 0
        """The roster that everything is being moved to."""
        self._todo: list[str] = []
        self._reading: dict[int, str] = {}
        """Keys by the number of the call."""
        self._reports: dict[str, tuple[int, int]] = {}
        """By voter: the roster up to which all has been moved, and the first one of which it remembers everything."""
        self._vouched: set[tuple[str, int]] = set()
        """Of a voter and an earlier roster: it has reported, at any time, that all is moved that it ever accepted there."""
        self._reported = 0
        """How often, to the stewards, since the newest roster was decided."""
        self._kept = standing.rosters[:1], set(standing.settled)
        """What is written down, or about to be: where the chain begins, and what is settled."""
        self._counts: Counter[str] = Counter()

    @property
    def moving(self) -> int:
        """Registers of this node that are still to be moved."""
        return len(self._todo) + len(self._reading)

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._started = True
        return self._turn(now)

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            return self._turn(now)
        out: list[Directive] = []
        if not self._reading or not isinstance(event, (Called, CallFailed)):
            return out
        key = self._reading.pop(event.call, None)
        if key is not None:
            if isinstance(event, Called) and event.epoch >= self._target:
                self._counts["moved"] += 1
                self._read_more(now, out)
            else:
                self._todo.append(key)
                self._counts["unmoved"] += 1
                out.append(Arm("read", now.mono + PAUSE))
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if timer == "read":
            self._read_more(now, out)
            return out
        if len(self._standing.rosters) > 1:
            self._report(out)
            self._settle(now)
            out.append(Arm("report", now.mono + REPORT_EVERY))
        self._keep(out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        assert isinstance(message, Moved)
        standing = self._standing
        if not standing.rosters or not standing.rosters[-1].elastic:
            return ()
        if message.oldest < standing.rosters[0].epoch:
            return (Send(message.name, standing.chain(now)),)
        if not any(message.name in roster.voters for roster in standing.rosters):
            return ()  # it has never kept anything, and has nothing to say
        known = self._reports.get(message.name, (0, 0))
        self._reports[message.name] = max(known, (message.epoch, -message.lasting))
        if message.settled and message.epoch == standing.epoch:
            standing.settled.update([roster.epoch for roster in standing.unsettled() if roster.epoch <= message.settled])
        self._settle(now)
        out: list[Directive] = []
        self._keep(out)
        return out

    def stats(self) -> dict[str, int]:
        return {"to_move": self.moving, "unsettled": len(self._standing.unsettled()), **self._counts}

    # --- moving -----------------------------------------------------------------------------------------------------------

    def _turn(self, now: Instant) -> Directives:
        """See to the newest roster."""
        standing = self._standing
        roster = standing.roster
        out: list[Directive] = []
        if roster is None or not roster.elastic or roster.epoch == self._target or not self._started:
            return out
        self._target = roster.epoch
        self._reported = 0
        voters = {name for each in standing.rosters for name in each.voters}
        self._reports = {name: report for name, report in self._reports.items() if name in voters}
        epochs = {each.epoch for each in standing.rosters}
        self._vouched = {each for each in self._vouched if each[1] in epochs}
        if len(standing.rosters) < 2:
            return out
        for number in self._reading:
            out.append(Act(self._caller, self._caller.cancel(number, now)))
        self._reading.clear()
        acceptor = self._acceptor
        kept = [(key, acceptor.register(key)) for key in acceptor.atomic.kept()]
        self._todo = [key for key, register in kept if register is not None and register.accepted != ZERO]
        self._read_more(now, out)
        out.append(Arm("report", now.mono + REPORT_EVERY))
        return out

    def _read_more(self, now: Instant, out: list[Directive]) -> None:
        caller = self._caller
        while self._todo and len(self._reading) < AT_ONCE:
            key, number = self._todo.pop(), caller.next_call()
            self._reading[number] = key
            out.append(Act(caller, caller.call(number, key, None, now)))
        if not self.moving:
            self._report(out)

    # --- reports ----------------------------------------------------------------------------------------------------------

    def _report(self, out: list[Directive]) -> None:
        """To the stewards, or to everyone. Also by those that never voted: who has a shorter chain answers with that."""
        standing, own = self._standing, self._identity
        if self.moving or len(standing.rosters) < 2:
            return
        lasting = NEVER_WHOLE if standing.lasting is None else standing.lasting
        report = Moved(own.name, self._target, lasting, standing.rosters[0].epoch, self._all_settled())
        told = stewards(standing, self._view, own.name, self.small)
        share = 1 + len(standing.rosters[-1].voters) // SHARE
        if told is None or (self._reported >= PATIENCE and self._reported % share == 0 and standing.unsettled()):
            told = list(dict.fromkeys((*standing.rosters[-1].voters, *self._view.names_alive())))
        self._reported += 1
        out.extend(Send(name, report) for name in told)

    def _all_settled(self) -> int:
        """The last of the earlier rosters up to which all are settled, as a large roster's stewards say; else 0."""
        standing = self._standing
        if len(standing.rosters[-1].voters) <= self.small:
            return 0
        settled = takewhile(lambda roster: roster.epoch in standing.settled, standing.rosters[:-1])
        return max([roster.epoch for roster in settled], default=0)

    def _settle(self, now: Instant) -> None:
        standing = self._standing
        for roster in standing.unsettled():
            left = standing.left_of(roster)
            if left is None:
                vouched = [(name, roster.epoch) for name in roster.voters if self._vouches(name, roster.epoch)]
                done = len(vouched) > len(roster.voters) - roster.quorum
                self._vouched.update(vouched)
            else:
                done = all(self._reports.get(name, (0, 0))[0] > roster.epoch for name in left)
            if done:
                standing.settled.add(roster.epoch)
        if standing.trim(now):
            self._counts["trimmed"] += 1

    def _vouches(self, name: str, epoch: int) -> bool:
        """Whether a voter of an earlier roster has reported that all is moved that it ever accepted there."""
        report = self._reports.get(name)
        return (name, epoch) in self._vouched or (report is not None and report[0] > epoch and -report[1] <= epoch)

    def _keep(self, out: list[Directive]) -> None:
        known = self._standing.rosters[:1], set(self._standing.settled)
        if known != self._kept and known[0]:
            self._kept = known
            out.append(Act(self._succession, self._succession.keep()))
