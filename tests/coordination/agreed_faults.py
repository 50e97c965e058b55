"""Planted faults: copies of the parts in which one rule is broken. Each must be caught by a checker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from coordination.agreed.holding.belief import Belief
from coordination.agreed.holding.holder import Holder
from coordination.agreed.holding.keeper import Keeper
from coordination.agreed.holding.leavings import Leavings
from coordination.agreed.owning.desk import Change, Desk
from coordination.agreed.owning.grants import Grants
from coordination.agreed.owning.owner import Owner
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.replies import Replies
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.events import Ending
from coordination.agreed.vocabulary.messages import Accept, Promise, RenewItem
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.vocabulary.values import Holding, LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.learner import VOTED
from coordination.agreed.voting.register import Kept, Register
from crdt.clock import Instant
from mesh.directives import Directive, Directives, Emit, Send
from tests.coordination.agreed_world import Changes


class VotesAtOnce(Acceptor):
    def abstaining(self, key: str, now: Instant) -> int:
        return 0


class LosesLive(Acceptor):
    @staticmethod
    def _loses(register: Register, value: Value, ends: tuple[LeaseId, ...], mono: int) -> bool:
        return False


class ForgetsEarly(Acceptor):
    """Waits nine tenths of what it promised."""

    @staticmethod
    def _adopt(register: Register, ballot: Any, value: Value, waits: Any, mono: int) -> None:
        Acceptor._adopt(register, ballot, value, [wait * 9 // 10 for wait in waits], mono)

    def _extend(self, item: RenewItem, now: Instant, out: list[Directive]) -> int:
        return super()._extend(item._replace(ttl=item.ttl * 9 // 10), now, out)


class ExtendsExpired(Acceptor):
    def _extend(self, item: RenewItem, now: Instant, out: list[Directive]) -> int:
        register = self._touch(item.key, now, out)
        assert register is not None
        kept = register.leases.get(item.lease)
        register.ended.pop(item.lease, None)
        register.leases[item.lease] = Kept(item.serial, now.mono + item.ttl, bool(kept and kept.binds))
        return 0


class AnyToken(Acceptor):
    def _window(self, register: Register, lease: LeaseId, now: Instant) -> bool:
        return True


class ClockToken(Grants):
    """The token is the owner's clock, whatever tokens were there before."""

    __slots__ = ()

    def first(self, desk: Desk, alive: Any, ticket: Ticket, change: Change, now: Instant, out: list[Directive]) -> None:
        desk.highest = 0
        desk.skew = (now.wall << 16) - self._clock.read(now)
        super().first(desk, alive, ticket, change, now, out)


class OwnerAlone(Owner):
    """Takes the first answer for a quorum."""

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        desk.group = lone(desk.group)
        super()._pump(desk, now, out)


def lone(group: Group) -> Group:
    if group.quorum == 1:
        return group
    copy = Group(tuple(group))
    copy.quorum = 1
    return copy


class TakesLiveForDead(Owner):
    """Ends an unreleased lease without a prepare that calls it dead."""

    def _while_live(self, desk: Desk, alive: list[Holding], *rest: Any) -> bool:
        change, now, out = rest[2], rest[3], rest[4]
        ticket = desk.queue.first_fresh(now.mono)
        if ticket is None:
            return super()._while_live(desk, alive, *rest)
        change.ends += tuple(holding.lease for holding in alive)
        self._grants.first(desk, (), ticket, change, now, out)
        return True


class FromTheReply(Belief):
    __slots__ = ()

    def grant(self, serial: int, term: int, roster: RosterValue, now: int) -> bool:
        self._sent[serial] = now
        return super().grant(serial, term, roster, now)

    def renewed(self, name: Any, boot: Any, named: Any, serial: int, *rest: Any) -> bool:
        self._sent[serial] = rest[-1]
        return super().renewed(name, boot, named, serial, *rest)


class WholeTerm(Belief):
    """Forgets the clocks' rates and the margin: believes for ten percent more."""

    __slots__ = ()

    def _extend(self, start: int, term: int, roster: RosterValue, now: int) -> bool:
        return super()._extend(start, term * 11 // 10, roster, now)


class OneAckRenews(Belief):
    __slots__ = ()

    def renewed(
        self, name: Any, boot: Any, named: Any, serial: int, ttl: int, roster: RosterValue, quorum: int, now: int
    ) -> bool:
        return super().renewed(name, boot, named, serial, ttl, roster, 1, now)


class Revives(Belief):
    """An answer that comes after the deadline counts again."""

    __slots__ = ()

    def _over(self, now: int) -> bool:
        return False

    def valid(self, now: int) -> bool:
        return now < self.deadline


def with_belief(belief: type[Belief]) -> type[Holder]:
    class Believer(Holder):
        def _ask(self, record: Any, now: Instant, out: list[Directive]) -> None:
            if type(record.belief) is Belief:
                record.belief.__class__ = belief
            super()._ask(record, now, out)

    return Believer


class LateRelease(Holder):
    """Issues a release and goes on believing for as long as it takes to be confirmed."""

    def release(self, request: int, now: Instant) -> Directives:
        record = self._requests.get(request)
        directives = super().release(request, now)
        if record is not None:
            record.belief._final = False
            self._requests[request] = record
        return directives


class Forgives(Belief):
    """An answer that is enough to extend it counts, also behind its end."""

    __slots__ = ()

    def renewed(self, *answer: Any) -> bool:
        final, self._final = self._final, False
        moved = super().renewed(*answer)
        self._final = self._final or (final and not moved)
        return moved


class BelievesAgain(with_belief(Forgives)):  # type: ignore[misc]
    """Ends its belief with a release, and takes it up again when a renewal is answered that was under way."""

    def _leave(self, record: Any, now: Instant, out: list[Directive], *, tell: bool) -> None:
        super()._leave(record, now, out, tell=tell)
        if record.lease is not None:
            self._requests[record.name] = self._wires[record.wire] = record


class Undead(with_belief(Revives)):  # type: ignore[misc]
    """Says that a lease is ending, but goes on renewing it, and believes in it again if that is answered."""

    def _over(self, record: Any, now: Instant, out: list[Directive]) -> None:
        if not record.ending_told:
            record.ending_told = True
            out.append(Emit(Ending(record.name)))
        deadline, record.belief.deadline = record.belief.deadline, now.boot + 1
        record.renew_at = now.boot
        record.renew = True
        self._keeper.renew((record,), now, out)
        record.belief.deadline = deadline


class KeepsGhosts(Holder):
    """A grant that nobody wants any more is ignored."""

    def _refuse(self, grant: Any, now: Instant, out: list[Directive]) -> None:
        return


class ResetsUntil(Acceptor):
    @staticmethod
    def _adopt(register: Register, ballot: Any, value: Value, waits: Any, mono: int) -> None:
        Acceptor._adopt(register, ballot, value, waits, mono)
        for holding in value.holdings:
            kept = register.leases[holding.lease]
            register.leases[holding.lease] = Kept(kept.serial, mono + holding.ttl, kept.binds)


class EagerCompleter(Owner):
    """Re-proposes the value at every look: harmless with the right acceptor."""

    def _step(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        if desk.ready is not None and desk.base.holdings and desk.read_at == now.mono and desk.change is None:
            desk.behind = True
        return super()._step(desk, now, out)


class ForgetsPromise(Acceptor):
    """A lower ballot is as good as the one that was promised."""

    def accept(self, ask: Any, now: Instant, out: list[Directive]) -> Any:
        register = self._registers.get(ask.key)
        if register is not None:
            register.promised = min(register.promised, ask.ballot)
        return super().accept(ask, now, out)


class AlwaysFresh(Birth):
    """`fresh` exempts from abstention also a node that finds a roster."""

    def abstaining_until(self, now: Instant) -> int | None:
        return None if self._fresh else super().abstaining_until(now)


class DeniesUnread(Replies):
    """Says that a lease is over because what it knows of the register, however old, does not show it."""

    __slots__ = ()

    def settle(self, desk: Desk, alive: Any, out: list[Directive]) -> None:
        desk.ends = dict.fromkeys(desk.ends, 0)
        super().settle(desk, alive, out)


class ReleasesOnce(Leavings):
    __slots__ = ()

    def repeat(self, key: Any, now: Instant, out: list[Directive]) -> None:
        self.done(key, out)


class Patient(Holder):
    """Never says that there is no quorum."""

    def _ask_again(self, record: Any, now: Instant, out: list[Directive]) -> None:
        record.quorum_at = now.mono
        super()._ask_again(record, now, out)


class Overestimates(Keeper):
    """Believes a handed-over grant for its whole ttl, of which nobody knows yet."""

    __slots__ = ()

    def keep(self, record: Any, now: Instant, out: list[Directive], *, handed: bool) -> None:
        record.belief.deadline += record.ttl - record.belief.term
        record.belief.term = record.ttl
        super().keep(record, now, out, handed=handed)


class KeepsToTheFirstTerm(Keeper):
    """Never renews for the first time what was handed over."""

    __slots__ = ()

    def renew(self, records: Any, now: Instant, out: list[Directive], *, company: bool = False) -> None:
        super().renew([record for record in records if not record.handed], now, out, company=company)


class Hasty(Keeper):
    """Tells of any handed-over grant without confirming it, as one that lasts, and never renews what it tells of so."""

    __slots__ = ()

    def keep(self, record: Any, now: Instant, out: list[Directive], *, handed: bool) -> None:
        record.belief.deadline = now.boot + 3 * record.ttl
        record.belief.term = record.ttl
        record.renew = False
        super().keep(record, now, out, handed=False)


class EndsWhatItCannotSee(Replies):
    """Tells that every lease that is asked about is over."""

    __slots__ = ()

    def settle(self, desk: Desk, alive: Any, out: list[Directive]) -> None:
        for lease in desk.checks:
            self.over(desk, lease, out)
        desk.checks.clear()
        super().settle(desk, alive, out)


class TellsNoEnds(Replies):
    """Nobody hears of the end of a lease that binds something."""

    __slots__ = ()

    def over(self, desk: Desk, lease: LeaseId, out: list[Directive]) -> None:
        desk.binding.pop(lease, None)


class OwnPromiseOnly(Proposer):
    """Goes on with the highest value of its own promise alone."""

    __slots__ = ()

    def take(self, desk: Desk, answer: Any, now: Instant, out: list[Directive]) -> None:
        if isinstance(answer, Promise) and answer.name != self._identity.name:
            own = self._acceptor.register(desk.key)
            if own is not None:
                fields = (own.accepted, own.value, (), (), own.highest, answer.clock)
                answer = Promise(answer.key, answer.ballot, answer.name, answer.boot, answer.boots, *fields)
        super().take(desk, answer, now, out)


class VotesUnasked(Proposer):
    """Says that its own acceptor has accepted it, whatever that one says. (Found by `test_agreed_learner`.)"""

    __slots__ = ()

    def _launch(self, desk: Desk, message: Any, now: Instant, out: list[Directive], *, whole: bool = False) -> None:
        begun = len(out)
        super()._launch(desk, message, now, out, whole=whole)
        for index in range(begun, len(out)):
            sent = out[index]
            if isinstance(sent, Send) and isinstance(sent.message, Accept):
                out[index] = Send(sent.to, replace(sent.message, voted=VOTED))


class LearnsFromTwo(Acceptor):
    """Two acknowledgements are enough for it, however many the group has. (Found by `test_agreed_learner`.)"""

    def _learn(self, ask: Accept, group: Group, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        pair = Group(group[:2])
        assert pair.quorum == 2
        super()._learn(ask, pair, bound, out)


class Planted(NamedTuple):
    changes: Changes
    focus: tuple[str, ...] = ()
    """Which faults of the world bring it to light soonest."""


FAULTS: dict[str, Planted] = {
    "forgets its promises and votes at once after a restart": Planted(((Acceptor, VotesAtOnce),), ("amnesia",)),
    "fresh exempts a node that finds a roster": Planted(((Birth, AlwaysFresh),), ("roll",)),
    "accepts a value that loses a live identity": Planted(((Acceptor, LosesLive), (Owner, TakesLiveForDead))),
    "waits less than the ttl": Planted(((Acceptor, ForgetsEarly),), ("isolate",)),
    "extends an expired or unknown identity": Planted(((Acceptor, ExtendsExpired), (Holder, Undead)), ("suspend",)),
    "token from the clock alone": Planted(((Acceptor, AnyToken), (Grants, ClockToken)), ("jump", "leap")),
    "the owner takes one answer for a quorum": Planted(((Owner, OwnerAlone),)),
    "ends an unreleased lease": Planted(((Owner, TakesLiveForDead),)),
    "deadline from the reply": Planted(((Holder, with_belief(FromTheReply)),), ("pause",)),
    "believes longer than its term": Planted(((Holder, with_belief(WholeTerm)),), ("isolate",)),
    "one acknowledgement renews": Planted(((Holder, with_belief(OneAckRenews)),), ("thin", "cut")),
    "believes on while it releases": Planted(((Holder, LateRelease),)),
    "believes again after a release": Planted(((Holder, BelievesAgain),)),
    "re-accept resets until": Planted(((Acceptor, ResetsUntil), (Owner, EagerCompleter)), ("crash",)),
    "hands over without confirming": Planted(((Keeper, Hasty),), ("stall", "isolate")),
    "never says that there is no quorum": Planted(((Holder, Patient),), ("isolate",)),
    "takes what is asked about for over": Planted(((Replies, EndsWhatItCannotSee),)),
    "tells no ends": Planted(((Replies, TellsNoEnds),)),
    "ignores what others have accepted": Planted(((Proposer, OwnPromiseOnly), (Acceptor, LosesLive))),
}
"""Each is found by random histories within a few seeds. Those that only cost time: `test_agreed_losses`."""
