"""Random histories of atomic registers under faults, in the world of the agreed state, judged as linearizable or not.

Whoever was told "no quorum" certainly changed nothing; "outcome unknown", a cancelled call and one whose process died may have.
"No memory" may be told only if q of the group have in truth lost theirs. Once no process that knows the roster lives, the mesh
is another one: there the history ends.

Gossip tells of no restart here: what must not be counted has to be known from messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from coordination.agreed.atomics.atomic import Op, OpKind
from coordination.agreed.vocabulary.events import Called, CallFailed, Failure
from coordination.agreed.vocabulary.placement import Placement
from mesh.directives import Event
from mesh.values import decode_value, encode_value
from simulations.checkers.history import History, until
from simulations.checkers.linearizable import Linearizable, TooLarge, linearize
from simulations.checkers.models import Register
from tests.coordination.agreed_campaign import Campaign, first_violation
from tests.coordination.agreed_world import MS, Changes, Node, S, Violation, World

ATOMIC_KINDS = (
    "crash",
    "crash",
    "roll",
    "pause",
    "suspend",
    "cut",
    "one_way",
    "isolate",
    "thin",
    "heal",
    "heal",
    "jump",
    "leap",
    "lie",
    "blank",
    "reborn",
)
KEYS: tuple[str, ...] = ("atomic/a", "atomic/b")
LIMIT = 1_000_000


@dataclass
class Asked:
    """A call that has not returned."""

    taken: int
    """Its number in the history."""
    key: str
    name: str
    since: int
    over: bool = False


class AtomicWorld(World):
    def __init__(self, seed: int, **more: object) -> None:
        self.history = History()
        self.asked: dict[tuple[str, int, int], Asked] = {}
        """By name, boot stamp and number."""
        self.outcomes: Counter[str] = Counter()
        self.ended_at: int | None = None
        self.blank: set[tuple[str, str]] = set()
        """(name, key) of what was not remembered when a process with a disk died."""
        super().__init__(seed, **more)

    def start(self, name: str, *, fresh: bool = False) -> None:
        node = self.nodes[name]
        if not node.booted and self.seed % 2 and name in ("n1", "n3", "n4"):
            node.disk = None  # beside voters that have one
        super().start(name, fresh=fresh)

    def call(self, name: str, process: str, key: str, what: str, *arguments: int | None) -> Asked:
        node = self.nodes[name]
        assert node.parts is not None
        caller = node.parts.caller
        number = caller.next_call()
        asked = Asked(self.history.invoke(process, key, what, *arguments, at=self.now), key, what, self.now)
        self.asked[name, node.boot.stamp, number] = asked
        self.perform(node, caller, caller.call(number, key, operation(what, *arguments), self.instant(node)))
        return asked

    def give_up(self, name: str, asked: Asked) -> None:
        node = self.nodes[name]
        for (where, stamp, number), each in list(self.asked.items()):
            if each is asked and where == name and node.parts is not None and stamp == node.boot.stamp:
                caller = node.parts.caller
                self.perform(node, caller, caller.cancel(number, self.instant(node)))
                self.close((where, stamp, number), "cancelled")

    def close(self, place: tuple[str, int, int], outcome: str) -> None:
        self.asked.pop(place).over = True
        self.outcomes[outcome] += 1

    def observe(self, node: Node, event: Event) -> None:
        super().observe(node, event)
        if not isinstance(event, Called | CallFailed):
            return
        place = (node.name, node.boot.stamp, event.call)
        asked = self.asked.get(place)
        if asked is None:
            raise Violation(f"a call that nobody waits for is answered: {event}, seed {self.seed}")
        if isinstance(event, Called):
            told = decode_value(event.outcome) if isinstance(event.outcome, bytes) else event.outcome
            self.history.returns(asked.taken, told, at=self.now)
            self.close(place, asked.name)
            return
        if event.why is Failure.UNAVAILABLE:
            self.history.fails(asked.taken)
            if self.calm_for() > 4 * S:
                raise Violation(f"L9: {node.name} was told that there is no quorum, seed {self.seed}")
        elif event.why is Failure.MEMORY:
            self.check_lost(asked.key)
        self.close(place, event.why.value)

    def check_lost(self, key: str) -> None:
        group = self.group(key)
        blank = [name for name in group if not self.remembers(name, key)]
        if len(blank) < group.quorum:
            raise Violation(f"memory: {key} is told to be lost, and only {blank} of {group} lack it, seed {self.seed}")

    def group(self, key: str):  # type: ignore[no-untyped-def]
        roster = next(
            node.parts.birth.roster for node in self.nodes.values() if node.parts is not None and node.parts.birth.roster
        )
        return Placement(roster).group(key)

    def remembers(self, name: str, key: str) -> bool:
        node = self.nodes[name]
        if node.parts is None:
            return node.disk is not None and (name, key) not in self.blank
        return node.parts.acceptor.atomic.remembers(key)

    def crash(self, name: str) -> None:
        for key in KEYS:
            if not self.remembers(name, key):
                self.blank.add((name, key))
            else:
                self.blank.discard((name, key))
        super().crash(name)
        for place in list(self.asked):
            if place[0] == name:
                self.close(place, "dead")
        knows = [node for node in self.nodes.values() if node.parts is not None and node.parts.birth.roster is not None]
        if not knows and not any(node.disk is not None for node in self.nodes.values()) and self.ended_at is None:
            self.ended_at = self.now


def operation(what: str, *arguments: int | None) -> Op | None:
    match what, arguments:
        case "read", ():
            return None
        case "write", (value,):
            return Op(OpKind.SET, encode_value(value))
        case "cas", (old, new):
            return Op(OpKind.CAS, encode_value(new), encode_value(old))
        case "add", (int(n),):
            return Op(OpKind.ADD, n=n)
    raise ValueError(what)


class AtomicCampaign(Campaign):
    world_class = AtomicWorld
    durable = False
    limit = LIMIT
    all_kinds = ATOMIC_KINDS
    world: AtomicWorld

    def __init__(self, seed: int, faults: Changes = (), focus: tuple[str, ...] = (), duration: int = 8 * S) -> None:
        super().__init__(seed, faults, focus, duration)
        self.world.blind = True
        self.keys = self.dice.choice([KEYS[:1], KEYS[:1], KEYS])
        self.names = self.members
        self.seen: dict[str, int | None] = dict.fromkeys(self.keys)
        self.pace = self.dice.choice([30, 30, 120]) * MS

    def run(self) -> AtomicWorld:
        world, dice = self.world, self.dice
        for name in self.members:
            for task in range(dice.choice([1, 2]) if self.world.voters < 5 else 1):
                world.after(dice.randrange(1, 200) * MS, lambda name=name, task=task: self.work(name, task))
        world.after(dice.randrange(100, 1500) * MS, self.fault)
        world.run(self.stop - world.now)
        world.heal()
        world.loss = world.duplicate = 0
        self.settle()
        self.check_history()
        return world

    # --- users ----------------------------------------------------------------------------------------------------

    def work(self, name: str, task: int = 0) -> None:
        world, dice = self.world, self.dice
        node = world.nodes[name]
        if world.now >= self.stop:
            return
        if not world.running(node):
            world.after(200 * MS, lambda: self.work(name, task))
            return
        key, value = dice.choice(self.keys), dice.randrange(1_000_000)
        what, *arguments = dice.choice(
            [("read",), ("write", value), *[("add", value % 1000)] * 3, ("cas", self.seen[key], value)]
        )
        asked = world.call(name, f"{name}.{node.boot.stamp}.{task}", key, what, *arguments)  # type: ignore[arg-type]
        patience = dice.randrange(1, 60) * MS if dice.random() < 0.05 else 20 * S
        self.attend(name, task, asked, world.now + patience)

    def attend(self, name: str, task: int, asked: Asked, until: int) -> None:
        world, dice = self.world, self.dice
        if asked.over:
            operations = [each for each in world.history if each.key == asked.key and isinstance(each.result, int)]
            if operations:
                self.seen[asked.key] = operations[-1].result  # type: ignore[assignment]
            world.after(dice.randrange(1, 2 * self.pace), lambda: self.work(name, task))
            return
        if world.now >= until and world.running(world.nodes[name]):
            world.give_up(name, asked)
        if world.now < self.stop + 60 * S:
            world.after(5 * MS, lambda: self.attend(name, task, asked, until))

    # --- faults ---------------------------------------------------------------------------------------------------

    def do_blank(self, name: str, other: str) -> None:
        """Two voters lose their memory, one shortly after the other: perhaps before the first has read back."""
        if self.dice.random() < 0.3:
            for turn, each in enumerate(self.dice.sample(self.members[: self.world.voters], 2)):
                self.world.after(
                    1 + turn * self.dice.randrange(1, 400) * MS,
                    lambda each=each: self.reboot(each, self.dice.randrange(1, 200)),
                )

    def do_reborn(self, name: str, other: str) -> None:
        """Gone and back within a round trip, while two nodes take themselves for the owner."""
        world, dice = self.world, self.dice
        voters = self.members[: world.voters]
        for each in dice.sample(voters, 2):
            world.lies.setdefault(each, set()).update(voters[: dice.randrange(1, len(voters))])
        victim = dice.choice(voters)
        for turn in range(dice.choice([1, 1, 2])):
            world.after((dice.randrange(1, 40) + turn * 400) * MS, lambda: self.reboot(victim, dice.randrange(1, 30)))

    def do_roll(self, name: str, other: str) -> None:
        """Every voter, one after the other, each with time to read back."""
        voters = self.members[: self.world.voters]
        if self.dice.random() < 0.5:
            for turn, each in enumerate(self.dice.sample(voters, len(voters))):
                self.world.after((1 + 700 * turn) * MS, lambda each=each: self.reboot(each, 30))

    # --- afterwards -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everyone is back: each register answers everyone, with a value, or as lost if in truth it is."""
        world = self.world
        world.run(3 * S)
        for name in self.members:
            node = world.nodes[name]
            node.leap = 0
            if not node.up:
                world.start(name)
        if not world.run_until(world.founded, 60 * S):
            raise Violation(f"birth: no roster after healing, seed {self.seed}")
        world.run(4 * S)
        for name in self.members:
            for key in self.keys:
                asked = world.call(name, f"{name}.end", key, "add", 1)
                if not world.run_until(lambda asked=asked: asked.over, 3 * S):  # type: ignore[misc]
                    raise Violation(f"L9: {name} is not answered about {key}, seed {self.seed}")
        self.rest()
        for node in world.nodes.values():
            if node.parts is not None and node.parts.caller.stats()["calls"]:
                raise Violation(f"ghost: {node.name} {node.parts.caller.stats()}, seed {self.seed}")

    def rest(self) -> None:
        """Wait for calls that no user made."""

    def check_history(self) -> None:
        operations = list(self.world.history)
        if self.world.ended_at is not None:
            operations = until(operations, self.world.ended_at)
        verdict = linearize(operations, Register(), limit=self.limit)
        if isinstance(verdict, TooLarge):
            self.world.outcomes["undecided"] += 1
        elif not isinstance(verdict, Linearizable):
            raise Violation(f"L10: {verdict}, seed {self.seed}")


class BriefAtomicCampaign(AtomicCampaign):
    """What is hard to judge is left undecided soon."""

    limit = LIMIT // 20


class DurableAtomicCampaign(AtomicCampaign):
    """All members have disks, or only some."""

    durable = True


def stress(seed: int, *, faults: Changes = (), focus: tuple[str, ...] = (), durable: bool = False) -> AtomicWorld:
    """One random history with faults, then healing, then the verdict. Raises Violation."""
    return (DurableAtomicCampaign if durable else AtomicCampaign)(seed, faults, focus).run()


def hunt(seeds: range, faults: Changes = (), focus: tuple[str, ...] = (), *, durable: bool = False) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: stress(seed, faults=faults, focus=focus, durable=durable), seeds)
