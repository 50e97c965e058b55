"""A voter's side of the instance that decides the next roster: what it has promised and accepted.

- It takes a proposal only with Q promises named in it, none of them older than the newest process of that voter that it
  knows; every answer names the boots that its voter knows, and answers of older processes do not count. (A voter restarts,
  forgets its promise, is asked again, and both proposals are decided.)
- Accepting any proposal seals the node for registers up to e, for good. (A register of e is changed after a mover has
  read it.) It comes back to what was accepted, a random 0.2 to 1 s later, until that is decided. (A proposer that dies
  leaves registers that nobody serves.)
- To promise to a reset seals, also who has accepted nothing, and takes the operator's word for a memory. (A voter that has
  forgotten the seal of e+1 vouches for e again.)
- What it says is written down before it is said, also what a reset wants. (All that promised restart before anyone has
  accepted, each leaves it to the others to complete it, and refuses all else.)"""

from __future__ import annotations

import random
from collections import Counter

from coordination.agreed.rosters.confirming import Confirming
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import (
    ResetPrepare,
    RosterAccept,
    RosterAccepted,
    RosterPrepare,
    RosterPromise,
    RosterRefused,
)
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import StandingNote, VoterMemory
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Send

__all__ = ["RosterVote"]

MS = 1_000_000
COMPLETE_FIRST = 200
COMPLETE_LAST = 1_000
"""ms, random."""


class RosterVote:
    """Of this node, about the successor of the newest roster. `agenda` brings up "complete"."""

    def __init__(
        self,
        identity: Identity,
        standing: Standing,
        confirming: Confirming,
        random: random.Random,
        boots: BootRecord,
        agenda: Agenda[str],
        counts: Counter[str],
        memory: VoterMemory | None,
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._confirming = confirming
        self._random = random
        self._boots = boots
        self._agenda = agenda
        self._counts = counts
        self._memory = memory
        self.promised = ZERO
        self.accepted = ZERO
        self.roster: RosterValue | None = None
        """What was accepted."""
        self.reset: RosterValue | None = None
        """What the last reset that was promised to wants."""
        self.counter = 0
        """The highest of any ballot that was met."""

    def restore(self, note: StandingNote) -> None:
        """As an earlier process wrote it down."""
        self.promised, self.accepted, self.roster, self.reset = note.promised, note.accepted, note.roster, note.reset
        self.counter = max(note.promised.counter, note.accepted.counter)

    def clear(self) -> None:
        """Another roster is the newest."""
        self.promised = self.accepted = ZERO
        self.roster = self.reset = None

    def keep(self, out: list[Directive]) -> None:
        """Write down where this node stands: what follows rests on it."""
        if self._memory is not None:
            standing = self._standing
            self._memory.keep_standing(
                StandingNote(
                    standing.origin,
                    standing.rosters,
                    standing.sealed,
                    standing.memory,
                    self.promised,
                    self.accepted,
                    self.roster,
                    standing.limit,
                    standing.lasting,
                    tuple(sorted(standing.settled)),
                    self.reset,
                ),
                out,
            )

    def to_complete(self) -> bool:
        """Whether something may have been decided that nobody is told of."""
        return self.roster is not None or self.reset is not None

    def pause(self) -> int:
        """ns until it ought to be completed."""
        return self._random.randrange(COMPLETE_FIRST, COMPLETE_LAST) * MS

    # --- messages ---------------------------------------------------------------------------------------------------------

    def on_prepare(self, ask: RosterPrepare, now: Instant, out: list[Directive]) -> None:
        ballot = ask.ballot
        if not self._may_vote(ballot.epoch, ballot.name, now, out) or self._outbid(ballot, out):
            return
        self.promised = ballot
        self.keep(out)
        self._promise(ballot, out)

    def on_reset(self, ask: ResetPrepare, now: Instant, out: list[Directive]) -> None:
        ballot, standing, roster = ask.ballot, self._standing, self._standing.roster
        if ask.epoch != standing.epoch:
            self._confirming.differ(ask.epoch, ballot.name, now, out)
            return
        if roster is None or self._identity.name not in roster.voters or standing.yielding or not self._able(now):
            return
        proper = roster.may_be_reset_to(ask.roster) or roster.may_be_followed(ask.roster)
        if not standing.is_reset(ballot.epoch) or not proper:
            self._counts["malformed"] += 1
            return
        if self._outbid(ballot, out):
            return
        self._counts["reset_promised"] += 1
        self.promised, self.reset = ballot, ask.roster
        standing.sealed = max(standing.sealed, roster.epoch)
        if not standing.memory:
            standing.recalled(undecided=True)
        self._agenda.drop("recall")
        self.keep(out)
        self._promise(ballot, out)
        self._agenda.sooner("complete", now.mono + self.pause(), out)

    def on_accept(self, ask: RosterAccept, now: Instant, out: list[Directive]) -> None:
        ballot = ask.ballot
        if not self._may_vote(ballot.epoch, ballot.name, now, out) or self._outbid(ballot, out):
            return
        roster = self._standing.roster
        if roster is None or not self._rests_on_majority(ask, roster) or not self._proper(roster, ask):
            self._counts["malformed"] += 1
            return
        if any(self._boots.of(name) > boot for name, boot in ask.rests):
            out.append(Send(ballot.name, RosterRefused(ballot, self.promised)))
            return
        self.promised = self.accepted = ballot
        self.roster = ask.roster
        self._standing.sealed = max(self._standing.sealed, roster.epoch)
        self.keep(out)
        out.append(Send(ballot.name, RosterAccepted(ballot, self._identity.name, self._identity.boot, self._record())))
        self._agenda.at("complete", now.mono + self.pause(), out)

    # --- the rules --------------------------------------------------------------------------------------------------------

    def _may_vote(self, epoch: int, asker: str, now: Instant, out: list[Directive]) -> bool:
        standing = self._standing
        if epoch != standing.epoch + 1 and not (standing.is_reset(epoch) and epoch == self.promised.epoch):
            self._confirming.differ(epoch - 1, asker, now, out)
            return False
        if not standing.votes():
            self._counts["abstained"] += 1
            return False
        return self._able(now)

    def _outbid(self, ballot: Ballot, out: list[Directive]) -> bool:
        """Whether a higher one has been promised: then this one is refused."""
        self.counter = max(self.counter, ballot.counter)
        if ballot >= self.promised:
            return False
        out.append(Send(ballot.name, RosterRefused(ballot, self.promised)))
        return True

    def _able(self, now: Instant) -> bool:
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return False
        if self._memory is not None and not self._memory.ready(now.mono):
            self._counts["disk_failing"] += 1
            return False
        return True

    def _promise(self, ballot: Ballot, out: list[Directive]) -> None:
        identity = self._identity
        promise = RosterPromise(ballot, identity.name, identity.boot, self._record(), self.accepted, self.roster)
        out.append(Send(ballot.name, promise))

    def _proper(self, roster: RosterValue, ask: RosterAccept) -> bool:
        """A reset may have to complete a change, but no change is a reset."""
        reset = self._standing.is_reset(ask.ballot.epoch) and roster.may_be_reset_to(ask.roster)
        return roster.may_be_followed(ask.roster) or reset

    @staticmethod
    def _rests_on_majority(ask: RosterAccept, roster: RosterValue) -> bool:
        names = {name for name, _ in ask.rests}
        return names <= set(roster.voters) and len(names) >= roster.majority

    def _record(self) -> tuple[Boot, ...]:
        roster = self._standing.roster
        assert roster is not None
        return self._boots.group(roster.voters)
