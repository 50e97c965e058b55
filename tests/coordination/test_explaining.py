"""What is told of a register: what a majority has accepted and no less, and how it is shown."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from coordination import open_peer
from coordination.agreed.telling.inspector import Inspector, Question
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.events import Explanation
from coordination.agreed.vocabulary.messages import Accepted, Drop, Release, Renew
from coordination.agreed.vocabulary.modes import SHARED
from coordination.agreed.vocabulary.placement import placement_of
from coordination.agreed.vocabulary.registers import register_of
from coordination.agreed.vocabulary.succession_messages import RosterAccepted
from coordination.agreed.vocabulary.telling_messages import ExplainAnswer
from coordination.arguments.checks import followed_key
from coordination.commands.explain import described, fields
from mesh.directives import Directives, Message, Source
from tests.coordination.agreed_world import MS, Changes, S, Violation, Worker, World
from tests.coordination.election_campaign import HeardForgetful, TellsHalfNoted
from tests.coordination.roster_stories import begin, settled

# --- what is decided ------------------------------------------------------------------------------------------------


class Readers:
    """Ask who holds a lock, again and again, on all nodes, and compare what is told with what was decided.

    L10 for reads of a lock: what is told was accepted by q at one ballot, at some moment before; and it is not older than what
    was granted before the question."""

    def __init__(self, world: World, key: str) -> None:
        self.world = world
        self.key = key
        self.asked: dict[int, int] = {}
        """By query, the highest token that was granted before it."""
        self.accepted: dict[int, set[str]] = {}
        """By token, the voters that have ever accepted it."""
        self.answers = 0
        self.query = 1 << 20

    def ask(self, name: str) -> None:
        world = self.world
        node = world.nodes[name]
        if node.parts is None or not world.running(node):
            return
        self.query += 1
        tokens = world.tokens.get(self.key)
        self.asked[self.query] = tokens.highest if tokens is not None else 0
        inspector = node.parts.inspector
        world.perform(node, inspector, inspector.explain(self.query, self.key, world.instant(node), early=True))

    def look(self, seen: int) -> int:
        """Judge what was told since."""
        log = self.world.log
        for _, _, event in log[seen:]:
            if isinstance(event, events.Explained) and event.query in self.asked and event.explanation.decided:
                self.answers += 1
                self.judge(event.explanation, self.asked[event.query])
        return len(log)

    def judge(self, told: Explanation, before: int) -> None:
        for name, token, _, _ in told.holders:
            accepted = self.accepted.get(token, set())
            if len(accepted) * 2 <= len(told.group):
                raise Violation(f"L10: {name} was told to hold {self.key} by {len(accepted)} of {len(told.group)}")
            if token < before:
                raise Violation(f"L10: {name} was told to hold {self.key} after a later grant")


def reading(seed: int, faults: Changes = ()) -> int:
    """How many answers were judged."""
    dice = random.Random(seed)
    world = World(seed, voters=dice.choice([3, 5]), loss=0.1, latency=(MS, 30 * MS), faults=faults)
    assert world.run_until(world.founded, 60 * S)
    readers = Readers(world, "election/x")
    names = sorted(world.nodes)
    seen = 0
    for turn in range(250):
        name = dice.choice(names)
        if turn % 5 == 0:
            worker = world.acquire(name, "election/x", ttl=S // 2)
            world.after(dice.randrange(20, 700) * MS, lambda worker=worker: world.command(worker, "cancel"))
        if turn % 40 == 7:
            world.cut(*dice.sample(names, 2))
        if turn % 40 == 27:
            world.heal()
        readers.ask(name)
        for _ in range(20):
            world.run(2 * MS)
            for voter in names:
                parts = world.nodes[voter].parts
                register = parts.acceptor.register("election/x") if parts is not None else None
                for holding in register.value.holdings if register is not None else ():
                    readers.accepted.setdefault(holding.lease.token, set()).add(voter)
        seen = readers.look(seen)
    return readers.answers


def test_nobody_is_told_of_a_leader_that_no_majority_accepted() -> None:
    assert sum(reading(seed) for seed in range(6)) > 600


class BelievesOne(Inspector):
    """Takes what one voter has accepted for decided."""

    def on_message(self, message: Message, source: Source, now: object) -> Directives:
        for question in self._questions.values():
            question.__class__ = Hasty
        return super().on_message(message, source, now)  # type: ignore[arg-type]


class Hasty(Question):
    __slots__ = ()

    def decided(self) -> ExplainAnswer | None:
        return max(self.answers.values(), key=lambda answer: answer.accepted, default=None)


def test_a_leader_that_is_told_before_a_majority_accepted_is_noticed() -> None:
    with pytest.raises(Violation, match="L10"):
        for seed in range(30):
            reading(seed, ((Inspector, BelievesOne),))


def test_what_was_given_up_half_way_is_completed_by_who_asks() -> None:
    world = World(3, latency=(MS, MS))
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    parts = world.nodes["n0"].parts
    assert parts is not None
    worker = world.acquire("n0", "lock/x", ttl=3 * S)
    assert world.run_until(lambda: worker.state == "held", S)
    # One voter knows it alone, the others have forgotten: as after an accept that was given up, and restarts.
    registers = [node.parts.acceptor._registers for node in world.nodes.values() if node.parts is not None]
    for kept in registers[1:]:
        kept.pop("lock/x")
    inspector = parts.inspector
    for query in (1, 2):
        node = world.nodes["n0"]
        world.perform(node, inspector, inspector.explain(query, "lock/x", world.instant(node), early=True))
        world.run(S)
    told = [event.explanation for _, _, event in world.log if isinstance(event, events.Explained)]
    assert [each.decided for each in told] in ([False, True], [True, True])
    assert told[-1].holders == () or told[-1].holders[0][1] == worker.token


def led(world: World) -> tuple[Worker, str, list[str]]:
    """Someone leads, and every voter has accepted it: the owner, and the others."""
    assert world.run_until(world.founded, 20 * S)
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    world.lose = lambda number, a, to, message: isinstance(message, Accepted)  # so nobody is spared
    worker = world.acquire("n3", "election/x", ttl=S)
    world.run(S // 10)
    world.lose = None
    assert world.run_until(lambda: worker.state == "held", S)
    owner, *others = placement_of(parts.birth.roster).group("election/x")
    return worker, owner, others


def leader_told(world: World, query: int) -> int | None:
    """The token of the leader that n4 is told of."""
    node = world.nodes["n4"]
    assert node.parts is not None
    world.perform(
        node, node.parts.inspector, node.parts.inspector.explain(query, "election/x", world.instant(node), early=True)
    )
    world.run(S // 20)
    told = next(event.explanation for _, _, event in reversed(world.log) if isinstance(event, events.Explained))
    assert told.decided
    return told.token


def read_twice(faults: Changes = ()) -> list[int | None]:
    """One voter has noted that its leader left. Of two that ask one after the other only the first one hears that voter."""
    world = World(4, clients=2, thin=0, latency=(MS, MS), faults=faults)
    worker, owner, _ = led(world)
    world.lose = lambda number, a, to, message: isinstance(message, Release | Drop) and a != "n4" and to != owner
    world.command(worker, "release")
    world.run(3 * MS)
    first = leader_told(world, 1)
    world.cut("n4", owner)
    return [first, leader_told(world, 2)]


def read_beside_one_that_forgot(faults: Changes = ()) -> int | None:
    """Of three voters one has missed all renewals, and one that has not restarts and forgets."""
    world = World(4, clients=2, thin=0, latency=(MS, MS), faults=faults)
    worker, _, (deaf, forgetful) = led(world)
    world.lose = lambda number, a, to, message: isinstance(message, Renew) and to == deaf
    world.run(2 * S)
    world.crash(forgetful)
    world.start(forgetful)
    told = leader_told(world, 1)
    assert worker.state == "held" and world.valid(worker)
    return told


def test_of_two_that_ask_the_later_one_is_not_told_of_a_leader_that_left() -> None:
    assert read_twice() == [None, None]


def test_an_end_that_is_told_before_q_have_noted_it_is_noticed() -> None:
    first, second = read_twice(((Inspector, TellsHalfNoted),))
    assert first is None and second is not None


def test_who_has_forgotten_is_not_taken_for_one_that_waits_for_nothing() -> None:
    assert read_beside_one_that_forgot() is not None
    assert read_beside_one_that_forgot(((Inspector, HeardForgetful),)) is None, "it is not staged any more"


# --- how it is shown ------------------------------------------------------------------------------------------------

HELD = Explanation(
    key="lock/jobs",
    group=("a", "b", "c"),
    owner="a",
    holder="w1",
    token=7,
    remaining=4.25,
    ballots=(("a", "1.3 by a", "1.2 by a"), ("b", "1.3 by a", "none")),
    queue=("w2",),
    abstaining=(("b", 3.0),),
    missing=("c",),
    note="a: c refused: it does not vote yet",
    kind="lock",
    holders=(("w1", 7, 4.25, 0),),
    waiting=(("w2", 1.5, 0),),
    decided=True,
)


def test_every_line_of_it() -> None:
    assert described(replace(HELD, missing=(), ballots=(*HELD.ballots, ("c", "none", "none")))) == [
        "lock/jobs: held",
        "  holder     w1                                  token 7, 4.2 s left",
        "  waiting    w2                                  for 1.5 s",
        "  owner      a                        serialises what is asked",
        "  voter      a                        accepted 1.2 by a, promised 1.3 by a",
        "  voter      b                        accepted none, promised 1.3 by a; does not vote for 3.0 s more",
        "  voter      c                        accepted none, promised none",
        "  note       a: c refused: it does not vote yet",
    ]
    voters = fields(HELD)["voters"]
    assert [(each["name"], each["silent"], each["votes_in"]) for each in voters] == [
        ("a", False, 0.0),
        ("b", False, 3.0),
        ("c", True, 0.0),
    ]


CALM = replace(HELD, abstaining=(), missing=(), ballots=tuple((name, "none", "none") for name in "abc"), note="")


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (HELD, "no quorum: 1 of its 3 voters vote, 2 are needed"),
        (CALM, "held"),
        (replace(CALM, holders=()), "free"),
        (replace(CALM, decided=False), "a change is under way"),
        (replace(CALM, group=(), note="there is no roster yet"), "nobody keeps it yet"),
        (replace(CALM, kind="semaphore", limit=5, holders=(("w", 1, 1.0, 3),)), "3 of 5 permits are taken"),
        (replace(CALM, kind="barrier", limit=2, holders=(("w", 1, 1.0, 1),)), "1 of 2 parties are here"),
        (
            replace(CALM, kind="barrier", limit=2, shut=True, holders=(("w", 1, 1.0, 1),)),
            "a round of 2 is complete, 1 have not left",
        ),
        (replace(CALM, kind="atomic", holders=(), state=b"12"), "an atomic register, 2 bytes"),
        (replace(CALM, kind="atomic", holders=()), "an atomic register that nobody has set"),
    ],
)
def test_its_first_line_says_what_is_the_matter(found: Explanation, first: str) -> None:
    assert described(found)[0] == f"lock/jobs: {first}"
    assert fields(found)["state"] == first


def test_of_several_holders_each_has_a_line() -> None:
    found = replace(CALM, kind="rwlock", holders=(("w", 1, 1.0, SHARED.permits), ("v", 2, 1.0, 1)))
    assert [line.split()[:3] for line in described(found)[1:3]] == [["holder", "w", "shared"], ["holder", "v", "shared"]]


def test_a_name_that_looks_like_lines_is_one() -> None:
    assert described(replace(CALM, key="lock/a\nb: free\x1b[2J\u2028é"))[0].startswith("lock/a\\nb: free\\x1b[2J\\u2028é: ")


def test_which_register_is_meant() -> None:
    assert register_of("jobs/nightly") == "lock/jobs/nightly"
    assert register_of("rwlock/jobs") == "rwlock/jobs"
    assert register_of("barrier") == "lock/barrier"
    assert register_of("election/") == "lock/election/"
    assert register_of("budget/seats") == register_of(register_of("budget/seats")) == "atomic/budget/seats"
    assert register_of("limiter/mail") == register_of(register_of("limiter/mail")) == "semaphore/limiter/mail"
    assert register_of("lock/budget/seats") == "lock/budget/seats"
    assert followed_key("limiter/mail") == "semaphore/limiter/mail"
    assert followed_key("atomic/x") == "lock/atomic/x" and followed_key("budget/x") == "lock/budget/x"


async def test_what_has_no_register_of_its_own_kind_is_explained_by_its_name() -> None:
    async with open_peer() as peer:
        await peer.budget("seats", limit=10).spend(1)
        await peer.limiter("mail", rate=5).acquire()
        assert (await peer.explain("budget/seats")).state
        assert (await peer.explain("limiter/mail")).holders


def explained(world: World, name: str, key: str) -> Explanation:
    node = world.nodes[name]
    assert node.parts is not None
    seen = len(world.log)
    world.perform(node, node.parts.inspector, node.parts.inspector.explain(77, key, world.instant(node)))
    world.run(S)
    return next(
        event.explanation for _, _, event in world.log[seen:] if isinstance(event, events.Explained) and event.query == 77
    )


def test_the_chain_of_rosters_is_told_and_what_has_not_been_moved() -> None:
    world = begin(3, ())
    worker = world.acquire("n3", "lock/x", ttl=3 * S)
    assert settled(world, worker, 2 * S)
    world.command(worker, "release")
    world.run(S // 10)
    found = explained(world, "n3", "lock/x")
    assert (found.epoch, [epoch for epoch, _, _ in found.rosters], found.moved) == (1, [1], True)
    world.propose("n0", ("n1", "n5", "n6"))
    world.run(S // 2)
    found = explained(world, "n3", "lock/x")
    assert [(epoch, voters) for epoch, voters, _ in found.rosters] == [(1, ("n0", "n1", "n2")), (2, ("n1", "n5", "n6"))]
    assert found.epoch == 2 and not found.moved
    text = "\n".join(described(found))
    assert "roster     epoch 2                  n1, n5, n6; decided" in text and "earlier    epoch 1" in text
    assert "n1" in text and "holds it as of epoch 1, not moved yet" in text
    rows = {row["name"]: row for row in fields(found)["voters"]}
    assert (rows["n1"]["started"], rows["n5"]["started"], fields(found)["moved"]) == (1, 0, False)
    assert settled(world, world.acquire("n4", "lock/x", ttl=S), 2 * S)
    assert explained(world, "n3", "lock/x").moved


def test_who_is_sealed_is_told() -> None:
    """A change that has been accepted, and cannot be completed."""
    world = begin(4, ())
    world.lose = lambda number, a, to, message: isinstance(message, RosterAccepted)
    world.propose("n0", ("n1", "n5", "n6"))
    world.run(S // 5)
    found = explained(world, "n3", "lock/x")
    assert found.epoch == 1 and {why for _, _, why, _ in found.standings} == {"a change of the roster is under way"}
    assert described(found)[0].startswith("lock/x: closed: ") and described(found)[0].endswith("serve nothing now")
    world.lose = None
    world.run(3 * S)
    assert not any(why for _, _, why, _ in explained(world, "n3", "lock/x").standings)
