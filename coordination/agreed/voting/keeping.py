"""What a voter keeps: the table of its registers, what is let go of, and what is watched for whoever waits.

- A register that is free, of leases, with nothing live for 2 M is forgotten, which equals a restart. Atomic ones never are. (A
  table that only grows.) Too many, and new keys get no answer; nothing that is kept is ever dropped for it.
- The last proposer that found a register live is told when it frees. (It would read it again once a second.)
- A binding lease that has run out here wakes the owner of this node, the better ranked voters first, again and again until its
  register says that it is over. (Its owner died with it, and nobody tells.)
- With a memory (`voter_memory`) what an earlier process kept is gone on with."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Freed, Voted
from coordination.agreed.vocabulary.placement import Group, Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.voting.atomic_memory import AtomicMemory
from coordination.agreed.voting.learner import Undecided
from coordination.agreed.voting.lease_memory import LeaseMemory
from coordination.agreed.voting.register import Register
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import HybridClock, Instant
from mesh.directives import Directive, Emit, Event, Send

__all__ = ["NS_PER_MS", "STAMP_SHIFT", "Expired", "Keeping"]

NS_PER_MS = 1_000_000
STAMP_SHIFT = 16
REGISTERS_CAP = 262_144
"""Registers in use or of late."""
EXPIRED_AGAIN = 5_000 * NS_PER_MS
"""A binding lease that ran out and is still in the value is told of again after this long."""
EXPIRED_STAGGER = 300 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """To the owner part of the same node: a binding lease has run out here and is still in its register's value."""

    key: str


class Keeping:
    """The lowest layer of `Acceptor`."""

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
        self._tokens = (0, 0)
        """How far the token of a grant may be behind the own clock, and ahead of it."""
        self._abstains = True
        """False once it is known that this process abstains no more, for as long as the roster is the newest."""
        self.atomic = AtomicMemory(self._standing)
        """Of atomic registers."""
        self.lease_memory = LeaseMemory(self._standing, boots)
        """Of all others."""
        self._registers: dict[str, Register] = {}
        self._undecided: dict[tuple[str, Ballot], Undecided] = {}
        """What was accepted of what grants leases of this node, until both votes for it have been heard of (`learning`)."""
        self._early: dict[tuple[str, Ballot], Voted] = {}
        """The proposer's votes that came before their accepts."""
        self._idle: deque[tuple[int, str]] = deque()
        self._agenda: Agenda[str] = Agenda("until")
        self._counts: Counter[str] = Counter()

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
        self._undecided.clear()
        self._early.clear()
        self._idle.clear()
        self.lease_memory.clear()
        self._roster = self._placement = None

    def keys(self) -> list[str]:
        """Of all registers that are kept here."""
        return list(self._registers)

    # --- the table ---------------------------------------------------------------------------------------------------

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
        self._abstains = True
        if roster is not None:
            self._placement = placement_of(roster)
            self._longest = roster.max_ttl
            self._tokens = (roster.abstention // 4 // NS_PER_MS << STAMP_SHIFT, roster.max_drift // NS_PER_MS << STAMP_SHIFT)

    def _group(self, key: str) -> Group | None:
        """Its voters, if this node is one of them."""
        if self._placement is None:
            return None
        group = self._placement.group(key)
        if self._identity.name not in group:
            self._counts["misrouted"] += 1
            return None
        return group

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

    # --- what is watched ---------------------------------------------------------------------------------------------

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
