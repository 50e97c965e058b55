"""A mesh whose voters change: `mesh simulate run roster`.

Three founders, two more that would vote, and then every one of the five is killed in turn while another one comes: the last one
is the first that was killed, with what its disk remembers. Users take locks on all nodes throughout.

Where so many disks were wiped at once that the roster is lost, nobody grants anything, by design, until an operator resets it;
so one does, once all are back, and from then on everyone gets every lock here too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordination.agreed.vocabulary.events import ResetOver, RosterConflict, RosterDecided
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.assembly import build
from mesh.directives import Event
from simulations.checkers import Exclusion, RecordedLocks, Violation
from simulations.cluster import Build, Cluster, SimPeer
from simulations.faults import Fault
from simulations.locking import Locks, LockUser
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.phases import Phases
from simulations.scenarios.scenarios import SHORT_TERMS, all_locks_are_free, world_of
from simulations.world import SECOND, World

__all__ = ["ROSTER_DURATION", "OneRoster", "Succession", "run_succession"]

FOUNDERS = 3
VOTERS = 5
FIRST_KILL = 14 * SECOND
KILL_EVERY = 11 * SECOND
ROSTER_DURATION = FIRST_KILL + VOTERS * KILL_EVERY
KEYS = ["lock/a", "lock/b"]
REMEMBERED_WITHIN = 5 * SECOND
RESET_AGAIN = 6 * SECOND
RESET_WITHIN = 30 * SECOND


class OneRoster(Observer):
    """L11: of one epoch there is one roster, whoever learns it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.decided: dict[int, RosterValue] = {}
        world.observe(self)

    @property
    def newest(self) -> RosterValue:
        return self.decided[max(self.decided)]

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, RosterDecided):
            known = self.decided.setdefault(event.roster.epoch, event.roster)
            if known != event.roster:
                self.fail(f"{process} learns {event.roster}, and others have {known}")
        elif isinstance(event, RosterConflict):
            self.fail(f"{process} meets {event.other} beside {event.own}")

    def fail(self, what: str) -> None:
        raise Violation(f"L11: {what} (seed {self.world.seed}, at {self.world.now / SECOND:.6f} s)")


class Operator(Observer):
    """Resets the roster from one node, and repeats it until one is decided."""

    def __init__(self, world: World, peer: SimPeer) -> None:
        self.world, self.peer = world, peer
        self.query = 0
        self.told: list[str] = []
        """Why there was none."""
        self.done = False
        world.observe(self)
        self._ask()

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, ResetOver) and process is self.peer.process:
            self.done = self.done or (event.roster is not None and not event.refusal)
            self.told.append(event.refusal)

    def _ask(self) -> None:
        if not self.done:
            self.query += 1
            part = self.peer.assembly.agreed.reset
            self.peer.perform(part, part.reset(self.query, (), self.peer.process.instant()))
            self.world.after(RESET_AGAIN, self._ask)


@dataclass(frozen=True, slots=True)
class Succession:
    """What came of a campaign."""

    world: World
    phases: Phases
    locks: Locks
    rosters: OneRoster


def run_succession(
    seed: int,
    plan: Sequence[Fault],
    *,
    nodes: int = 9,
    make: Build = build,
    encoded: bool = True,
    seen: Callable[[World], object] | None = None,
) -> Succession:
    """L1, L2, L4 throughout, L11; then everyone is back, knows the newest roster, and gets every lock (L12).

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    parameters = SHORT_TERMS._replace(elastic=True)
    cluster = Cluster(world, nodes, expect=FOUNDERS, parameters=parameters, make=make, encoded=encoded, durable=True)
    rosters = OneRoster(world)
    for name in cluster.names[:FOUNDERS]:
        world.boot(name)
    if world.run_until(lambda: len(cluster.living()) == FOUNDERS and bool(rosters.decided), 60 * SECOND) is None:
        raise Violation(f"birth: no roster after 60 s (seed {seed})")
    cluster.fresh = False
    cluster.seeds = tuple([world.machines[name].address for name in cluster.names])  # the founders will be gone
    locks = Locks(cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    stop = world.now + ROSTER_DURATION
    phases = Phases(cluster, plan, ROSTER_DURATION)

    def come(name: str) -> None:
        if world.machines[name].process is None:
            world.boot(name)

    def replace(old: str, new: str) -> None:
        if world.machines[old].process is not None:
            world.kill(old)
        come(new)

    for name in cluster.names[FOUNDERS:VOTERS]:
        come(name)
    for name in cluster.names[:VOTERS]:
        LockUser(locks, name, KEYS, 0, stop)
    for name in cluster.names[VOTERS:]:
        world.after(FIRST_KILL, LockUser, locks, name, KEYS, 1, stop)
    spare = [*cluster.names[VOTERS:], cluster.names[0]]
    for turn, old in enumerate(cluster.names[:VOTERS]):
        world.after(FIRST_KILL + turn * KILL_EVERY, replace, old, spare[turn % len(spare)])
    phases.heal()
    phases.reached["epochs"] = rosters.newest.epoch
    phases.reached["replaced"] = len(set(rosters.newest.voters) - set(cluster.names[:VOTERS]))
    for name in cluster.names:
        come(name)
    phases.converge(60 * SECOND, suspects=False)
    if world.run_until(lambda: may_go_on(cluster, rosters), REMEMBERED_WITHIN) is None:
        reset(phases, rosters)
    all_locks_are_free(phases, locks, KEYS)
    newest = rosters.newest
    for peer in cluster.living():
        known = peer.assembly.agreed.birth.roster
        if known is None or known.epoch < newest.epoch:
            raise Violation(f"L11: {peer} does not know the newest roster (seed {seed})")
    history.check()
    return Succession(world, phases, locks, rosters)


def may_go_on(cluster: Cluster, rosters: OneRoster) -> bool:
    """Whether so many voters of the newest roster know what they promised about the next one that they can tell the others."""
    roster = rosters.newest
    remember = 0
    for peer in cluster.living():
        agreed = peer.assembly.agreed
        known = agreed.birth.roster
        remember += known is not None and known.epoch == roster.epoch and agreed.succession.votes()
    return remember > len(roster.voters) - roster.majority


def reset(phases: Phases, rosters: OneRoster) -> None:
    """What an operator does about it; everyone is back. Then what the old roster may have granted lapses."""
    cluster = phases.cluster
    lost = rosters.newest
    operator = Operator(phases.world, max(cluster.living(), key=lambda peer: peer.assembly.agreed.succession.stats()["epoch"]))
    phases.must("L12", f"{lost} is lost, and reset by an operator", lambda: operator.done, RESET_WITHIN, count="reset_ms")
    phases.reached["resets"] += 1
    phases.world.run(lost.lapse)
