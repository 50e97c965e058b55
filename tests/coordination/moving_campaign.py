"""Atomic registers while the roster changes under fire: histories of `atomic_campaign` among the changes of `roster_campaign`.

"No memory" may be told only if in truth so many of one group have forgotten that nobody can know what it decided."""

from __future__ import annotations

from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Event
from tests.coordination.agreed_campaign import first_violation
from tests.coordination.agreed_world import MS, Changes, Node, S, Violation
from tests.coordination.atomic_campaign import ATOMIC_KINDS, KEYS, LIMIT, AtomicCampaign, AtomicWorld
from tests.coordination.roster_campaign import ELASTIC, ROSTER_KINDS, RosterCampaign, RosterWorld

ALL_KINDS = tuple(kind for kind in ATOMIC_KINDS if kind not in ("roll", "blank", "thin", "reborn")) + ROSTER_KINDS


class MovingWorld(AtomicWorld, RosterWorld):
    def start(self, name: str, *, fresh: bool = False) -> None:
        RosterWorld.start(self, name, fresh=fresh)

    def observe(self, node: Node, event: Event) -> None:
        if getattr(event, "call", None) is not None and (node.name, node.boot.stamp, event.call) not in self.asked:  # type: ignore[attr-defined]
            RosterWorld.observe(self, node, event)  # of the mover
        else:
            super().observe(node, event)

    def remembers(self, name: str, key: str = "") -> bool:
        if not key:
            return RosterWorld.remembers(self, name)
        return AtomicWorld.remembers(self, name, key)

    def since(self, name: str, key: str) -> int | None:
        node = self.nodes[name]
        return node.parts.acceptor.atomic.since(key) if node.parts is not None else None

    def check_lost(self, key: str) -> None:
        if not self.gone(key):
            raise Violation(f"memory: {key} is told to be lost, and it is not, seed {self.seed}")

    def gone(self, key: str) -> bool:
        """Whether so many of a group have forgotten the register that nobody can know what they decided."""
        for epoch, roster in self.decided.items():
            group = Placement(roster).group(key)
            blank = [name for name in group if (since := self.since(name, key)) is None or since > epoch]
            if len(blank) >= group.quorum or len(blank) > len(group) - group.witnesses:
                return True
        return False

    def forgotten(self) -> bool:
        return self.lost() or any(map(self.gone, KEYS))

    def calm_for(self) -> int:
        return 0 if self.forgotten() else super().calm_for()


class MovingCampaign(AtomicCampaign, RosterCampaign):
    world: MovingWorld
    limit = LIMIT // 20

    def __init__(self, seed: int, faults: Changes = (), focus: tuple[str, ...] = (), duration: int = 8 * S) -> None:
        super().__init__(seed, faults, focus, duration)
        self.world.blind = False  # whom a roster admits, it admits by the boot that gossip tells
        self.kinds = ALL_KINDS + focus * 6
        if self.dice.random() < 0.4:
            self.kinds = ROSTER_KINDS + ("crash", "isolate", "cut", "heal") + focus * 6

    def make(self, faults: Changes) -> MovingWorld:
        dice = self.dice
        return MovingWorld(
            self.seed,
            voters=dice.choice([2, 3, 3, 3, 5]),
            loss=dice.choice([0, 0, 0.02, 0.15]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS), (MS // 5, 40 * MS)]),
            clients=dice.choice([2, 3, 4]),
            thin=0,
            durable=self.disks,
            faults=faults,
            parameters=ELASTIC._replace(R=dice.choice([3, 5])),
        )

    def reboot(self, name: str, after_ms: int = 0) -> None:
        """Unless that would lose the roster, or what a group of it keeps."""
        world = self.world
        if not self.disks and world.nodes[name].up:
            for epoch, roster in world.decided.items():
                for key in self.keys:
                    group = Placement(roster).group(key)
                    if name in group and not self.outlives(roster, epoch, key, name):
                        return
        RosterCampaign.reboot(self, name, after_ms)

    def outlives(self, roster: RosterValue, epoch: int, key: str, without: str) -> bool:
        """Whether enough of a register's group remember it, or all is moved on."""
        world = self.world
        group = Placement(roster).group(key)
        known = [name for name in group if name != without and (since := world.since(name, key)) is not None and since <= epoch]
        return len(known) >= group.witnesses

    def settle(self) -> None:
        world = self.world
        if world.forgotten():
            return
        if len(world.newest.voters) < 3:
            world.propose(self.proposer(), {*world.newest.voters, *self.able()[:3]})
            world.run(S)
        if world.forgotten():
            return
        super().settle()

    def rest(self) -> None:
        """Until nobody moves anything any more."""
        world = self.world
        parts = [node.parts for node in world.nodes.values() if node.parts is not None]
        if not world.run_until(lambda: not any(each.mover.moving for each in parts), 5 * S):
            raise Violation(f"moving: {[each.mover.stats() for each in parts]}, seed {self.seed}")


def stress(seed: int, *, faults: Changes = (), focus: tuple[str, ...] = ()) -> MovingWorld:
    """One history. Raises Violation."""
    world = MovingCampaign(seed, faults, focus).run()
    assert isinstance(world, MovingWorld)
    return world


def hunt(seeds: range, faults: Changes = (), focus: tuple[str, ...] = ()) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: stress(seed, faults=faults, focus=focus), seeds)
