"""A small deterministic world for the agreed state alone: real parts, simulated time, network, clocks and faults.

Same seed, same run. True time is kept here; each node reads its own monotonic clock (any offset, rate within 1 %), a
boot-time clock that goes on while the machine sleeps, and a wall clock (offset, jumps). Voters, members that do not vote,
and thin clients, which are a holder alone behind a sponsor. The checkers look at true time, which no node can see:

    L1   nobody believes in a lock beside anyone that the modes of the two do not allow (`agreed_checks`)
    L2   tokens rise over the grants of a lock
    L4   a body is told before anyone is granted that it excludes; and a lock stays closed behind its dead for its delay
    L6   one request is granted once
    L9   no quorum is said if there is none, and only if something was wrong in the last seconds
    C19  a lease that is believed is never told to be over"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from coordination.agreed import events
from coordination.agreed.agreed import Agreed, build_agreed
from coordination.agreed.boots import NO_BOOT
from coordination.agreed.holder import Holder
from coordination.agreed.modes import EXCLUSIVE, Mode
from coordination.agreed.roster import Parameters, RosterValue
from crdt.clock import HybridClock, Instant
from mesh.directives import Act, Arm, Boot, Directive, Disarm, Emit, Event, Message, Persist, Send, Source
from mesh.memory import Memory
from simulations.machine.disk import Disk
from tests.coordination.agreed_checks import Closed, Tokens, clash
from tests.coordination.disk_laws import DiskLaws

S = 1_000_000_000
MS = 1_000_000
EPOCH_MS = 1_700_000_000_000
PARAMETERS = Parameters(R=5, max_ttl=3 * S, rho=10, max_drift=S // 2)
SOCKET_BUFFER = 500
"""Messages that wait for a paused process."""
DAY_MS = 86_400_000
NO_QUORUM_WITHIN = 2 * S + 600 * MS
"""Whoever is cut off is told after 2 s of silence, at the next time at which it would ask again: each half second at least."""

Changes = tuple[tuple[type, type], ...]
"""Planted faults: (class, the class that takes its place)."""


class Violation(AssertionError):
    pass


@dataclass
class Self_:
    name: str
    boot: Boot


class WorldView:
    """What gossip tells one node: right after a delay."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name

    def is_alive(self, name: str) -> bool:
        if name == self.name:
            return True
        if name in self.world.lies.get(self.name, ()):
            return False
        node = self.world.nodes.get(name)
        if node is None or (not node.up and self.world.now - node.down_at > S):
            return False
        cut = self.world.cuts.get((self.name, name), self.world.cuts.get((name, self.name)))
        return cut is None or self.world.now - cut < 3 * S // 2

    def boot(self, name: str) -> Boot | None:
        node = self.world.nodes.get(name)
        return node.boot if node is not None and node.booted and not self.world.blind else None

    def names_alive(self) -> list[str]:
        return [name for name in sorted(self.world.nodes) if "@" not in name and self.is_alive(name)]


class ThinView:
    """A thin client knows of nobody's life and of no boots."""

    def is_alive(self, name: str) -> bool:
        return True

    def boot(self, name: str) -> Boot | None:
        return None

    def names_alive(self) -> list[str]:
        return []


class Told:
    """The roster as the sponsor told it."""

    def __init__(self, sponsor: Node) -> None:
        self.sponsor = sponsor
        self.told: RosterValue | None = None

    @property
    def roster(self) -> RosterValue | None:
        if self.told is None and self.sponsor.parts is not None:
            self.told = self.sponsor.parts.birth.roster
        return self.told

    def abstaining_until(self, now: Instant) -> int | None:
        return None


@dataclass
class Node:
    name: str
    rate: float
    offset: int
    wall: int
    sponsor: str = ""
    """Of a thin client; else empty."""
    leap: int = 0
    lag: int = 0
    """By how much the monotonic clock stood still."""
    boot: Boot = NO_BOOT
    booted: bool = False
    up: bool = False
    down_at: int = 0
    up_at: int = 0
    paused: int = 0
    suspended: int = 0
    """Until when the monotonic clock stands still, or stood."""
    clock: HybridClock = field(default_factory=HybridClock)
    parts: Agreed | None = None
    holder: Holder | None = None
    disk: Disk | None = None
    memory: Memory | None = None
    routes: dict[type[Message], Any] = field(default_factory=dict)
    timers: dict[tuple[str, Hashable], int] = field(default_factory=dict)
    backlog: list[Callable[[], None]] = field(default_factory=list)
    workers: dict[int, Worker] = field(default_factory=dict)


@dataclass
class Worker:
    """One user of locks: acquires, works, releases; or gives up, or forgets to release."""

    node: str
    request: int = 0
    key: str = ""
    state: str = "idle"
    wait: bool = True
    body: bool = False
    since: int = 0
    token: int = 0
    lease: str = ""
    binds: bool = False
    mode: Mode = EXCLUSIVE
    delay: int = 0
    deadline: int = 0
    """The last that was seen, if it has a delay; boot ns of its node."""
    limit_told: int = 0


def plant(parts: Iterable[Any], changes: Changes) -> None:
    """Let parts, and what they are made of, have another class: the fault, beside untouched ones in the same run."""
    for part in parts:
        for thing in (part, *vars(part).values()):
            for old, new in changes:
                if type(thing) is old:
                    thing.__class__ = new


class World:
    told_within = NO_QUORUM_WITHIN

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        fresh: bool = True,
        loss: float = 0.0,
        latency: tuple[int, int] = (MS // 5, 3 * MS),
        clients: int = 0,
        thin: int = 0,
        durable: bool = False,
        faults: Changes = (),
        parameters: Parameters = PARAMETERS,
        lone: bool = False,
    ) -> None:
        self.lone = lone
        """Each founder founds alone."""
        self.parameters = parameters
        self.willing: set[str] = set()
        """Members that would vote, beside the founders."""
        self.random = random.Random(seed)
        self.seed = seed
        self.now = 0
        self.loss = loss
        self.duplicate = loss / 2
        self.latency = latency
        self.faults = faults
        self.heap: list[tuple[int, int, Callable[[], object]]] = []
        self.sequence = 0
        self.nodes: dict[str, Node] = {}
        self.cuts: dict[tuple[str, str], int] = {}
        self.lies: dict[str, set[str]] = {}
        self.log: list[tuple[int, str, Event]] = []
        self.tokens: dict[str, Tokens] = {}
        self.closed: list[Closed] = []
        self.visible: dict[str, None] = {}
        """Ids of leases that bind something, and whose end nobody has told yet."""
        self.grants = 0
        self.sent = 0
        self.lose: Callable[[int, str, str, Message], bool] | None = None
        """Whether this message is lost: its number, from, to, itself."""
        self.troubled = 0
        """Until when something was wrong that is over."""
        self.isolated: dict[str, int] = {}
        """Since when."""
        self.restarted = 0
        self.lags: dict[str, int] = {}
        """For how long the monotonic clock of each had stood still, when a process started last."""
        self.blind = False
        """Gossip tells of no restart: only messages do."""
        self.voters = voters
        self.laws = DiskLaws(self) if durable else None
        names = [f"n{index}" for index in range(voters + clients)]
        names += [f"t{index}@n{self.random.randrange(voters + clients)}" for index in range(thin)]
        for name in names:
            self.nodes[name] = Node(
                name,
                1 + self.random.uniform(-0.0099, 0.0099),
                self.random.randrange(10**6 * S),
                self.random.randrange(-200, 200),
                name.partition("@")[2],
            )
            if durable and "@" not in name:
                self.nodes[name].disk = Disk(self, seed)
        for name in names:
            self.start(name, fresh=fresh)

    # --- time -----------------------------------------------------------------------------------------------------

    def instant(self, node: Node) -> Instant:
        boot = node.offset + int(self.now * node.rate)
        mono = node.offset + int((self.now - node.lag) * node.rate)
        return Instant(mono, boot, EPOCH_MS + node.wall + node.leap + self.now // MS)

    def at(self, when: int, what: Callable[[], object]) -> None:
        self.sequence += 1
        heappush(self.heap, (when, self.sequence, what))

    def after(self, delay: int, what: Callable[..., object], /, *args: Any) -> None:
        self.at(self.now + delay, (lambda: what(*args)) if args else what)

    def run(self, duration: int) -> None:
        end = self.now + duration
        heap = self.heap
        while heap and heap[0][0] <= end:
            when, _, what = heappop(heap)
            self.now = max(self.now, when)
            what()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: int) -> bool:
        end = self.now + within
        while not condition():
            if not self.heap or self.heap[0][0] > end:
                return False
            when, _, what = heappop(self.heap)
            self.now = max(self.now, when)
            what()
        return True

    # --- nodes ----------------------------------------------------------------------------------------------------

    def start(self, name: str, *, fresh: bool = False) -> None:
        node = self.nodes[name]
        self.trouble()
        self.restarted = self.now
        self.lags = {each.name: each.lag for each in self.nodes.values()}
        node.leap = 0
        stamp = max(self.instant(node).wall << 16, node.boot.stamp + 1)
        node.boot = Boot(stamp, self.random.randbytes(16))
        node.booted = node.up = True
        node.up_at = self.now
        node.timers.clear()
        node.backlog.clear()
        node.workers.clear()
        node.clock = HybridClock(500)
        identity = Self_(name, node.boot)
        dice = random.Random(self.random.random())
        parts: Iterable[Any]
        if node.sponsor:
            node.holder = Holder(identity, ThinView(), Told(self.nodes[node.sponsor]), dice)
            parts = (node.holder,)
        else:
            founder = int(name[1:]) < self.voters
            node.memory = Memory(node.disk.open()) if node.disk is not None else None
            node.parts = parts = build_agreed(
                identity,
                WorldView(self, name),
                node.clock,
                dice,
                expect=self.voters if founder and not self.lone else 1,
                voter=founder or name in self.willing,
                fresh=fresh,
                networked=self.voters > 1,
                seeds=self.voters if self.voters > 1 and not self.lone else 0,
                parameters=self.parameters,
                memory=node.memory,
            )
            node.holder = node.parts.holder
        plant(parts, self.faults)
        node.routes = {kind: part for part in parts for kind in part.messages}
        for part in parts:
            self.perform(node, part, part.start(self.instant(node)))
        if self.laws is not None and node.disk is not None:
            self.laws.started(node)

    def crash(self, name: str) -> None:
        node = self.nodes[name]
        self.trouble()
        for worker in node.workers.values():
            self.unclean(node, worker)
        node.up = False
        node.down_at = self.now
        node.parts = node.holder = node.memory = None
        if node.disk is not None:
            node.disk.torn()
        node.workers.clear()
        node.timers.clear()

    def pause(self, name: str, duration: int, *, suspend: bool = False) -> None:
        """Stop the process; with `suspend` the machine, whose monotonic clock stands still meanwhile."""
        node = self.nodes[name]
        if node.paused > self.now:
            return
        node.paused = self.now + duration
        self.trouble(duration)

        def resume() -> None:
            if suspend:
                node.lag += duration
                node.suspended = self.now
            backlog, node.backlog = node.backlog, []
            for what in backlog:
                what()

        self.at(node.paused, resume)

    def running(self, node: Node) -> bool:
        return node.up and self.now >= node.paused

    def trouble(self, duration: int = 0) -> None:
        self.troubled = max(self.troubled, self.now + duration)

    def calm_for(self) -> int:
        """For how long nothing at all has been wrong: then a quorum is there for everyone."""
        if self.cuts or self.loss or not all(self.running(node) for node in self.nodes.values()):
            return 0
        return self.now - self.troubled

    def step(self, node: Node, boot: Boot, what: Callable[[], None]) -> None:
        if not node.up or node.boot != boot:
            return
        if self.now < node.paused:
            if len(node.backlog) < SOCKET_BUFFER:
                node.backlog.append(lambda: self.step(node, boot, what))
            return
        what()

    def perform(self, node: Node, part: Any, directives: Iterable[Directive]) -> None:
        todo: list[tuple[Any, Iterable[Directive]]] = [(part, directives)]
        for at, answered in todo:
            following = iter(answered)
            for directive in following:
                if isinstance(directive, Send):
                    if self.laws is not None:
                        self.laws.sent(node, directive.message)
                    if directive.to == node.name:
                        target = node.routes[type(directive.message)]
                        source = Source(node.boot.session, "", node.name, node.boot, None)
                        todo.append((target, target.on_message(directive.message, source, self.instant(node))))
                    else:
                        self.transmit(node, str(directive.to), directive.message)
                elif isinstance(directive, Arm):
                    self.arm(node, at, directive.timer, directive.at)
                elif isinstance(directive, Disarm):
                    node.timers.pop((at.name, directive.timer), None)
                elif isinstance(directive, Emit):
                    self.log.append((self.now, node.name, directive.event))
                    for other in node.parts or ():
                        if other is not at:
                            todo.append((other, other.on_event(directive.event, self.instant(node))))
                    self.observe(node, directive.event)
                elif isinstance(directive, Persist):
                    self.persist(node, at, directive, following)
                elif isinstance(directive, Act):
                    self.perform(node, directive.part, directive.directives)
                else:
                    raise Violation(f"{node.name} would stop: {directive}, seed {self.seed}")
        self.write(node)

    # --- disks ----------------------------------------------------------------------------------------------------

    def persist(self, node: Node, part: Any, persist: Persist, following: Iterator[Directive]) -> None:
        """As a node does."""
        memory, parts = node.memory, node.parts
        assert memory is not None and parts is not None
        memory.record(persist.records)
        if not memory.pending:
            return
        held: list[Directive] = []
        for directive in following:
            if isinstance(directive, Persist):
                memory.record(directive.records)
            elif isinstance(directive, Arm | Disarm):
                self.perform(node, part, (directive,))
            else:
                held.append(directive)
        if held:
            memory.hold(parts.index(part), held)

    def write(self, node: Node) -> None:
        memory, disk, boot = node.memory, node.disk, node.boot
        if memory is None or disk is None or (commit := memory.begin(self.instant(node).mono)) is None:
            return

        def done(number: int, error: str) -> None:
            self.step(node, boot, lambda: self.written(node, number, error))

        disk.take(commit, done)

    def written(self, node: Node, number: int, error: str) -> None:
        memory, parts, boot = node.memory, node.parts, node.boot
        assert memory is not None and parts is not None
        if error:
            retry = memory.failed(number, error, self.instant(node).mono) - self.instant(node).mono
            self.after(2 * retry, lambda: self.step(node, boot, lambda: self.write(node)))
        else:
            for index, directives in memory.committed(number):
                self.perform(node, parts[index], directives)
            self.write(node)

    def arm(self, node: Node, part: Any, timer: Hashable, at: int) -> None:
        node.timers[part.name, timer] = at
        boot = node.boot

        def fire() -> None:
            if node.timers.get((part.name, timer)) == at:
                now = self.instant(node)
                if now.mono < at:
                    self.after(max(1000, int((at - now.mono) / node.rate)), lambda: self.step(node, boot, fire))
                    return
                del node.timers[part.name, timer]
                self.perform(node, part, part.on_timer(timer, now))

        due = int((at - node.offset) / node.rate) + node.lag + 1
        self.at(max(due, self.now), lambda: self.step(node, boot, fire))

    # --- network --------------------------------------------------------------------------------------------------

    def path(self, a: Node, b: Node) -> list[str]:
        """A thin client speaks to its sponsor alone, which relays."""
        hops: list[str] = []
        for name in (a.name, a.sponsor, b.sponsor, b.name):
            if name and name not in hops:
                hops.append(name)
        return hops

    def passes(self, hops: list[str]) -> bool:
        if any(pair in self.cuts for pair in pairwise(hops)):
            return False
        return all(self.running(self.nodes[name]) for name in hops[1:-1])

    def transmit(self, node: Node, to: str, message: Message) -> None:
        self.sent += 1
        far = self.nodes.get(to)
        if self.lose is not None and self.lose(self.sent, node.name, to, message):
            return
        if self.random.random() < self.loss or far is None:
            return
        copies = 2 if self.random.random() < self.duplicate else 1
        source = Source(node.boot.session, "", node.name, node.boot, None)
        boot = far.boot
        hops = self.path(node, far)

        def arrive() -> None:
            if not self.passes(hops) or type(message) not in far.routes:
                return
            part = far.routes[type(message)]
            if node.parts is not None:
                self.sample(node, far)
            self.perform(far, part, part.on_message(message, source, self.instant(far)))
            self.check_beliefs()

        for _ in range(copies):
            delay = sum(self.random.randint(*self.latency) for _ in hops[1:])
            if self.loss and self.random.random() < 0.02:
                delay *= 50
            self.after(delay, lambda: self.step(far, boot, arrive))

    def sample(self, node: Node, far: Node) -> None:
        """As the mesh does with acknowledgements: without it clocks at 1 % would leave max_drift within a minute."""
        far.clock.sample(node.name, self.instant(node).wall - far.clock.physical_ms(self.instant(far)))

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        self.trouble()
        self.cuts.setdefault((a, b), self.now)
        if not one_way:
            self.cuts.setdefault((b, a), self.now)

    def isolate(self, name: str) -> None:
        self.isolated.setdefault(name, self.now)
        for other in self.nodes:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        self.trouble()
        self.cuts.clear()
        self.lies.clear()
        self.isolated.clear()

    # --- users ----------------------------------------------------------------------------------------------------

    def acquire(
        self,
        name: str,
        key: str,
        *,
        ttl: int = S,
        wait: bool = True,
        renew: bool = True,
        kind: str = "lock",
        mode: Mode = EXCLUSIVE,
        delay: int = 0,
    ) -> Worker:
        node = self.nodes[name]
        holder = node.holder
        assert holder is not None
        worker = Worker(name, holder.next_request(), key, "asking", wait, since=self.now, binds=kind == "lease")
        worker.mode, worker.delay = mode, delay
        node.workers[worker.request] = worker
        how = {"wait": wait, "renew": renew, "mode": mode, "delay": delay, "now": self.instant(node)}
        asked = holder.acquire(worker.request, key, kind=kind, ttl=ttl, **how)  # type: ignore[arg-type]
        self.perform(node, holder, asked)
        return worker

    def command(self, worker: Worker, what: str) -> None:
        node = self.nodes[worker.node]
        holder = node.holder
        if holder is None or worker.request not in node.workers:
            return
        if what in ("release", "cancel"):
            worker.body = False
            worker.state = "leaving" if what == "release" else "done"
            if what == "cancel":
                node.workers.pop(worker.request, None)
        elif what == "bind" and worker.lease:
            worker.binds = True
            self.visible[worker.lease] = None
        self.perform(node, holder, getattr(holder, what)(worker.request, self.instant(node)))

    def recheck(self) -> None:
        """What the layer above does each max_ttl on each node."""
        for node in self.nodes.values():
            if self.running(node) and node.parts is not None:
                owner = node.parts.owner
                self.perform(node, owner, owner.recheck(list(self.visible), self.instant(node)))

    def valid(self, worker: Worker) -> bool:
        node = self.nodes[worker.node]
        return node.up and node.holder is not None and node.holder.valid(worker.request, self.instant(node))

    # --- checkers -------------------------------------------------------------------------------------------------

    def observe(self, node: Node, event: Event) -> None:
        if isinstance(event, events.LeaseOver):
            self.visible.pop(event.lease_id, None)
            for other in self.all_workers():
                if other.lease == event.lease_id and self.valid(other):
                    raise Violation(f"C19: {other} still believes in what is over, seed {self.seed}")
        worker = node.workers.get(getattr(event, "request", -1))
        if worker is None:
            return
        if isinstance(event, events.Granted):
            self.check_grant(node, worker, event)
        elif isinstance(event, events.Ending):
            worker.body = False
        elif isinstance(event, events.Unavailable) and self.calm_for() > 4 * S:
            raise Violation(f"L9: {worker} was told that there is no quorum, seed {self.seed}")
        elif isinstance(event, events.Busy | events.OtherLimit | events.Unavailable | events.Ended | events.Released):
            if isinstance(event, events.Ended):
                self.unclean(node, worker)
            elif isinstance(event, events.OtherLimit):
                worker.limit_told = event.limit
            worker.body = False
            worker.state = type(event).__name__.lower()
            del node.workers[worker.request]

    def check_grant(self, node: Node, worker: Worker, event: events.Granted) -> None:
        if worker.state != "asking":
            raise Violation(f"L6: {worker} granted in state {worker.state}, seed {self.seed}")
        worker.state, worker.body, worker.token, worker.deadline = "held", True, event.token, event.deadline
        assert node.holder is not None
        worker.lease = node.holder.lease_id(worker.request)
        if worker.binds:
            self.visible[worker.lease] = None
        self.grants += 1
        others = [other for other in self.all_workers() if other is not worker and other.key == worker.key]
        valid = [other for other in others if self.valid(other)]
        if why := clash([worker, *valid]):
            raise Violation(f"L1: {worker} and {valid} hold at {self.now}, {why}, seed {self.seed}")
        untold = [other for other in others if other.body and other not in valid and self.can_be_told(other)]
        if why := clash([worker, *valid, *untold]):
            raise Violation(f"L4: {untold} were not told before {worker} was granted, {why}, seed {self.seed}")
        self.closed = [each for each in self.closed if each.until > self.now]
        behind = [each for each in self.closed if each.key == worker.key]
        if why := clash([worker, *valid, *behind]):
            raise Violation(f"delay: {worker} was granted at {self.now} in spite of {behind}, {why}, seed {self.seed}")
        if not self.tokens.setdefault(worker.key, Tokens()).granted(event.token, worker.mode):
            raise Violation(f"L2: {worker}: token not above those before, seed {self.seed}")

    def can_be_told(self, worker: Worker) -> bool:
        """A process that is stopped, or a machine that woke less than a tick ago, cannot."""
        node = self.nodes[worker.node]
        return self.running(node) and self.now - node.suspended > 110 * MS

    def unclean(self, node: Node, worker: Worker) -> None:
        """Its lease is not given back: it runs out, or has."""
        if worker.state != "held" or not worker.delay:
            return
        true = int((worker.deadline - node.offset) / node.rate)
        self.closed.append(Closed.after(worker.key, worker.mode, true, worker.delay))

    def check_told(self, worker: Worker) -> None:
        """Who is cut off from everyone has to be told, once no abstention can be the reason to wait."""
        node = self.nodes[worker.node]
        # What somebody abstains is waited for by the clock of whoever waits, which stands still while its machine sleeps.
        abstained = self.restarted + 4 * S + node.lag - self.lags.get(node.name, 0)
        begun = max(self.isolated.get(node.name, self.now), worker.since, node.paused, abstained)
        informed = node.parts is None or node.parts.birth.roster is not None
        within = 4 * S if node.sponsor else self.told_within  # its sponsor may have stood still, too
        if worker.state == "asking" and informed and self.voters > 1 and self.now - begun > within:
            raise Violation(f"L9: {worker} is cut off and has not been told, seed {self.seed}")

    def all_workers(self) -> list[Worker]:
        return [worker for node in self.nodes.values() if node.up for worker in node.workers.values()]

    def check_beliefs(self) -> None:
        held: dict[str, list[Worker]] = {}
        for worker in self.all_workers():
            if worker.state in ("held", "leaving") and self.valid(worker):
                held.setdefault(worker.key, []).append(worker)
                if worker.delay and worker.state == "held":
                    holder = self.nodes[worker.node].holder
                    worker.deadline = (holder.deadline(worker.request) if holder is not None else None) or worker.deadline
        for believers in held.values():
            if len(believers) > 1 and (why := clash(believers)):
                raise Violation(f"L1: {believers} believe at {self.now}, {why}, seed {self.seed}")

    def founded(self) -> bool:
        return all(node.parts is None or node.parts.birth.roster is not None for node in self.nodes.values())
