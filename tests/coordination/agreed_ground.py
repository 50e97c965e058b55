"""What the world of the agreed state stands on: simulated time, nodes that start and die, disks, and a network with faults.

Same seed, same run. True time is kept here; each node reads its own monotonic clock (any offset, rate within 1 %), a
boot-time clock that goes on while the machine sleeps, and a wall clock (offset, jumps)."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from coordination.agreed.agreed import build_agreed
from coordination.agreed.holding.holder import Holder
from coordination.agreed.vocabulary.roster import Parameters
from coordination.agreed.voting.learner import Decided
from crdt.clock import HybridClock, Instant
from mesh.directives import Act, Arm, Boot, Directive, Disarm, Emit, Event, Message, Persist, Send, Source
from mesh.memory import Memory
from simulations.machine.disk import Disk
from tests.coordination.agreed_nodes import (
    EPOCH_MS,
    MS,
    PARAMETERS,
    Changes,
    Node,
    S,
    Self_,
    ThinView,
    Told,
    Violation,
    Worker,
    WorldView,
    plant,
)
from tests.coordination.disk_laws import DiskLaws

__all__ = ["Ground"]

_new = tuple.__new__

SOCKET_BUFFER = 500
"""Messages that wait for a paused process."""


class Ground:
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
        expect: int = 0,
    ) -> None:
        self.expect = expect or voters
        """How many of the voters found."""
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
        self.sent = 0
        self.lose: Callable[[int, str, str, Message], bool] | None = None
        """Whether this message is lost: its number, from, to, itself."""
        self.troubled = 0
        """Until when something was wrong that is over."""
        self.isolated: dict[str, int] = {}
        """Since when."""
        self.began: dict[str, tuple[int, dict[str, int]]] = {}
        """When the process of each node started last, and for how long the monotonic clocks of all had stood still then."""
        self.blind = False
        """Gossip tells of no restart: only messages do."""
        self.deaths_seen_after = S
        """A suspicion may last half a minute."""
        self.deaths_unseen = 0
        """How often somebody who is dead was taken to be alive."""
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
        now, offset, rate, lag = self.now, node.offset, node.rate, node.lag
        boot = offset + int(now * rate)
        mono = offset + int((now - lag) * rate) if lag else boot
        return _new(Instant, (mono, boot, EPOCH_MS + node.wall + node.leap + now // MS))

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
        self.began[name] = self.now, {each.name: each.lag for each in self.nodes.values()}
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
            node.holder = Holder(identity, ThinView(), Told(self.nodes[node.sponsor]))
            parts = (node.holder,)
        else:
            founder = int(name[1:]) < self.voters
            node.memory = Memory(node.disk.open()) if node.disk is not None else None
            node.parts = parts = build_agreed(
                identity,
                WorldView(self, name),
                node.clock,
                dice,
                expect=self.expect if founder and not self.lone else 1,
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
                    if self.laws is not None and isinstance(directive.event, Decided) and directive.event.grant is not None:
                        self.laws.granted(directive.event.grant)
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
        held = memory.waiting(part, following, lambda of, timer: self.perform(node, of, (timer,))) if memory.pending else None
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

    def join(self, a: str, b: str) -> None:
        """The link between two is whole again, in both directions: neither is cut off from everyone any more."""
        self.trouble()
        for link in ((a, b), (b, a)):
            self.cuts.pop(link, None)
        for name in (a, b):
            self.isolated.pop(name, None)

    def heal(self) -> None:
        self.trouble()
        self.cuts.clear()
        self.lies.clear()
        self.isolated.clear()

    # --- what the world above looks at ------------------------------------------------------------------------------

    def observe(self, node: Node, event: Event) -> None:
        """A part has told of this."""

    def unclean(self, node: Node, worker: Worker) -> None:
        """What a user holds is not given back: its process dies."""

    def check_beliefs(self) -> None:
        """A message has arrived."""
