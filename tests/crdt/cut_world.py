"""A mesh of real stores under cuts: the rules of docs/cuts.md with everything that can go wrong mixed, and no network.

Members write, push, pull, join, are cut off from each other, crash, come back without, with and with an old memory; somebody
leads rounds through one register that only a majority reaches. Frames lie in a bag, from which they are delivered in any order,
twice, late by any number of cuts, or never. Checked:

    C18   replicas that have applied the same cut and claim the same are equal, at every moment
    C7    what is safe (held by a process that never lost its memory, or covered by a cut) is neither lost nor undone
    C15   in the end all are equal, and nothing ended is left in any vector
    C4    counters: what was added by whoever kept its memory counts once

`Rules` holds what planted faults replace."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from random import Random
from typing import Any

from crdt.cell import COUNTER, KEY, Cell, above, cell_of, drop, expiry_of, is_dropped, stamps_of
from crdt.clock import COUNTER_BITS, HybridClock, Instant, Stamp
from crdt.counter import slot_actor
from crdt.cuts import NO_CUT, Brought, Cut, End, Opening, Report, is_told, make_cut, may_go_on
from crdt.dots import NOBODY, DotSet, Summary
from crdt.forgetting import apply_cut
from crdt.returning import bring_back, unknown
from crdt.store import Place, Store, StoreFencedError
from crdt.transfer import FIRST, Transfer, missing
from mesh.wire import load
from tests.crdt.replicas import Broken, require

KEYS = tuple(f"k{n}" for n in range(5))
FENCED = "k4"
LEASES = ("l0", "l1")
COUNTERS = ("c0", "c1")
EVERYTHING = 1 << 30
SLACK = 1_000 << COUNTER_BITS
FORGET_AFTER = 10**9 << COUNTER_BITS
NS_PER_MS = 1_000_000

Dot = tuple[bytes, int]


@dataclass(slots=True)
class Held:
    """An old store, kept aside."""

    store: Store
    since: int


@dataclass(slots=True)
class Frame:
    to: str
    sender: str
    actor: bytes
    cut: Cut
    """What the sender had applied; only its number travels, the record is fetched."""
    kind: str
    content: Any


@dataclass(slots=True)
class Pull:
    number: int
    transfer: Transfer
    sender: str
    everything: bool
    cut: int = 0


class Member:
    def __init__(self, name: str, skew_ms: int) -> None:
        self.name = name
        self.skew_ms = skew_ms
        self.up = False
        self.boot = 0
        self.life = 0
        self.disk: Any = None
        self.clock = HybridClock()
        self.pulls = 0
        self.begin([])

    def begin(self, held: list[Held]) -> None:
        """A new actor, with an empty store."""
        self.life += 1
        actor = f"{self.name}.{self.boot}.{self.life}".encode().ljust(16, b"_")
        self.store = Store(actor)
        self.held = held
        self.owned: list[bytes] = [*getattr(self, "owned", []), actor] if held else [actor]
        self.cut: Cut = NO_CUT
        self.ends: dict[bytes, End] = {}
        self.state = "waiting"
        self.first = 1
        self.sponsor = b""
        self.reported = (0, 0)
        self.joiners: dict[bytes, None] = {}
        self.pull: Pull | None = None
        self.brought: list[Brought] = []
        self.led: Held | None = None
        """While a joiner: the store of the life before, in which it had joined; it is held aside as well."""

    @property
    def actor(self) -> bytes:
        return self.store.actor


class Rules:
    """What members do, rule by rule: each is replaced by a planted fault."""

    carries_numbers = True
    joiners_are_reported = True
    flushes_before_snapshots = True
    joiners_merge_nothing = True
    refuses_the_ended = True
    purges_late = True
    strangers_are_named = True
    tells_what_it_brings = True
    takes_over = True
    names_anew = True

    def may_go_on(self, member: Member, cut: Cut) -> bool:
        return may_go_on(cut, member.actor, member.first, member.sponsor)

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        return make_cut(previous, opening, reports, forget_after=FORGET_AFTER)

    def apply_cut(self, store: Store, cut: Cut, stamp: Stamp) -> None:
        apply_cut(store, cut, stamp, SLACK)

    def finish(self, member: Member, pull: Pull) -> bool:
        return pull.transfer.finish(member.store)

    def bring_back(self, member: Member, held: Held, stamp: Stamp) -> list[Brought] | None:
        return bring_back(member.store, held.store, member.cut, held.since, stamp)


@dataclass(slots=True)
class Register:
    """The atomic register of the rounds."""

    cut: Cut = NO_CUT
    opening: Opening | None = None


class World:
    def __init__(self, names: int, random: Random, rules: Rules | None = None) -> None:
        self.random = random
        self.rules = rules or Rules()
        self.ms = 1_000_000
        self.members = {f"m{n}": Member(f"m{n}", random.choice((0, 150, -150, 40))) for n in range(names)}
        self.bag: list[Frame] = []
        self.register = Register()
        self.reports: dict[str, tuple[Opening, dict[bytes, Report]]] = {}
        self.sides: dict[str, int] = dict.fromkeys(self.members, 0)
        self.log: dict[Dot, Cell] = {}
        self.by_actor: dict[bytes, list[Cell]] = {}
        self.safe: dict[Place, Cell] = {}
        self.brought: set[tuple[Place, Any]] = set()
        """What has been put again, unseen."""
        self.seen: set[tuple[Place, Any]] = set()
        """Writes that everyone had who was counted by some cut."""
        self.after: set[tuple[Place, Any]] = set()
        """Writes without a fence, after a deletion with one was forgotten; and those of members that have not joined."""
        self.adds: list[tuple[str, int, str, int]] = []
        self.cuts = 0
        self.takeovers = 0
        self.wiped = False
        """All that a cut counted have died."""
        self.trace: list[str] = []
        for member in list(self.members.values()):
            member.up, member.state = True, "member"

    # --- time and reach --------------------------------------------------------------------------------------------

    def note(self, *what: object) -> None:
        self.trace.append(" ".join(map(str, what)))

    def now(self, member: Member) -> Instant:
        return Instant(0, self.ms * NS_PER_MS, self.ms + member.skew_ms)

    def tick(self, member: Member) -> Stamp:
        return member.clock.tick(self.now(member))

    def read(self, member: Member) -> Stamp:
        return member.clock.read(self.now(member))

    def reach(self, one: str, other: str) -> bool:
        return self.sides[one] == self.sides[other]

    def reaches_register(self, member: Member) -> bool:
        side = [name for name in self.members if self.sides[name] == self.sides[member.name]]
        return 2 * len(side) > len(self.members)

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.up]

    # --- sending ---------------------------------------------------------------------------------------------------

    def send(self, member: Member, to: str, kind: str, content: Any) -> None:
        self.bag.append(Frame(to, member.name, member.actor, member.cut, kind, content))

    def deliver(self, index: int, keep: bool = False) -> None:
        frame = self.bag[index] if keep else self.bag.pop(index)
        member = self.members[frame.to]
        if not member.up or not self.reach(frame.sender, frame.to):
            return
        rules = self.rules
        ended = frame.actor in member.ends or any(each.actor == frame.actor for each in member.cut.retired)
        if ended and rules.refuses_the_ended:
            self.send(member, frame.sender, "news", frame.actor)
            return
        older = frame.cut.round < member.cut.round
        if older and not member.cut.counts(frame.actor) and frame.kind not in ("ask", "news"):
            self.send(member, frame.sender, "news", frame.actor)
            return
        if rules.carries_numbers and frame.cut.round > member.cut.round and not self.meet(member, frame.cut):
            return
        getattr(self, f"on_{frame.kind}")(member, frame)

    def meet(self, member: Member, cut: Cut) -> bool:
        """Apply a newer cut before anything else is merged; False if this life has ended with it."""
        if cut.round <= member.cut.round:
            return True
        if member.state == "waiting":
            return True  # its welcome will bring it
        if not self.rules.may_go_on(member, cut):
            self.reborn(member)
            return False
        member.cut = cut
        member.clock.raise_floor(cut.stamp)
        if member.state == "member":
            self.apply(member)
        return True

    def apply(self, member: Member) -> None:
        cut = member.cut
        self.rules.apply_cut(member.store, cut, self.read(member))
        retired = {each.actor for each in cut.retired}
        member.ends = {actor: end for actor, end in member.ends.items() if actor not in retired}
        member.ends.update({end.actor: end for end in cut.ended})
        for joiner in list(member.joiners):
            if cut.counts(joiner) or joiner in member.ends or joiner in retired:
                del member.joiners[joiner]
        member.brought = [each for each in member.brought if not is_told(cut, each)]
        self.try_bring_back(member)

    def reborn(self, member: Member) -> None:
        self.note(member.name, "is reborn at", member.cut.round)
        held, led = [*member.held], member.led
        if len(member.store):
            held.append(Held(member.store, member.cut.round))
        if member.state == "member":
            self.flush(member)
            led = held[-1] if len(member.store) else Held(member.store, member.cut.round)
        owned = member.owned
        member.begin(held)
        member.owned = [*owned, member.actor]
        if self.rules.takes_over:
            member.led = led

    def take_over(self, member: Member, cut: Cut) -> None:
        """Go on from the store of the life before, under the actor of this one."""
        self.note(member.name, "takes over at", cut.round)
        waiting, led = member.store, member.led
        assert led is not None
        member.held = [held for held in member.held if held is not led]
        led.store.flush()
        member.store = led.store
        member.store.actor = waiting.actor
        for cell in list(waiting.cells()):
            if cell.actor == waiting.actor:
                member.store.rewrite(cell, self.tick(member))
        member.state, member.pull, member.led = "member", None, None
        member.first, member.sponsor = cut.round + 1, b""
        member.cut = cut
        member.clock.raise_floor(cut.stamp)
        self.takeovers += 1
        self.apply(member)

    def alone(self, member: Member) -> bool:
        """Whether nobody is left whom the open round has to count, and this one had been counted."""
        cut, opening = self.register.cut, self.register.opening
        named = {*cut.counted, *(opening.members if opening is not None else ())}
        ended = {end.actor for end in opening.ends} if opening is not None else set()
        led = member.led
        if led is None or led.store.actor not in named:
            return False
        return not any(each.actor in named - ended and each.state == "member" for each in self.up())

    def try_bring_back(self, member: Member) -> None:
        if member.state != "member":
            return
        for held in list(member.held):
            before = {cell[:2]: cell for cell in member.store.cells()}
            brought = self.rules.bring_back(member, held, self.read(member))
            if brought is None:
                continue
            member.brought += brought
            for cell in member.store.cells():
                if cell.n == 0 and before.get(cell[:2]) != cell and cell.kind == KEY:
                    what = (cell[:2], cell.order)
                    require(what not in self.seen, "what the mesh had seen is brought back:", cell, member.name)
                    self.brought.add(what)
            member.held.remove(held)

    # --- joining ---------------------------------------------------------------------------------------------------

    def ask(self, member: Member, sponsor: str) -> None:
        if member.state == "waiting":
            self.send(member, sponsor, "ask", member.actor)

    def on_ask(self, member: Member, frame: Frame) -> None:
        if member.state != "member":
            return
        if frame.actor in member.ends or self.older_boot(frame.actor):
            return
        if self.rules.joiners_are_reported:
            member.joiners[frame.actor] = None
        first = member.cut.round + (2 if member.reported[0] > member.cut.round else 1)
        self.send(member, frame.sender, "welcome", (frame.actor, dict(member.ends), first))

    def on_welcome(self, member: Member, frame: Frame) -> None:
        actor, ends, first = frame.content
        if member.state != "waiting" or actor != member.actor:
            return
        member.cut, member.ends, member.first, member.sponsor = frame.cut, ends, first, frame.actor
        member.clock.raise_floor(frame.cut.stamp)
        member.state = "pulling"
        self.begin_pull(member, frame.sender, everything=True)

    # --- pulls -----------------------------------------------------------------------------------------------------

    def begin_pull(self, member: Member, sender: str, everything: bool = False) -> None:
        if member.state == "waiting" or (member.state == "pulling" and not everything):
            return
        member.pulls += 1
        claims = Summary((), ()) if everything else self.claims(member)
        member.pull = Pull(member.pulls, Transfer(claims), sender, everything, member.cut.round)
        self.ask_more(member)

    def claims(self, member: Member) -> Summary:
        self.flush(member)
        return member.store.dots.summary()

    def ask_more(self, member: Member) -> None:
        pull = member.pull
        if pull is not None:
            self.send(
                member, pull.sender, "pull",
                (member.actor, pull.number, pull.transfer.known, pull.transfer.after, pull.everything, pull.transfer.snapshot),
            )  # fmt: skip

    def on_pull(self, member: Member, frame: Frame) -> None:
        actor, number, have, after, everything, snapshot = frame.content
        if member.state != "member":
            return
        if self.rules.flushes_before_snapshots:
            self.flush(member)
        if after != FIRST and not member.store.dots.covers_all(snapshot):
            return  # another sender goes on only if it has all of that snapshot
        limit = self.random.choice((1, 150, EVERYTHING))
        part = missing(member.store, DotSet(have), {}, after, limit, everything=everything)
        stated = member.store.dots.summary() if after == FIRST else None
        cells = [self.decoded(data) for data in part.cells]
        self.send(member, frame.sender, "chunk", (actor, number, after, stated, cells, part))

    @staticmethod
    def decoded(data: bytes) -> Cell:
        return cell_of(load(data, EVERYTHING, 4))

    def on_chunk(self, member: Member, frame: Frame) -> None:
        actor, number, after, stated, cells, part = frame.content
        pull = member.pull
        if actor != member.actor or pull is None or number != pull.number or after != pull.transfer.after:
            return
        if frame.cut.round < pull.cut:
            return
        pull.cut = frame.cut.round
        if after == FIRST:
            if stated is None:
                return
            pull.transfer.begins(stated)
        for cell in cells:
            stamp = self.admit(member, cell)
            if pull.everything:
                member.store.absorb(cell, stamp)
            else:
                member.store.apply(cell, stamp)
        pull.transfer.received(part.last, part.complete)
        if not part.done:
            self.ask_more(member)
            return
        member.pull = None
        self.rules.finish(member, pull)
        if member.state == "pulling":
            member.state = "member"
            self.apply(member)

    # --- pushes ----------------------------------------------------------------------------------------------------

    def flush(self, member: Member, push: float = 0.7) -> None:
        if member.state != "member":
            return
        for cell, previous in member.store.flush():
            require((cell.actor, cell.n) not in self.log, "one dot for two cells:", cell)
            self.log[cell.actor, cell.n] = cell
            for to in self.members:
                if to != member.name and self.random.random() < push:
                    self.send(member, to, "push", (cell, previous))

    def on_push(self, member: Member, frame: Frame) -> None:
        if member.state != "member" and self.rules.joiners_merge_nothing:
            return
        if member.state == "waiting":
            return
        cell, previous = frame.content
        if member.store.dots.covers(cell.actor, cell.n):
            return
        member.store.apply(cell, self.admit(member, cell))
        member.store.claim_previous(cell, previous)

    def admit(self, member: Member, cell: Cell) -> Stamp:
        now = self.now(member)
        for stamp in stamps_of(cell):
            require(member.clock.merge(stamp, now), "a clock refused a fellow within the drift")
        return member.clock.read(now)

    def forward(self, member: Member, to: str, key: str) -> None:
        self.flush(member)
        cell = member.store.cell(KEY, key)
        if cell is not None and cell.n and cell.actor != NOBODY:
            self.send(member, to, "push", (cell, 0))

    def on_news(self, member: Member, frame: Frame) -> None:
        """The sender takes nothing from that actor."""
        if frame.content == member.actor:
            ended = frame.content in [end.actor for end in frame.cut.ended] or any(
                each.actor == frame.content for each in frame.cut.retired
            )
            if ended:
                self.reborn(member)

    # --- rounds ----------------------------------------------------------------------------------------------------

    def older_boot(self, actor: bytes) -> bool:
        return any(actor in member.owned and actor != member.actor for member in self.members.values())

    def to_end(self, leader: Member, harsh: bool) -> dict[bytes, End]:
        """Whom the leader ends: older boots and lives that it knows of, those that its reporters name, and the long dead."""
        cut = self.register.cut
        ends: dict[bytes, End] = {end.actor: end for end in cut.ended}
        if self.register.opening is not None:
            ends = {end.actor: end for end in self.register.opening.ends}
        gone = {each.actor for each in cut.retired}
        first = self.register.opening.members if self.register.opening is not None else ()
        summary = leader.store.dots.summary()
        actors = {*cut.counted, *first, *[actor for actor, _ in (*summary.vector, *summary.extras)]}
        gathered = self.reports.get(leader.name)
        for report in gathered[1].values() if gathered is not None else ():
            actors.update(report.joiners)
        alive = {member.actor: member for member in self.up()}
        for actor in actors - gone - {*ends}:
            holder = alive.get(actor)
            reachable = holder is not None and self.reach(holder.name, leader.name)
            if holder is None and self.random.random() < 0.5:
                name, boot, _ = actor.decode().split(".")  # a newer life of the process may bring something back
                ends[actor] = End(actor, lost=boot == str(self.members[name].boot))
            elif not reachable and harsh:
                ends[actor] = End(actor, lost=True)
        if self.rules.strangers_are_named:
            for member in self.up():
                if self.reach(member.name, leader.name):
                    for held in member.held:
                        for actor in unknown(member.store, held.store, cut, held.since):
                            if actor not in gone and actor not in ends and member.state == "member":
                                ends[actor] = End(actor, lost=True)
        return ends

    def lead(self, leader: Member, harsh: bool) -> None:
        """Open the next round, or this one anew, and ask everyone for reports."""
        if leader.state == "waiting" and self.reaches_register(leader) and self.alone(leader):
            self.take_over(leader, self.register.cut)
        if leader.state != "member" or not self.reaches_register(leader):
            return
        register = self.register
        if register.cut.round > leader.cut.round:
            alive = {member.actor for member in self.up()}
            if not alive & {*register.cut.counted}:
                leader.first, leader.sponsor = register.cut.round + 1, b""
                self.wiped = True  # what those alone had is lost, whoever goes on
                ended = {end.actor for end in register.cut.ended} | {row.actor for row in register.cut.retired}
                if leader.actor in ended:
                    self.flush(leader)
                    leader.life += 1
                    leader.store.actor = f"{leader.name}.{leader.boot}.{leader.life}".encode().ljust(16, b"_")
                    leader.owned.append(leader.store.actor)
                leader.cut = register.cut
                leader.clock.raise_floor(register.cut.stamp)
                self.apply(leader)
            elif not self.meet(leader, register.cut):
                return
        ends = self.to_end(leader, harsh)
        opening = register.opening
        if opening is not None and leader.actor in [end.actor for end in opening.ends]:
            self.reborn(leader)
            return
        if opening is None or {*ends} > {end.actor for end in opening.ends}:
            if leader.actor in ends:
                return
            members = opening.members if opening is not None else ()
            if {*register.cut.counted, *members} <= {*ends} and (self.rules.names_anew or not members):
                members = tuple(
                    sorted(each.actor for each in self.up() if each.state == "member" and self.reach(each.name, leader.name))
                )
            attempt = 1 if opening is None else opening.attempt + 1
            register.opening = opening = Opening(
                register.cut.round + 1, attempt, tuple([ends[actor] for actor in sorted(ends)]), members
            )
        self.reports[leader.name] = (opening, {})
        for name in self.members:
            self.send(leader, name, "open", opening)

    def on_open(self, member: Member, frame: Frame) -> None:
        opening: Opening = frame.content
        if member.state != "member" or opening.round != member.cut.round + 1:
            return
        if (opening.round, opening.attempt) < member.reported:
            return
        if any(end.actor == member.actor for end in opening.ends):
            self.reborn(member)
            return
        member.ends.update({end.actor: end for end in opening.ends})
        for joiner in list(member.joiners):
            if joiner in member.ends:
                del member.joiners[joiner]
        self.flush(member)
        member.reported = (opening.round, opening.attempt)
        report = Report(
            member.actor,
            member.store.dots.summary(),
            member.store.dots.last(member.actor),
            self.read(member),
            tuple(sorted(member.joiners)),
            tuple(member.brought) if self.rules.tells_what_it_brings else (),
        )
        self.send(member, frame.sender, "report", (opening, report))

    def on_report(self, member: Member, frame: Frame) -> None:
        opening, report = frame.content
        gathered = self.reports.get(member.name)
        if gathered is not None and gathered[0] == opening:
            gathered[1][report.actor] = report

    def decide(self, leader: Member) -> None:
        gathered = self.reports.get(leader.name)
        register = self.register
        if gathered is None or leader.state != "member" or not self.reaches_register(leader):
            return
        opening, reports = gathered
        if register.opening != opening:
            return
        cut = self.rules.make_cut(register.cut, opening, reports)
        if cut is None:
            return
        register.cut, register.opening = cut, None
        self.cuts += 1
        self.note("cut", cut.round, "counts", len(cut.counted), "ends", [end.actor for end in cut.ended])
        self.decided(cut, reports)
        self.meet(leader, cut)

    def decided(self, cut: Cut, reports: dict[bytes, Report]) -> None:
        """Everyone that is counted has what `least` covers: it is safe, and seen."""
        void = {(actor, n) for actor, numbers in cut.void for n in numbers}
        void |= {(each.actor, n) for each in cut.retired for n in each.void}
        for actor, last in cut.least:
            for n in range(1, last + 1):
                cell = self.log.get((actor, n))
                if cell is not None and (actor, n) not in void:
                    self.keep(cell)
                    self.seen.add((cell[:2], cell.order))

    def keep(self, cell: Cell) -> None:
        """It must not be lost from now on."""
        if cell.kind == KEY:
            known = self.safe.get(cell[:2])
            if known is None or cell.order > known.order:
                self.safe[cell[:2]] = cell

    # --- local -----------------------------------------------------------------------------------------------------

    def write(self, member: Member) -> None:
        random, store = self.random, member.store
        stamp = self.tick(member)
        key, body = random.choice(KEYS), random.randbytes(2)
        match random.randrange(12):
            case 0 | 1 | 2:
                self.put(member, key, body, stamp)
            case 3 | 4 | 5:
                self.put(member, key, None, stamp)
            case 6 | 7:
                self.put(member, key, body, stamp, expiry=stamp + (random.choice((300, 2_000)) << COUNTER_BITS))
            case 8:
                self.put(member, FENCED, random.choice((body, None)), stamp, fence=random.randrange(1, 4))
            case 9:
                store.touch(key, stamp, stamp + (random.choice((500, 2_000)) << COUNTER_BITS))
            case 10:
                counter, amount = random.choice(COUNTERS), random.randrange(-5, 9)
                store.add(counter, amount, stamp)
                self.adds.append((member.name, member.boot, counter, amount))
            case 11:
                lease = random.choice(LEASES)
                if not store.lease_ended(lease):
                    self.put(member, key, body, stamp, bound=lease)

    def put(self, member: Member, key: str, body: bytes | None, stamp: Stamp, **more: Any) -> None:
        try:
            cell = member.store.put(key, body, stamp, **more)
        except StoreFencedError:
            return
        safe = self.safe.get((KEY, key))
        if member.state != "member" or (safe and safe.order > cell.order and member.store.dots.covers(safe.actor, safe.n)):
            self.after.add((cell[:2], cell.order))

    def crash(self, member: Member) -> None:
        member.up = False
        self.note(member.name, "crashes")

    def save(self, member: Member) -> None:
        self.flush(member)
        if member.store.pending:
            return  # what has no dot yet is not on disk
        member.disk = copy.deepcopy((member.store, member.cut.round, member.held, member.owned))

    def restart(self, member: Member, memory: bool) -> None:
        member.up = True
        member.boot += 1
        member.life = 0
        member.clock = HybridClock()
        held: list[Held] = []
        owned: list[bytes] = []
        if memory and member.disk is not None:
            store, since, held, owned = copy.deepcopy(member.disk)
            if len(store):
                held.append(Held(store, since))
        member.owned = []
        member.begin(held)
        member.owned = [*owned, member.actor]
        self.note(member.name, "restarts with", len(held))

    # --- checks ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """C18: no false alarm."""
        known: dict[tuple[int, bytes], tuple[str, list[Cell]]] = {}
        for member in self.up():
            if member.state != "member" or member.store.pending:
                continue
            cells = content(member.store)
            name, others = known.setdefault((member.cut.round, member.store.dots.digest()), (member.name, cells))
            require(cells == others, "C18:", name, "and", member.name, "claim the same and differ in", differing(cells, others))

    def step(self) -> None:
        random = self.random
        member = random.choice(list(self.members.values()))
        other = random.choice(list(self.members))
        dice = random.randrange(100)
        if dice < 30:
            for _ in range(random.randrange(1, 6)):
                if self.bag:
                    self.deliver(random.randrange(len(self.bag)), keep=random.randrange(6) == 0)
        elif dice < 33:
            if self.bag and random.randrange(2):
                self.bag.pop(random.randrange(len(self.bag)))
        elif dice < 36:
            self.ms += random.choice((1, 20, 300, 900))
            for each in self.up():
                each.store.expire(self.read(each))
        elif dice == 36:
            self.split()
        elif dice < 40:
            if not member.up:
                self.restart(member, memory=random.randrange(2) == 0)
            elif random.randrange(3) == 0 and self.spare(member):
                self.crash(member)
        elif not member.up:
            return
        elif dice < 55:
            self.write(member)
        elif dice < 62:
            self.flush(member)
        elif dice < 66:
            self.forward(member, other, random.choice(KEYS))
        elif dice < 72:
            if other != member.name:
                self.begin_pull(member, other)
        elif dice < 75:
            self.ask_more(member)
        elif dice < 79:
            self.ask(member, other)
        elif dice < 81:
            self.save(member)
        elif dice < 87:
            self.lead(member, harsh=random.randrange(4) == 0)
        elif dice < 95:
            self.decide(member)
        elif dice == 95:
            lease = random.choice(LEASES)
            if random.randrange(6) == 0 and member.state == "member":
                member.store.end_lease(lease, self.tick(member))
        elif dice == 96:
            if member.state == "pulling" and random.randrange(4) == 0:
                self.reborn(member)  # its sponsor does not answer
            elif member.pull is not None:
                member.pull.sender = other
        else:
            self.try_bring_back(member)

    def split(self) -> None:
        random = self.random
        if any(self.sides.values()) and random.randrange(2):
            self.sides = dict.fromkeys(self.members, 0)
        else:
            self.sides = {name: int(random.random() < 0.35) for name in self.members}

    def spare(self, member: Member) -> bool:
        """A crash leaves two that are counted, or any two as long as nobody is."""
        cut = self.register.cut
        left = [each for each in self.up() if each is not member and each.state == "member"]
        return len([each for each in left if not cut.round or cut.counts(each.actor)]) >= 2

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        for member in self.up():
            self.flush(member)
            for cell in member.store.cells():
                self.keep(cell)
            for held in member.held:
                for cell in held.store.cells():
                    if cell.actor in member.owned:
                        self.keep(cell)
        certain = {(member.name, member.boot) for member in self.up()}
        self.sides = dict.fromkeys(self.members, 0)
        for member in self.members.values():
            if not member.up:
                self.restart(member, memory=False)
        for rounds in range(40):
            self.ms += 700
            self.drain()
            joined = [member for member in self.up() if member.state == "member"]
            if not joined:
                for member in self.up():
                    self.lead(member, harsh=True)
                joined = [member for member in self.up() if member.state == "member"]
                require(bool(joined), "not settled: everyone waits, and nobody is left to welcome anyone")
            leader = next((member for member in joined if self.register.cut.counts(member.actor)), joined[0])
            for member in self.up():
                if member.state == "pulling":
                    if rounds % 4 == 3:
                        self.reborn(member)
                    else:
                        self.ask_more(member)
                if member.state == "waiting":
                    self.ask(member, leader.name)
            self.drain()
            for _ in range(3):
                self.lead(leader, harsh=True)
                self.drain()
                self.decide(leader)
                self.drain()
            for member in self.up():
                if member is not leader and member.state == "member":
                    self.send(leader, member.name, "news", b"")  # with the number of the cut
            self.drain()
            for member in self.up():
                self.try_bring_back(member)
                self.flush(member)
            self.drain()
            for member in self.up():
                if member is not leader:
                    self.begin_pull(leader, member.name)
                    self.drain()
            for member in self.up():
                if member is not leader:
                    self.begin_pull(member, leader.name)
                    self.drain()
            self.check()
            if self.settled(leader) and rounds > 4:
                break
        else:
            raise Broken(f"not settled: {self.why(leader)}")
        self.judge(certain)

    def settled(self, leader: Member) -> bool:
        return not self.why(leader)

    def why(self, leader: Member) -> str:
        cut = self.register.cut
        for member in self.up():
            if member.state != "member":
                return f"{member.name} is {member.state}"
            if not cut.counts(member.actor) or member.cut.round != cut.round:
                return f"{member.name} is not counted, or behind ({member.cut.round} of {cut.round})"
            if member.held:
                return f"{member.name} has not brought back: {unknown(member.store, member.held[0].store, cut, 0)}"
        if cut.ended:
            return f"ended and not retired: {cut.ended} {cut.void}"
        counted = {*cut.counted}
        for member in self.up():
            left = [actor for actor, _ in member.store.dots.summary().vector if actor not in counted]
            if left or member.store.dots.gaps():
                return f"{member.name} has {left} in its vector, gaps {member.store.dots.gaps()}"
        return ""

    def drain(self) -> None:
        for _ in range(20_000):
            if not self.bag:
                return
            self.deliver(self.random.randrange(len(self.bag)) if self.random.random() < 0.5 else 0)
        raise Broken("frames without end")

    def judge(self, certain: set[tuple[str, int]]) -> None:
        if self.wiped:
            return
        first, *others = self.up()
        for other in others:
            require(first.store.dots.digest() == other.store.dots.digest(), "digests differ in the end")
            require(content(first.store) == content(other.store), "C15: stores differ in the end")
        store = first.store
        for place, safe in sorted(self.safe.items()):
            final = store.cell(*place)
            if final is None:
                ends = [cell for cell in self.log.values() if cell[:2] == place and self.is_end(cell, store)]
                require(
                    any(not above(safe, end) or end.order == safe.order for end in ends), "C7: lost without a trace:", safe
                )  # fmt: skip
            elif final.order < safe.order and (place, final.order) not in self.brought | self.after:
                raise Broken(f"C7: lost or undone: {safe} by {final}")
        for counter in COUNTERS:
            mine = [(who, boot, amount) for who, boot, name, amount in self.adds if name == counter]
            surely = [amount for who, boot, amount in mine if (who, boot) in certain]
            others_ = [amount for who, boot, amount in mine if (who, boot) not in certain]
            low = sum(surely) + sum(amount for amount in others_ if amount < 0)
            high = sum(surely) + sum(amount for amount in others_ if amount > 0)
            require(low <= store.counter(counter) <= high, "C4:", counter, store.counter(counter), "is not within", low, high)
        cut = self.register.cut
        kept = {*cut.counted, *[each.actor for each in cut.retired if each.lost]}
        left = [cell for cell in store.cells() if cell.kind == COUNTER and slot_actor(cell.key) not in kept]
        require(not left, "C4: slots of the dead are left:", left)

    @staticmethod
    def is_end(cell: Cell, store: Store) -> bool:
        return cell.body is None or bool(expiry_of(cell)) or cell.bound is not None or is_dropped(cell)


def content(store: Store) -> list[Cell]:
    return [drop(cell) if cell.kind == KEY and expiry_of(cell) else cell for cell in store.cells()]


def differing(one: list[Cell], other: list[Cell]) -> list[Cell]:
    return [cell for cell in one if cell not in other] + [cell for cell in other if cell not in one]


def run(seed: int, steps: int = 400, names: int = 0, rules: Rules | None = None) -> World:
    random = Random(seed)
    world = World(names or random.choice((3, 4, 5)), random, rules)
    try:
        for number in range(steps):
            world.step()
            if number % 4 == 0:
                world.check()
        world.settle()
    except Broken as problem:
        raise Broken(f"seed {seed}: {problem}") from problem
    return world
