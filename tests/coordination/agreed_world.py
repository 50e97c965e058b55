"""A small deterministic world for the agreed state alone: real parts, simulated time, network, clocks and faults.

Same seed, same run. True time is kept here; each node reads its own monotonic clock (any offset, rate within 1 %) and
wall clock (offset, jumps). The checkers look at true time, which no node can see:

    L1   no two holders believe in one lock at one moment          L4   a body is told before anyone else is granted
    L2   tokens rise over the grants of a lock                      L6   one request is granted once
    L12  after healing, every lock can be had again, and no queue holds a ghost"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from coordination.agreed import events
from coordination.agreed.agreed import Agreed, build_agreed
from coordination.agreed.boots import NO_BOOT
from coordination.agreed.roster import Parameters
from crdt.clock import HybridClock, Instant
from mesh.directives import Arm, Boot, Directive, Disarm, Emit, Event, Message, Send, Source

S = 1_000_000_000
MS = 1_000_000
EPOCH_MS = 1_700_000_000_000
PARAMETERS = Parameters(R=5, max_ttl=3 * S, rho=10, max_drift=S // 2)


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
        return node.boot if node is not None and node.booted else None

    def names_alive(self) -> list[str]:
        return [name for name in sorted(self.world.nodes) if self.is_alive(name)]


@dataclass
class Node:
    name: str
    rate: float
    offset: int
    wall: int
    boot: Boot = NO_BOOT
    booted: bool = False
    up: bool = False
    down_at: int = 0
    paused: int = 0
    clock: HybridClock = field(default_factory=HybridClock)
    parts: Agreed | None = None
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


class World:
    build: Callable[..., Agreed] = staticmethod(build_agreed)

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        fresh: bool = True,
        loss: float = 0.0,
        latency: tuple[int, int] = (MS // 5, 3 * MS),
        clients: int = 0,
        build: Callable[..., Agreed] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.now = 0
        self.loss = loss
        self.duplicate = loss / 2
        self.latency = latency
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.nodes: dict[str, Node] = {}
        self.cuts: dict[tuple[str, str], int] = {}
        self.lies: dict[str, set[str]] = {}
        self.log: list[tuple[int, str, Event]] = []
        self.tokens: dict[str, int] = {}
        self.grants = 0
        self.sent = 0
        self.voters = voters
        if build is not None:
            self.build = build
        for index in range(voters + clients):
            name = f"n{index}"
            self.nodes[name] = Node(
                name,
                1 + self.random.uniform(-0.0099, 0.0099),
                self.random.randrange(10**6 * S),
                self.random.randrange(-200, 200),
            )
        for name in self.nodes:
            self.start(name, fresh=fresh)

    # --- time -----------------------------------------------------------------------------------------------------

    def instant(self, node: Node) -> Instant:
        mono = node.offset + int(self.now * node.rate)
        return Instant(mono, mono, EPOCH_MS + node.wall + self.now // MS)

    def at(self, when: int, what: Callable[[], None]) -> None:
        self.sequence += 1
        heappush(self.heap, (when, self.sequence, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        self.at(self.now + delay, what)

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
        index = int(name[1:])
        session = self.random.randbytes(16)
        stamp = max(self.instant(node).wall << 16, node.boot.stamp + 1)
        node.boot = Boot(stamp, session)
        node.booted = node.up = True
        node.timers.clear()
        node.backlog.clear()
        node.workers.clear()
        node.clock = HybridClock(500)
        identity = Self_(name, node.boot)
        founder = index < self.voters
        node.parts = self.build(
            identity,
            WorldView(self, name),
            node.clock,
            random.Random(self.random.random()),
            expect=self.voters if founder else 1,
            voter=founder,
            fresh=fresh,
            networked=self.voters > 1,
            seeds=self.voters if self.voters > 1 else 0,
            parameters=PARAMETERS,
        )
        node.routes = {kind: part for part in node.parts for kind in part.messages}
        for part in node.parts:
            self.perform(node, part, part.start(self.instant(node)))

    def crash(self, name: str) -> None:
        node = self.nodes[name]
        node.up = False
        node.down_at = self.now
        node.parts = None
        node.workers.clear()
        node.timers.clear()

    def pause(self, name: str, duration: int) -> None:
        node = self.nodes[name]
        node.paused = max(node.paused, self.now + duration)
        self.at(node.paused, lambda: self.resume(node))

    def resume(self, node: Node) -> None:
        if self.now >= node.paused:
            backlog, node.backlog = node.backlog, []
            for what in backlog:
                what()

    def step(self, node: Node, boot: Boot, what: Callable[[], None]) -> None:
        if not node.up or node.boot != boot:
            return
        if self.now < node.paused:
            if len(node.backlog) < 500:
                node.backlog.append(lambda: self.step(node, boot, what))
            return
        what()

    def perform(self, node: Node, part: Any, directives: Any) -> None:
        todo: list[tuple[Any, Directive]] = [(part, directive) for directive in directives]
        while todo:
            part, directive = todo.pop(0)
            if isinstance(directive, Send):
                if directive.to == node.name:
                    target = node.routes[type(directive.message)]
                    source = Source(node.boot.session, "", node.name, node.boot, None)
                    todo.extend((target, d) for d in target.on_message(directive.message, source, self.instant(node)))
                else:
                    self.transmit(node, str(directive.to), directive.message)
            elif isinstance(directive, Arm):
                self.arm(node, part, directive.timer, directive.at)
            elif isinstance(directive, Disarm):
                node.timers.pop((part.name, directive.timer), None)
            elif isinstance(directive, Emit):
                self.log.append((self.now, node.name, directive.event))
                assert node.parts is not None
                for other in node.parts:
                    if other is not part:
                        todo.extend((other, d) for d in other.on_event(directive.event, self.instant(node)))
                self.observe(node, directive.event)

    def arm(self, node: Node, part: Any, timer: Hashable, at: int) -> None:
        node.timers[part.name, timer] = at
        boot = node.boot
        due = int((at - node.offset) / node.rate) + 1

        def fire() -> None:
            if node.timers.get((part.name, timer)) == at:
                now = self.instant(node)
                if now.mono < at:
                    self.after(1000, lambda: self.step(node, boot, fire))
                    return
                del node.timers[part.name, timer]
                self.perform(node, part, part.on_timer(timer, now))

        self.at(max(due, self.now), lambda: self.step(node, boot, fire))

    def transmit(self, node: Node, to: str, message: Message) -> None:
        self.sent += 1
        copies = 1
        if self.random.random() < self.loss:
            return
        if self.random.random() < self.duplicate:
            copies = 2
        far = self.nodes.get(to)
        if far is None:
            return
        source = Source(node.boot.session, "", node.name, node.boot, None)
        boot = far.boot
        for _ in range(copies):
            delay = self.random.randint(*self.latency)
            if self.loss and self.random.random() < 0.02:
                delay *= 50

            def arrive() -> None:
                if (node.name, to) in self.cuts or type(message) not in far.routes:
                    return
                part = far.routes[type(message)]
                self.sample(node, far)
                self.perform(far, part, part.on_message(message, source, self.instant(far)))
                self.check_beliefs()

            self.after(delay, lambda: self.step(far, boot, arrive))

    def sample(self, node: Node, far: Node) -> None:
        """As the mesh does with acknowledgements: without it clocks at 1 % would leave max_drift within a minute."""
        far.clock.sample(node.name, self.instant(node).wall - far.clock.physical_ms(self.instant(far)))

    # --- partitions -----------------------------------------------------------------------------------------------

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        self.cuts.setdefault((a, b), self.now)
        if not one_way:
            self.cuts.setdefault((b, a), self.now)

    def isolate(self, name: str) -> None:
        for other in self.nodes:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        self.cuts.clear()
        self.lies.clear()

    # --- users ----------------------------------------------------------------------------------------------------

    def acquire(
        self, name: str, key: str, *, ttl: int = S, wait: bool = True, renew: bool = True, kind: str = "lock"
    ) -> Worker:
        node = self.nodes[name]
        assert node.parts is not None
        holder = node.parts.holder
        worker = Worker(name, holder.next_request(), key, "asking", wait, since=self.now)
        node.workers[worker.request] = worker
        self.perform(
            node,
            holder,
            holder.acquire(worker.request, key, kind=kind, ttl=ttl, wait=wait, renew=renew, now=self.instant(node)),
        )
        return worker

    def command(self, worker: Worker, what: str) -> None:
        node = self.nodes[worker.node]
        if node.parts is None or worker.request not in node.workers:
            return
        holder = node.parts.holder
        if what in ("release", "cancel"):
            worker.body = False
            worker.state = "leaving" if what == "release" else "done"
            if what == "cancel":
                node.workers.pop(worker.request, None)
        self.perform(node, holder, getattr(holder, what)(worker.request, self.instant(node)))

    def valid(self, worker: Worker) -> bool:
        node = self.nodes[worker.node]
        return node.up and node.parts is not None and node.parts.holder.valid(worker.request, self.instant(node))

    def observe(self, node: Node, event: Event) -> None:
        worker = node.workers.get(getattr(event, "request", -1))
        if worker is None:
            return
        if isinstance(event, events.Granted):
            if worker.state != "asking":
                raise Violation(f"L6: {worker} granted in state {worker.state}, seed {self.seed}")
            worker.state, worker.body, worker.token = "held", True, event.token
            self.grants += 1
            for other in self.all_workers():
                if other is worker or other.key != worker.key:
                    continue
                if self.valid(other):
                    raise Violation(f"L1: {worker} and {other} both hold at {self.now}, seed {self.seed}")
                if other.body and self.now >= self.nodes[other.node].paused:
                    raise Violation(f"L4: {other} was not told before {worker} was granted, seed {self.seed}")
            if event.token <= self.tokens.get(worker.key, 0):
                raise Violation(f"L2: {worker}: token not above {self.tokens[worker.key]}, seed {self.seed}")
            self.tokens[worker.key] = event.token
        elif isinstance(event, events.Ending):
            worker.body = False
        elif isinstance(event, events.Busy | events.Unavailable | events.Ended | events.Released):
            worker.body = False
            worker.state = type(event).__name__.lower()
            del node.workers[worker.request]

    def all_workers(self) -> list[Worker]:
        return [worker for node in self.nodes.values() if node.up for worker in node.workers.values()]

    def check_beliefs(self) -> None:
        held: dict[str, Worker] = {}
        for worker in self.all_workers():
            if worker.state in ("held", "leaving", "ended") and self.valid(worker):
                other = held.setdefault(worker.key, worker)
                if other is not worker:
                    raise Violation(f"L1: {worker} and {other} both believe at {self.now}, seed {self.seed}")

    def founded(self) -> bool:
        return all(node.parts is None or node.parts.birth.roster is not None for node in self.nodes.values())


FAULT_KINDS = ("crash", "pause", "cut", "one_way", "isolate", "heal", "jump", "lie", "crash_all", "roll", "stall", "thin")


def stress(seed: int, *, build: Callable[..., Agreed] | None = None, duration: int = 12 * S, final: bool = True) -> World:
    """One random history with faults, then healing, then the liveness check. Raises Violation."""
    dice = random.Random(seed * 7919 + 1)
    voters = dice.choice([3, 3, 3, 5])
    latency = dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS), (MS // 5, 80 * MS)])
    world = World(
        seed,
        voters=voters,
        loss=dice.choice([0, 0, 0.02, 0.15]),
        latency=latency,
        clients=dice.choice([0, 1]),
        build=build,
    )
    if not world.run_until(world.founded, 60 * S):
        raise Violation(f"birth: no roster after 60 s, seed {seed}")
    keys = ["lock/a", "lock/b"][: dice.choice([1, 1, 2])]
    names = sorted(world.nodes)
    stop = world.now + duration

    def work(name: str) -> None:
        node = world.nodes[name]
        if world.now >= stop:
            return
        if not node.up or node.parts is None or world.now < node.paused:
            world.after(300 * MS, lambda: work(name))
            return
        ttl = dice.choice([S // 2, S, 2 * S, 3 * S])
        worker = world.acquire(
            name,
            dice.choice(keys),
            ttl=ttl,
            wait=dice.random() < 0.8,
            renew=dice.random() < 0.7,
            kind=dice.choice(["lock", "lease"]),
        )
        patience = dice.choice([dice.randrange(1, 60) * MS, dice.randrange(1, 3000) * MS, 20 * S])
        hold = dice.choice([0, dice.randrange(1, 100) * MS, dice.randrange(1, 4000) * MS])
        watch(worker, world.now + patience, hold, -1)

    def watch(worker: Worker, patience: int, hold: int, until: int) -> None:
        node = world.nodes[worker.node]
        if worker.request not in node.workers or node.workers[worker.request] is not worker:
            world.after(dice.randrange(1, 300) * MS, lambda: work(worker.node))
            return
        if world.now >= node.paused:
            if worker.state == "asking" and (world.now >= patience or world.now >= stop):
                world.command(worker, "cancel")
            elif worker.state == "held":
                if until < 0:
                    until = world.now + hold
                if world.now >= until or world.now >= stop:
                    world.command(worker, "release" if dice.random() < 0.8 else "cancel")
                elif dice.random() < 0.05:
                    world.command(worker, dice.choice(["renew", "bind"]))
        world.after(dice.choice([2, 20]) * MS, lambda: watch(worker, patience, hold, until))

    def fault() -> None:
        if world.now >= stop:
            return
        kind = dice.choice(FAULT_KINDS)
        name, other = dice.sample(names, 2)
        node = world.nodes[name]
        if kind == "crash" and node.up:
            reboot(name)
        elif kind == "crash_all" and dice.random() < 0.2:
            for each in dice.sample(names, dice.randrange(1, len(names))):
                if world.nodes[each].up:
                    reboot(each)
        elif kind == "roll":
            for turn, each in enumerate(dice.sample(names[:voters], voters // 2 + 1)):
                world.after((1 + 60 * turn) * MS, lambda each=each: roll(each))
        elif kind == "stall":
            # Renewed just before: the answers lie about while the process is stopped.
            length = dice.randrange(50, 1500) * MS
            for worker in list(node.workers.values()):
                if worker.state == "held" and world.now >= node.paused:
                    world.command(worker, "renew")
            world.pause(name, length)
            world.after(length + 5 * MS, lambda: world.isolate(name) if world.now < stop else None)
        elif kind == "pause":
            world.pause(name, dice.randrange(1, 5000) * MS)
        elif kind in ("cut", "one_way"):
            world.cut(name, other, one_way=kind == "one_way")
        elif kind == "isolate":
            world.isolate(name)
        elif kind == "thin":
            for each in names:
                if each not in (name, other):
                    world.cut(name, each)
        elif kind == "heal":
            world.heal()
        elif kind == "jump":
            node.wall += dice.randrange(-30, 30)
        elif kind == "lie":
            world.lies.setdefault(name, set()).add(other)
        world.after(dice.randrange(100, 2500) * MS, fault)

    def reboot(name: str) -> None:
        world.crash(name)
        # Only one may say `fresh` wrongly: two of three would be a quorum without memory, by the operator's own word.
        world.after(dice.randrange(10, 4000) * MS, lambda: world.start(name, fresh=name == "n0"))

    def roll(name: str) -> None:
        if world.nodes[name].up:
            world.crash(name)
            world.after(30 * MS, lambda: world.start(name))

    for name in names:
        for _ in range(dice.choice([1, 2])):
            world.after(dice.randrange(1, 200) * MS, lambda name=name: work(name))
    world.after(dice.randrange(100, 2000) * MS, fault)
    world.run(stop - world.now)
    world.heal()
    world.loss = world.duplicate = 0
    world.run(6 * S)
    if not final:
        return world
    for name in names:
        if not world.nodes[name].up:
            world.start(name)
    if not world.run_until(world.founded, 60 * S):
        if all(node.parts is None or node.parts.birth.roster is None for node in world.nodes.values()):
            raise Violation(f"birth: nobody founded anew, seed {seed}")
        raise Violation(f"birth: the roster was not learned, seed {seed}")
    world.run(9 * S)
    for name in names:
        node = world.nodes[name]
        assert node.parts is not None
        for worker in list(node.workers.values()):
            world.command(worker, "cancel")
    world.run(5 * S)
    for name in names:
        parts = world.nodes[name].parts
        assert parts is not None
        for key in keys:
            desk = parts.owner.desk(key)
            if desk is not None and len(desk.queue):
                raise Violation(f"ghost: {[ticket.asker for ticket in desk.queue.all()]} at {name}, seed {seed}")
        if parts.holder.stats()["held"] or parts.holder.stats()["leaving"]:
            raise Violation(f"ghost: {name} {parts.holder.stats()}, seed {seed}")
    for key in keys:
        for name in names:
            worker = world.acquire(name, key)
            if not world.run_until(lambda worker=worker: worker.state != "asking", 5 * S) or worker.state != "held":
                raise Violation(f"L12: {key} not to be had by {name} after healing: {worker}, seed {seed}")
            world.command(worker, "release")
            world.run_until(lambda worker=worker: worker.state != "leaving", 3 * S)
    return world


def hunt(seeds: range, build: Callable[..., Agreed] | None = None) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    for seed in seeds:
        try:
            stress(seed, build=build)
        except Violation as violation:
            return seed, str(violation)
    return None
