"""Who is admitted and evicted, and when: on a small world, with nobody proposing but the policy."""

from __future__ import annotations

import pytest

from coordination.agreed.rosters.electorate import Electorate
from tests.coordination.agreed_world import MS, S, Worker
from tests.coordination.roster_campaign import ELASTIC, RosterWorld


def grown(seed: int, *willing: str, voters: int = 3, clients: int = 6) -> RosterWorld:
    """A mesh of founders, joined by members that would vote, and by some that would not."""
    world = RosterWorld(seed, voters=voters, clients=clients, latency=(MS, 3 * MS), parameters=ELASTIC)
    assert world.run_until(world.founded, 20 * S)
    for name in willing:
        join(world, name)
    return world


def join(world: RosterWorld, name: str) -> None:
    """It starts anew, as one that would vote."""
    world.willing.add(name)
    world.crash(name)
    world.start(name)


def electorate(world: RosterWorld, name: str) -> Electorate:
    node = world.nodes[name]
    assert node.parts is not None
    return node.parts.electorate


def becomes(world: RosterWorld, *voters: str, within: int = 20 * S) -> bool:
    return world.run_until(lambda: world.newest.voters == tuple(sorted(voters)), within)


class Holding:
    """Holds a lock throughout, and takes another one again and again; whoever cannot is remembered."""

    def __init__(self, world: RosterWorld, name: str) -> None:
        self.world, self.name = world, name
        self.held = world.acquire(name, "lock/held", ttl=2 * S)
        self.taken = 0
        self.longest = 0
        self.take()

    def take(self) -> None:
        self.wait(self.world.acquire(self.name, "lock/taken", ttl=2 * S), self.world.now)

    def wait(self, worker: Worker, since: int) -> None:
        if worker.state == "held":
            self.taken += 1
            self.longest = max(self.longest, self.world.now - since)
            self.world.command(worker, "release")
            self.world.after(50 * MS, self.take)
        else:
            assert worker.state == "asking", worker
            self.world.after(5 * MS, lambda: self.wait(worker, since))


def test_three_grow_to_five_and_all_five_are_replaced_one_by_one_under_held_locks() -> None:
    world = grown(1, "n3", "n4")
    user = Holding(world, "n8")
    assert becomes(world, "n0", "n1", "n2", "n3", "n4")
    voters = list(world.newest.voters)
    for old, new in (("n0", "n5"), ("n1", "n6"), ("n2", "n7"), ("n3", "n0"), ("n4", "n1")):
        world.crash(old)
        world.run(S)
        if new in ("n0", "n1"):
            world.start(new)  # a name that was evicted comes back
        else:
            join(world, new)
        voters[voters.index(old)] = new
        assert becomes(world, *voters), (old, new, world.newest)
        world.run(2 * S)
    assert user.held.state == "held" and world.valid(user.held)
    assert user.taken > 300 and user.longest < 2 * S + S // 2


def test_a_surplus_member_waits_until_there_is_another() -> None:
    world = grown(2, "n3")
    world.run(12 * S)
    assert world.newest.epoch == 1, "four survive no more failures than three"
    join(world, "n4")
    assert becomes(world, "n0", "n1", "n2", "n3", "n4")
    assert world.newest.epoch == 2, "both in one change"


def test_three_are_never_shrunk_and_five_only_by_two() -> None:
    world = grown(3, voters=5)
    world.crash("n1")
    world.run(15 * S)
    assert world.newest.epoch == 1, "four are worse than five with one that may come back"
    world.crash("n3")
    assert becomes(world, "n0", "n2", "n4")
    world.crash("n4")
    world.run(15 * S)
    assert world.newest.epoch == 2


def test_one_that_comes_back_soon_is_not_evicted() -> None:
    world = grown(4, "n5", voters=5)
    world.crash("n1")
    world.run(2 * S)
    world.start("n1")
    world.run(15 * S)
    assert world.newest.epoch == 1


def test_members_that_would_not_vote_are_left_alone() -> None:
    world = grown(5)
    world.run(15 * S)
    assert world.newest.epoch == 1


def test_whoever_leaves_is_removed_at_once_down_to_the_last() -> None:
    world = grown(6)
    for name, rest in (("n2", ("n0", "n1")), ("n0", ("n1",))):
        part = electorate(world, name)
        world.perform(world.nodes[name], part, part.leave(world.instant(world.nodes[name])))
        assert becomes(world, *rest, within=5 * S)
        world.run(S)
        assert part.gone
    part = electorate(world, "n1")
    world.perform(world.nodes["n1"], part, part.leave(world.instant(world.nodes["n1"])))
    world.run(5 * S)
    assert world.newest.voters == ("n1",) and part.gone, "the last one has nobody to leave it to"


@pytest.mark.parametrize("seed", range(4))
def test_wrong_views_cost_changes_but_nothing_else(seed: int) -> None:
    """Everyone suspects someone; the others propose what they believe in."""
    world = grown(seed, "n5", "n6", voters=5)
    user = Holding(world, "n8")
    for turn in range(6):
        world.lies = {f"n{index}": {f"n{(index + turn + seed) % 7}"} for index in range(7) if (turn + seed) % 7}
        world.run(4 * S)
    world.heal()
    world.run(25 * S)
    assert user.held.state == "held" and len(world.newest.voters) >= 5
