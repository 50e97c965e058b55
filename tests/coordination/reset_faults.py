"""Planted faults of a reset: copies of the parts in which one rule is broken. A checker must notice each."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest.mock import patch

from coordination.agreed.rosters.confirming import Confirming
from coordination.agreed.rosters.mover import Mover
from coordination.agreed.rosters.reset import Reset
from coordination.agreed.rosters.roster_round import RosterRound
from coordination.agreed.rosters.roster_vote import RosterVote
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import ResetPrepare, RosterAccept, RosterAccepted, RosterPromise
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Directive
from tests.coordination.agreed_world import Changes
from tests.coordination.reset_stories import Story, accepted, both_sides, fresh_forgetters, gone_over, half_way, mistaken

ZERO = Ballot(0, 0, "", NO_BOOT)


class PromisesUnsealed(RosterVote):
    """Takes the operator's word for a memory, and goes on vouching for the roster until it has accepted another."""

    def on_reset(self, ask: ResetPrepare, now: Instant, out: list[Directive]) -> None:
        sealed = self._standing.sealed
        super().on_reset(ask, now, out)
        self._standing.sealed = sealed


class NeverSeals(PromisesUnsealed):
    """Nor then."""

    def on_accept(self, ask: RosterAccept, now: Instant, out: list[Directive]) -> None:
        sealed = self._standing.sealed
        super().on_accept(ask, now, out)
        if self._standing.is_reset(ask.ballot.epoch):
            self._standing.sealed = sealed


class TakesTheOperators(RosterRound):
    """Decides what the operator wants, whatever a voter has accepted before."""

    def on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        if self._resetting is not None:
            promise = RosterPromise(promise.ballot, promise.name, promise.boot, promise.boots, ZERO, None)
        super().on_promise(promise, now, out)


class CountsAnybody(RosterRound):
    """A reset is decided by whoever takes part."""

    def _elastic(self) -> RosterValue | None:
        roster = super()._elastic()
        return roster if roster is None or self._resetting is None or not self._counting else Few(*roster)

    _counting = False

    def on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        self._counting = True
        super().on_promise(promise, now, out)
        self._counting = False

    def on_accepted(self, answer: RosterAccepted) -> RosterValue | None:
        self._counting = True
        decided = super().on_accepted(answer)
        self._counting = False
        return decided


class TakesAnybody(RosterVote):
    """Whatever a reset rests on."""

    @staticmethod
    def _rests_on_majority(ask: RosterAccept, roster: RosterValue) -> bool:
        return True


class Few(RosterValue):
    @property
    def majority(self) -> int:
        return max(1, len(self.voters) - len(self.voters) // 2 - 1)


class AsksFewer(Reset):
    """And it is begun by as few."""

    def _conclude(self, query: int, now: Instant) -> list[Directive]:
        question = self._questions[query]
        question.roster = Few(*question.roster)
        try:
            return super()._conclude(query, now)
        finally:
            question.roster = RosterValue(*question.roster)


class RemembersAll(Standing):
    """Whoever takes part in a reset says that it remembers every lease of the old roster, too."""

    __slots__ = ()

    def _arrive(self, roster: RosterValue) -> None:
        super()._arrive(roster)
        if self.rosters and roster.epoch > self.rosters[-1].epoch + 1 and self.whole is not None:
            self.whole = 0


class LooksAtNothing(Standing):
    """Takes the old roster's groups for empty: an operator has said that it is over."""

    __slots__ = ()

    def past(self, key: str, now: Instant) -> Any:
        return [] if self.was_reset() else super().past(key, now)


class NeverMeets(Confirming):
    """Asks those of its own roster alone."""

    def _meet(self, roster: RosterValue, out: list[Directive]) -> None:
        return


class NeverReports(Mover):
    """Says nothing of what it keeps: its reports make two halves meet, too, as long as one of them has something to move."""

    def _report(self, out: list[Directive]) -> None:
        return


class NextEpoch(Reset):
    """Counts on by one, as a change does."""

    def _conclude(self, query: int, now: Instant) -> list[Directive]:
        with patch("coordination.agreed.rosters.reset.reset_epoch", lambda wall, session, epoch: epoch + 1):
            return super()._conclude(query, now)


class AnyEpoch(RosterRound):
    """Takes it, too."""

    def reset(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        self._wanted = roster
        self._begin(now, out, roster)


class AnyBallot(Standing):
    """As that of a reset."""

    __slots__ = ()

    def is_reset(self, epoch: int) -> bool:
        return epoch > self.epoch


class Planted(NamedTuple):
    changes: Changes
    story: Story
    seeds: int


RESET_FAULTS: dict[str, Planted] = {
    "a promise does not seal": Planted(((RosterVote, PromisesUnsealed),), half_way, 10),
    "a reset does not seal": Planted(((RosterVote, NeverSeals),), gone_over, 10),
    "takes the operator's roster over an accepted one": Planted(((RosterRound, TakesTheOperators),), accepted, 10),
    "a minority resets": Planted(
        ((RosterRound, CountsAnybody), (RosterVote, TakesAnybody), (Reset, AsksFewer)), both_sides, 10
    ),
    "forgotten leases count as none": Planted(((Standing, RemembersAll),), fresh_forgetters, 20),
    "does not look at the old roster": Planted(((Standing, LooksAtNothing),), fresh_forgetters, 20),
    "does not look for others that go on": Planted(((Confirming, NeverMeets), (Mover, NeverReports)), mistaken, 10),
    "counts on by one": Planted(((Reset, NextEpoch), (RosterRound, AnyEpoch), (Standing, AnyBallot)), mistaken, 10),
}
"""Each is found within so many seeds."""
