"""Whole mesh nodes in a world: every message encoded and sealed for real, unless told otherwise.

The founders are the first `expect` names, whose addresses are everyone's seeds; the others join and do not vote. A peer is
one running process; after a restart there is another one under the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from coordination.agreed.atomics.atomic import Op
from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS, Parameters
from coordination.assembly import Assembly, Settings, build
from crdt.cell import KEY, Cell
from crdt.clock import Instant
from crdt.store import Put, Store
from mesh.directives import Address, Directives
from mesh.driver import NodeLike
from mesh.membership import LAN, Profile, State
from mesh.memory import Memory
from mesh.values import encode_value
from simulations.machine.process import Process
from simulations.network.network import Conditions
from simulations.parcels import Parcels
from simulations.world import MS, SECOND, World

__all__ = ["DELETED", "SECRET", "Cluster", "SimPeer"]

DELETED = object()
"""In a batch, in place of a value."""

SECRET = "a secret of the simulated mesh, 32 bytes and more"

Build = Callable[..., Assembly]


class SimPeer:
    """One running node, and what a service would do with it."""

    def __init__(self, process: Process, assembly: Assembly) -> None:
        self.process = process
        self.assembly = assembly
        self.name = assembly.identity.name

    def __repr__(self) -> str:
        return repr(self.process)

    @property
    def store(self) -> Store:
        return self.assembly.store

    def perform(self, part: Any, directives: Directives) -> None:
        self.process.command(part, directives)

    def _now(self) -> Instant:
        """The moment of a command. Raises, before anything is changed, if none of its code can run now."""
        self.process.check()
        return self.process.instant()

    def put(self, key: str, value: Any, *, ttl_ms: int = 0, bound: str | None = None, fence: int = 0) -> int:
        """The stamp of the write. Raises `StoreFencedError` if the key carries a higher fence here."""
        replication = self.assembly.replication
        stamp, directives = replication.put(
            key, encode_value(value), self._now(), ttl_ms=ttl_ms, bound=bound, fence=fence
        )  # fmt: skip
        self.perform(replication, directives)
        return stamp

    def batch(self, values: Mapping[str, Any], *, ttl_ms: int = 0) -> list[Cell]:
        """Put several keys as one, or delete those of `DELETED`; the cells."""
        replication = self.assembly.replication
        puts = [
            Put(key, None) if value is DELETED else Put(key, encode_value(value), ttl_ms) for key, value in values.items()
        ]  # fmt: skip
        _, directives = replication.put_batch(puts, self._now())
        cells = [cell for key in values if (cell := self.store.cell(KEY, key)) is not None]
        self.perform(replication, directives)
        return cells

    def touch(self, key: str, ttl_ms: int) -> None:
        replication = self.assembly.replication
        self.perform(replication, replication.touch(key, ttl_ms, self._now())[1])

    def entrust(self, query: int, keys: Sequence[str], need: int) -> None:
        """Wait for others to have what was just written; `Acknowledged(query)` is published once they have."""
        entrusting = self.assembly.entrusting
        self.perform(entrusting, entrusting.begin(query, [(KEY, key) for key in keys], need, self._now()))

    def delete(self, key: str) -> int:
        replication = self.assembly.replication
        stamp, directives = replication.put(key, None, self._now())
        self.perform(replication, directives)
        return stamp

    def add(self, counter: str, n: int) -> None:
        replication = self.assembly.replication
        self.perform(replication, replication.add(counter, n, self._now()))

    def ask(
        self, request: int, key: str, *, ttl: int = SECOND, wait: bool = True, renew: bool = True, kind: str = "lock"
    ) -> None:
        """Acquire a lease under a number of `holder.next_request`; what comes of it is published."""
        holder = self.assembly.agreed.holder
        now = self._now()
        self.perform(holder, holder.acquire(request, key, kind=kind, ttl=ttl, wait=wait, renew=renew, now=now))

    def tell_holder(self, what: str, request: int) -> None:
        """`release`, `cancel`, `renew` or `bind`."""
        holder = self.assembly.agreed.holder
        self.perform(holder, getattr(holder, what)(request, self._now()))

    def call(self, number: int, key: str, op: Op | None) -> None:
        """Change an atomic register, or read it, under a number of `caller.next_call`; what comes of it is published."""
        caller = self.assembly.agreed.caller
        self.perform(caller, caller.call(number, key, op, self._now()))

    def cancel_call(self, number: int) -> None:
        caller = self.assembly.agreed.caller
        self.perform(caller, caller.cancel(number, self._now()))

    def holds(self, request: int) -> bool:
        """Whether it believes in that lease now, by its own clock: also while it is paused, as its clock runs on.

        A look changes nothing: a holder that is asked after its deadline would remember that it is over, and so be kept from
        believing in it again by being watched."""
        holder, now = self.assembly.agreed.holder, self.process.instant()
        deadline = holder.deadline(request) if self.process.alive else None
        return deadline is not None and now.boot < deadline and holder.valid(request, now)


class Cluster:
    """Parameters
    ----------
    names: of the nodes, and of their machines.
    expect: how many of them found the mesh; by default up to five.
    durable: whether every node keeps what it promises on the disk of its machine.
    make: builds a node; a planted fault is a builder that breaks something.
    encoded: whether datagrams are sealed bytes; else they carry the messages themselves (`simulations.parcels`).
    """

    def __init__(
        self,
        world: World,
        names: Sequence[str] | int,
        *,
        expect: int | None = None,
        profile: Profile = LAN,
        parameters: Parameters = DEFAULT_PARAMETERS,
        make: Build = build,
        encoded: bool = True,
        durable: bool = False,
    ) -> None:
        self.world = world
        self.names = [f"n{number}" for number in range(names)] if isinstance(names, int) else list(names)
        self.expect = expect or min(5, len(self.names))
        self.profile = profile
        self.parameters = parameters
        self.make = make if encoded else partial(make, envelope=Parcels)
        self.durable = durable
        self.fresh = True
        """What a founder that starts now says: the operator's word that no lock of this mesh is alive."""
        self.peers: dict[str, SimPeer] = {}
        """The last process of each name."""
        machines = [world.machine(name, self._program) for name in self.names]
        self.seeds: tuple[Address, ...] = tuple(
            [machine.address for machine in machines[: self.expect]]
        )  # fmt: skip

    def _program(self, process: Process) -> NodeLike:
        sources = process.sources()
        name = process.disk.kept.setdefault("name", process.machine)
        founder = process.machine in self.names[: self.expect]
        memory = Memory(process.disk.open()) if self.durable else None
        settings = Settings(
            name=name,
            address=process.address,
            seeds=self.seeds,
            secrets=(SECRET,),
            expect=self.expect if founder else 1,
            voter=founder or self.parameters.elastic,
            fresh=self.fresh and founder,
            profile=self.profile,
            parameters=self.parameters,
        )
        assembly = self.make(
            settings, session=sources.session, entropy=sources.entropy, random=sources.random, now=sources.now,
            memory=memory,
        )  # fmt: skip
        self.peers[process.machine] = SimPeer(process, assembly)
        return assembly.node

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self, *, apart: int = 0) -> None:
        """Boot everyone, one each `apart` ns; restarts from then on are not `fresh`."""
        for number, name in enumerate(self.names):
            self.world.after(number * apart, self._boot, name)
        self.world.run(len(self.names) * apart)
        self.fresh = False

    def _boot(self, name: str) -> None:
        if self.world.machines[name].process is None:
            self.world.boot(name)

    def form(self, *, within: int = 60 * SECOND) -> None:
        """Start everyone on a good network, and wait until the mesh is whole: members, and the roster."""
        self.start()
        if self.world.run_until(self.whole, within) is None:
            raise AssertionError(f"seed {self.world.seed}: no whole mesh within {within / SECOND} s: {self.unseen()[:10]}")

    def grow(self, *, within: int = 600 * SECOND) -> int:
        """Form an elastic mesh that takes all of its nodes in, and wait until no earlier roster is looked at any more;
        how many vote then. (An even one more would raise the majority, and no safety: it stays out.)"""
        self.form(within=within)
        most = len(self.names) - (len(self.names) + 1) % 2

        def grown() -> bool:
            for peer in self.living():
                agreed = peer.assembly.agreed
                roster = agreed.birth.roster
                if roster is None or len(roster.voters) < most or agreed.succession.stats()["rosters"] > 1:
                    return False
            return True

        if self.world.run_until(grown, within, 500 * MS) is None:
            raise AssertionError(f"seed {self.world.seed}: not all of {len(self.names)} nodes have come to vote")
        return most

    def living(self) -> list[SimPeer]:
        """Those whose process runs and is not paused, by name."""
        return [peer for peer in self.peers.values() if peer.process.running]

    def peer(self, name: str) -> SimPeer:
        return self.peers[name]

    # --- what everyone knows -------------------------------------------------------------------------------------------

    def unseen(self, *, suspects: bool = False) -> list[tuple[str, str, str]]:
        """(observer, name, how it is seen) of every living pair that do not see each other alive under the right boot.

        With `suspects` a suspicion counts as alive: under heavy loss there is always one somewhere."""
        living = self.living()
        wrong = []
        for observer in living:
            membership = observer.assembly.membership
            for peer in living:
                member = membership.get(peer.name)
                if member is None:
                    wrong.append((observer.name, peer.name, "unknown"))
                elif (
                    member.state is not State.ALIVE and not (suspects and member.reachable)
                ) or member.boot != peer.assembly.identity.boot:
                    wrong.append((observer.name, peer.name, f"{member.state} boot {member.boot.stamp}"))
        return wrong

    def whole(self, *, suspects: bool = False) -> bool:
        """Whether everyone who should live does, sees all others alive (see `unseen`), and knows the roster."""
        return (
            len(self.living()) == len(self.names)
            and all(peer.assembly.agreed.birth.roster is not None for peer in self.living())
            and not self.unseen(suspects=suspects)
        )

    def set_loss(self, loss: float, *, duplicate: float = 0.0, reorder: float = 0.0) -> None:
        """On every link that no rule covers."""
        conditions = self.world.network.conditions
        self.world.network.set_conditions(Conditions(conditions.latency, loss, duplicate, reorder, conditions.held))
