"""Whom an accept goes to at first: as many as make a quorum with the proposer's own acceptor. The others get it only if these
are silent ("thrifty", as in Moraru, Andersen and Kaminsky, "There is more consensus in egalitarian parliaments", 2013).

It halves the messages of an uncontended lock, with disks it spares one of three the writing, and it is only worth it if nobody
is left behind with a lease that it keeps to:

- Whoever may still count a lease as live that the accept ends is among them. (It refuses the next grant that it is asked for.)
- So is everyone, if that lease is old enough to have been renewed: renewals go to the whole group.
- What completes a value for one that is behind goes to everyone (`proposer`).
- Atomic registers are not spared: what they hold is not there to run out.
- The node whose lease it is about comes first, for it learns by it (`learner`); else whoever has answered of late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Accept, Live
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.tickets import FIRST_RENEWAL
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.register import Register
from mesh.directives import NANOSECONDS

__all__ = ["HEARD_LATELY", "Sparing"]

HEARD_LATELY = 2 * NANOSECONDS
"""Whoever has answered within this time may be one of the few."""
UNANSWERED = 16
"""Accepts that one acceptor may owe an answer to before it may count on anything."""
RENEWED_AFTER = 8
"""A lease older than this part of its ttl may have been renewed: well before the first renewal of its own accord, which is at
ttl/6 (`keeper`). A delay changes nothing of that, for it is no part of the ttl. One that was handed over is renewed sooner."""
NEVER = 1 << 63


class Acceptances:
    """What one acceptor may count as live."""

    __slots__ = ("base", "sent")

    def __init__(self) -> None:
        self.base: frozenset[LeaseId] | None = None
        """What it has said; None: it may be any lease."""
        self.sent: dict[Ballot, frozenset[LeaseId]] = {}
        """What it has been sent since, and may have accepted."""

    def leases(self) -> frozenset[LeaseId] | None:
        base = self.base
        return base if base is None or not self.sent else base.union(*self.sent.values())

    def forget(self, lease: LeaseId) -> bool:
        """It has noted the end of a lease. Whether it may have counted it as live."""
        found = False
        if self.base is not None and lease in self.base:
            self.base, found = self.base - {lease}, True
        for ballot, leases in self.sent.items():
            if lease in leases:
                self.sent[ballot], found = leases - {lease}, True
        return found

    def settle(self, ballot: Ballot, leases: frozenset[LeaseId]) -> None:
        """Its answer at a ballot: nothing below that counts any more."""
        self.base = leases
        sent = self.sent
        if len(sent) == 1 and ballot in sent:  # it owes no other answer
            del sent[ballot]
            return
        for old in [each for each in sent if each <= ballot]:
            del sent[old]


class Sparing:
    """Of one register: what each acceptor may count as live, as far as its owner knows."""

    __slots__ = ("_acceptors", "_since")

    def __init__(self) -> None:
        self._acceptors: dict[str, Acceptances] = {}
        self._since: dict[LeaseId, int] = {}
        """Until when a lease cannot have been renewed."""

    def sent(self, name: str, ask: Accept) -> None:
        """An accept is on its way to it."""
        known = self._acceptors.get(name)
        if known is None:
            known = self._acceptors[name] = Acceptances()
        known.sent[ask.ballot] = frozenset([holding.lease for holding in ask.value.holdings])
        if len(known.sent) > UNANSWERED:
            del known.sent[next(iter(known.sent))]
            known.base = None

    def accepted(self, name: str, ballot: Ballot) -> None:
        known = self._acceptors.get(name)
        if known is not None and (leases := known.sent.get(ballot)) is not None:
            known.settle(ballot, leases)

    def promised(self, name: str, ballot: Ballot, live: Sequence[Live]) -> None:
        """What it counts as live, before it accepts anything at that ballot."""
        known = self._acceptors.setdefault(name, Acceptances())
        if known.base is None or ballot not in known.sent:
            at = known.sent.get(ballot)
            known.settle(ballot, frozenset([each.lease for each in live if each.remaining]))
            if at is not None:
                known.sent[ballot] = at

    def refused(self, name: str, ballot: Ballot, live: Sequence[Live]) -> None:
        """It has not accepted it, for what is live there."""
        known = self._acceptors.setdefault(name, Acceptances())
        known.settle(ballot, frozenset([each.lease for each in live if each.remaining]))

    def unsure(self, name: str) -> None:
        """It may count on any lease."""
        self._acceptors.pop(name, None)

    def owed(self, value: Value, ended: Mapping[LeaseId, None]) -> tuple[LeaseId, ...]:
        """Of the leases that their holders have ended: those that someone may still count on, though `value` lacks them."""
        gone: dict[LeaseId, None] = {}
        for acceptor in self._acceptors.values():
            for lease in acceptor.leases() or ():
                if lease in ended and not value.has(lease):
                    gone[lease] = None
        if not gone:
            return ()
        return tuple(gone) if len(gone) < 2 else tuple([lease for lease in ended if lease in gone])

    def granted(self, value: Value, granting: int, mono: int, *, handed: bool = False) -> None:
        """A lease has been granted: those that are not in the value are over."""
        fresh = value.holdings[granting]
        until = mono + fresh.ttl // RENEWED_AFTER
        if handed:
            until = min(until, mono + FIRST_RENEWAL * 9 // 10)  # clocks differ in their rates
        if len(value.holdings) == 1:
            self._since = {fresh.lease: until}
            return
        kept = {holding.lease: self._since.get(holding.lease, 0) for holding in value.holdings}
        kept[fresh.lease] = until
        self._since = kept

    def look(self, base: Value, register: Register) -> None:
        """What has been renewed here has been elsewhere, too. (What is confirmed before it is told is renewed on receipt.)"""
        leases = register.leases
        for holding in base.holdings:
            kept = leases.get(holding.lease)
            if kept is not None and kept.serial > holding.serial:
                self._since[holding.lease] = 0

    def renewed(self, lease: LeaseId, mono: int) -> bool:
        """Whether everyone may count it as live: it is so old, or its renewal has come here."""
        return self._since.get(lease, 0) < mono

    def noted(self, lease: LeaseId, group: Group, own: str, heard: dict[str, int], mono: int) -> list[str]:
        """The own acceptor has noted that its holder has ended it, as that of the holder's node does: who has to note it
        beside, so that q do, and all that may count it as live.

        Nobody of them is taken to count it as live from now on: if a note is lost, that acceptor refuses the next accept, and
        is told then."""
        told: list[str] = []
        others: list[str] = []
        for name in group:
            acceptor = self._acceptors.get(name)
            counts = acceptor is not None and acceptor.forget(lease)
            if name not in (own, lease.name):
                (told if counts else others).append(name)
        needed = group.quorum - 1 - (lease.name != own and lease.name in group)
        if len(told) < needed:
            others.sort(key=lambda name: mono - heard.get(name, -HEARD_LATELY) >= HEARD_LATELY)
            told += others[: needed - len(told)]
        self._since[lease] = NEVER
        return told

    def few(self, ask: Accept, base: Value, group: Group, heard: dict[str, int], own: str, mono: int) -> list[str] | None:
        """Those to send `ask` to, which changes `base`; None for all of the group."""
        needed = group.quorum - 1
        if needed >= len(group) - 1 or ask.value.state:
            return None
        kept = {holding.lease for holding in ask.value.holdings}
        over = list(ask.ends)  # also ends that it missed
        for holding in base.holdings:
            lease = holding.lease
            if lease not in kept:
                if self.renewed(lease, mono):
                    return None
                over.append(lease)
        must, may = [], []
        sure = 0
        for name in group:
            if name == own:
                continue
            acceptor = self._acceptors.get(name)
            knows = None if acceptor is None else acceptor.leases()
            if knows is None:
                must.append(name)
            elif not knows <= kept:
                if not knows <= kept.union(over):
                    return None  # it keeps to another lease, and refuses
                must.append(name)
                sure += 1
            elif mono - heard.get(name, -HEARD_LATELY) < HEARD_LATELY:
                may.append(name)
        about = [lease.name for lease in ask.ends]
        if ask.granting >= 0:
            about.append(ask.value.holdings[ask.granting].lease.name)
        concerned = [name for name in may if name in about]
        if concerned and len(may) > 1:
            may = concerned + [name for name in may if name not in about]
        needed = max(needed - sure, len(concerned))
        few = must + may[:needed]
        return few if len(few) < len(group) - 1 and len(may) >= needed else None
