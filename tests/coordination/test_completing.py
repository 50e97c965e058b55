"""What was accepted or promised about the next roster is completed by whoever comes to know of it, with disks of any pace."""

from __future__ import annotations

import pytest

from coordination.agreed.vocabulary.succession_messages import ResetPrepare, RosterAccept, RosterPromise
from mesh.directives import Message
from simulations.machine.disk import Disk
from tests.coordination.agreed_world import MS, S
from tests.coordination.roster_campaign import ELASTIC, RosterWorld


def begin(voters: int) -> RosterWorld:
    """Founders with disks, and one member more."""
    world = RosterWorld(1, voters=voters, clients=1, latency=(MS, 3 * MS), parameters=ELASTIC, durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(5 * S)
    return world


def disk_of(world: RosterWorld, name: str) -> Disk:
    disk = world.nodes[name].disk
    assert disk is not None
    return disk


def test_a_voter_with_a_slow_disk_completes_what_it_alone_has_accepted() -> None:
    """When it asks, a majority of the others has promised, and accepted nothing, before its own promise is on its disk."""
    world = begin(5)
    for name in ("n0", "n4"):
        disk_of(world, name).slower[0] = 40 * MS
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


@pytest.mark.parametrize("heard", [3, 1])
def test_a_reset_that_was_promised_is_completed_after_a_restart_of_all(heard: int) -> None:
    """Two of three have lost their disks; the operator's reset comes to so many, and all restart before any has accepted it.
    It admits the processes that were there then, whose disks are whole: nobody has to be told, and no operator is needed."""
    world = begin(3)
    voters = ("n0", "n1", "n2")
    for name in ("n1", "n2"):
        world.crash(name)
        disk_of(world, name).wipe()
    for name in ("n1", "n2"):
        world.start(name)
    world.run(3 * S)
    assert world.lost()

    promised = {"n0"}

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        promised.update([a] if isinstance(message, RosterPromise) else [])
        return isinstance(message, RosterPromise) or (isinstance(message, ResetPrepare) and to in voters[heard:])

    world.lose = lose
    operator = world.nodes["n0"]
    assert operator.parts is not None
    reset = operator.parts.reset
    world.perform(operator, reset, reset.reset(1, (), world.instant(operator)))
    world.run(30 * MS)
    assert len(promised) == heard, "it proves nothing"
    for name in voters:
        world.crash(name)
    world.lose = None
    for name in voters:
        world.start(name)
    assert world.run_until(lambda: min(map(world.epoch, voters)) > 2, 5 * S), "nobody completes it"
    world.run(S)
    assert not world.lost(), "who has its disk has forgotten the roster again"
    world.run(5 * S)
    worker = world.acquire("n3", "lock/x", ttl=S)
    assert world.run_until(lambda: worker.state == "held", S)
