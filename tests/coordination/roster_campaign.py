"""Histories in which the roster itself changes under fire, to whatever members chance picks, faster than any policy would.

Beside the checks of `agreed_world` and `agreed_campaign`:

    L11  of one epoch there is one roster, whoever learns it

A history may lose the roster for good (too many of its voters restart without memory at once): then nothing may be granted
that breaks a rule, but nothing has to be granted at all."""

from __future__ import annotations

from collections.abc import Iterable

from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.messages import Grant
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Event
from tests.coordination.agreed_campaign import FAULT_KINDS, FOCUS, HISTORY, Campaign, first_violation
from tests.coordination.agreed_nodes import Told
from tests.coordination.agreed_world import MS, PARAMETERS, Changes, Node, S, Violation, Worker, World
from tests.coordination.disk_laws import DiskLaws

ELASTIC = PARAMETERS._replace(elastic=True)
ROSTER_KINDS = (
    "change",
    "change",
    "duel",
    "grow",
    "shrink",
    "replace",
    "swap",
    "cut_change",
    "crash_change",
    "unaware",
    "split",
    "strand",
    "forget",
)
KINDS = tuple(kind for kind in FAULT_KINDS if kind not in ("amnesia", "roll")) + ROSTER_KINDS


class RosterLaws(DiskLaws):
    """As the roster has it by which a lease is granted. Who joins by its boot or re-accepts in the birth may abstain (D4)."""

    def _quorum(self, grant: Grant) -> int:
        assert isinstance(self.world, RosterWorld)
        return Placement(self.world.decided[grant.ballot.epoch]).group(grant.key).quorum

    def fail(self, law: str, what: str) -> None:
        if law != "D4":
            super().fail(law, what)


class RosterWorld(World):
    """Members beyond the founders may become voters."""

    def __init__(self, seed: int, **options: object) -> None:
        self.decided: dict[int, RosterValue] = {}
        super().__init__(seed, **options)
        if self.laws is not None:
            self.laws.__class__ = RosterLaws

    def observe(self, node: Node, event: Event) -> None:
        if isinstance(event, events.RosterConflict):
            raise Violation(f"L11: {node.name} met {event.other} beside {event.own}, seed {self.seed}")
        if isinstance(event, events.RosterDecided):
            roster = self.decided.setdefault(event.roster.epoch, event.roster)
            if roster != event.roster:
                raise Violation(f"L11: {roster} and {event.roster} are both decided, seed {self.seed}")
            self.tell_clients(node)
        super().observe(node, event)

    def tell_clients(self, sponsor: Node) -> None:
        for node in self.nodes.values():
            if node.sponsor == sponsor.name and node.up and sponsor.parts is not None:
                boot, roster = node.boot, sponsor.parts.birth.roster

                def told(node: Node = node, roster: RosterValue | None = roster) -> None:
                    holder = node.holder
                    if holder is None or roster is None or not isinstance(holder._source, Told):
                        return
                    known = holder._source.told
                    if known is None or known.epoch < roster.epoch:
                        holder._source.told = roster
                        self.perform(node, holder, holder.on_event(events.RosterDecided(roster), self.instant(node)))

                self.after(
                    self.random.randint(*self.latency), lambda told=told, node=node, boot=boot: self.step(node, boot, told)
                )

    def check_told(self, worker: Worker) -> None:
        """Unless its own node is the only voter."""
        if self.newest.voters != (worker.node,):
            super().check_told(worker)
        else:
            worker.uninformed = self.now  # cut off or not, it is its own quorum

    @property
    def newest(self) -> RosterValue:
        return self.decided[max(self.decided)]

    def remembers(self, name: str) -> bool:
        node = self.nodes[name]
        return node.up and node.parts is not None and node.parts.succession._standing.memory

    def epoch(self, name: str) -> int:
        """Of the newest roster that it knows; 0 if it is down."""
        node = self.nodes[name]
        roster = node.parts.birth.roster if node.up and node.parts is not None else None
        return roster.epoch if roster is not None else 0

    def lost(self) -> bool:
        """Whether the newest roster can never be followed, nor used, again."""
        roster = self.newest
        if not any(self.epoch(name) == roster.epoch for name in self.nodes):
            return True  # who decided it has forgotten, and nobody else was told
        with_memory = sum(self.remembers(name) for name in roster.voters)
        return with_memory < len(roster.voters) - roster.majority + 1

    def propose(self, name: str, voters: Iterable[str]) -> None:
        node = self.nodes[name]
        if self.running(node) and node.parts is not None:
            succession = node.parts.succession
            self.perform(node, succession, succession.propose(tuple(sorted(voters)), self.instant(node)))


class RosterCampaign(Campaign):
    world: RosterWorld
    disks = False

    def __init__(self, seed: int, faults: Changes = (), focus: tuple[str, ...] = (), duration: int = HISTORY) -> None:
        self.disks = seed % 4 == 3
        super().__init__(seed, faults, focus, duration)
        self.kinds = KINDS + focus * FOCUS * 2
        if self.dice.random() < 0.3:
            self.kinds = ROSTER_KINDS + ("crash", "isolate", "cut", "heal") + focus * FOCUS

    def make(self, faults: Changes) -> RosterWorld:
        dice = self.dice
        return RosterWorld(
            self.seed,
            voters=dice.choice([2, 3, 3, 3, 5]),
            loss=dice.choice([0, 0, 0.02, 0.15]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS), (MS // 5, 40 * MS)]),
            clients=dice.choice([2, 3, 4]),
            thin=dice.choice([0, 0, 1]),
            durable=self.disks,
            faults=faults,
            parameters=ELASTIC._replace(R=dice.choice([3, 5])),
        )

    # --- changes ----------------------------------------------------------------------------------------------------------

    def proposer(self) -> str:
        voters = [name for name in self.world.newest.voters if self.world.running(self.world.nodes[name])]
        return self.dice.choice(voters) if voters else self.members[0]

    def able(self) -> list[str]:
        """Members that are up and would bring their memory."""
        world, voters = self.world, self.world.newest.voters
        return [
            name for name in self.members if world.running(world.nodes[name]) and (name not in voters or world.remembers(name))
        ]

    def do_change(self, name: str, other: str) -> None:
        able = self.able()
        if able:
            self.world.propose(self.proposer(), self.dice.sample(able, self.dice.randrange(1, min(len(able), 6) + 1)))

    def do_duel(self, name: str, other: str) -> None:
        """Two propose different rosters at nearly the same time, the second at the higher ballot; or three."""
        able, voters = self.able(), list(self.world.newest.voters)
        rivals = sorted(self.dice.sample(voters, min(len(voters), self.dice.choice([2, 2, 3]))))
        for turn, rival in enumerate(rivals):
            if able:
                chosen = self.dice.sample(able, self.dice.randrange(1, min(len(able), 6) + 1))
                delay = turn * self.dice.randrange(2 * self.world.latency[1])
                self.world.after(delay, lambda rival=rival, chosen=chosen: self.world.propose(rival, chosen))

    def do_grow(self, name: str, other: str) -> None:
        voters = self.world.newest.voters
        self.world.propose(self.proposer(), {*voters, *self.dice.sample(self.able(), min(2, len(self.able())))})

    def do_shrink(self, name: str, other: str) -> None:
        voters = list(self.world.newest.voters)
        if len(voters) > 1:
            voters.remove(self.dice.choice(voters))
            self.world.propose(self.proposer(), voters)

    def do_replace(self, name: str, other: str) -> None:
        """Evict one, admit another, and crash the evicted one a little later."""
        voters = list(self.world.newest.voters)
        spare = [each for each in self.able() if each not in voters]
        if spare:
            gone = self.dice.choice(voters)
            self.world.propose(self.proposer(), [self.dice.choice(spare) if each == gone else each for each in voters])
            self.world.after(self.dice.randrange(20, 500) * MS, lambda: self.reboot(gone))

    def do_swap(self, name: str, other: str) -> None:
        """Two changes in a row, by which no voter stays."""
        able = self.able()
        spare = [each for each in able if each not in self.world.newest.voters]
        if not spare:
            return
        self.world.propose(self.proposer(), [*spare, self.dice.choice(self.world.newest.voters)])
        self.world.after(self.dice.randrange(5, 400) * MS, lambda: self.world.propose(self.proposer(), spare))

    def do_cut_change(self, name: str, other: str) -> None:
        """A change while a voter is cut off, which will not hear of it."""
        self.world.isolate(self.dice.choice(self.world.newest.voters))
        self.do_change(name, other)

    def do_crash_change(self, name: str, other: str) -> None:
        """The proposer dies while it proposes."""
        proposer = self.proposer()
        able = self.able()
        if able:
            self.world.propose(proposer, self.dice.sample(able, self.dice.randrange(1, min(len(able), 6) + 1)))
            self.world.after(self.dice.randrange(0, 3 * self.world.latency[1]), lambda: self.reboot(proposer))

    def do_unaware(self, name: str, other: str) -> None:
        """Who holds a lock does not hear of a change, from whoever decides it, nor from most others."""
        world, dice = self.world, self.dice
        held = [worker.node for worker in world.all_workers() if worker.state == "held" and world.valid(worker)]
        if not held:
            return
        node = dice.choice(held)
        proposer = self.proposer()
        if proposer != node:
            for each in {proposer, *dice.sample(self.members, len(self.members) // 3)} - {node}:
                world.cut(each, node, one_way=True)
            self.propose_near(proposer)

    def propose_near(self, proposer: str) -> None:
        """A change that keeps most of the voters."""
        voters = list(self.world.newest.voters)
        able = self.able()
        if len(voters) > 2:
            voters.remove(self.dice.choice(voters))
        if able:
            voters.append(self.dice.choice(able))
        self.world.propose(proposer, set(voters))

    def do_split(self, name: str, other: str) -> None:
        """A minority of the voters that is a majority of a lock's group is cut off, with some users, and evicted."""
        world, dice = self.world, self.dice
        roster = world.newest
        group = Placement(roster).group(self.keys[0])
        side = set(dice.sample(list(group), group.quorum))
        rest = [each for each in roster.voters if each not in side]
        if len(rest) < roster.majority:
            return
        outside = [each for each in self.members if each not in roster.voters]
        side |= {each for each in outside if dice.random() < 0.4}
        for each in self.names:
            for far in side:
                if each not in side and each != far:
                    world.cut(each, far)
        world.after(dice.randrange(5, 300) * MS, lambda: world.propose(dice.choice(rest), rest))

    def do_strand(self, name: str, other: str) -> None:
        """Everyone is evicted for others at once, who are cut off from them before anything has been moved."""
        world, dice = self.world, self.dice
        old = world.newest.voters
        spare = [each for each in self.able() if each not in old]
        if not spare:
            return
        world.propose(self.proposer(), spare)

        def cut() -> None:
            if world.newest.voters != old and world.now < self.stop:
                for each in old:
                    for far in spare:
                        world.cut(each, far)

        world.after(dice.randrange(1, 8) * world.latency[1], cut)

    def do_forget(self, name: str, other: str) -> None:
        """A bare majority decides; one of it forgets, and another is cut off before it can tell. The rest propose, too."""
        world, dice = self.world, self.dice
        roster = world.newest
        voters = [each for each in roster.voters if world.remembers(each) and world.running(world.nodes[each])]
        if len(voters) < len(roster.voters) or len(voters) < 3:
            return
        dice.shuffle(voters)
        few, rest = voters[: roster.majority], voters[roster.majority :]
        for each in few:
            for far in self.members:
                if far not in few:
                    world.cut(each, far)
        able = self.able()
        world.propose(few[0], dice.sample(able, dice.randrange(1, min(len(able), 5) + 1)))
        at = dice.randrange(3, 7) * world.latency[1]

        def forget() -> None:
            if world.now >= self.stop:
                return
            for each in few[2:]:
                for far in rest:
                    world.join(each, far)
            for far in self.members:
                if far != few[1]:
                    world.join(few[1], far)
            world.isolate(few[0])
            if world.nodes[few[1]].up:
                world.crash(few[1])
                world.after(30 * MS, lambda: None if world.nodes[few[1]].up else world.start(few[1]))

        world.after(at, forget)
        for turn in range(3):
            world.after(at + (turn + 1) * 200 * MS, lambda: world.propose(dice.choice(rest), rest))

    # --- faults -------------------------------------------------------------------------------------------------------------

    def reboot(self, name: str, after_ms: int = 0) -> None:
        """Unless that would lose the roster for good."""
        world = self.world
        if self.disks:
            super().reboot(name, after_ms)
            return
        founders = [each for each in self.members[: world.voters] if each != name]
        if name in self.members[: world.voters] and not any(world.remembers(each) for each in founders):
            return  # they would found another mesh, if they reach nobody who knows better
        oldest = min(epoch for each in world.nodes if (epoch := world.epoch(each)))
        for roster in [*(roster for epoch, roster in world.decided.items() if epoch >= oldest), *self.accepted()]:
            others = sum(world.remembers(each) for each in roster.voters if each != name)
            if name in roster.voters and others < len(roster.voters) - roster.majority + 1:
                return
        super().reboot(name, after_ms)

    def accepted(self) -> list[RosterValue]:
        """What may yet be decided."""
        found = []
        for node in self.world.nodes.values():
            if node.parts is not None and (roster := node.parts.succession.accepted()) is not None:
                found.append(roster)
        return found

    # --- afterwards -----------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """With two voters one whose clock is off costs every grant a ttl: let there be more."""
        world = self.world
        if not world.lost() and len(world.newest.voters) < 3:
            world.propose(self.proposer(), {*world.newest.voters, *self.able()[:3]})
            world.run(S)
        if not world.lost():
            super().settle()

    def check_free(self) -> None:
        if not self.world.lost():
            super().check_free()


def stress(seed: int, *, faults: Changes = (), focus: tuple[str, ...] = (), duration: int = HISTORY) -> RosterWorld:
    """One history. Raises Violation."""
    world = RosterCampaign(seed, faults, focus, duration).run()
    assert isinstance(world, RosterWorld)
    return world


def hunt(seeds: range, faults: Changes = (), focus: tuple[str, ...] = ()) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: stress(seed, faults=faults, focus=focus), seeds)
