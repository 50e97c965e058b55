"""What an owner does next for a register, by what is asked of it and what it knows: the round that it begins, or none.

One round a key is under way at a time (`_pump`), and between two of them `_step` chooses:

  - Without `ready`, prepare first. Any refusal takes `ready` away. (A decided value is lost.)
  - Ended by its own holder: an accept at `ready` may drop it, and grant the next waiter in the same round.
  - Ended by time: only after a fresh prepare in which no reply of the quorum calls it live.
  - A register is completed if an acceptor is behind that would accept it, and else left alone. (One that keeps to another
    lease stays behind until that is over: the owner completes in a loop.) A live one is read again after min(what remains,
    1 s), for as long as someone waits, no sooner. Conflicting live identities are never merged.
  - A free register that has not been moved to the newest roster is moved if somebody asks for it, `Mend`. (Who reads it there
    learns nothing, however often.)
  - A lease is granted beside others only if it fits to all that may be alive of the value which the accept changes (`modes`).
  - "Released", "occupied" and, to a recheck, "over" are answered from what a round showed that began after the question, or
    from a change that the answer is about. (An owner that was overtaken denies a lease that it has never seen: its holder
    stops repeating the release, or everyone drops what is bound to it.)
  - For waiters that have stopped asking nothing is read. (Their desk would go on outbidding the one that they went to.)
  - Refused by a proposer's higher ballot while the register is live: its tickets go to that proposer, with their age; also
    where it would read for them, and that one is at work. (What it grants passes by those who wait here.)"""

from __future__ import annotations

from coordination.agreed.owning.concluding import Concluding
from coordination.agreed.owning.desk import Change, Desk
from coordination.agreed.vocabulary.modes import fills
from coordination.agreed.vocabulary.values import Holding
from crdt.clock import Instant
from mesh.directives import Directive

__all__ = ["Stepping"]

READ_PAUSE = 5_000_000


class Stepping(Concluding):
    """The middle layer of `Owner`."""

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _pump(self, desk: Desk, now: Instant, out: list[Directive]) -> None:
        if desk.tell_at and now.mono >= desk.tell_at:
            self._usher.tell(desk, now, out)
            self._server.tell_all(desk, now.mono, out)
        while True:
            round_ = desk.round
            if round_ is not None:
                if round_.reached():
                    if not self._reached(desk, round_, now, out):
                        return
                elif round_.hopeless():
                    self._lost(desk, round_, now, out)
                else:
                    return
            elif not self._step(desk, now, out):
                if desk.tell_at and desk.queue.tickets:
                    self._agenda.sooner(desk.key, desk.tell_at, out)
                return

    # --- the next step ------------------------------------------------------------------------------------------------

    def _step(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        """Start the next round, if there is a reason for one. No round is under way."""
        mono = now.mono
        if not desk.wanted() or self._roster is None:
            return False
        wait = max(desk.backoff, desk.collect)
        if mono < wait:
            self._agenda.sooner(desk.key, wait, out)
            return False
        epoch = self._roster.epoch
        if desk.ready is None:
            if not desk.has_errand() and not desk.calls and desk.queue.first_fresh(mono) is None:
                self._desks.look_again(desk, now, out)
                return False
            if mono < desk.known_until and desk.only_waited_for(mono):
                self._agenda.sooner(desk.key, desk.known_until, out)
                return False
            self._proposer.prepare(desk, epoch, now, out)
            return True
        if desk.calls:
            return self._server.propose(desk, now, out)
        base = desk.base
        alive, ends, expired = [], [], []
        for holding in base.holdings:
            if desk.is_ended(holding.lease):
                ends.append(holding.lease)
            elif holding.lease in desk.dead:
                expired.append(holding.lease)
            else:
                alive.append(holding)
        blocked = False
        for lease in desk.foreign:
            if desk.is_ended(lease):
                ends.append(lease)
            else:
                blocked = True
        change = Change(tuple(ends), tuple(expired))
        if alive and self._answer_again(desk, alive, blocked, change, now, out):
            return True
        mistaken = self._usher.decline(desk, alive, out)
        if not blocked:
            ticket = desk.queue.next_for(base, alive, mono)
            while ticket is not None and desk.is_over(ticket.asker):
                # Another owner has granted it, and it was given back. (Who is cut off from here could not refuse it again.)
                self._counts["tickets_over"] += 1
                desk.queue.remove(ticket.asker)
                ticket = desk.queue.next_for(base, alive, mono)
            if ticket is not None:
                if fills(alive, ticket.mode) and alive and desk.learnt_at != mono:
                    # Whoever has died since would be counted to a round that it takes no part in.
                    self._proposer.prepare(desk, epoch, now, out)
                else:
                    self._grants.first(desk, alive, ticket, change, now, out)
                return True
        if alive or blocked:
            return self._while_live(desk, alive, blocked, mistaken, change, now, out)
        if ends or expired or desk.behind or (desk.mend is not None and desk.unmoved):
            self._proposer.propose(desk, base.keeping(()), change, now, out)
            return True
        if mistaken or desk.unread():
            self._proposer.prepare(desk, epoch, now, out)
            return True
        self._replies.settle(desk, (), out)
        desk.mend = None
        self._desks.look_again(desk, now, out)
        return False

    def _answer_again(
        self, desk: Desk, alive: list[Holding], blocked: bool, change: Change, now: Instant, out: list[Directive]
    ) -> bool:
        """See to those that ask although they have been granted it; True if that began a round."""
        mono, roster = now.mono, self._roster
        assert roster is not None
        if not len(desk.queue):
            return False
        for index, holding in enumerate(alive):
            ticket = desk.queue.get(holding.lease.asker)
            if ticket is None or not ticket.fresh(mono):
                continue
            made = desk.made.get(holding.lease.asker)
            if made is not None and made.holding.lease == holding.lease and mono - made.at < made.holding.term // 4:
                # The refresh crossed its grant. The answer names the serial that it is for.
                self._replies.grant(desk, made, out)
                desk.queue.remove(holding.lease.asker)
            elif not blocked and self._grants.may_retry(desk, holding.lease, roster, now):
                self._grants.again(desk, alive, index, ticket, change, now, out)
                return True
        return False

    def _while_live(
        self,
        desk: Desk,
        alive: list[Holding],
        blocked: bool,
        mistaken: bool,
        change: Change,
        now: Instant,
        out: list[Directive],
    ) -> bool:
        mono, roster = now.mono, self._roster
        assert roster is not None
        if alive and (desk.behind or change.ends or change.expired) and not blocked:
            self._proposer.propose(desk, desk.base.keeping(tuple(alive)), change, now, out)
            return True
        read = mistaken or desk.unread()
        if not blocked:
            if desk.mending(desk.as_of):
                desk.mend = None
            self._replies.settle(desk, alive, out)
        read |= self._usher.occupied(desk, alive, out)
        if not desk.wanted():
            return False
        again = max(desk.stands_until(), desk.read_at + READ_PAUSE)
        if not read and mono >= again and (busy := self._usher.at_work(desk, now)):
            # Two owners, each with a queue: what the other one grants passes by those who wait here.
            self._usher.forward(desk, busy, now, out)
            self._desks.look_again(desk, now, out)
            return False
        if read or mono >= again:
            self._proposer.prepare(desk, roster.epoch, now, out)
            return True
        self._agenda.at(desk.key, again, out)
        return False
