"""The acceptor: one voter's part in keeping registers. All of the safety is here and in the quorum rule.

Per key it keeps the highest promised ballot, the accepted (ballot, value), the highest token, and for each lease
identity until when it counts as live *here*. Beside the rules of the layers below (`learning`: what is decided; `renewing`:
leases; `keeping`: the table), each with what breaks without it:

  - A ballot below the promise is refused, and accepting b promises the same proposer's next one. (A decided value is
    lost.)
  - A token that is being granted lies in [own clock - M/4, max(highest + 1, own clock + max_drift)], and above the
    highest if the identity is new. (Tokens go back after everyone restarted, or one wild clock drags them away for
    ever.) Only for the one that is being granted: checked on every accept the window would freeze keys.
  - A proposal that rests on a promise of another process of this name is refused; a process that knows of a newer one
    of its own name answers nothing.
  - A holder's word that its lease is over is kept also by an acceptor that has not heard of the lease yet. (The accept
    arrives after the release, and the lock stays closed for a term.)

In an elastic roster (see `succession`), beside:

  - Registers are served only while the node is not sealed, a majority of the roster has vouched for it of late, and no
    newer roster is known. Whoever speaks of an older one is told the newer.
  - A higher token that the proposer knows is taken over, whatever the own clock says, as that of a value is which is completed.
    (Tokens fall: those that a register is moved to have not seen the lease which was given back meanwhile; or one whose clock
    is slow takes the value and not the token. Were it refused by the window, a wild one would keep the register from moving.)
  - To a mover it says what it holds, with the ballot at which that was accepted, so "not started" is never "empty".

For atomic registers see `atomic_memory`. What is malformed, or too much, is counted and gets no answer. With a memory
(`voter_memory`) what is promised is durable before it is answered; while the disk fails, nothing is answered."""

from __future__ import annotations

from collections.abc import Hashable

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Drop,
    Dropped,
    Prepare,
    Promise,
    Reason,
    Rejected,
    Renew,
    Voted,
)
from coordination.agreed.vocabulary.modes import HOLDINGS_CAP
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.succession_messages import EpochAsk, Look, Seen
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.atomic_memory import Blank
from coordination.agreed.voting.learner import COMES, VOTED, learner_of
from coordination.agreed.voting.learning import Learning
from coordination.agreed.voting.register import Register
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["NEVER_WHOLE", "Acceptor"]

NEVER_WHOLE = 1 << 62
"""No roster has this epoch: who has forgotten an atomic register will never speak of it."""
ENDS_CAP = 128
"""Ends that one accept may name: more than an owner remembers."""


class Acceptor(Learning):
    """One voter. `prepare` and `accept` answer with a message: the proposer of the same node calls them directly.

    What they answer rests on what stands in `out` then: it may be told behind that alone, also to the own proposer."""

    name = "acceptor"
    messages = (Prepare, Accept, Renew, Drop, Look, Voted)
    hears = (RosterDecided,)

    # --- part -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._load()
        out: list[Directive] = []
        if self._memory is not None and self._roster is not None:
            for key, register in self._memory.registers(now.mono):
                self._restore(key, register, now, out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, Accept):
            answer: Accepted | Promise | Rejected | None = self.accept(message, now, out)
            if answer is not None:
                out.append(Send(message.ballot.name, answer))
        elif isinstance(message, Drop):
            if message.epoch and self._roster is not None and message.epoch != self._roster.epoch:
                self._counts["other_epoch"] += 1
                self._differ(message.epoch, message.lease.name, now, out)
            elif self.drop(message.key, message.lease, now, out):
                out.append(Send(message.lease.name, self.dropped(message.key, message.lease)))
        elif isinstance(message, Prepare):
            answer = self.prepare(message, now, out)
            if answer is not None:
                out.append(Send(message.ballot.name, answer))
        elif isinstance(message, Renew):
            self._renew(message, now, out)
        elif isinstance(message, Voted):
            self._voted(message, now, out)
        elif isinstance(message, Look):
            seen = self.look(message, now, out) if self._ready(now) else None
            if seen is not None:
                if self._memory is not None:
                    self._memory.rest(out)
                out.append(Send(message.ballot.name, seen))
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        for key in self._agenda.take(now.mono):
            self._expire(key, now, out)
        self._agenda.rearm(out)
        self._forget_idle(now.mono, out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            self._load()
        return ()

    def stats(self) -> dict[str, int]:
        return {"registers": len(self._registers), **self._counts}

    # --- what is asked; the proposer of the same node calls -----------------------------------------------------------

    def prepare(self, ask: Prepare, now: Instant, out: list[Directive]) -> Promise | Rejected | None:
        group = self._admit(ask.key, ask.ballot, now, out)
        if group is None:
            return None
        boots = self._boots.exchange(group, ask.boots)
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return None
        if unfit := self._unfit(ask.key, ask.ballot, boots, now, out):
            return unfit
        register = self._touch(ask.key, now, out)
        if register is None or not self._ready(now):
            return None
        register.proposed = now.mono
        if ask.ballot < register.promised:
            return self._reject(ask.key, ask.ballot, boots, Reason.BALLOT, now, register)
        register.promised = ask.ballot
        if self._memory is not None:
            self._memory.keep(ask.key, register, out)
        leases = tuple(register.live(now.mono)) if register.leases else ()
        if leases and ask.ballot.name != register.watcher and register.until() > now.mono:
            self._watch(ask.key, register, ask.ballot.name, now, out)
        return Promise(
            ask.key,
            ask.ballot,
            self._identity.name,
            self._identity.boot,
            boots,
            register.accepted,
            register.value,
            leases,
            tuple(register.ended),
            register.highest,
            self._clock.read(now),
        )

    def accept(self, ask: Accept, now: Instant, out: list[Directive]) -> Accepted | Rejected | None:
        key, ballot = ask.key, ask.ballot
        group = self._admit(key, ballot, now, out)
        if group is None or not self._well_formed(ask, group):
            return None
        boots = self._boots.exchange(group, ask.boots)
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return None
        if unfit := self._unfit(key, ballot, boots, now, out):
            return unfit
        own = group.index(self._identity.name)
        if ask.rests >> own & 1 and ask.boots[own] != self._identity.boot:
            return self._reject(key, ballot, boots, Reason.BOOT, now)
        if boots and is_atomic(key) and self.atomic.rests_on_replaced(ask, boots):
            return self._reject(key, ballot, boots, Reason.BOOT, now)
        register = self._touch(key, now, out)
        if register is None or not self._ready(now):
            return None
        register.proposed = now.mono
        if ballot == register.accepted:
            if self._memory is not None:
                self._memory.rest(out)
            learns = self._learn_again(ask, group, out)
            return Accepted(key, ballot, self._identity.name, self._identity.boot, boots, learns)
        if ballot < register.promised:
            return self._reject(key, ballot, boots, Reason.BALLOT, now, register)
        if self._loses(register, ask.value, ask.ends, now.mono):
            if ballot.name != register.watcher:
                self._watch(key, register, ballot.name, now, out)
            return self._reject(key, ballot, boots, Reason.LIVE, now, register, left=register.until() - now.mono)
        if ask.granting >= 0:
            lease = ask.value.holdings[ask.granting].lease
            if not self._window(register, lease, now):
                return self._reject(key, ballot, boots, Reason.TOKEN, now, register, token=lease.token)
        bound: tuple[LeaseId, ...] = ()
        for lease in ask.ends:
            kept = register.leases.get(lease)
            if kept is not None and kept.binds:
                bound = (*bound, lease)
            register.end(lease)
        self._raise(register, ask.floor)
        self._adopt(register, ballot, ask.value, ask.waits, now.mono)
        if self._memory is not None:
            self._memory.keep(key, register, out)
        learns = bool(ask.voted & VOTED)
        if learns:
            self._learn(ask, group, bound, out)
        elif ask.voted & COMES and learner_of(ask, group) == self._identity.name:
            learns = self._keep_undecided(ask, bound, now, out)
        if register.watcher and register.watcher != ballot.name and register.until() <= now.mono:
            self._free(key, register, out)
        for holding in ask.value.holdings:
            if holding.binds:
                self._agenda.sooner(key, self._late(group, register.until()), out)
        return Accepted(key, ballot, self._identity.name, self._identity.boot, boots, learns)

    def drop(self, key: str, lease: LeaseId, now: Instant, out: list[Directive]) -> bool:
        """The holder's own release, at this acceptor alone: no later proposer finds the identity live here.

        Whether it has been noted."""
        placement = self._placement
        if placement is None or is_atomic(key) or self._identity.name not in placement.group(key) or self._boots.superseded():
            return False
        if self._standing.closed(now):
            return False
        register = self._touch(key, now, out)
        if register is None or not self._ready(now):
            return False
        register.end(lease)
        if self._memory is not None:
            self._memory.keep(key, register, out)
        if lease not in register.leases:
            return True
        if register.watcher and register.until() <= now.mono:
            self._free(key, register, out)
        if register.leases[lease].binds:
            self._agenda.sooner(key, now.mono, out)
        return True

    def dropped(self, key: str, lease: LeaseId) -> Dropped:
        """To its holder: that its end has been noted, by which process, as a voter of which roster.

        Whoever began after the grant may have forgotten its own note: that it began is told with this one. (One voter notes and
        forgets, reads back from this one, which notes then: both were counted, and this one alone knew of the end.)"""
        roster, placement = self._roster, self._placement
        assert roster is not None and placement is not None
        began = lease.token - 2 * self._tokens[1]  # clocks differ by so much at the most
        boots = self._boots.group(placement.group(key)) if self._boots.newest >= began else ()
        return Dropped(key, lease, self._identity.name, roster.epoch, self._identity.boot, boots)

    def recollect(self, key: str, promised: Ballot, accepted: Ballot, value: Value, now: Instant, out: list[Directive]) -> None:
        """What was read back of an atomic register: it is voted on from now on."""
        register = self._touch(key, now, out)
        if register is not None and not self.atomic.remembers(key):
            register.promised, register.accepted, register.value = promised, accepted, value
            register.since = self._standing.epoch
            self.atomic.recollected(key, register.since)
            self._counts["recollected"] += 1
            if self._memory is not None:
                self._memory.keep(key, register, out)

    def look(self, ask: Look, now: Instant, out: list[Directive]) -> Seen | None:
        """What is held here of a register in earlier rosters, for whoever moves it to a newer one."""
        standing = self._standing
        if ask.ballot.epoch > standing.epoch:
            # Sealed for the earlier ones only once it knows of the newer one.
            out.append(Send(ask.ballot.name, EpochAsk(standing.epoch, 0, self._identity.name)))
            return None
        whole = self._whole(ask.key, now)
        if whole is None or self._boots.superseded():
            self._counts["unseen"] += 1
            return None
        register = self._registers.get(ask.key) or Register()
        return Seen(
            ask.key,
            ask.ballot,
            self._identity.name,
            self._identity.boot,
            standing.epoch,
            whole,
            register.accepted,
            register.value,
            tuple(register.live(now.mono)),
            tuple(register.ended),
            register.highest,
            not is_atomic(ask.key) and standing.worded(now),
        )

    def _whole(self, key: str, now: Instant) -> int | None:
        """From which roster on this voter can speak of a register. That it will never be able to is told, too."""
        if not is_atomic(key):
            return self._standing.whole_from(now)
        since = self.atomic.since(key)
        return NEVER_WHOLE if since is None else since

    # --- rules --------------------------------------------------------------------------------------------------------

    def _unfit(self, key: str, ballot: Ballot, boots: tuple[Boot, ...], now: Instant, out: list[Directive]) -> Rejected | None:
        """The refusal of a voter that has forgotten what an earlier process of its name answered, or serves nothing now."""
        closed = self._standing.closed(now)
        if is_atomic(key):
            if not closed and not self.atomic.remembers(key):
                out.append(Emit(Blank(key)))
                closed = Reason.MEMORY
        elif self._abstains and (left := self.abstaining(key, now)):
            return self._reject(key, ballot, boots, Reason.ABSTAIN, now, left=left)
        return self._reject(key, ballot, boots, closed, now) if closed else None

    def _well_formed(self, ask: Accept, group: Group) -> bool:
        holdings, longest = ask.value.holdings, self._longest
        if is_atomic(ask.key) and (holdings or ask.ends):
            self._counts["malformed"] += 1
            return False
        if (
            len(ask.boots) == len(group)
            and len(ask.waits) == len(holdings) <= HOLDINGS_CAP
            and -1 <= ask.granting < len(holdings)
            and len(ask.ends) <= ENDS_CAP
        ):
            for wait in ask.waits:
                if not 0 <= wait <= longest:
                    break
            else:
                return True
        self._counts["malformed"] += 1
        return False

    def _window(self, register: Register, lease: LeaseId, now: Instant) -> bool:
        """Whether a lease may be granted with its token, by this acceptor's clock."""
        clock, token, highest = self._clock.read(now), lease.token, register.highest
        if token <= highest and lease not in register.leases:
            return False
        past, ahead = self._tokens
        return token >= clock - past and (token <= highest + 1 or token <= clock + ahead)

    @staticmethod
    def _raise(register: Register, floor: int) -> None:
        """Take over the highest token of a register that was moved."""
        register.highest = max(register.highest, floor)

    # --- help ---------------------------------------------------------------------------------------------------------

    def _reject(
        self,
        key: str,
        ballot: Ballot,
        boots: tuple[Boot, ...],
        reason: int,
        now: Instant,
        register: Register | None = None,
        *,
        left: int = 0,
        token: int = 0,
    ) -> Rejected:
        self._counts[f"refused_{reason}"] += 1
        leases = tuple(register.live(now.mono)) if register is not None and reason == Reason.LIVE else ()
        promised = register.promised if register is not None else ZERO
        if register is not None and reason == Reason.BALLOT:
            left = max(0, register.until() - now.mono)
        return Rejected(
            key,
            ballot,
            self._identity.name,
            self._identity.boot,
            boots,
            reason,
            promised,
            leases,
            left,
            self._clock.read(now),
            token,
        )
