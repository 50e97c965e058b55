"""What was accepted or promised about the next roster is completed by whoever comes to know of it, with disks of any pace."""

from __future__ import annotations

from coordination.agreed.vocabulary.succession_messages import RosterAccept
from tests.coordination.agreed_world import MS, S
from tests.coordination.roster_campaign import ELASTIC, RosterWorld


def begin(voters: int) -> RosterWorld:
    """Founders with disks, and one member more."""
    world = RosterWorld(1, voters=voters, clients=1, latency=(MS, 3 * MS), parameters=ELASTIC, durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(5 * S)
    return world


def slow(world: RosterWorld, name: str) -> None:
    disk = world.nodes[name].disk
    assert disk is not None
    disk.slower[0] = 40 * MS


def test_a_voter_with_a_slow_disk_completes_what_it_alone_has_accepted() -> None:
    """When it asks, a majority of the others has promised, and accepted nothing, before its own promise is on its disk."""
    world = begin(5)
    for name in ("n0", "n4"):
        slow(world, name)
    world.lose = lambda number, a, to, message: isinstance(message, RosterAccept) and to != "n4"
    world.propose("n0", ("n0", "n1", "n2", "n4"))
    sealed = world.nodes["n4"].parts
    assert sealed is not None
    assert world.run_until(lambda: sealed.succession.accepted() is not None, S)
    world.crash("n0")
    world.lose = None
    world.start("n0")
    started = world.nodes["n0"].parts
    assert started is not None and started.succession.accepted() is None, "it proves nothing"
    assert world.run_until(lambda: min(map(world.epoch, world.decided[1].voters)) == 2, 5 * S), "nobody completes it"
    assert world.newest.voters == ("n0", "n1", "n2", "n4")
