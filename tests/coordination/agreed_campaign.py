"""Random histories of the agreed state under faults, and the hunt for a seed that shows a planted one.

A history has a few users of a few locks, a fault every second or so, then heals; after that every lock has to be free for
everyone within what the design allows (L12, L13), no queue may hold a ghost, and the end of every lease that bound
something must have been told (C19)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

from coordination.agreed.vocabulary.modes import EXCLUSIVE, SHARED, Mode
from tests.coordination.agreed_world import DAY_MS, MS, Changes, S, Violation, Worker, World

FAULT_KINDS = (
    "crash",
    "pause",
    "suspend",
    "cut",
    "one_way",
    "from_owner",
    "isolate",
    "heal",
    "jump",
    "leap",
    "lie",
    "crash_some",
    "crash_all",
    "roll",
    "amnesia",
    "stall",
    "thin",
)
HISTORY = 12 * S
KEYS = (
    ("lock/a",),
    ("lock/a", "lock/b"),
    ("rwlock/a",),
    ("semaphore/a", "lock/b"),
    ("barrier/a",),
    ("rwlock/a", "semaphore/b"),
)
PLAIN = (("lock/a",), ("lock/a", "lock/b"))
"""Where leases exclude each other, what is wrong shows soonest."""
LIMIT = 3
PARTIES = 2
FOCUS = 16
TRIPS = 10
"""A hand-over takes up to so many ways through the network, beside the 2 s that anything lost may cost."""


def deaths_seen_after(seed: int) -> int:
    """In some histories nobody sees a death before whoever died is back. (Whoever is asked is not asked by the view alone.)"""
    return random.Random(seed).choice([S, S, 5 * S, 30 * S])


class Campaign:
    """One history. The same seed gives the same one. `focus`: kinds of faults that are to come more often."""

    world_class: type[World] = World
    all_kinds: tuple[str, ...] = FAULT_KINDS
    durable = False
    """Whether the members have disks."""

    def __init__(
        self,
        seed: int,
        faults: Changes = (),
        focus: tuple[str, ...] = (),
        duration: int = HISTORY,
        keys: tuple[tuple[str, ...], ...] = KEYS,
    ) -> None:
        self.kinds = self.all_kinds + focus * FOCUS
        self.done: Counter[str] = Counter()
        """How many faults of each kind there were."""
        self.dice = dice = random.Random(seed * 7919 + 1)
        self.seed = seed
        self.world = self.make(faults)
        if not self.world.run_until(self.world.founded, 60 * S):
            raise Violation(f"birth: no roster after 60 s, seed {seed}")
        self.keys: tuple[str, ...] = dice.choice(keys)
        self.names = sorted(self.world.nodes)
        self.members = [name for name in self.names if "@" not in name]
        self.stop = self.world.now + duration
        self.crashes_all = 0

    def make(self, faults: Changes) -> World:
        dice = self.dice
        world = self.world_class(
            self.seed,
            voters=dice.choice([3, 3, 3, 5, 7]),
            loss=dice.choice([0, 0, 0.02, 0.15]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS), (MS // 5, 40 * MS)]),
            clients=dice.choice([0, 1]),
            thin=dice.choice([0, 1, 2]),
            durable=self.durable,
            faults=faults,
        )
        world.deaths_seen_after = deaths_seen_after(self.seed)
        return world

    def run(self) -> World:
        world, dice = self.world, self.dice
        for name in self.names:
            for _ in range(dice.choice([1, 2])):
                world.after(dice.randrange(1, 200) * MS, lambda name=name: self.work(name))
        world.after(dice.randrange(100, 2000) * MS, self.fault)
        world.after(3 * S, self.recheck)
        world.run(self.stop - world.now)
        world.heal()
        world.loss = world.duplicate = 0
        world.run(6 * S)
        self.settle()
        self.check_free()
        return world

    # --- users ----------------------------------------------------------------------------------------------------

    def work(self, name: str) -> None:
        world, dice = self.world, self.dice
        node = world.nodes[name]
        if world.now >= self.stop:
            return
        if not world.running(node):
            world.after(300 * MS, lambda: self.work(name))
            return
        key = dice.choice(self.keys)
        ttl = dice.choice([S // 2, S, 2 * S, 3 * S])
        worker = world.acquire(
            name,
            key,
            ttl=ttl,
            wait=dice.random() < 0.8,
            renew=dice.random() < 0.7,
            kind=dice.choice(["lock", "lock", "lease"]),
            mode=self.mode(key),
            delay=dice.choice([0, 0, S // 2]) if ttl < 3 * S else 0,
        )
        patience = dice.choice([dice.randrange(1, 60) * MS, dice.randrange(1, 3000) * MS, 20 * S])
        hold = dice.choice([0, dice.randrange(1, 60) * MS, dice.randrange(1, 60) * MS, dice.randrange(1, 4000) * MS])
        self.watch(worker, world.now + patience, hold, -1)

    def mode(self, key: str) -> Mode:
        """What someone may ask for there."""
        dice = self.dice
        match key.partition("/")[0]:
            case "rwlock":
                return dice.choice([EXCLUSIVE, SHARED, SHARED])
            case "semaphore":
                limit = LIMIT if dice.random() < 0.97 else LIMIT + 2
                return Mode(dice.choice([1, 1, 2, LIMIT]), limit)
            case "barrier":
                return Mode(1, PARTIES, together=True)
        return EXCLUSIVE

    def watch(self, worker: Worker, patience: int, hold: int, until: int) -> None:
        world, dice = self.world, self.dice
        node = world.nodes[worker.node]
        if node.workers.get(worker.request) is not worker:
            world.after(dice.randrange(1, 200) * MS, lambda: self.work(worker.node))
            return
        if world.running(node):
            world.check_told(worker)
            if worker.state == "asking" and (world.now >= patience or world.now >= self.stop):
                world.command(worker, "cancel")
            elif worker.state == "held":
                if until < 0:
                    until = world.now + hold
                if world.now >= until or world.now >= self.stop:
                    world.command(worker, "release" if dice.random() < 0.8 else "cancel")
                elif dice.random() < 0.05:
                    world.command(worker, dice.choice(["renew", "bind"]))
        world.after(dice.choice([2, 20]) * MS, lambda: self.watch(worker, patience, hold, until))

    def recheck(self) -> None:
        self.world.recheck()
        self.world.after(3 * S, self.recheck)

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(self) -> None:
        world, dice = self.world, self.dice
        if world.now >= self.stop:
            return
        name, other = dice.sample(self.names, 2)
        kind = dice.choice(self.kinds)
        self.done[kind] += 1
        getattr(self, f"do_{kind}")(name, other)
        world.after(dice.randrange(100, 2000) * MS, self.fault)

    def do_crash(self, name: str, other: str) -> None:
        self.reboot(name)

    def do_crash_some(self, name: str, other: str) -> None:
        if self.dice.random() < 0.2:
            for each in self.dice.sample(self.names, self.dice.randrange(1, len(self.names))):
                self.reboot(each)

    def do_crash_all(self, name: str, other: str) -> None:
        """Every voter loses its memory at once, once or twice in a row; holders elsewhere live on."""
        if self.crashes_all < 1 and self.dice.random() < 0.5:
            self.crashes_all += 1
            for turn in range(self.dice.choice([1, 2])):
                self.world.after(turn * self.dice.randrange(200, 3000) * MS, self.crash_voters)

    def crash_voters(self) -> None:
        for each in self.members[: self.world.voters]:
            self.reboot(each, self.dice.randrange(10, 300))

    def do_roll(self, name: str, other: str) -> None:
        """A majority, one after the other, each up again at once."""
        voters = self.world.voters
        for turn, each in enumerate(self.dice.sample(self.members[:voters], voters // 2 + 1)):
            self.world.after((1 + 60 * turn) * MS, lambda each=each: self.reboot(each, 30))

    def do_amnesia(self, name: str, other: str) -> None:
        """While someone holds a lock and is cut off, those of a majority that know of it restart, and forget it."""
        world, dice = self.world, self.dice
        held = [worker for worker in world.all_workers() if worker.state == "held" and world.valid(worker)]
        if not held:
            return
        node = world.nodes[dice.choice(held).node]
        voters = [each for each in self.members[: world.voters] if each not in (node.name, node.sponsor)]
        world.isolate(node.name)
        dice.shuffle(voters)
        for turn, each in enumerate(voters[: world.voters // 2 + 1]):
            if turn + 1 < len(voters):  # the last one keeps the roster
                self.reboot(each, 1 + 40 * turn)

    def reboot(self, name: str, after_ms: int = 0) -> None:
        world = self.world
        if world.nodes[name].up:
            world.crash(name)
            # Only one may say `fresh` wrongly: two of three would be a quorum without memory, by the operator's own word.
            delay = (after_ms or self.dice.randrange(10, 4000)) * MS
            world.after(delay, lambda: None if world.nodes[name].up else world.start(name, fresh=name == "n0"))

    def do_stall(self, name: str, other: str) -> None:
        """Renewed just before, so that the answers lie about while the process is stopped; then cut off."""
        world = self.world
        length = self.dice.randrange(50, 1500) * MS
        node = world.nodes[name]
        for worker in list(node.workers.values()):
            if worker.state == "held" and world.running(node):
                world.command(worker, "renew")
        world.pause(name, length)
        world.after(length + 5 * MS, lambda: world.isolate(name) if world.now < self.stop else None)

    def do_pause(self, name: str, other: str) -> None:
        self.world.pause(name, self.dice.choice([self.dice.randrange(1, 1000), self.dice.randrange(1, 5000)]) * MS)

    def do_suspend(self, name: str, other: str) -> None:
        self.world.pause(name, self.dice.randrange(1, 4000) * MS, suspend=True)

    def do_cut(self, name: str, other: str) -> None:
        self.world.cut(name, other)

    def do_one_way(self, name: str, other: str) -> None:
        self.world.cut(name, other, one_way=True)

    def do_from_owner(self, name: str, other: str) -> None:
        """Between one that asks and the node that acts for the lock only, one way or both."""
        for each in self.members:
            parts = self.world.nodes[each].parts
            desk = parts.owner.desk(self.keys[0]) if parts is not None else None
            if desk is not None and desk.queue and each != name:
                self.world.cut(each, name, one_way=self.dice.random() < 0.7)
                return

    def do_isolate(self, name: str, other: str) -> None:
        self.world.isolate(name)

    def do_thin(self, name: str, other: str) -> None:
        """Left with one other."""
        for each in self.names:
            if each not in (name, other):
                self.world.cut(name, each)

    def do_heal(self, name: str, other: str) -> None:
        self.world.heal()

    def do_jump(self, name: str, other: str) -> None:
        self.world.nodes[name].wall += self.dice.randrange(-30, 30)

    def do_leap(self, name: str, other: str) -> None:
        """The wall clock is off by a day for a while: on one node at a time, and not on one that is just starting."""
        nodes = self.world.nodes
        if any(node.leap for node in nodes.values()):
            return
        node = nodes[name]
        node.leap = self.dice.choice([-DAY_MS, DAY_MS, 3_600_000, -3_600_000])
        self.world.after(self.dice.randrange(10, 3000) * MS, lambda: setattr(node, "leap", 0))

    def do_lie(self, name: str, other: str) -> None:
        self.world.trouble()
        self.world.lies.setdefault(name, set()).add(other)

    # --- afterwards -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everyone is back, and nobody wants anything any more."""
        world = self.world
        for name in self.names:
            node = world.nodes[name]
            node.leap = 0
            now = world.instant(node)
            if node.up and abs((node.clock.read(now) >> 16) - now.wall) > 1000:
                # Its clock was wrong when it was first read. That costs time, as a voter that is down does, until it restarts.
                world.crash(name)
            if not node.up:
                world.start(name)
        if not world.run_until(world.founded, 60 * S):
            if all(node.parts is None or node.parts.birth.roster is None for node in world.nodes.values()):
                raise Violation(f"birth: nobody founded anew, seed {self.seed}")
            raise Violation(f"birth: the roster was not learned, seed {self.seed}")
        world.run(9 * S)
        for node in world.nodes.values():
            for worker in list(node.workers.values()):
                world.command(worker, "cancel")
        world.run(7 * S)
        for node in world.nodes.values():
            assert node.holder is not None
            counts = node.holder.stats()
            if counts["held"] or counts["leaving"]:
                raise Violation(f"ghost: {node.name} {counts}, seed {self.seed}")
            for key in self.keys:
                desk = node.parts.owner.desk(key) if node.parts is not None else None
                if desk is not None and len(desk.queue):
                    asker = [ticket.asker for ticket in desk.queue.all()]
                    raise Violation(f"ghost: {asker} at {node.name}, seed {self.seed}")
        if world.visible:
            raise Violation(f"C19: nobody told the end of {list(world.visible)}, seed {self.seed}")

    def check_free(self) -> None:
        world = self.world
        limit = 2 * S + TRIPS * world.latency[1]
        for key in self.keys:
            limit_of = self.limit_of(key)
            for name in self.names:
                worker = world.acquire(name, key, ttl=2 * S, mode=self.whole(key, limit_of))
                world.run_until(lambda worker=worker: worker.state != "asking", limit)  # type: ignore[misc]
                if worker.state == "otherlimit":
                    # A free register that most voters have forgotten may come back with an earlier limit: one of them kept it.
                    limit_of = worker.limit_told
                    worker = world.acquire(name, key, ttl=2 * S, mode=self.whole(key, limit_of))
                if not world.run_until(lambda worker=worker: worker.state != "asking", limit) or worker.state != "held":  # type: ignore[misc]
                    raise Violation(f"L12: {key} not to be had by {name} after healing: {worker}, seed {self.seed}")
                world.command(worker, "release")
                if not world.run_until(lambda worker=worker: worker.state == "released", limit):  # type: ignore[misc]
                    raise Violation(f"L13: {worker} was not released, seed {self.seed}")
            queue = [world.acquire(name, key, ttl=2 * S, mode=self.whole(key, limit_of)) for name in self.names]
            while queue:
                if not world.run_until(lambda queue=queue: any(each.state == "held" for each in queue), limit):  # type: ignore[misc]
                    raise Violation(f"L13: nobody of {queue} is served, seed {self.seed}")
                for each in [each for each in queue if each.state == "held"]:
                    queue.remove(each)
                    world.command(each, "release")

    def limit_of(self, key: str) -> int:
        """The limit that a register has come to by now."""
        if key.partition("/")[0] in ("lock", "rwlock"):
            return 0
        probe = self.world.acquire(self.names[0], key, ttl=2 * S, mode=Mode(1, 1 << 20), wait=False)
        if not self.world.run_until(lambda: probe.state != "asking", 2 * S + TRIPS * self.world.latency[1]):
            raise Violation(f"L13: nobody says which limit {key} has: {probe}, seed {self.seed}")
        self.world.command(probe, "cancel")
        self.world.run(S)
        return probe.limit_told or 1 << 20

    @staticmethod
    def whole(key: str, limit: int) -> Mode:
        """The mode that leaves no room for another."""
        return Mode(limit, limit, together=key.startswith("barrier/"))


def stress(
    seed: int,
    *,
    faults: Changes = (),
    focus: tuple[str, ...] = (),
    duration: int = HISTORY,
    keys: tuple[tuple[str, ...], ...] = KEYS,
) -> World:
    """One random history with faults, then healing, then the liveness checks. Raises Violation."""
    return Campaign(seed, faults, focus, duration, keys).run()


def first_violation(tell: Callable[[int], object], seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first seed of which what is told breaks a rule, and how."""
    for seed in seeds:
        try:
            tell(seed)
        except Violation as violation:
            return seed, str(violation)
    return None


def hunt(
    seeds: range, faults: Changes = (), focus: tuple[str, ...] = (), keys: tuple[tuple[str, ...], ...] = KEYS
) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: stress(seed, faults=faults, focus=focus, keys=keys), seeds)
