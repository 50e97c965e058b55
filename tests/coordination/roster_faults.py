"""Planted faults of the roster's succession: copies of the parts in which one rule is broken. A checker must notice each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.search import Search
from coordination.agreed.rosters.confirming import Confirming
from coordination.agreed.rosters.roster_round import RosterRound
from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.messages import Accept, Accepted, Promise, Reason, Rejected, Renew
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.roster import Joined, RosterValue
from coordination.agreed.vocabulary.succession_messages import EpochOk, RosterAccept, RosterPromise, Seen
from coordination.agreed.vocabulary.values import FREE
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.register import Register
from coordination.agreed.voting.standing import Adoption, Standing
from crdt.clock import Instant
from mesh.directives import Directive, Directives, Message, Source
from tests.coordination.agreed_world import Changes
from tests.coordination.roster_campaign import hunt
from tests.coordination.roster_stories import (
    Story,
    a_third_by_word,
    duels,
    forgot_two,
    given_back_while_moved,
    moved_to_the_slow,
    split_group,
    stale_voter,
    tell,
    unaware_holder,
    unaware_owner,
    unheard,
)


class VotesOnOld(Acceptor):
    """Goes on in a roster that it knows to be followed by another, in which it has no vote."""

    def _old(self, epoch: int) -> bool:
        assert self._roster is not None
        older = any(roster.epoch == epoch for roster in self._standing.rosters[:-1])
        return older and self._identity.name not in self._roster.voters

    def _admit(self, key: str, ballot: Ballot, now: Instant, out: list[Directive]) -> Group | None:
        if self._old(ballot.epoch):
            self._standing.confirmed = now.boot
            return self._standing.placement(ballot.epoch).group(key)
        return super()._admit(key, ballot, now, out)


class ExtendsSealed(Acceptor):
    """Extends a lease for whoever counts by an older roster."""

    def _renew(self, ask: Renew, now: Instant, out: list[Directive]) -> None:
        assert self._roster is not None
        newest, placement = self._roster, self._placement
        if ask.epoch < newest.epoch and any(roster.epoch == ask.epoch for roster in self._standing.rosters):
            self._placement = self._standing.placement(ask.epoch)
            self._roster = self._placement.roster
            self._standing.confirmed = now.boot
        super()._renew(ask, now, out)
        self._roster, self._placement = newest, placement


class SaysEmpty(Acceptor):
    """What it has not started is free, it says."""

    def prepare(self, ask: Any, now: Instant, out: list[Directive]) -> Any:
        answer = super().prepare(ask, now, out)
        if isinstance(answer, Promise) and answer.accepted.epoch < ask.ballot.epoch:
            started = Ballot(ask.ballot.epoch, 0, "", NO_BOOT)
            return Promise(
                answer.key, answer.ballot, answer.name, answer.boot, answer.boots, started, FREE, (), (), 0, answer.clock
            )
        return answer


class KeepsOldUntil(Acceptor):
    """Knows a lease already, and does not care how long others wait for it by now."""

    @staticmethod
    def _adopt(register: Any, ballot: Ballot, value: Any, waits: Any, mono: int) -> None:
        register.accepted = register.accepted._replace(epoch=ballot.epoch)
        Acceptor._adopt(register, ballot, value, waits, mono)


class NeverCompletes(RosterRound):
    def complete(self, now: Instant, out: list[Directive]) -> None:
        return


class SkipsPromises(RosterRound):
    """Proposes at once what it wants, and takes any proposal."""

    def _begin(self, now: Instant, out: list[Directive], reset: RosterValue | None = None) -> None:
        super()._begin(now, out, reset)
        roster, ballot = self._elastic(), self._ballot
        if self._wanted is not None and roster is not None and ballot is not None:
            rests = tuple([Joined(name, self._boots.of(name)) for name in roster.voters[: roster.majority]])
            self._proposing = RosterAccept(ballot, self._wanted, rests)
            self.repeat(now, out)

    def on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        return


class TakesOwn(RosterRound):
    """Proposes what it wants, whatever others have accepted."""

    def on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        if self._wanted is not None:
            promise = RosterPromise(promise.ballot, promise.name, promise.boot, promise.boots, Ballot(0, 0, "", NO_BOOT), None)
        super().on_promise(promise, now, out)


class TellsUndecided(Succession):
    """Acts on a roster as soon as it has accepted it, and tells others."""

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out = [*super().on_message(message, source, now)]
        if isinstance(message, RosterAccept) and self._vote.accepted == message.ballot:
            self._standing.follow(message.roster, now)
            self._decided(now, out)
        return out


class OneVouches(Confirming):
    """Takes one voter's word for that of a majority."""

    def on_epoch_ok(self, answer: Any, now: Instant, out: list[Directive]) -> None:
        if answer.epoch == self._standing.epoch:
            self._standing.confirmed = max(self._standing.confirmed, self._vouching.answered(answer, 2))


class Stewarded(Confirming):
    """No fault: a roster of any size has stewards."""

    small = 0


class CountsFromAnswer(Stewarded):
    """Takes what a steward knew a while ago for what it knows now."""

    def on_epoch_ok(self, answer: EpochOk, now: Instant, out: list[Directive]) -> None:
        age = None if answer.age is None else 0
        super().on_epoch_ok(EpochOk(answer.epoch, answer.serial, answer.name, age), now, out)


class RemembersNothing(Standing):
    """Takes part as soon as it knows the roster, whatever it has promised before."""

    __slots__ = ()

    def adopt(self, chain: Any, now: Instant) -> Adoption:
        self.memory = True
        return super().adopt(chain, now)


class ServesUnconfirmed(Standing):
    __slots__ = ()

    def closed(self, now: Instant) -> int:
        reason = super().closed(now)
        return Reason.OK if reason == Reason.UNCONFIRMED else reason


class RecallsOnce(Standing):
    """What it was told of one change counts for the next, too."""

    __slots__ = ()

    def _go_on(self) -> None:
        pass


class LapsesEarly(Standing):
    """Takes earlier groups for empty before their leases are over."""

    __slots__ = ()

    def past(self, key: str, now: Instant) -> list[tuple[int, Group]]:
        later = now._replace(mono=now.mono + self.rosters[-1].lapse * 9 // 10)
        return super().past(key, later)


class RaisesNothing(Acceptor):
    """Takes no token over but those of the value."""

    @staticmethod
    def _raise(register: Register, floor: int) -> None:
        pass


class RaisesByClock(Acceptor):
    """Takes no token over that its own clock would not have granted, and the value all the same."""

    def accept(self, ask: Accept, now: Instant, out: list[Directive]) -> Accepted | Rejected | None:
        floor = ask.floor if ask.floor <= self._clock.read(now) + self._tokens[1] else 0
        return super().accept(replace(ask, floor=floor), now, out)


class DropsLive(Search):
    """Moves the value that the earlier groups report, but not what they call live."""

    __slots__ = ()

    def past(self) -> Any:
        found = super().past()
        return found and [([stripped(seen) for seen in answers], quorum) for answers, quorum in found]


def stripped(seen: Seen) -> Seen:
    return Seen(
        seen.key, seen.ballot, seen.name, seen.boot, seen.epoch, seen.whole, seen.accepted, seen.value, (), (), seen.highest
    )


class AsksOne(Search):
    """Takes one of an earlier group for all."""

    __slots__ = ()

    def past(self) -> Any:
        found = []
        for epoch, group in self._levels:
            answers = [seen for name in group if (seen := self._counted(name, epoch)) is not None]
            if not answers:
                return None
            worst = min(answers, key=lambda seen: seen.accepted)
            found.append(([worst], 1))
            if worst.accepted.epoch >= epoch:
                break
        return found


class AsksOneFewer(Search):
    """Reads so few of an earlier group that a quorum may be beside them."""

    __slots__ = ()

    def past(self) -> Any:
        self._levels = [(epoch, Fewer(group)) for epoch, group in self._levels]
        return super().past()


class Fewer(Group):
    def __new__(cls, names: tuple[str, ...]) -> Fewer:
        group = super().__new__(cls, names)
        group.witnesses = max(1, group.witnesses - 1)
        assert isinstance(group, Fewer)
        return group


class TakesOneWord(Search):
    """Takes it for enough that one of two remembers by an operator's word."""

    __slots__ = ()

    def add(self, seen: Seen) -> None:
        super().add(replace(seen, by_word=False))


class LooksBackOnce(Search):
    """Reads the last group before this one, and none before that."""

    __slots__ = ()

    def past(self) -> Any:
        self._levels = self._levels[:1]
        return super().past()


def searching(search: type[Search]) -> type[Proposer]:
    class Seeker(Proposer):
        __slots__ = ()

        def search(self, desk: Any, now: Instant, out: list[Directive]) -> bool:
            found = super().search(desk, now, out)
            if type(desk.search) is Search:
                desk.search.__class__ = search
            return found

    return Seeker


class Told(NamedTuple):
    changes: Changes
    story: Story | None = None
    """Of `roster_stories`; None for the random histories."""
    focus: tuple[str, ...] = ()
    seeds: int = 60


ROSTER_FAULTS: dict[str, Told] = {
    "votes on a sealed epoch": Told(((Acceptor, VotesOnOld),), unaware_owner, seeds=20),
    "extends a lease on a sealed acceptor": Told(((Acceptor, ExtendsSealed),), unaware_holder, seeds=20),
    'answers "empty" for "not started"': Told(((Acceptor, SaysEmpty),), seeds=20),
    "keeps the until of an earlier roster": Told(((Acceptor, KeepsOldUntil),), focus=("change", "swap")),
    "seals without completing": Told(((RosterRound, NeverCompletes),), focus=("crash_change",), seeds=20),
    "skips the promises of the instance": Told(((RosterRound, SkipsPromises),), duels, seeds=100),
    "takes its own roster over an accepted one": Told(((RosterRound, TakesOwn),), unheard, seeds=20),
    "passes on undecided rosters": Told(((Succession, TellsUndecided),), duels, seeds=20),
    "takes one voter's word for a majority's": Told(((Confirming, OneVouches),), split_group, seeds=4),
    "takes a steward's word for today's": Told(((Confirming, CountsFromAnswer),), split_group, seeds=4),
    "serves without being confirmed": Told(((Standing, ServesUnconfirmed),), split_group, seeds=4),
    "takes part without its memory": Told(((Standing, RemembersNothing),), focus=("forget",), seeds=20),
    "takes what it was told of one change for the next": Told(((Standing, RecallsOnce),), forgot_two, seeds=4),
    "evicted counted as empty too early": Told(((Standing, LapsesEarly),), split_group, seeds=4),
    "moves without the live identities": Told(((Proposer, searching(DropsLive)),), focus=("change",), seeds=20),
    "moves without the highest token": Told(((Acceptor, RaisesNothing),), given_back_while_moved, seeds=4),
    "takes over the tokens of its own clock only": Told(((Acceptor, RaisesByClock),), moved_to_the_slow, seeds=4),
    "takes the word of one operator for a memory": Told(((Proposer, searching(TakesOneWord)),), a_third_by_word, seeds=4),
    "moves from a minority of the old group": Told(((Proposer, searching(AsksOne)),), stale_voter, seeds=20),
    "reads one too few of the old group": Told(((Proposer, searching(AsksOneFewer)),), focus=("swap",), seeds=60),
    "skips the joint read of two changes": Told(((Proposer, searching(LooksBackOnce)),), focus=("swap", "change"), seeds=20),
}
"""Each is found within so many seeds."""

STEWARDED: Changes = ((Confirming, Stewarded),)


def first(fault: Told) -> tuple[int, str] | None:
    """The seed that shows it."""
    if fault.story is not None:
        return tell(fault.story, range(fault.seeds), fault.changes)
    return hunt(range(fault.seeds), fault.changes, fault.focus)
