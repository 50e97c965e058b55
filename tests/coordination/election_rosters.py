"""Elections while the roster changes, taken down as histories and judged as in `election_campaign` (L10).

Who asks who leads may go by a roster that has been replaced, or by one to which the register has not been moved yet."""

from __future__ import annotations

from coordination.agreed.telling.inspector import Inspector
from coordination.agreed.vocabulary.events import Explained, Explanation
from coordination.agreed.vocabulary.succession_messages import ChainIs
from crdt.clock import Instant
from mesh.directives import Directives
from simulations.checkers import Linearizable, linearize
from tests.coordination.agreed_world import MS, Changes, S, Violation, World
from tests.coordination.election_campaign import KEY, Election, ElectionWorld
from tests.coordination.roster_campaign import ELASTIC, ROSTER_KINDS, RosterCampaign, RosterWorld
from tests.coordination.roster_stories import begin, settled

__all__ = ["HeedsNoRoster", "asked_behind_the_change", "asked_while_nobody_holds", "asked_while_not_moved", "judge"]

KINDS = (*ROSTER_KINDS, "cut", "one_way", "isolate", "heal", "heal", "pause", "suspend", "stall", "crash")


class RosterElectionWorld(ElectionWorld, RosterWorld):
    """Both."""


class RosterElections(RosterCampaign):
    world: RosterElectionWorld

    def __init__(self, seed: int, faults: Changes = ()) -> None:
        super().__init__(seed, faults)
        self.keys = (KEY,)
        self.kinds = KINDS
        for name in self.members:
            self.world.after(self.dice.randrange(1, 300) * MS, self.read, name)

    def make(self, faults: Changes) -> RosterElectionWorld:
        self.disks = False  # a voter that restarts with one may bring back a leader whom all others have forgotten, for a ttl
        dice = self.dice
        return RosterElectionWorld(
            self.seed,
            voters=dice.choice([3, 3, 5]),
            loss=dice.choice([0, 0, 0.02, 0.15]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]),
            clients=dice.choice([2, 3, 4]),
            durable=self.disks,
            faults=faults,
            parameters=ELASTIC._replace(R=3),
        )

    def read(self, name: str) -> None:
        self.world.ask(name)
        if self.world.now < self.stop:
            self.world.after(self.dice.randrange(5, 100) * MS, self.read, name)


def judge(seed: int, faults: Changes = ()) -> RosterElectionWorld:
    """One history. Raises Violation."""
    world = RosterElections(seed, faults).run()
    assert isinstance(world, RosterElectionWorld)
    verdict = linearize(list(world.history()), Election())
    if not isinstance(verdict, Linearizable):
        raise Violation(f"L10: {verdict}, seed {seed}")
    return world


# --- stories ------------------------------------------------------------------------------------------------------------


def told(world: World, name: str, within: int = S // 2) -> Explanation | None:
    """What `name` is told as decided, asking again as `inspected` does; None if it is not told in time."""
    node, end = world.nodes[name], world.now + within
    assert node.parts is not None
    inspector = node.parts.inspector
    while world.now < end:
        seen, query = len(world.log), 1 << 20 | world.now
        world.perform(node, inspector, inspector.explain(query, KEY, world.instant(node), early=True))
        world.run(50 * MS)
        for _, _, event in world.log[seen:]:
            if isinstance(event, Explained) and event.query == query and event.explanation.decided:
                return event.explanation
    return None


def asked_while_not_moved(seed: int, faults: Changes = ()) -> bool:
    """Someone leads whose register nobody has moved to the new roster yet. Whether it is told."""
    world = begin(seed, faults)
    leader = world.acquire("n3", KEY, ttl=3 * S, renew=False)
    assert settled(world, leader, 2 * S)
    world.propose("n0", ("n5", "n6", "n7"))
    assert world.run_until(lambda: world.epoch("n4") == 2, 2 * S)
    found = told(world, "n4")
    assert found is not None and world.valid(leader)
    return found.token == leader.token


def asked_while_nobody_holds(seed: int, faults: Changes = ()) -> bool:
    """Whether who asks in the new roster is told that nobody leads: for the first time, and after one has led."""
    world = begin(seed, faults)
    if seed % 2:
        leader = world.acquire("n3", KEY, ttl=3 * S)
        assert settled(world, leader, 2 * S)
        world.command(leader, "release")
        world.run(S // 10)
    world.propose("n0", ("n5", "n6", "n7"))
    assert world.run_until(lambda: world.epoch("n4") == 2, 2 * S)
    found = told(world, "n4")
    return found is not None and not found.holders


def asked_behind_the_change(seed: int, faults: Changes = ()) -> bool:
    """Who asks has not heard of the new roster, in which another one leads. Whether it is told of that one, or
    not in time."""
    world = begin(seed, faults)
    former = world.acquire("n3", KEY, ttl=3 * S)
    assert settled(world, former, 2 * S)
    world.lose = lambda number, a, to, message: to == "n4" and isinstance(message, ChainIs)
    world.propose("n0", ("n5", "n6", "n7"))
    world.run(200 * MS)
    world.command(former, "release")
    leader = world.acquire("n7", KEY, ttl=3 * S)
    assert settled(world, leader, 2 * S)
    if seed % 2:
        world.lose = None  # it is told by those that it asks
    found = told(world, "n4")
    return (found is None and not seed % 2) or (found is not None and found.token == leader.token)


class HeedsNoRoster(Inspector):
    """Takes whoever answers for one that serves the register."""

    def explain(self, query: int, key: str, now: Instant, *, early: bool = False) -> Directives:
        answered = super().explain(query, key, now, early=early)
        question = self._questions.get(query)
        if question is not None:
            question.epoch = 0
        return answered
