"""Of two that have founded alone and meet, the later one goes over: in the small world with planted faults, and for real."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from coordination import DifferentMesh, MeshConfig, Peer, connect, open_peer
from coordination.agreed.rosters.yielding import Yielding
from coordination.agreed.vocabulary.roster import found
from coordination.agreed.vocabulary.succession_messages import LoneIs
from crdt.clock import Instant
from mesh.directives import Arm, Directive, Directives, Stop
from tests.coordination.agreed_world import MS, PARAMETERS, Changes, S, Violation, Worker, World
from tests.coordination.meshes import SECRET, until

M = found(("n0",), PARAMETERS).abstention


class LoneWorld(World):
    """n0 and n1 found alone; whoever would stop has stopped."""

    def __init__(
        self, seed: int, faults: Changes, *, elastic: bool, max_ttl: int = PARAMETERS.max_ttl, clients: int = 0
    ) -> None:
        self.stopped: list[str] = []
        how = PARAMETERS._replace(elastic=elastic, max_ttl=max_ttl)
        super().__init__(seed, voters=2, lone=True, latency=(MS, 20 * MS), faults=faults, parameters=how, clients=clients)
        self.cut("n0", "n1")

    def perform(self, node: Any, part: Any, directives: Any) -> None:
        directives = list(directives)
        for stop in [each for each in directives if isinstance(each, Stop)]:
            assert isinstance(stop.error, DifferentMesh)
            self.stopped.append(node.name)
            directives.remove(stop)
        super().perform(node, part, directives)

    def voters_at(self, name: str) -> tuple[str, ...]:
        parts = self.nodes[name].parts
        assert parts is not None
        return parts.birth.roster.voters if parts.birth.roster is not None else ()


def meet(seed: int, faults: Changes = ()) -> LoneWorld:
    """Each holds and takes its own lock; once they are of one mesh, both take both. Raises Violation."""
    dice = random.Random(seed)
    world = LoneWorld(seed, faults, elastic=bool(seed % 2))
    world.run(dice.randrange(4 * S, 6 * S))
    own = {"n0": "lock/a", "n1": "lock/b"}

    def one() -> bool:
        return world.voters_at("n0") == world.voters_at("n1") != ()

    def take(name: str) -> None:
        key = dice.choice(["lock/a", "lock/b"]) if one() else own[name]
        gives_back = dice.random() < 0.6
        worker = world.acquire(name, key, ttl=dice.choice([S, 3 * S]), renew=gives_back)
        world.after(dice.randrange(100 * MS, S), partial(let_go, name, worker, gives_back))

    def let_go(name: str, worker: Worker, gives_back: bool) -> None:
        if worker.state == "asking" or (worker.state == "held" and gives_back):
            world.command(worker, "cancel" if worker.state == "asking" else "release")
        world.after(dice.randrange(10 * MS, 200 * MS), partial(take, name))

    for name in own:
        take(name)
    world.run(dice.randrange(S, 3 * S))
    world.heal()
    if not world.run_until(one, 20 * S):
        raise Violation(f"L11: {[world.voters_at(name) for name in own]} are the voters, seed {seed}")
    before = world.grants
    world.run(10 * S)
    if world.grants - before < 5:
        raise Violation(f"L12: {world.grants - before} locks granted in ten seconds, seed {seed}")
    return world


def by_age(world: LoneWorld, *names: str) -> list[str]:
    """The eldest process first."""
    return sorted(names, key=lambda name: (world.nodes[name].boot, name))


def test_the_later_one_goes_over_when_its_leases_are_over() -> None:
    for seed in range(20):
        world = meet(seed)
        elder = by_age(world, *world.nodes)[0]
        assert world.voters_at("n0")[:1] == (elder,) or elder in world.voters_at("n0")
        assert not world.stopped


class JoinsAtOnce(Yielding):
    def _decide(self, now: Instant) -> Directives:
        done = super()._decide(now)
        return tuple(self._join(now)) if done else done


class BothYield(Yielding):
    """Whoever asks is told that this one stays, and whoever is told so yields."""

    def on_message(self, message: Any, source: Any, now: Instant) -> Directives:
        return self._decide(now) if isinstance(message, LoneIs) else super().on_message(message, source, now)


class GrantsOn(Yielding):
    """It has decided to yield, and goes on as before until it does."""

    decided = False

    def _decide(self, now: Instant) -> Directives:
        if self.decided:
            return ()
        self.decided = True
        return (Arm("join", now.mono + M),)

    def _join(self, now: Instant) -> list[Directive]:
        self._standing.yielding = True
        return super()._join(now)


@pytest.mark.parametrize(
    "changes",
    [((Yielding, JoinsAtOnce),), ((Yielding, BothYield),), ((Yielding, GrantsOn),)],
    ids=["joins at once", "both yield", "grants on"],
)
def test_planted_fault_is_caught(changes: Changes) -> None:
    for seed in range(20):
        try:
            meet(seed, changes)
        except Violation:
            return
    raise AssertionError("no checker noticed it in 20 seeds")


def test_one_that_keeps_an_atomic_register_does_not_yield_and_ends() -> None:
    world = LoneWorld(1, (), elastic=False)
    world.run(5 * S)
    younger = by_age(world, *world.nodes)[-1]
    parts = world.nodes[younger].parts
    assert parts is not None
    parts.acceptor._touch("atomic/x", world.instant(world.nodes[younger]), [])
    world.heal()
    world.run(16 * S)
    assert set(world.stopped) == {younger}


def test_neither_ends_before_the_other_is_gone_for_a_while() -> None:
    """The later one cannot go over; the elder disappears before it has to end."""
    world = LoneWorld(1, (), elastic=False)
    world.run(5 * S)
    elder, younger = by_age(world, *world.nodes)
    parts = world.nodes[younger].parts
    assert parts is not None
    parts.acceptor._touch("atomic/x", world.instant(world.nodes[younger]), [])
    world.heal()
    world.run(4 * S)
    world.crash(elder)
    world.run(20 * S)
    assert not world.stopped and parts.yielding.stats()["stuck"] == 1


def test_one_whose_members_were_only_cut_off_stays_with_them_and_admits_them_no_earlier() -> None:
    """It yields when it sees the elder alone. Before it has gone over, all see each other again."""
    world = LoneWorld(1, (), elastic=True, max_ttl=15 * S, clients=2)
    elder, younger = by_age(world, "n0", "n1")
    members = ("n2", "n3")
    for name in members:
        world.cut(elder, name)
        world.crash(name)
        world.start(name)
        parts = world.nodes[name].parts
        assert parts is not None
        parts.electorate._voter = True  # as if it had been given seeds
    world.run(2 * S)
    assert {world.voters_at(name) for name in members} == {(younger,)}
    for name in members:
        world.cut(younger, name)
    world.run(1600 * MS)
    world.join(elder, younger)
    parts = world.nodes[younger].parts
    assert parts is not None
    standing = parts.yielding._standing
    assert world.run_until(lambda: standing.yielding, 4 * S)
    world.heal()
    world.run(14 * S)
    assert standing.yielding and world.voters_at(younger) == (younger,)
    node, roster = world.nodes[younger], parts.birth.roster
    assert roster is not None
    reset = roster._replace(epoch=1_000_000, joined=())
    assert roster.may_be_reset_to(reset)
    world.perform(node, parts.succession, parts.succession.reset(reset, world.instant(node)))
    world.run(100 * MS)
    assert standing.rosters == (roster,) and not standing.sealed, "an operator's reset has to wait as well"
    assert world.stopped and set(world.stopped) == {elder}, "the elder is alone beside a larger mesh"
    world.crash(elder)
    assert world.run_until(lambda: len(world.voters_at("n2")) == 3, 20 * S)
    assert not standing.yielding and parts.yielding.stats()["stayed"] == 1
    world.acquire("n2", "lock/a")
    assert world.run_until(lambda: world.grants > 0, 2 * S)


def test_one_that_has_accepted_another_roster_does_not_yield() -> None:
    world = LoneWorld(1, (), elastic=True)
    world.run(5 * S)
    elder, younger = by_age(world, *world.nodes)
    parts = world.nodes[younger].parts
    assert parts is not None
    roster = parts.birth.roster
    assert roster is not None and parts.yielding._free(elder)
    parts.succession._vote.roster = roster
    assert not parts.yielding._free(elder)


# --- real peers -----------------------------------------------------------------------------------------------------------


def voters(peer: Peer) -> tuple[str, ...]:
    roster = peer._core.assembly.agreed.birth.roster
    return roster.voters if roster is not None else ()


async def test_a_lone_founder_that_comes_back_with_seeds_goes_over(tmp_path: Path) -> None:
    options: dict[str, Any] = {"secret": SECRET, "profile": "local", "config": MeshConfig(max_ttl=2.0)}
    async with open_peer(name="a", bind="127.0.0.1:0", **options) as a:
        async with open_peer(name="b", bind="127.0.0.1:0", state_dir=tmp_path, **options) as b:
            assert voters(b) == ("b",)
        async with open_peer(name="b", seeds=[a.address], state_dir=tmp_path, **options) as b:
            await until(lambda: voters(b) == ("a",), within=15)
            with trio.fail_after(5):
                async with b.lock("l", ttl=2), connect(a.address, secret=SECRET) as client:
                    assert await client.lock("l", ttl=2).try_acquire() is None
        async with open_peer(name="b", seeds=[a.address], state_dir=tmp_path, **options) as b:
            await until(lambda: voters(b) == ("a",))
