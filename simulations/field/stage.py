"""What the scenarios of this package share: a mesh in two phases, and the moment that each of them stages.

The drawn plan happens around the moment. Where it is in the way (who should write is down, who should be granted a lock is cut
off), the moment is *missed*: the run goes on to its healing, and everything must hold all the same; a sweep fails if no seed
reached it. With the profile `calm`, which these scenarios have by default, hardly a seed misses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import NoReturn

from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import Parameters
from coordination.assembly import build
from mesh.errors import ClosedError
from mesh.values import decode_value
from simulations.checkers import Alarms, Members, Violation, WatchFold
from simulations.cluster import Build, Cluster, SimPeer
from simulations.dice import seed_of
from simulations.faults import Fault, Rate, WallDrift, WallStep
from simulations.locking import Claim, Locks
from simulations.machine.process import PausedError, Process
from simulations.phases import Phases
from simulations.scenarios.scenarios import SHORT_TERMS, network_of
from simulations.world import MS, SECOND, World

__all__ = ["GONE", "Missed", "Stage", "build"]

GONE = object()
"""What `Stage.shown` says of a key that has no value."""


class Missed(Exception):
    """The drawn plan was in the way of the moment."""


class Stage(Phases):
    """A mesh that has formed; safety begins now.

    Parameters
    ----------
    make: builds a node; a planted fault is a builder that breaks something.
    expect: how many of the nodes found the mesh and vote.
    """

    def __init__(
        self,
        seed: int,
        plan: Sequence[Fault],
        nodes: int,
        seen: Callable[[World], object],
        *,
        duration: int,
        make: Build = build,
        expect: int = 3,
        parameters: Parameters = SHORT_TERMS,
    ) -> None:
        world = World(seed, conditions=network_of(seed))
        seen(world)
        cluster = Cluster(world, nodes, expect=expect, parameters=parameters, make=make)
        self.members = Members(cluster)
        self.fold = WatchFold(cluster)
        Alarms(cluster.world)
        cluster.form()
        self.dice = Random(seed_of(seed, "stage"))
        self.quiet = all(isinstance(fault, Rate | WallStep | WallDrift) for fault in plan)
        """Whether the plan leaves the network and the processes alone."""
        self._stopped: list[Process] = []
        super().__init__(cluster, plan, duration)

    # --- the moment ------------------------------------------------------------------------------------------------------

    @contextmanager
    def moment(self) -> Iterator[None]:
        """In here the plan may be in the way."""
        try:
            yield
        except (Missed, PausedError, ClosedError):
            self.reached["missed"] += 1

    def peer(self, name: str) -> SimPeer:
        """The running process of a name. Raises `Missed` if there is none."""
        peer = self.cluster.peers[name]
        if not peer.process.running:
            raise Missed(name)
        return peer

    def until(self, condition: Callable[[], bool], within: int, step: int = 10 * MS) -> None:
        """Let the world go on until the moment is prepared so far. Raises `Missed` after `within` ns."""
        if self.world.run_until(condition, within, step) is None:
            raise Missed

    def held(self, locks: Locks, name: str, key: str, *, ttl: int = SECOND, kind: str = "lock") -> Claim:
        """A lock or lease that this node holds and renews. Raises `Missed` if it is not granted at once."""
        claim = locks.acquire(self.peer(name), key, ttl=ttl, kind=kind)
        self.until(lambda: claim.state == "held", 3 * SECOND, MS)
        return claim

    def restart(self, name: str, away: int = 0, *, wipe: bool = True) -> SimPeer:
        """Kill its process and start another after `away` ns, which has not heard of anybody yet."""
        self.world.kill(name, wipe=wipe)
        self.world.run(away)
        if self.world.machines[name].process is not None:
            raise Missed(name)
        self.world.boot(name)
        return self.peer(name)

    def stop(self, name: str) -> Process:
        """Pause its process; it goes on by `world.resume`, or when everything is healed. Raises `Missed` if it is paused."""
        process = self.world.pause(name)
        if process is None:
            raise Missed(name)
        self._stopped.append(process)
        return process

    def heal(self) -> None:
        super().heal()
        for process in self._stopped:
            self.world.resume(process)

    def group(self, key: str) -> tuple[str, ...]:
        """The voters of a lock or lease, the best ranked first. Raises `Missed` if no node that runs knows the roster."""
        rosters = [peer.assembly.agreed.birth.roster for peer in self.cluster.living()]
        roster = next((each for each in rosters if each is not None), None)
        if roster is None:
            raise Missed(key)
        return tuple(Placement(roster).group(key))

    def boot_all(self) -> None:
        """Start whatever the moment has left dead."""
        for name in self.cluster.names:
            if self.world.machines[name].process is None:
                self.world.boot(name)

    # --- what is seen ----------------------------------------------------------------------------------------------------

    @staticmethod
    def shown(peer: SimPeer, key: str) -> object:
        """What a reader at this node gets, now."""
        cell = peer.store.get(key, peer.assembly.clock.read(peer.process.instant()))
        return GONE if cell is None or cell.body is None else decode_value(cell.body)

    def all_show(self, key: str, value: object) -> bool:
        """Whether every node that runs shows this value."""
        return all(self.shown(peer, key) == value for peer in self.cluster.living())

    def fail(self, law: str, text: str) -> NoReturn:
        raise Violation(f"{law}: {text} (seed {self.world.seed}, at {self.world.now / SECOND:.6f} s)")

    # --- the end ---------------------------------------------------------------------------------------------------------

    def finish(self, within: int = 60 * SECOND) -> None:
        """Heal, start what is dead, converge, and look whether members and watchers were told the truth."""
        self.heal()
        self.boot_all()
        self.converge(within)
        self.members.check(suspects=True)
        self.fold.check()

    def done(self) -> Mapping[str, int]:
        return dict(self.reached)
