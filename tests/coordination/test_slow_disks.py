"""Disks that take a third of a second, and fail nobody: two proposers leave each other the time for a round."""

from __future__ import annotations

import pytest

from coordination.agreed.owning import proposer
from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.round import Round
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Acquire, Drop
from coordination.agreed.vocabulary.roster import Parameters
from coordination.agreed.vocabulary.succession_messages import Look, MemoryAsk
from coordination.agreed.vocabulary.values import LeaseId
from crdt.clock import Instant
from mesh.directives import Directive, Message, Send, Source
from tests.coordination.agreed_world import MS, S, Worker, World
from tests.coordination.one_lock import KEY, group

SEEDS = range(6)
TTL = 15 * S
PARAMETERS = Parameters(R=5, max_ttl=TTL, rho=10, max_drift=S // 2)


def founded(seed: int, parameters: Parameters = PARAMETERS) -> World:
    world = World(seed, voters=3, latency=(MS, MS), durable=True, parameters=parameters)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def slow(world: World, *disks: int) -> None:
    """The disks of the group, best ranked first."""
    for name, late in zip(group(world), disks, strict=False):
        disk = world.nodes[name].disk
        assert disk is not None
        disk.slower[0] = late


def served(world: World, workers: list[Worker], within: int) -> int | None:
    """Each gives back at once what it is granted. After how long the last one has; None if that takes longer than `within`."""
    began = world.now
    given: list[Worker] = []

    def all_have() -> bool:
        for worker in workers:
            if worker.state == "held" and worker not in given:
                given.append(worker)
                world.command(worker, "release")
        return len(given) == len(workers)

    return world.now - began if world.run_until(all_have, within) else None


def two_owners(seed: int, late: int, within: int) -> int | None:
    """Two nodes ask for a free lock, and its owner stands still for a moment: nothing is lost."""
    world = founded(seed)
    slow(world, late, late, late)
    owner, second, _ = group(world)
    workers = [world.acquire(name, KEY, ttl=TTL) for name in (second, owner)]
    world.pause(owner, 300 * MS)
    return served(world, workers, within)


def one_lost(seed: int, disks: tuple[int, int], *, cut: bool) -> int | None:
    """The second request of a node does not reach the owner, and goes to the next in rank beside the third attempt."""
    world = founded(seed)
    _, second, third = group(world)
    assert served(world, [world.acquire(second, KEY, ttl=TTL)], S) is not None  # by now the owner knows the lock
    world.run(S)
    if cut:
        world.isolate(third)
    slow(world, *disks)
    first = world.acquire(second, KEY, ttl=TTL)
    assert world.run_until(lambda: first.state == "held", 2 * S)
    lost = 0

    def lose(at: int, a: str, b: str, message: Message) -> bool:
        nonlocal lost
        if isinstance(message, Acquire) and a != b and not lost:
            lost = 1
            return True
        return False

    world.lose = lose
    later = world.acquire(second, KEY, ttl=TTL)
    world.run(100 * MS)
    world.command(first, "release")
    took = served(world, [later], 10 * S)
    assert lost
    return took


@pytest.mark.parametrize(("late", "within"), [(200 * MS, 4 * S), (300 * MS, 5 * S), (400 * MS, 5 * S)])
def test_two_owners_do_not_outbid_each_other_for_long(late: int, within: int) -> None:
    for seed in SEEDS:
        assert two_owners(seed, late, within) is not None, seed


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("disks", "within"), [((150, 0), 2 * S), ((150, 150), 2 * S), ((250, 250), 2 * S), ((400, 400), 4 * S)]
)
def test_a_request_that_is_lost_costs_a_few_rounds(disks: tuple[int, int], within: int, *, cut: bool) -> None:
    """Also that of seed 29, whose owner refuses its own accept, and has to wait for the others all the same."""
    for seed in (*SEEDS, 29):
        took = one_lost(seed, (disks[0] * MS, disks[1] * MS), cut=cut)
        assert took is not None and took <= within, (seed, took)


def test_who_does_not_give_way_is_in_the_way_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposer, "GIVES_WAY_LONGEST", 0)
    assert all(two_owners(seed, 400 * MS, 20 * S) is None for seed in range(2))


def test_how_long_rounds_take_is_known_of_those_that_were_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[int] = []
    lost = Proposer.lost

    def noted(self: Proposer, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> str:
        known.append(self.slow(now))
        return lost(self, desk, round_, now, out)

    monkeypatch.setattr(Proposer, "lost", noted)
    assert two_owners(0, 400 * MS, 5 * S) is not None
    assert known[0] == 0 and max(known) >= 400 * MS


def test_a_slow_round_counts_for_some_seconds_or_rounds() -> None:
    world = founded(1)
    owner = world.nodes[group(world)[0]]
    assert owner.parts is not None
    proposing = owner.parts.owner._proposer
    for again in range(2):
        slow(world, 400 * MS, 400 * MS, 400 * MS)
        assert served(world, [world.acquire(owner.name, KEY, ttl=TTL)], 2 * S) is not None
        assert proposing.slow(world.instant(owner)) >= 400 * MS
        slow(world, 0, 0, 0)
        world.run(S)
        if again:
            for _ in range(20):
                assert served(world, [world.acquire(owner.name, KEY, ttl=TTL)], S) is not None
        else:
            world.run(3 * S)
            assert proposing.slow(world.instant(owner))
            world.run(2 * S)
        assert not proposing.slow(world.instant(owner))


@pytest.mark.parametrize(("hop", "disk"), [(50 * MS, 0), (90 * MS, 0), (MS, 60 * MS), (MS, 80 * MS)])
def test_two_of_three_are_a_quorum_while_one_takes_over(hop: int, disk: int) -> None:
    """The second has served the lock once, and its first accept after the owner's death is refused for what the others have
    promised to the owner since: it does not give way to the dead. And when all was well askers heard of q 1.5 s ago."""
    for seed in range(12):
        world = World(seed, voters=3, latency=(hop, hop), durable=disk > 0, parameters=PARAMETERS)
        assert world.run_until(world.founded, 20 * S)
        world.run(S)
        if disk:
            slow(world, disk, disk, disk)
        names = list(group(world))
        owner, second, _ = names

        def ask(name: str, world: World = world) -> Worker:
            return world.acquire(name, KEY, ttl=TTL)

        assert served(world, [ask(owner)], 5 * S) is not None
        world.pause(owner, 1500 * MS)
        assert served(world, [ask(second)], 20 * S) is not None
        world.run(2 * S)
        for name in names:
            assert served(world, [ask(name)], 5 * S) is not None
        world.run(S)
        first = ask(names[1 + seed % 2])
        assert world.run_until(lambda first=first: first.state == "held", 5 * S)  # type: ignore[misc]
        later = ask(names[1 + (seed // 2) % 2])
        world.run(S + (seed * 37 % 500) * MS)
        world.crash(owner)
        world.command(first, "release")
        assert world.run_until(lambda later=later: later.state != "asking", 5 * S)  # type: ignore[misc]
        assert later.state == "held", seed


@pytest.mark.parametrize(("voters", "hears"), [(3, 0), (5, 1)])
def test_nobody_gives_way_for_ever_to_who_hears_too_few(voters: int, hears: int) -> None:
    """The best ranked one always has something to do, is heard by all, and outbids whoever serves the lock meanwhile."""
    for seed in range(20):
        world = World(seed, voters=voters, latency=(MS, MS), parameters=PARAMETERS)
        assert world.run_until(world.founded, 20 * S)
        world.run(S)
        world.latency = (200 * MS, 200 * MS)
        owner, second, *_ = names = list(group(world))
        for name in names[1 + hears :]:
            world.cut(name, owner, one_way=True)
        its = [world.acquire(owner, KEY, ttl=TTL)]

        def again(world: World = world, owner: str = owner, its: list[Worker] = its) -> None:
            if its[0].state != "asking":
                its[0] = world.acquire(owner, KEY, ttl=TTL)
            world.after(100 * MS, again)

        again()
        world.run(2 * S + seed * 17 * MS)
        assert served(world, [world.acquire(second, KEY, ttl=TTL)], 4 * S) is not None, seed


def test_questions_to_who_cannot_write_do_not_pile_up() -> None:
    """They are repeated several times a second, and each answer would wait for the disk beside those before it."""
    world = founded(3, PARAMETERS._replace(elastic=True))
    owner, name, third = group(world)
    node, asker = world.nodes[third], world.nodes[owner]
    assert node.parts is not None and node.memory is not None and node.disk is not None
    acceptor, succession, boot = node.parts.acceptor, node.parts.succession, asker.boot
    source = Source(boot.session, "", owner, boot, None)
    look = Look(KEY, Ballot(1, 99, owner, boot))
    assert served(world, [world.acquire(name, KEY, ttl=TTL)], S) is not None
    for part, question in ((acceptor, look), (succession, MemoryAsk(1, owner, boot))):
        assert any(isinstance(each, Send) for each in part.on_message(question, source, world.instant(node)))
    node.disk.full = 1
    noted = Drop(KEY, LeaseId(1, name, boot, 1), 1)
    world.perform(node, acceptor, acceptor.on_message(noted, source, world.instant(node)))
    world.run(S)
    waiting = node.memory.stats()["held"]
    for _ in range(1_000):
        world.perform(node, acceptor, acceptor.on_message(look, source, world.instant(node)))
        ask = MemoryAsk(1, owner, boot)
        world.perform(node, succession, succession.on_message(ask, source, world.instant(node)))
    assert node.memory.stats()["held"] == waiting
    node.disk.full = 0
    world.run(2 * S)
    assert node.memory.stats()["held"] == 0
