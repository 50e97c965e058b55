"""What a voter does to the leases of a register: which it may not lose, how long it waits for each, what a renewal extends.

- A value is accepted only if it keeps every identity that is live here, or names it in `ends`, which only that holder's own
  release or cancel issues. (Two holders: any two quorums meet in an acceptor that applies this rule.)
- `until` starts at the first accept of (identity, serial) and never goes down; the same or a lower serial changes nothing,
  whatever the ballot. (A lock that is polled or re-proposed never ends.)
- A completing accept says how long a newcomer to the identity waits: the largest remaining time of the prepare replies. (An
  acceptor that learns of a lease late lets it go early, or keeps a dead one.)
- A renewal extends the same identity if it is live here, whatever has been promised; it is not a proposal. An identity that has
  expired or ended here is refused. (A proposer has been told that it is not live.) An acceptor that does not know the identity
  treats the renewal as the accept that it quotes, under all checks.
- An acceptor without memory of an earlier process gives no answer that counts, for M from its start, or until others have told
  it what it may have promised (`reader`). (It has forgotten what it promised to whom.) That it abstains no more is seen anew
  with each roster, and only where it is a voter of the newest one. (It hears of an older roster first, in which it does not
  vote, is asked there who holds a lock, and votes in the next one with no memory.)
- Nothing counts as live for longer than max_ttl, whatever a message says. (M, for which a voter without memory abstains, would
  be too short.)

In an elastic roster (see `succession`), beside:

- A register is *started* in a roster once a value with a ballot of that roster was accepted. A renewal extends only what is
  started in the newest one. (The acceptor, sealed for the old one, extends what a mover has read already.)
- The first accept under a roster says how long each lease is waited for, also to an acceptor that has known the lease before:
  it may have heard nothing of it since a roster long ago. (It lets go of a lease that others have extended.)"""

from __future__ import annotations

from collections.abc import Iterable

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Reason, Renew, RenewAnswer, RenewItem, RenewResult
from coordination.agreed.vocabulary.modes import HOLDINGS_CAP
from coordination.agreed.vocabulary.reader_messages import TableRow
from coordination.agreed.vocabulary.succession_messages import EpochAsk
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.keeping import Keeping
from coordination.agreed.voting.register import Kept, Register
from crdt.clock import Instant
from mesh.directives import Directive, Directives, Send

__all__ = ["Renewing"]

UNHEARD = -1
"""The wait of a lease of which an acceptor learns by another one's renewal."""


class Renewing(Keeping):
    """The middle layer of `Acceptor`."""

    @staticmethod
    def _loses(register: Register, value: Value, ends: tuple[LeaseId, ...], mono: int) -> bool:
        """Whether the value drops an identity that is live here and whose holder has not ended it."""
        for lease, kept in register.leases.items():
            if kept.until > mono and lease not in ends and lease not in register.ended and not value.has(lease):
                return True
        return False

    @staticmethod
    def _adopt(register: Register, ballot: Ballot, value: Value, waits: Iterable[int], mono: int) -> None:
        moved = register.accepted.epoch < ballot.epoch
        register.accepted = ballot
        register.promised = ballot.next()
        register.value = value
        old = register.leases
        leases: dict[LeaseId, Kept] = {}
        for holding, wait in zip(value.holdings, waits, strict=True):
            lease = holding.lease
            register.highest = max(register.highest, lease.token)
            kept = old.get(lease)
            if kept is None:
                if wait == UNHEARD:
                    continue
                kept = Kept(holding.serial, mono + wait, holding.binds)
            elif holding.serial > kept.serial:
                kept = Kept(holding.serial, max(kept.until, mono + wait), kept.binds or holding.binds)
            elif moved:
                kept = Kept(kept.serial, max(kept.until, mono + wait), kept.binds)
            leases[lease] = kept
        register.leases = leases

    def abstaining(self, key: str, now: Instant) -> int:
        """ns until this voter may answer for leases of a register, 0 if it does."""
        if not self._abstains:
            return 0
        until = self._source.abstaining_until(now)
        if until is None:
            roster = self._roster
            if roster is None:
                return 1
            if self._identity.name in roster.voters and roster == self._source.roster:
                self._abstains = False
            return 0
        if self._placement is not None and self.lease_memory.covers(self._placement.group(key)):
            return 0
        return max(1, until - now.mono)

    def read_back(self, row: TableRow, now: Instant) -> Directives:
        """Take over what another voter keeps of a register: this one has forgotten what it kept itself. To be wrapped in `Act`.
        (A timer of another part comes up nowhere, and as the agenda takes it for armed nothing else does: the ends of leases
        were up to max_ttl late.)"""
        out: list[Directive] = []
        key, longest = row.key, self._longest
        group = self._group(key)
        if group is None or is_atomic(key) or len(row.value.holdings) > HOLDINGS_CAP or len(row.leases) > HOLDINGS_CAP:
            self._counts["malformed"] += 1
            return out
        register = self._touch(key, now, out)
        if register is None:
            return out
        register.promised = max(register.promised, row.promised)
        if row.accepted > register.accepted:
            register.accepted, register.value = row.accepted, row.value
        register.highest = max(register.highest, row.highest)
        for lease in row.ended:
            register.end(lease)
        for live in row.leases:
            kept = register.leases.get(live.lease) or Kept(live.serial, now.mono, live.binds)
            until = max(kept.until, now.mono + min(live.remaining, longest))
            register.leases[live.lease] = Kept(max(kept.serial, live.serial), until, kept.binds or live.binds)
        if any(kept.binds for kept in register.leases.values()):
            self._agenda.sooner(key, self._late(group, register.until()), out)
        if self._memory is not None:
            self._memory.keep(key, register, out)
        return out

    def _renew(self, ask: Renew, now: Instant, out: list[Directive]) -> None:
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return
        if not self._ready(now):
            return
        closed = self._standing.closed(now)
        epoch = self._roster.epoch if self._roster is not None else 0
        if ask.epoch != epoch:
            closed = Reason.EPOCH
            self._differ(ask.epoch, ask.name, now, out)
        results = []
        for item in ask.items:
            group = self._group(item.key)
            if group is None:
                continue
            boots = self._boots.exchange(group, item.boots) if ask.epoch == epoch else ()
            if closed:
                reason = closed
            elif self.abstaining(item.key, now):
                reason = Reason.ABSTAIN
            elif (
                is_atomic(item.key)
                or item.lease.asker != (ask.name, ask.boot, item.lease.request)
                or not 0 < item.ttl <= self._longest
            ):
                self._counts["malformed"] += 1
                reason = Reason.OVER
            else:
                reason = self._extend(item, now, out)
                if reason == Reason.OK and item.binds:
                    self._agenda.sooner(item.key, self._late(group, self._registers[item.key].until()), out)
            results.append(RenewResult(item.key, item.lease.request, item.serial, reason, boots))
        if self._memory is not None:
            self._memory.rest(out)
        answer = RenewAnswer(self._identity.name, self._identity.boot, ask.name, ask.boot, tuple(results), epoch)
        out.append(Send(ask.name, answer))

    def _extend(self, item: RenewItem, now: Instant, out: list[Directive]) -> int:
        register = self._touch(item.key, now, out)
        if register is None:
            return Reason.ABSTAIN
        lease = item.lease
        kept = register.leases.get(lease)
        changed = kept is not None and item.binds and not kept.binds
        assert self._roster is not None
        epoch = self._roster.epoch
        if register.accepted.epoch < epoch and item.ballot.epoch < epoch:
            return Reason.UNSTARTED
        if lease in register.ended or (kept is not None and kept.until <= now.mono):
            return Reason.OVER
        if kept is None:
            if not item.value.holdings:
                return Reason.BEHIND
            if not item.value.has(lease) or len(item.value.holdings) > HOLDINGS_CAP:
                return Reason.OVER
            if item.ballot < register.promised:
                return Reason.BALLOT
            if self._loses(register, item.value, (), now.mono):
                return Reason.LIVE
            # For this identity only. Of the others nothing is known here: they count as not live, but not as expired either,
            # for then this acceptor could never again acknowledge their renewals.
            waits = [item.ttl if holding.lease == lease else UNHEARD for holding in item.value.holdings]
            self._adopt(register, item.ballot, item.value, waits, now.mono)
            kept = register.leases[lease]
            changed = True
        if item.serial > kept.serial:
            until = max(kept.until, now.mono + item.ttl)
            register.leases[lease] = Kept(item.serial, until, kept.binds or item.binds)
        if changed and self._memory is not None:
            self._memory.keep(item.key, register, out)
        return Reason.OK

    def _differ(self, epoch: int, name: str, now: Instant, out: list[Directive]) -> None:
        """Someone counts by another roster: whoever is behind is told. A thin client's sponsor stands for it."""
        if self._roster is None or not self._roster.elastic:
            return
        to = name.rpartition("@")[2]
        if epoch < self._roster.epoch:
            out.append(Send(to, self._standing.chain(now)))
        else:
            out.append(Send(to, EpochAsk(self._roster.epoch, 0, self._identity.name)))
