"""One process of a small case: the real parts of the agreed state, their timers, a disk if it has one, and its user.

It is given one input at a time and says what it sends and what is worth telling; everything between the parts of one process
happens within that step, as in a node. What is written to the disk is durable at the end of the step: a process that dies
before is one that the message had not reached."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coordination.agreed.agreed import build_agreed
from coordination.agreed.holding.belief import Belief
from coordination.agreed.holding.holder import Holder
from coordination.agreed.holding.requests import State
from coordination.agreed.owning.owner import Owner
from coordination.agreed.recalling.reader import Reader
from coordination.agreed.recalling.recall import Recall
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.roster import Parameters, RosterValue
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import HybridClock, Instant
from mesh.directives import Act, Arm, Boot, Directive, Disarm, Emit, Event, Message, Part, Persist, Send, Source
from mesh.memory import Memory
from tests.coordination.agreed_nodes import EPOCH_MS, MS, Changes, plant
from tests.coordination.exploring.freezing import Pool, freeze, settle
from tests.coordination.exploring.freezing import Seen as Sightings

__all__ = ["Accepting", "Believing", "Core", "Effect", "Identity", "Seen", "Steady", "View"]

Effect = tuple[str, Any]
"""What a step did that others than the process itself have to know: ("granted", token), ("decided", roster), …"""
SUCCESSION, HOLDER = 1, 5
"""Where they stand in `Parts.all`."""
PER = 10_000
"""Clock rates are told in so many parts of true time."""


@dataclass(frozen=True)
class Identity:
    name: str
    boot: Boot


@dataclass
class View:
    """Gossip that says what it said when the mesh had been founded."""

    names: tuple[str, ...]
    dead: frozenset[str] = frozenset()

    def is_alive(self, name: str) -> bool:
        return name not in self.dead

    def boot(self, name: str) -> Boot | None:
        return None

    def names_alive(self) -> list[str]:
        return [name for name in self.names if name not in self.dead]


class Steady(random.Random):
    """No dice: pauses are as long as they mostly are, and longer for some than for others."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        if stop is None:
            start, stop = 0, start
        return start + int((stop - start - 1) * self.share)

    def choice(self, seq: Any) -> Any:
        return seq[0]


@dataclass
class User:
    """Asks for the key, uses it, gives it back, as often as it is told; may lose patience, or renew."""

    key: str
    ttl: int
    rounds: int = 1
    may_cancel: bool = False
    may_renew: bool = False
    binds: bool = False
    renews: bool = True
    keeps: bool = False
    """Never gives it back by itself."""
    state: str = "idle"
    request: int = 0
    sent: int = 0
    """Of atomic registers: calls so far."""

    def may(self) -> tuple[str, ...]:
        """What it may do next."""
        if self.state == "idle":
            return ("acquire",) if self.rounds else ()
        if self.state == "asking":
            return ("cancel",) if self.may_cancel else ()
        if self.state == "held":
            return (*(() if self.keeps else ("release",)), *(("renew",) if self.may_renew else ()))
        return ()


class Believing(NamedTuple):
    """A holder that believes, until its deadline."""

    key: str
    lease: LeaseId
    until: int
    """True ns."""


class Accepting(NamedTuple):
    """One register at one acceptor."""

    key: str
    promised: Ballot
    accepted: Ballot
    value: Value
    highest: int
    leases: tuple[tuple[LeaseId, int, int], ...]
    """Identity, serial, and the true ns until which it counts as live; without those that were ended."""


class Seen(NamedTuple):
    """What the laws look at."""

    name: str
    boot: Boot
    up: bool
    believing: tuple[Believing, ...] = ()
    accepting: tuple[Accepting, ...] = ()
    votes_from: int = 0
    """True ns."""
    epoch: int = 0
    sealed: int = 0


@dataclass
class Parts:
    """Those that have a say in leases and rosters. Nobody explains or counts anything here, and who ought to vote is proposed
    by the search."""

    birth: Birth
    succession: Succession
    recall: Recall
    acceptor: Acceptor
    reader: Reader
    owner: Owner
    holder: Holder

    def all(self) -> tuple[Any, ...]:
        return (self.birth, self.succession, self.recall, self.acceptor, self.reader, self.owner, self.holder)


@dataclass
class Core:
    identity: Identity
    view: View
    dice: random.Random
    rate: int
    """Of its clocks, in 1/10,000 of true time."""
    user: User | None
    parts: Parts | None = None
    clock: HybridClock = field(default_factory=HybridClock)
    timers: dict[tuple[int, Hashable], int] = field(default_factory=dict)
    memory: Memory | None = None
    tables: dict[str, dict[bytes, bytes]] | None = None
    """Its disk."""
    out: list[tuple[str, Message]] = field(default_factory=list)
    told: list[Effect] = field(default_factory=list)

    # --- time -------------------------------------------------------------------------------------------------------------

    def instant(self, now: int) -> Instant:
        mine = now * self.rate // PER
        return Instant(mine, mine, EPOCH_MS + now // MS)

    def true(self, mono: int) -> int:
        """The first true ns at which its clock shows at least this."""
        return -(-mono * PER // self.rate)

    def next_due(self) -> int | None:
        """True ns of its earliest timer."""
        return self.true(min(self.timers.values())) if self.timers else None

    # --- life -------------------------------------------------------------------------------------------------------------

    def start(self, now: int, parameters: Parameters, faults: Changes, *, founders: int, fresh: bool) -> None:
        founder = int(self.identity.name[1:]) < founders
        self.memory = Memory({name: dict(rows) for name, rows in self.tables.items()}) if self.tables is not None else None
        built = build_agreed(
            self.identity,
            self.view,
            self.clock,
            self.dice,
            expect=founders if founder else 1,
            voter=founder or parameters.elastic,
            fresh=fresh,
            seeds=founders,
            parameters=parameters,
            memory=self.memory,
        )
        plant(built, faults)
        built.owner._proposer.trip = 0  # messages take no time here
        self.parts = Parts(built.birth, built.succession, built.recall, built.acceptor, built.reader, built.owner, built.holder)
        for index, part in enumerate(self.parts.all()):
            self.perform(index, part.start(self.instant(now)), now)
        self.finish(now)

    def message(self, sender: str, boot: Boot, message: Message, now: int) -> None:
        assert self.parts is not None
        source = Source(boot.session, "", sender, boot, None)
        for index, part in enumerate(self.parts.all()):
            if type(message) in part.messages:
                self.perform(index, part.on_message(message, source, self.instant(now)), now)
                break
        self.finish(now)

    def fire(self, now: int) -> None:
        """The earliest timer."""
        assert self.parts is not None
        index, timer = min(self.timers, key=lambda key: (self.timers[key], key[0], str(key[1])))
        del self.timers[index, timer]
        self.perform(index, self.parts.all()[index].on_timer(timer, self.instant(now)), now)
        self.finish(now)

    def command(self, what: str, now: int) -> None:
        user, parts = self.user, self.parts
        assert user is not None and parts is not None
        holder, at = parts.holder, self.instant(now)
        where = HOLDER
        if what == "acquire":
            user.request, user.state, user.rounds = holder.next_request(), "asking", user.rounds - 1
            how = {"wait": True, "renew": user.renews, "now": at}
            asked = holder.acquire(user.request, user.key, kind="lease" if user.binds else "lock", ttl=user.ttl, **how)  # type: ignore[arg-type]
            self.perform(where, asked, now)
        elif what == "renew":
            user.may_renew = False
            self.perform(where, holder.renew(user.request, at), now)
        else:
            user.state = "leaving" if what == "release" else "idle"
            self.perform(where, getattr(holder, what)(user.request, at), now)
        self.finish(now)

    def propose(self, voters: tuple[str, ...], now: int) -> None:
        assert self.parts is not None
        succession = self.parts.succession
        self.perform(SUCCESSION, succession.propose(voters, self.instant(now)), now)
        self.finish(now)

    def roster(self) -> RosterValue | None:
        return self.parts.birth.roster if self.parts is not None else None

    def die(self) -> None:
        """Nothing is left but the disk."""
        self.parts = self.memory = self.user = None
        self.timers.clear()

    # --- directives -------------------------------------------------------------------------------------------------------

    def perform(self, index: int, directives: Iterable[Directive], now: int) -> None:
        assert self.parts is not None
        parts = self.parts.all()
        todo: list[tuple[int, Iterable[Directive]]] = [(index, directives)]
        for at, answered in todo:
            following = iter(answered)
            for directive in following:
                if isinstance(directive, Send):
                    if directive.to != self.identity.name:
                        self.out.append((str(directive.to), directive.message))
                        continue
                    source = Source(self.identity.boot.session, "", self.identity.name, self.identity.boot, None)
                    for other, part in enumerate(parts):
                        if type(directive.message) in part.messages:
                            todo.append((other, part.on_message(directive.message, source, self.instant(now))))
                elif isinstance(directive, Arm):
                    self.timers[at, directive.timer] = directive.at
                elif isinstance(directive, Disarm):
                    self.timers.pop((at, directive.timer), None)
                elif isinstance(directive, Emit):
                    self.note(directive.event)
                    for other, part in enumerate(parts):
                        if other != at:
                            todo.append((other, part.on_event(directive.event, self.instant(now))))
                elif isinstance(directive, Persist):
                    self.persist(at, directive, following)
                elif isinstance(directive, Act):
                    where = next(other for other, part in enumerate(parts) if part is directive.part)
                    self.perform(where, directive.directives, now)
                else:
                    raise AssertionError(f"{self.identity.name} answers {directive}")

    def persist(self, index: int, persist: Persist, following: Iterator[Directive]) -> None:
        memory, parts = self.memory, self.parts
        assert memory is not None and parts is not None
        memory.record(persist.records)
        if memory.pending and (held := memory.waiting(parts.all()[index], following, self.timed)):
            memory.hold(index, held)

    def timed(self, part: Part, timer: Arm | Disarm) -> None:
        assert self.parts is not None
        token = next(index for index, other in enumerate(self.parts.all()) if other is part), timer.timer
        if isinstance(timer, Arm):
            self.timers[token] = timer.at
        else:
            self.timers.pop(token, None)

    def finish(self, now: int) -> None:
        """Write what is to be written, and put the timers in order."""
        memory, tables = self.memory, self.tables
        while memory is not None and tables is not None and (commit := memory.begin(self.instant(now).mono)) is not None:
            for table, key, row in commit.records:
                rows = tables.setdefault(table, {})
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            for index, directives in memory.committed(commit.number):
                self.perform(index, directives, now)
        for index, part in enumerate(self.parts.all() if self.parts is not None else ()):
            counts = getattr(part, "_counts", None)
            if counts is not None:
                counts.clear()
            agenda = getattr(part, "_agenda", None)
            if agenda is not None:
                due = settle(agenda)
                if due is None:
                    self.timers.pop((index, agenda._timer), None)
                else:
                    self.timers[index, agenda._timer] = due

    def note(self, event: Event) -> None:
        user = self.user
        if isinstance(event, events.RosterDecided):
            self.told.append(("decided", event.roster))
        elif isinstance(event, events.RosterConflict):
            self.told.append(("broken", f"L11: {self.identity.name} met {event.other} beside {event.own}"))
        elif isinstance(event, events.LeaseOver):
            self.told.append(("over", event.lease_id))
        elif user is None or getattr(event, "request", -1) != user.request:
            return
        elif isinstance(event, events.Granted):
            if user.state != "asking":
                self.told.append(("broken", f"L6: {self.identity.name} was granted in state {user.state}"))
            user.state = "held"
            self.told.append(("granted", event.token))
        elif isinstance(event, events.Released | events.Ended | events.Busy | events.Unavailable | events.OtherLimit):
            user.state = "idle"

    def dissolve(self) -> None:
        """It has been kept, and this copy is not needed: let go of it without the garbage collector, which would go through
        millions of states each time."""
        for part in self.parts.all() if self.parts is not None else ():
            getattr(part, "_handlers", {}).clear()

    # --- looking ----------------------------------------------------------------------------------------------------------

    def frozen(self, pool: Pool) -> Hashable:
        user = self.user
        told = tuple(vars(user).values()) if user is not None else None
        tables = self.tables
        disk = tables and frozenset([(name, frozenset(rows.items())) for name, rows in tables.items()])
        timers = frozenset(self.timers.items())
        seen = Sightings(pool)
        parts = tuple([freeze(part, seen) for part in self.parts.all()]) if self.parts is not None else None
        return (self.identity, parts, freeze(self.clock, seen), timers, told, disk)

    def look(self, now: int) -> Seen:
        parts, identity = self.parts, self.identity
        if parts is None:
            return Seen(identity.name, identity.boot, False)
        at = self.instant(now)
        believing = []
        for record in parts.holder._wires.values():
            if record.state is State.HELD and record.lease is not None and believes(record.belief, at.boot):
                believing.append(Believing(record.key, record.lease, self.true(record.belief.deadline)))
        accepting = []
        for key, register in parts.acceptor._registers.items():
            leases = [
                (lease, kept.serial, self.true(kept.until))
                for lease, kept in register.leases.items()
                if lease not in register.ended
            ]
            accepting.append(
                Accepting(key, register.promised, register.accepted, register.value, register.highest, tuple(leases))
            )
        roster: RosterValue | None = parts.birth.roster
        left = parts.acceptor.abstaining("", at) if roster is not None else 1 << 62
        votes_from = self.true(at.mono + left) if left else 0
        standing = parts.succession._standing
        return Seen(
            identity.name,
            identity.boot,
            True,
            tuple(believing),
            tuple(accepting),
            votes_from,
            standing.epoch,
            standing.sealed,
        )


def believes(belief: Belief, boot: int) -> bool:
    """What `valid` says, without its leaving a mark."""
    final = belief._final
    valid = belief.valid(boot)
    belief._final = final
    return valid
