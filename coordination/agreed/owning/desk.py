"""What an owner knows of one register, and what a prepare taught it.

`ready` is the ballot at which the next accept may go out at once: prepared and not used, or the one after an accept
that q acknowledged and nobody refused. `base` is the value that such an accept changes. `dead` are the identities in
it that no reply of that prepare called live; they cannot come to life under that promise (an expired identity is
never extended, and a renewal that comes as an accept is below the promise), so they stay dead for as long as `ready`
stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coordination.agreed.atomics.pending import Calls
from coordination.agreed.owning.round import Round
from coordination.agreed.owning.search import Past, Search
from coordination.agreed.owning.sparing import Sparing
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.messages import Promise
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.succession_messages import Seen
from coordination.agreed.vocabulary.tickets import Asker, Queue
from coordination.agreed.vocabulary.values import FREE, Holding, LeaseId, Value
from mesh.directives import NANOSECONDS, Boot

__all__ = ["ASKED_CAP", "Change", "Desk", "GrantMade", "Reading"]

ENDED_REMEMBERED = 64
ASKED_CAP = 4096
"""Tickets, ends, cancels and checks of one register, each; beyond it they are counted, dropped, and asked again."""
READ_EVERY = NANOSECONDS
"""An owner with waiters reads a live register at least this often."""
READ_BLOCKED = NANOSECONDS // 4
"""As often if a lease that is not in the value is in the way: a majority that answers next time may not know of it."""
MISSING_AFTER = 1_500_000_000
"""Longer than a round lasts: one that is asked once a round is not missing."""


class Reading:
    """What q or more promises say together.

    An identity that is live somewhere but not in the highest value blocks every change, for that acceptor refuses it; but
    if q of the promises do not call it live, they are the quorum that the next accept rests on. (A grant that one
    acceptor alone accepted, the owner's own, would keep the lock closed for a term.) The same goes for each earlier
    group, if the register is being moved from one."""

    __slots__ = (
        "ballot", "behind", "binding", "clock", "ended", "foreign", "highest", "latest", "live", "loose", "unmoved", "value",
    )  # fmt: skip

    def __init__(
        self, promises: Sequence[Promise], quorum: int, known_ended: Iterable[LeaseId], past: Past | None = None
    ) -> None:
        levels: list[tuple[Sequence[Promise | Seen], int]] = [(promises, quorum), *(past or ())]
        replies = [reply for answers, _ in levels for reply in answers]
        best = max(replies, key=_accepted)
        self.ballot = best.accepted
        self.value = value = best.value
        self.unmoved = past is not None
        """Nothing is started in the newest roster: whatever is alive has to be moved there."""
        self.behind = self.unmoved and value != FREE
        self.highest = 0
        self.clock = sorted([promise.clock for promise in promises], reverse=True)[quorum - 1]
        """The q-th largest."""
        self.latest = max([promise.clock for promise in promises])
        self.ended = ended = dict.fromkeys(known_ended)
        for reply in replies:
            self.highest = max(self.highest, reply.highest)
            for lease in reply.ended:
                ended[lease] = None
        self.live: dict[LeaseId, int] = {}
        """Of the value's: the most that any reply still waits."""
        self.foreign: dict[LeaseId, int] = {}
        """The same of others that block."""
        self.loose: dict[LeaseId, None] = {}
        """Ended by their holders, but some reply still calls them live: the next accept names them."""
        self.binding: dict[LeaseId, None] = {}
        for answers, least in levels:
            foreign = self._survey(answers, least)
            for lease, remaining in foreign.items():
                self.foreign[lease] = max(remaining, self.foreign.get(lease, 0))
        for promise in promises:
            if (promise.accepted != best.accepted or self._lacks(promise)) and not self._refuses(promise):
                self.behind = True
                break

    def _lacks(self, promise: Promise) -> bool:
        """Whether it has not heard of all that is alive: who learnt the value from one of its holders knows of that one."""
        if len(self.value.holdings) < 2:
            return False
        heard = [kept.lease for kept in promise.leases]
        return any(lease not in heard for lease in self.live)

    def _refuses(self, promise: Promise) -> bool:
        """Whether it keeps to a lease that the value would lose: completing it for that one has to wait for the lease's end.
        (Else the owner read and completed a free register in turns, as fast as the network goes, until the lease was over.)"""
        for kept in promise.leases:
            if kept.remaining and kept.lease not in self.ended and not self.value.has(kept.lease):
                return True
        return False

    def _survey(self, answers: Sequence[Promise | Seen], quorum: int) -> dict[LeaseId, int]:
        """What is live in one group; of that, what blocks."""
        foreign: dict[LeaseId, int] = {}
        blocking = 0
        for reply in answers:
            blocks = False
            for kept in reply.leases:
                if kept.binds:
                    self.binding[kept.lease] = None
                if not kept.remaining:
                    continue
                if kept.lease in self.ended:
                    self.loose[kept.lease] = None
                elif self.value.has(kept.lease):
                    self.live[kept.lease] = max(kept.remaining, self.live.get(kept.lease, 0))
                else:
                    foreign[kept.lease] = max(kept.remaining, foreign.get(kept.lease, 0))
                    blocks = True
            blocking += blocks
        return foreign if len(answers) - blocking < quorum else {}


def _accepted(reply: Promise | Seen) -> Ballot:
    return reply.accepted


class Change:
    """What an accept that is under way will have done once q acknowledge it."""

    __slots__ = ("ends", "expired", "granted", "handed")

    def __init__(self, ends: tuple[LeaseId, ...], expired: tuple[LeaseId, ...]) -> None:
        self.ends = ends
        self.expired = expired
        self.granted: Holding | None = None
        self.handed = False


class GrantMade:
    """A grant that this owner itself got accepted, so that a refresh that crossed it is answered again."""

    __slots__ = ("at", "ballot", "boots", "handed", "holding", "value")

    def __init__(
        self, holding: Holding, ballot: Ballot, value: Value, boots: tuple[Boot, ...], at: int, *, handed: bool
    ) -> None:
        self.holding = holding
        self.ballot = ballot
        self.value = value
        self.boots = boots
        self.at = at
        self.handed = handed


class Desk:
    __slots__ = (
        "abstaining",
        "as_of",
        "backoff",
        "ballot",
        "base",
        "behind",
        "binding",
        "boots",
        "calls",
        "cancels",
        "change",
        "checks",
        "collect",
        "counter",
        "dead",
        "ended",
        "ends",
        "foreign",
        "gives_way",
        "group",
        "heard",
        "highest",
        "key",
        "known_until",
        "latest",
        "learnt_at",
        "live_until",
        "losses",
        "lost",
        "made",
        "mend",
        "over",
        "queue",
        "read_at",
        "ready",
        "rests",
        "round",
        "search",
        "searching",
        "skew",
        "sparing",
        "tell_at",
        "unmoved",
        "used",
        "waits",
    )

    def __init__(self, key: str, group: Group) -> None:
        self.key = key
        self.group = group
        self.queue = Queue()
        self.round: Round | None = None
        self.change: Change | None = None
        self.search: Search | None = None
        """Beside a prepare: the reading of earlier groups."""
        self.searching: int | None = None
        """Since when they have not said enough, though the newest group has."""
        self.counter = 0
        self.losses = 0
        """Rounds lost in a row to other proposers."""
        self.lost: tuple[Round, ...] = ()
        """The latest of these, as long as no quorum has answered them late."""
        self.gives_way = False
        """Whether it was the better ranked proposer's turn when it overtook this one last: every second time."""
        self.backoff = 0
        self.tell_at = 0
        """When someone in the queue has to be told that it waits; 0: all have been."""
        self.collect = 0
        self.used = 0
        # What is asked of it, beside the tickets.
        self.ends: dict[LeaseId, int] = {}
        """Ends by their holders' word that no accept has confirmed yet, with the time of asking."""
        self.cancels: dict[Asker, None] = {}
        self.checks: dict[LeaseId, int] = {}
        """Leases of which somebody asks whether they are over, with the time of asking."""
        self.mend: int | None = None
        """When an acceptor was said to be behind, until a round that began since has read the register, and what is alive has
        gone to everyone."""
        self.calls = Calls()
        """Of an atomic register, at which nothing else is asked."""
        # What is known of the register.
        self.ready: Ballot | None = None
        self.boots: tuple[Boot, ...] = ()
        self.rests = 0
        self.ballot = ZERO
        self.base = FREE
        self.waits: dict[LeaseId, int] = {}
        self.dead: dict[LeaseId, None] = {}
        self.foreign: dict[LeaseId, int] = {}
        """Live somewhere and not in the value (with their remaining ns): an accept without them is refused there."""
        self.binding: dict[LeaseId, None] = {}
        self.ended: dict[LeaseId, None] = {}
        """Ends known of late, so that an acceptor that missed one can be told."""
        self.over: dict[Asker, LeaseId] = {}
        """The last of them that answers a request."""
        self.behind = False
        self.unmoved = False
        self.highest = 0
        self.latest = 0
        """The largest clock of the last prepare's replies."""
        self.skew = 0
        """By how much the q-th largest clock of the last prepare's replies was ahead of the own one."""
        self.live_until = 0
        self.read_at = 0
        """When the register was last known."""
        self.known_until = 0
        """Until when a live register need not be read again for those that only wait, though no ballot is ready."""
        self.as_of = 0
        """The start of the round that showed it: what was asked later may have been preceded by changes that it missed."""
        self.made: dict[Asker, GrantMade] = {}
        """Of what stands in `base`."""
        self.learnt_at = 0
        """When a prepare last showed it."""
        self.heard: dict[str, int] = {}
        self.sparing = Sparing()
        self.abstaining: dict[str, int] = {}

    def regroup(self, group: Group) -> None:
        """Another roster counts: nothing that is known of the register may be built on."""
        self.group = group
        self.round = self.change = self.search = self.ready = None
        self.made = {}
        self.sparing = Sparing()
        self.known_until = 0
        self.searching = None
        self.calls.wait_again()

    def wanted(self) -> bool:
        # Asked several times a round, so without the calls that it takes to ask the queue and the calls themselves.
        if self.queue.tickets or self.ends or self.cancels or self.checks or self.mend is not None:
            return True
        return bool(self.calls.waiting or self.calls.served)

    def learn(self, reading: Reading, started: int, now: int) -> None:
        """Take in a prepare that q answered."""
        self.as_of = started
        self.base = reading.value
        self.ballot = reading.ballot
        self.latest = reading.latest
        self.behind, self.unmoved = reading.behind, reading.unmoved
        self.highest = max(self.highest, reading.highest)
        self.waits = reading.live
        self.binding.update(reading.binding)
        self.remember_ended([lease for lease in reading.ended if lease not in self.ends])
        held = {holding.lease: None for holding in reading.value.holdings}
        self.dead = {lease: None for lease in held if lease not in reading.live and lease not in reading.ended}
        self.foreign = reading.foreign
        self.foreign.update({lease: 0 for lease in reading.loose if lease not in held})
        self.live_until = now + max(*reading.live.values(), *reading.foreign.values(), 0, 0)
        self.read_at = self.learnt_at = now

    def stands_until(self) -> int:
        """When a live register is to be read again for those that wait."""
        blocked = any(not self.is_ended(lease) for lease in self.foreign)
        return min(self.live_until, self.read_at + (READ_BLOCKED if blocked else READ_EVERY))

    def refused(self) -> None:
        """An acceptor has refused what is decided: whatever comes next begins with a prepare.

        It will refuse it again, so completing the value for that one has to end somewhere: those that only wait are content
        with what was read. (Refused late, at the speed of the network until the lease is over.)"""
        self.ready = None
        self.known_until = self.stands_until()

    def remember_ended(self, leases: Iterable[LeaseId]) -> None:
        ended, over = self.ended, self.over
        for lease in leases:
            ended.pop(lease, None)
            ended[lease] = None
            over[lease.asker] = lease
        while len(ended) > ENDED_REMEMBERED:
            oldest = next(iter(ended))
            del ended[oldest]
            if over[oldest.asker] == oldest:
                del over[oldest.asker]

    def has_errand(self) -> bool:
        """Whether something is to be done beside serving the queue."""
        return bool(self.ends or self.cancels or self.checks or self.mend is not None)

    def only_waited_for(self, now: int) -> bool:
        """Whether nothing is asked but to be told when it frees."""
        if self.has_errand() or self.queue.impatient():
            return False
        base = self.base
        if any(self.queue.get(holding.lease.asker) is not None for holding in base.holdings):
            return False
        alive = [holding for holding in base.holdings if holding.lease not in self.dead and not self.is_ended(holding.lease)]
        return bool(alive) and self.queue.next_for(base, alive, now) is None and not self.queue.mistaken(base, alive)

    def unread(self) -> bool:
        """Whether something was asked about a lease that the known register does not show, and that it is too old to deny; or
        an acceptor was said to be behind since."""
        if self.mend is not None and self.mend > self.as_of:
            return True
        return any(
            asked > self.as_of and lease not in self.ended and not self.base.has(lease)
            for lease, asked in (*self.ends.items(), *self.checks.items())
        )

    def mending(self, started: int) -> bool:
        """Whether a round that began then is to mend an acceptor that is behind."""
        return self.mend is not None and self.mend <= started

    def is_ended(self, lease: LeaseId) -> bool:
        """By the word of its holder."""
        if lease in self.ended or (self.ends and lease in self.ends):
            return True
        return bool(self.cancels) and lease.asker in self.cancels

    def is_over(self, asker: Asker) -> bool:
        """Whether a lease of that request is known to have ended by its holder's word: no request is made twice."""
        return asker in self.over or (bool(self.ends) and asker in [lease.asker for lease in self.ends])

    def quorum_age(self, now: int) -> int:
        """ns since q of the group had answered, and enough of the earlier groups that count; -1 if they never did."""
        times = sorted(self.heard.values(), reverse=True)
        if len(times) < self.group.quorum:
            return -1
        age = now - times[self.group.quorum - 1]
        return age if self.searching is None else max(age, now - self.searching)

    def missing(self, now: int) -> tuple[str, ...]:
        heard = self.heard
        missing = [name for name in self.group if now - heard.get(name, -MISSING_AFTER) >= MISSING_AFTER]
        if self.searching is not None and self.search is not None:
            missing += [name for name in self.search.silent() if name not in missing]
        return tuple(missing)

    def abstainers(self, now: int) -> tuple[tuple[str, int], ...]:
        return tuple([(name, until - now) for name, until in self.abstaining.items() if until > now])
