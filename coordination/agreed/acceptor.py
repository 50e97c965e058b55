"""The acceptor: one voter's part in keeping registers. All of the safety is here and in the quorum rule.

Per key it keeps the highest promised ballot, the accepted (ballot, value), the highest token, and for each lease
identity until when it counts as live *here*. The rules, each with what breaks without it:

  - A ballot below the promise is refused, and accepting b promises the same proposer's next one. (A decided value is
    lost.)
  - A value is accepted only if it keeps every identity that is live here, or names it in `ends`, which only that
    holder's own release or cancel issues. (Two holders: any two quorums meet in an acceptor that applies this rule.)
  - `until` starts at the first accept of (identity, serial) and never goes down; the same or a lower serial changes
    nothing, whatever the ballot. (A lock that is polled or re-proposed never ends.)
  - A completing accept says how long a newcomer to the identity waits: the largest remaining time of the prepare
    replies. (An acceptor that learns of a lease late lets it go early, or keeps a dead one.)
  - A renewal extends the same identity if it is live here, whatever has been promised; it is not a proposal. An
    identity that has expired or ended here is refused. (A proposer has been told that it is not live.) An acceptor
    that does not know the identity treats the renewal as the accept that it quotes, under all checks.
  - A token that is being granted lies in [own clock - M/4, max(highest + 1, own clock + max_drift)], and above the
    highest if the identity is new. (Tokens go back after everyone restarted, or one wild clock drags them away for
    ever.) Only for the one that is being granted: checked on every accept the window would freeze keys.
  - An acceptor without memory of an earlier process gives no answer that counts, for M from its start. (It has
    forgotten what it promised to whom.)
  - A proposal that rests on a promise of another process of this name is refused; a process that knows of a newer one
    of its own name answers nothing.
  - Nothing counts as live for longer than max_ttl, whatever a message says. (M, for which a voter without memory
    abstains, would be too short.)
  - A holder's word that its lease is over is kept also by an acceptor that has not heard of the lease yet. (The accept
    arrives after the release, and the lock stays closed for a term.)

In an elastic roster (see `succession`), beside:

  - Registers are served only while the node is not sealed, a majority of the roster has vouched for it of late, and no
    newer roster is known. Whoever speaks of an older one is told the newer.
  - One register serves all rosters, its ballots tell them apart: it is *started* in a roster once a value with a ballot of
    that roster was accepted. A renewal extends only what is started in the newest one. (The acceptor, sealed for the old
    one, extends what a mover has read already.)
  - The first accept under a roster says how long each lease is waited for, also to an acceptor that has known the lease
    before: it may have heard nothing of it since a roster long ago. (It lets go of a lease that others have extended.)
  - To a mover it says what it holds, with the ballot at which that was accepted, so "not started" is never "empty".

For atomic registers see `atomic_memory`. A free other one with nothing live for 2 M is forgotten, which equals a restart. What
is malformed, or too much, is counted and gets no answer. With a memory (`voter_memory`) what is promised is durable before it
is answered; while the disk fails, nothing is answered."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from coordination.agreed.agenda import Agenda
from coordination.agreed.atomic import is_atomic
from coordination.agreed.atomic_memory import AtomicMemory, Blank
from coordination.agreed.ballot import ZERO, Ballot
from coordination.agreed.boots import BootRecord
from coordination.agreed.events import RosterDecided
from coordination.agreed.learner import learn
from coordination.agreed.messages import (
    Accept,
    Accepted,
    Drop,
    Dropped,
    Freed,
    Prepare,
    Promise,
    Reason,
    Rejected,
    Renew,
    RenewAnswer,
    RenewItem,
    RenewResult,
)
from coordination.agreed.modes import HOLDINGS_CAP
from coordination.agreed.placement import Group, Placement
from coordination.agreed.ports import Identity, RosterSource
from coordination.agreed.register import Kept, Register
from coordination.agreed.roster import RosterValue
from coordination.agreed.standing import Standing
from coordination.agreed.succession_messages import EpochAsk, Look, Seen
from coordination.agreed.values import LeaseId, Value
from coordination.agreed.voter_memory import VoterMemory
from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["NEVER_WHOLE", "NS_PER_MS", "STAMP_SHIFT", "Acceptor", "Expired"]

NS_PER_MS = 1_000_000
STAMP_SHIFT = 16
REGISTERS_CAP = 262_144
"""Registers in use or of late. Beyond it new keys get no answer; nothing that is kept is ever dropped for it."""
NEVER_WHOLE = 1 << 62
"""No roster has this epoch: who has forgotten an atomic register will never speak of it."""
UNHEARD = -1
"""The wait of a lease of which an acceptor learns by another one's renewal."""
ENDS_CAP = 128
"""Ends that one accept may name: more than an owner remembers."""
EXPIRED_AGAIN = 5_000 * NS_PER_MS
"""A binding lease that ran out and is still in the value is told of again after this long."""
EXPIRED_STAGGER = 300 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """To the owner part of the same node: a binding lease has run out here and is still in its register's value."""

    key: str


class Acceptor:
    """One voter. `prepare` and `accept` answer with a message: the proposer of the same node calls them directly.

    What they answer rests on what stands in `out` then: it may be told behind that alone, also to the own proposer."""

    name = "acceptor"
    messages = (Prepare, Accept, Renew, Drop, Look)
    hears = (RosterDecided,)

    def __init__(
        self,
        identity: Identity,
        roster: RosterSource,
        clock: HybridClock,
        boots: BootRecord,
        memory: VoterMemory | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._identity = identity
        self._source = roster
        self._standing = standing or Standing(identity)
        self._clock = clock
        self._boots = boots
        self._memory = memory
        self._roster: RosterValue | None = None
        self._placement: Placement | None = None
        self._longest = 0
        """max_ttl of the roster."""
        self._abstains = True
        self.atomic = AtomicMemory(self._standing)
        """Of atomic registers."""
        self._registers: dict[str, Register] = {}
        self._idle: deque[tuple[int, str]] = deque()
        self._agenda: Agenda[str] = Agenda("until")
        self._counts: Counter[str] = Counter()

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
        elif isinstance(message, Prepare):
            answer = self.prepare(message, now, out)
            if answer is not None:
                out.append(Send(message.ballot.name, answer))
        elif isinstance(message, Renew):
            self._renew(message, now, out)
        elif isinstance(message, Look):
            seen = self.look(message, now, out)
            if seen is not None:
                if self._memory is not None:
                    self._memory.rest(out)
                out.append(Send(message.ballot.name, seen))
        elif isinstance(message, Drop) and self.drop(message.key, message.lease, now, out):
            out.append(Send(message.lease.name, Dropped(message.key, message.lease, self._identity.name)))
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

    # --- what the proposer of the same node, and explain, ask -------------------------------------------------------

    @property
    def remembers(self) -> bool:
        """Whether what it answers rests on what it writes down."""
        return self._memory is not None

    def register(self, key: str) -> Register | None:
        return self._registers.get(key)

    def has_atomic(self) -> bool:
        return any(is_atomic(key) for key in self._registers)

    def forget_all(self, out: list[Directive]) -> None:
        """Their mesh has been given up."""
        for key in self._registers:
            self._agenda.drop(key)
            if self._memory is not None:
                self._memory.forget(key, out)
        self._registers.clear()
        self._idle.clear()
        self._roster = self._placement = None

    def keys(self) -> list[str]:
        """Of all registers that are kept here."""
        return list(self._registers)

    def abstaining(self, now: Instant) -> int:
        """ns until this voter may answer, 0 if it votes."""
        if not self._abstains:
            return 0
        until = self._source.abstaining_until(now)
        if until is None:
            if self._roster is None:
                return 1
            self._abstains = False
            return 0
        return max(1, until - now.mono)

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
            if ask.voted:
                self._learn(ask, group, ask.ends, out)
            return Accepted(key, ballot, self._identity.name, self._identity.boot, boots)
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
        bound = tuple([lease for lease in ask.ends if (kept := register.leases.get(lease)) is not None and kept.binds])
        for lease in ask.ends:
            register.end(lease)
        self._adopt(register, ballot, ask.value, ask.waits, now.mono)
        if self._memory is not None:
            self._memory.keep(key, register, out)
        if ask.voted:
            self._learn(ask, group, bound, out)
        if register.watcher and register.watcher != ballot.name and register.until() <= now.mono:
            self._free(key, register, out)
        for holding in ask.value.holdings:
            if holding.binds:
                self._agenda.sooner(key, self._late(group, register.until()), out)
        return Accepted(key, ballot, self._identity.name, self._identity.boot, boots)

    def _learn(self, ask: Accept, group: Group, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        decided = learn(ask, group, self._identity, self._boots, bound)
        if decided is not None:
            out.append(Emit(decided))

    def drop(self, key: str, lease: LeaseId, now: Instant, out: list[Directive]) -> bool:
        """The holder's own release, at this acceptor alone: no later proposer finds the identity live here.

        Whether it has been noted."""
        placement = self._placement
        if placement is None or is_atomic(key) or self._identity.name not in placement.group(key) or self._standing.closed(now):
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
        elif left := self.abstaining(now):
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

    @staticmethod
    def _loses(register: Register, value: Value, ends: tuple[LeaseId, ...], mono: int) -> bool:
        """Whether the value drops an identity that is live here and whose holder has not ended it."""
        for lease, kept in register.leases.items():
            if kept.until > mono and lease not in ends and lease not in register.ended and not value.has(lease):
                return True
        return False

    def _window(self, register: Register, lease: LeaseId, now: Instant) -> bool:
        """Whether a lease may be granted with its token, by this acceptor's clock."""
        roster = self._roster
        assert roster is not None
        clock = self._clock.read(now)
        if lease not in register.leases and lease.token <= register.highest:
            return False
        if lease.token < clock - (roster.abstention // 4 // NS_PER_MS << STAMP_SHIFT):
            return False
        return lease.token <= max(register.highest + 1, clock + (roster.max_drift // NS_PER_MS << STAMP_SHIFT))

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

    def _renew(self, ask: Renew, now: Instant, out: list[Directive]) -> None:
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return
        if not self._ready(now):
            return
        abstains = self.abstaining(now) > 0
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
            elif abstains:
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

    # --- help ---------------------------------------------------------------------------------------------------------

    def _ready(self, now: Instant) -> bool:
        """Whether what is promised now would be durable soon."""
        if self._memory is None or self._memory.ready(now.mono):
            return True
        self._counts["disk_unready"] += 1
        return False

    def _restore(self, key: str, register: Register, now: Instant, out: list[Directive]) -> None:
        """Go on with a register that an earlier process kept."""
        roster, placement = self._roster, self._placement
        assert roster is not None and placement is not None
        self._registers[key] = register
        if is_atomic(key):
            self.atomic.recollected(key, register.since)
        self._note(key, now, roster, out)
        group = placement.group(key)
        if self._identity.name in group and any(kept.binds for kept in register.leases.values()):
            self._agenda.sooner(key, self._late(group, register.until()), out)

    def _load(self) -> None:
        self._roster = roster = self._source.roster
        if roster is not None:
            self._placement = Placement(roster)
            self._longest = roster.max_ttl

    def _admit(self, key: str, ballot: Ballot, now: Instant, out: list[Directive]) -> Group | None:
        """The register's group, if this node is of it in the ballot's epoch."""
        if self._roster is None or ballot.epoch != self._roster.epoch:
            self._counts["other_epoch"] += 1
            self._differ(ballot.epoch, ballot.name, now, out)
            return None
        return self._group(key)

    def _group(self, key: str) -> Group | None:
        if self._placement is None:
            return None
        group = self._placement.group(key)
        if self._identity.name not in group:
            self._counts["misrouted"] += 1
            return None
        return group

    def _differ(self, epoch: int, name: str, now: Instant, out: list[Directive]) -> None:
        """Someone counts by another roster: whoever is behind is told. A thin client's sponsor stands for it."""
        if self._roster is None or not self._roster.elastic:
            return
        to = name.rpartition("@")[2]
        if epoch < self._roster.epoch:
            out.append(Send(to, self._standing.chain(now)))
        else:
            out.append(Send(to, EpochAsk(self._roster.epoch, 0, self._identity.name)))

    def _touch(self, key: str, now: Instant, out: list[Directive]) -> Register | None:
        """The register of a key, new if need be; None if there are too many."""
        register = self._registers.get(key)
        if register is None:
            assert self._roster is not None
            if len(self._registers) >= REGISTERS_CAP:
                self._counts["registers_full"] += 1
                return None
            register = self._registers[key] = Register()
            register.since = self._since(key)
            self._note(key, now, self._roster, out)
        register.touched = now.mono
        return register

    def _since(self, key: str) -> int:
        return (self.atomic.since(key) or 0) if is_atomic(key) else 0

    def _note(self, key: str, now: Instant, roster: RosterValue, out: list[Directive]) -> None:
        """A register is kept from now on: for ever, or until it is idle."""
        if is_atomic(key):
            self.atomic.add(key)
            return
        self._idle.append((now.mono + 2 * roster.abstention, key))
        if len(self._idle) == 1:
            self._agenda.sooner("", self._idle[0][0], out)

    def _forget_idle(self, mono: int, out: list[Directive]) -> None:
        roster = self._roster
        idle = self._idle
        while idle and roster is not None and idle[0][0] <= mono:
            _, key = idle.popleft()
            register = self._registers.get(key)
            if register is None:
                continue
            last = max((kept.until for kept in register.leases.values()), default=0)
            due = max(last, register.touched) + 2 * roster.abstention
            if due > mono:
                idle.append((max(due, mono + roster.abstention), key))
            else:
                del self._registers[key]
                if self._memory is not None:
                    self._memory.forget(key, out)

    def _watch(self, key: str, register: Register, proposer: str, now: Instant, out: list[Directive]) -> None:
        register.watcher = proposer
        self._agenda.sooner(key, max(register.until(), now.mono), out)

    def _late(self, group: Group, until: int) -> int:
        """When this acceptor sees to the end of a binding lease: the better ranked ones come first."""
        return until + group.index(self._identity.name) * EXPIRED_STAGGER

    def _expire(self, key: str, now: Instant, out: list[Directive]) -> None:
        if not key:
            if self._idle:
                self._agenda.sooner("", max(self._idle[0][0], now.mono + 1), out)
            return
        register = self._registers.get(key)
        if register is None or self._placement is None:
            return
        until = register.until()
        if until > now.mono:
            if register.watcher or any(kept.binds for kept in register.leases.values()):
                self._agenda.sooner(key, until, out)
            return
        if register.watcher:
            self._free(key, register, out)
        group = self._placement.group(key)
        if self._identity.name in group and any(kept.binds for kept in register.leases.values()):
            if (due := self._late(group, until)) > now.mono:
                self._agenda.sooner(key, due, out)
            else:
                out.append(Emit(Expired(key)))
                self._agenda.sooner(key, now.mono + EXPIRED_AGAIN, out)

    def _free(self, key: str, register: Register, out: list[Directive]) -> None:
        out.append(Send(register.watcher, Freed(key)))
        register.watcher = ""

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
