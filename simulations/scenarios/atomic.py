"""Users of atomic registers, and the campaign that judges what they were told: `mesh simulate run atomic`.

Whoever is told "no quorum" has certainly changed nothing; after "outcome unknown", a call that was cancelled, or the end of its
process, it may have. Without disks machines lose their memory at each restart: so a register may get lost, and whoever asks is
told. Once no process that knows the roster lives, the mesh is another one, and the history of its registers ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from random import Random

from coordination.agreed.atomics.atomic import Op, OpKind
from coordination.agreed.vocabulary.events import Called, CallFailed, Failure
from coordination.assembly import build
from mesh.directives import Event
from mesh.values import decode_value, encode_value
from simulations.checkers import History, Linearizable, Register, Violation, linearize
from simulations.checkers.history import until
from simulations.cluster import Build, Cluster, SimPeer
from simulations.dice import seed_of
from simulations.faults import Fault
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.phases import Phases
from simulations.scenarios.scenarios import SHORT_TERMS, world_of
from simulations.world import MS, SECOND, World

__all__ = ["Atomic", "Call", "RegisterUser", "Registers", "operation", "run_atomic"]

KEYS = ("atomic/a", "atomic/b")
LIMIT = 4_000_000


@dataclass(slots=True, eq=False)
class Call:
    peer: SimPeer
    number: int
    taken: int
    """Its number in the history."""
    key: str
    name: str
    outcome: str = ""
    """Empty while it is under way."""
    changed: list[Callable[[Call], None]] = field(default_factory=list)


class Registers(Observer):
    """Every call that is not over, and the history of all."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.history = History()
        self.outcomes: Counter[str] = Counter()
        self.ended: int | None = None
        """When the last process died that knew the roster."""
        self._calls: dict[Process, dict[int, Call]] = {}
        cluster.world.observe(self)

    def call(self, peer: SimPeer, user: str, key: str, name: str, *arguments: int | None) -> Call:
        """`read`, `write`, `cas` or `add`, as `simulations.checkers.Register` knows them."""
        number = peer.assembly.agreed.caller.next_call()
        taken = self.history.invoke(f"{peer.process}.{user}", key, name, *arguments, at=self.cluster.world.now)
        call = Call(peer, number, taken, key, name)
        self._calls.setdefault(peer.process, {})[number] = call
        peer.call(number, key, operation(name, *arguments))
        return call

    def cancel(self, call: Call) -> None:
        self._over(call, "cancelled")
        call.peer.cancel_call(call.number)

    def check(self) -> None:
        """Raises
        ------
        Violation: nothing explains what the callers were told.
        """
        operations = list(self.history)
        verdict = linearize(operations if self.ended is None else until(operations, self.ended), Register(), limit=LIMIT)
        if not isinstance(verdict, Linearizable):
            raise Violation(f"L10: {verdict} (seed {self.cluster.world.seed})")

    # --- what happens --------------------------------------------------------------------------------------------------

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, Called | CallFailed):
            return
        call = self._calls.get(process, {}).get(event.call)
        if call is None:
            return
        if isinstance(event, Called):
            outcome = event.outcome
            told: Hashable = decode_value(outcome) if isinstance(outcome, bytes) else outcome
            self.history.returns(call.taken, told, at=self.cluster.world.now)
            self._over(call, call.name)
        else:
            if event.why is Failure.UNAVAILABLE:
                self.history.fails(call.taken)
            self._over(call, event.why.value)

    def died(self, process: Process) -> None:
        for call in list(self._calls.get(process, {}).values()):
            self._over(call, "dead")
        knows = [
            peer
            for peer in self.cluster.peers.values()
            if peer.process.alive and peer.process is not process and peer.assembly.agreed.birth.roster is not None
        ]
        if not knows and self.ended is None:
            self.ended = self.cluster.world.now

    def _over(self, call: Call, outcome: str) -> None:
        call.outcome = outcome
        self.outcomes[outcome] += 1
        self._calls[call.peer.process].pop(call.number, None)
        for changed in call.changed:
            changed(call)


def operation(name: str, *arguments: int | None) -> Op | None:
    """An operation of the model as one of the core."""
    match name, arguments:
        case "write", (value,):
            return Op(OpKind.SET, encode_value(value))
        case "cas", (old, new):
            return Op(OpKind.CAS, encode_value(new), encode_value(old))
        case "add", (int(n),):
            return Op(OpKind.ADD, n=n)
    return None


class RegisterUser:
    """One task of one node: an operation, its outcome, a pause, the next one."""

    def __init__(self, registers: Registers, name: str, keys: Sequence[str], number: int, until: int) -> None:
        self._registers = registers
        self._world = registers.cluster.world
        self._name = name
        self._keys = keys
        self._number = number
        self._until = until
        self._known: int | None = None
        """What it was last told: the value that a compare-and-set expects."""
        self._dice = Random(seed_of(self._world.seed, "register user", name, number))
        self._world.after(self._dice.randrange(200 * MS), self._ask)

    def _ask(self) -> None:
        world, dice = self._world, self._dice
        if world.now >= self._until:
            return
        peer = self._registers.cluster.peers.get(self._name)
        if peer is None or not peer.process.running:
            world.after(300 * MS, self._ask)
            return
        key, value = dice.choice(self._keys), dice.randrange(1_000_000)
        choice = dice.randrange(6)
        name, arguments = (
            ("read", ()),
            ("write", (value,)),
            ("cas", (self._known, value)),
            ("add", (value % 1000,)),
        )[min(choice, 3)]
        call = self._registers.call(peer, str(self._number), key, name, *arguments)
        if call.outcome:
            self._changed(call)
            return
        call.changed.append(self._changed)
        if dice.random() < 0.05:
            world.after(dice.randrange(1, 100) * MS, self._give_up, call)

    def _changed(self, call: Call) -> None:
        self._world.after(self._dice.randrange(1, 120) * MS, self._ask)

    def _give_up(self, call: Call) -> None:
        if not call.outcome and call.peer.process.running:
            self._registers.cancel(call)


@dataclass(frozen=True, slots=True)
class Atomic:
    """What came of a campaign of atomic registers."""

    world: World
    phases: Phases
    registers: Registers


def run_atomic(
    seed: int,
    plan: Sequence[Fault],
    *,
    nodes: int = 5,
    duration: int = 20 * SECOND,
    make: Build = build,
    encoded: bool = True,
    seen: Callable[[World], object] | None = None,
) -> Atomic:
    """Users of one or two registers on every node under a plan (L10); in the end each register answers everyone (L9), with its
    value, or as lost. Three nodes vote, or five with every other seed.

    `seen` is shown the world before anything happens; `encoded` as for `Cluster`.

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    voters = 5 if nodes >= 5 and seed % 2 else 3
    cluster = Cluster(world, nodes, expect=voters, parameters=SHORT_TERMS, make=make, encoded=encoded)
    cluster.form()
    registers = Registers(cluster)
    keys = KEYS[: 1 + seed % 3 % 2]
    stop = world.now + duration
    for name in cluster.names:
        RegisterUser(registers, name, keys, 0, stop)
    phases = Phases(cluster, plan, duration)
    phases.heal()
    phases.converge(60 * SECOND, suspects=False)
    world.run(2 * SECOND)
    for peer in cluster.living():
        for key in keys:
            call = registers.call(peer, "last", key, "add", 1)
            phases.must("L9", f"{peer} is answered about {key}", lambda call=call: bool(call.outcome), 3 * SECOND)  # type: ignore[misc]
            if call.outcome not in ("add", "memory"):
                raise Violation(f"L9: {peer} was told {call.outcome!r} about {key} after healing (seed {seed})")
    registers.check()
    return Atomic(world, phases, registers)
