"""Nodes that do nothing but membership, in a world: for questions of scale, and for experiments with parts of the protocol.

A node is `mesh.node.Node` with one part; its datagrams are parcels (`simulations.parcels`) unless they are to be sealed. A
thousand of them live several times faster than real time, where whole nodes barely keep up with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Directives
from mesh.envelope import Sealed
from mesh.keyring import Keyring
from mesh.membership import LAN, Identity, Member, Membership, Profile, State
from mesh.node import Node
from simulations.machine.process import Process
from simulations.parcels import Parcels
from simulations.world import MS, SECOND, World

__all__ = ["Acquainted", "MembersOnly"]

SECRET = "a secret of the simulated members, 32 bytes and more"

FORMING = 60 * SECOND


class Acquainted(Membership):
    """A member that can be told of others as if it had long known them: nothing of it is news."""

    def meet(self, others: Iterable[Member], now: Instant) -> Directives:
        for member in others:
            self._registry.apply(member, now)
        return self.calm()

    def calm(self) -> Directives:
        """Tell nothing more of what is known now."""
        for member in self._table.all():
            self._rumours.forget(member.name)
        return self._taken()


class MembersOnly:
    """Parameters
    ----------
    count: nodes, named m0000 and on.
    seeds: how many of them everybody joins through.
    part: what a node's membership is made by, as `Membership` is.
    kind: of the processes.
    encoded: whether datagrams are sealed bytes, so that their sizes can be told.
    """

    def __init__(
        self,
        world: World,
        count: int,
        *,
        seeds: int = 1,
        profile: Profile = LAN,
        part: Callable[..., Acquainted] = Acquainted,
        kind: type[Process] = Process,
        encoded: bool = False,
    ) -> None:
        self.world = world
        self.profile = profile
        self.parts: dict[str, Acquainted] = {}
        """Of the last process of each name."""
        self._make = part
        self._envelope = Sealed if encoded else Parcels
        self.names = [f"m{number:04}" for number in range(count)]
        machines = [world.machine(name, self._program, kind=kind) for name in self.names]
        self._seeds = tuple([machine.address for machine in machines[:seeds]])

    def _program(self, process: Process) -> Node:
        sources = process.sources()
        clock = HybridClock()
        identity = Identity(process.machine, Boot(clock.tick(sources.now), sources.session), process.address)
        part = self.parts[process.machine] = self._make(identity, self._seeds, sources.random, clock, self.profile)
        return Node(identity, Keyring((SECRET,)), sources.entropy, [part], envelope=self._envelope)

    def form(self) -> None:
        """Start everyone, acquainted with all, and wait until the mesh is whole and nothing is told any more."""
        for number, name in enumerate(self.names):
            self.world.after(number * MS, self.world.boot, name)
        self.world.run(len(self.names) * MS)
        known = [replace(part._table.own(), state=State.ALIVE) for part in self.parts.values()]
        for name, part in self.parts.items():
            process = self.process(name)
            now = process.instant()
            process.command(part, part.meet([member for member in known if member.name != name], now), now)
        if self.world.run_until(self.whole, FORMING, 100 * MS) is None:
            raise AssertionError(f"seed {self.world.seed}: no whole mesh of {len(self.names)} within {FORMING / SECOND} s")
        for name, part in self.parts.items():
            self.process(name).command(part, part.calm())

    def process(self, name: str) -> Process:
        process = self.world.machines[name].process
        if process is None:
            raise ValueError(f"{name} does not run")
        return process

    def living(self) -> dict[str, Acquainted]:
        """The parts of those whose process runs and is not paused."""
        machines = self.world.machines
        return {
            name: part
            for name, part in self.parts.items()
            if (process := machines[name].process) is not None and process.running
        }

    def whole(self) -> bool:
        """Whether everyone that lives is admitted, and sees all others of them alive, under the boots that they have."""
        living = self.living()
        boots = {name: part.identity.boot for name, part in living.items()}
        return all(part.admitted and _sees(part, boots) for part in living.values())


def _sees(part: Membership, boots: dict[str, Boot]) -> bool:
    alive = {member.name: member.boot for member in part.members() if member.state is State.ALIVE}
    return all(alive.get(name) == boot for name, boot in boots.items())
