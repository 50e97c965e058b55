"""A mesh of very many voters that meets with faults: three are killed at once, then a quarter of all is cut off for a while.

Five found it and take all others in, until every one of them votes but an even one more. Users on some of the nodes take locks
that they share throughout. Beside what holds of locks anywhere (L1, L2, L4, L12) two things are looked at while the mesh is
divided:

  - On the larger side every lock is granted of whose group a majority is there.
  - On the smaller side nothing is granted once its voters have not been confirmed for as long as they may serve, though it has
    the majority of some groups: the other side may have evicted them.

The killed and the cut off are chosen by the seed, one steward among each of them: in so large a roster few ask for all whether
it is the newest (see `coordination.agreed.rosters.stewards`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from coordination.agreed.rosters.stewards import KEY as STEWARDS
from coordination.agreed.vocabulary.events import Granted
from coordination.agreed.vocabulary.placement import placement_of
from coordination.assembly import build
from mesh.directives import Event
from simulations.checkers import Exclusion, RecordedLocks, Violation
from simulations.cluster import Build, Cluster
from simulations.dice import seed_of
from simulations.faults import Crash, Fault, Partition
from simulations.locking import Claim, Locks, LockUser
from simulations.phases import Phases
from simulations.scenarios.scenarios import SHORT_TERMS, all_locks_are_free, world_of
from simulations.scenarios.succession import OneRoster
from simulations.world import SECOND, World

__all__ = ["CUT_FOR", "ManyVoters", "run_many_voters"]

KILLED = 3
KILLED_AT, KILLED_FOR = 3 * SECOND, 12 * SECOND
CUT_AT = 6 * SECOND
CUT_FOR = 10 * SECOND
AFTER = 4 * SECOND
USERS = 16
KEYS = [f"lock/{number}" for number in range(12)]
FREE = 2
"""So many of them are taken by every node in the end."""
SLACK = SECOND // 2
"""What was asked before is on its way for so long."""


@dataclass(frozen=True, slots=True)
class ManyVoters:
    """What came of a campaign."""

    world: World
    phases: Phases
    locks: Locks


class Sides:
    """Which locks are granted on which side, once the smaller one may not serve any more."""

    def __init__(self, locks: Locks, side: set[str], since: int, until: int) -> None:
        self.granted: Counter[str] = Counter()
        """On the larger side, by key."""
        self._world = locks.cluster.world
        self._side, self._since, self._until = side, since, until
        locks.listen(self._on_event)

    def _on_event(self, claim: Claim, event: Event) -> None:
        if isinstance(event, Granted) and self._since <= self._world.now < self._until:
            if claim.peer.name in self._side:
                raise Violation(
                    f"L11: {claim} is granted by a minority of the voters (seed {self._world.seed}, "
                    f"at {self._world.now / SECOND:.6f} s)"
                )
            self.granted[claim.key] += 1


def run_many_voters(
    seed: int,
    *,
    nodes: int = 51,
    cut_for: int = CUT_FOR,
    make: Build = build,
    encoded: bool = False,
    seen: Callable[[World], object] | None = None,
) -> ManyVoters:
    """L1, L2, L4, L11 throughout; then everyone is back, and every node gets two of the locks (L12).

    The mesh is divided for `cut_for` ns: in twice `CUT_FOR` the smaller side is evicted.

    Raises
    ------
    Violation
    """
    world = world_of(seed, seen)
    parameters = SHORT_TERMS._replace(elastic=True)
    cluster = Cluster(world, nodes, expect=min(5, nodes), parameters=parameters, make=make, encoded=encoded)
    rosters = OneRoster(world)
    cluster.grow()
    roster = rosters.newest
    dice = Random(seed_of(seed, "many voters"))
    placement = placement_of(roster)
    stewards = placement.group(STEWARDS)
    others = [name for name in roster.voters if name not in stewards[:2]]
    dice.shuffle(others)
    killed = [stewards[0], *others[: KILLED - 1]]
    side = (stewards[1], *others[KILLED - 1 : KILLED - 1 + len(roster.voters) // 4])
    locks = Locks(cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    began, duration = world.now, CUT_AT + cut_for + AFTER
    sides = Sides(locks, set(side), began + CUT_AT + roster.served + SLACK, began + CUT_AT + cut_for)
    for number, name in enumerate(dice.sample(others[KILLED:], min(USERS, len(others) - KILLED))):
        LockUser(locks, name, KEYS, number, began + duration)
    plan: list[Fault] = [Partition(CUT_AT, cut_for, side), *[Crash(KILLED_AT, KILLED_FOR, name, power=True) for name in killed]]
    phases = Phases(cluster, plan, duration)
    phases.heal()
    up = set(roster.voters) - set(killed) - set(side)
    servable = [key for key in KEYS if len(up & set(placement.group(key))) >= placement.group(key).quorum]
    unserved = [key for key in servable if not sides.granted[key]]
    if unserved:
        raise Violation(f"L12: nobody is granted {unserved}, though a majority of their groups is up (seed {seed})")
    phases.reached["grants"] = locks.grants
    phases.reached["granted_apart"] = sides.granted.total()
    phases.reached["servable"] = len(servable)
    phases.reached["epochs"] = rosters.newest.epoch
    all_locks_are_free(phases, locks, KEYS[:FREE])
    history.check()
    return ManyVoters(world, phases, locks)
