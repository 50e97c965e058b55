"""Who is told to hold a register, though those that ask restart, a voter has not heard of what it waits for, or is dead."""

from __future__ import annotations

import pytest

from coordination.agreed.telling.inspector import Inspector, Question
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.events import Explanation
from coordination.agreed.vocabulary.messages import Accept, Renew
from coordination.agreed.vocabulary.modes import Mode
from coordination.agreed.vocabulary.placement import placement_of
from coordination.agreed.vocabulary.succession_messages import SurveyAnswer, SurveyAsk
from coordination.agreed.vocabulary.telling_messages import ExplainAnswer, ExplainAsk
from coordination.agreed.vocabulary.values import LeaseId
from mesh.directives import Message
from tests.coordination.agreed_nodes import WorldView
from tests.coordination.agreed_world import MS, Changes, S, Worker, World
from tests.coordination.one_lock import KEY, group, held, live_at, of, ready
from tests.coordination.roster_stories import begin

SEMAPHORE = "semaphore/x"


def ask(world: World, name: str, query: int, key: str = KEY) -> None:
    node = world.nodes[name]
    assert node.parts is not None
    inspector = node.parts.inspector
    world.perform(node, inspector, inspector.explain(query, key, world.instant(node), early=True))


def told(world: World) -> list[Explanation]:
    """What was told so far, and is decided."""
    found = [event.explanation for _, event in of(world, events.Explained) if isinstance(event, events.Explained)]
    return [each for each in found if each.decided]


# --- the next process of who asked ----------------------------------------------------------------------------------


def told_after_a_restart() -> tuple[int, bool]:
    """n4 asks while the voters' disks are slow, and restarts. How many answers the next process gets for the first one's
    question; and what it is told when it asks itself, after another one was granted the lock."""
    world = World(3, voters=3, clients=3, latency=(MS, MS), durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(20 * S)
    first = held(world, "n3")
    world.run(2 * S)
    disks = [disk for name in group(world) if (disk := world.nodes[name].disk) is not None]
    for disk in disks:
        disk.slower[1] = 150 * MS
    world.acquire("n5", "lock/other", ttl=3 * S)
    world.run(10 * MS)
    ask(world, "n4", 1)
    asked_by = world.nodes["n4"].boot
    world.run(20 * MS)
    late: list[tuple[str, Message]] = []

    def slow(number: int, a: str, b: str, message: Message) -> bool:
        if b == "n4" and isinstance(message, ExplainAnswer):
            late.append((a, message))
            return True
        return False

    world.lose = slow
    world.crash("n4")
    world.start("n4")
    world.run(S)
    assert world.nodes["n4"].boot != asked_by
    for disk in disks:
        disk.slower.clear()
    world.command(first, "release")
    assert world.run_until(lambda: first.state == "released", 2 * S)
    second = held(world, "n5")
    world.run(S)
    ask(world, "n4", 1)
    world.lose = None
    for name, message in late:
        world.transmit(world.nodes[name], "n4", message)
    assert world.run_until(lambda: bool(told(world)), S)
    assert world.valid(second)
    return len(late), told(world)[0].holder == "n5"


def test_an_answer_to_an_earlier_process_of_its_name_is_nothing_to_the_next() -> None:
    late, right = told_after_a_restart()
    assert late == 3, "no answer waited for a disk: it proves nothing"
    assert right


def test_a_survey_is_answered_to_the_process_that_asks() -> None:
    world = begin(3, ())
    late: list[tuple[str, Message]] = []

    def survey() -> None:
        node = world.nodes["n3"]
        assert node.parts is not None
        world.perform(node, node.parts.reset, node.parts.reset.survey(1, world.instant(node)))

    def slow(number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, SurveyAnswer):
            late.append((a, message))
            return True
        return False

    world.lose = slow
    survey()
    world.run(20 * MS)
    world.crash("n3")
    world.start("n3")
    world.run(2 * S)
    world.lose = lambda number, a, b, message: isinstance(message, SurveyAsk)
    survey()
    for name, message in late:
        world.transmit(world.nodes[name], "n3", message)
    world.run(S)
    (found,) = [event for _, event in of(world, events.Surveyed) if isinstance(event, events.Surveyed)]
    assert len(late) == 3 and [each.answered for each in found.voters] == [False] * 3


# --- what a voter has not heard of ----------------------------------------------------------------------------------


class Pair:
    """Of two that hold a semaphore the second voter has never heard of the first, for it learned the value by a renewal of the
    other; and the third one does not hear the first one's renewals."""

    def __init__(self, faults: Changes = ()) -> None:
        self.world = world = ready(clients=3, faults=faults)
        parts = world.nodes["n0"].parts
        assert parts is not None and parts.birth.roster is not None
        self.owner, self.late, self.deaf = placement_of(parts.birth.roster).group(SEMAPHORE)
        self.unheard = {self.late}
        world.lose = self.lose
        self.slow: list[Message] = []
        self.first = self.hold("n3")
        self.second = self.hold("n4")
        self.unheard.add(self.deaf)
        world.command(self.second, "renew")
        world.run(2400 * MS)
        assert [self.waits(name) for name in (self.owner, self.late, self.deaf)] == [True, False, True]

    def lose(self, number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, ExplainAsk) and b != self.late:
            self.slow += [message] if b == self.deaf else []
            return True
        if isinstance(message, Accept):
            return b == (self.deaf if self.deaf in self.unheard else self.late)
        return isinstance(message, Renew) and a == "n3" and b in self.unheard

    def hold(self, name: str) -> Worker:
        worker = self.world.acquire(name, SEMAPHORE, ttl=3 * S, mode=Mode(1, 2))
        assert self.world.run_until(lambda: worker.state == "held", S), worker
        return worker

    def waits(self, voter: str) -> bool:
        """Whether the first one's lease is live there."""
        node = self.world.nodes[voter]
        register = node.parts.acceptor.register(SEMAPHORE) if node.parts is not None else None
        assert register is not None and len(register.value.holdings) == 2
        mono = self.world.instant(node).mono
        return any(lease.token == self.first.token and register.is_live(lease, mono) for lease in register.leases)

    def answered_one_by_one(self) -> list[Explanation]:
        """The second voter answers, is renewed at, and the third one answers once it has let the lease run out."""
        world = self.world
        world.run(150 * MS)
        ask(world, "n5", 1, SEMAPHORE)
        world.run(5 * MS)
        self.unheard.remove(self.late)
        world.command(self.first, "renew")
        assert world.run_until(lambda: not self.waits(self.deaf), 490 * MS)
        world.lose = None
        for message in self.slow:
            world.transmit(world.nodes["n5"], self.deaf, message)
        world.run(600 * MS)
        assert world.valid(self.first) and self.first.state == "held"
        return told(world)


class Heard(Inspector):
    """Takes what a voter has not heard of for what it does not wait for."""

    def explain(self, query: int, key: str, now: object, *, early: bool = False) -> object:  # type: ignore[override]
        answered = super().explain(query, key, now, early=early)  # type: ignore[arg-type]
        question = self._questions.get(query)
        if question is not None:
            question.__class__ = HeardOfAll
        return answered


class HeardOfAll(Question):
    __slots__ = ()

    def _unheard(self, answer: ExplainAnswer, lease: LeaseId) -> bool:
        return False


def test_who_has_not_heard_of_a_lease_is_not_taken_for_one_that_does_not_wait_for_it() -> None:
    assert all(len(each.holders) == 2 for each in Pair().answered_one_by_one())
    found = Pair(((Inspector, Heard),)).answered_one_by_one()
    assert [len(each.holders) for each in found] == [1], "it is not staged any more"


def test_what_no_voter_can_tell_is_decided_anew() -> None:
    """The owner is dead, the first holder, too, and one of those that are left has never heard of it."""
    pair = Pair()
    world = pair.world
    world.crash("n3")
    world.crash(pair.owner)
    assert world.run_until(lambda: not pair.waits(pair.deaf), S)
    world.lose = None
    asked = world.now
    for query in range(1, 9):
        ask(world, "n5", query, SEMAPHORE)
        if world.run_until(lambda: bool(told(world)), 600 * MS):
            break
    assert [name for name, _, _, _ in told(world)[0].holders] == ["n4"]
    assert world.now - asked < 2 * S


def told_before_it_is_renewed(faults: Changes = ()) -> list[str | None]:
    """One voter was spared, and answers before the first renewal comes; another one hears no renewal, and answers late."""
    world = ready(clients=3, faults=faults)
    owner, spared, deaf = group(world)
    world.lose = lambda number, a, b, message: isinstance(message, Accept) and b == spared
    worker = held(world, "n3")
    assert live_at(world, worker) == [owner, deaf]
    unheard, slow = {deaf, spared}, []

    def lose(number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, ExplainAsk) and b != spared:
            slow.append((b, message))
            return True
        return isinstance(message, Renew) and b in unheard

    world.lose = lose
    world.run(2600 * MS)
    ask(world, "n5", 1)
    world.run(5 * MS)
    unheard.remove(spared)
    world.command(worker, "renew")
    assert world.run_until(lambda: deaf not in live_at(world, worker), 490 * MS)
    world.lose = None
    for voter, message in slow:
        world.transmit(world.nodes["n5"], voter, message)
    world.run(600 * MS)
    assert world.valid(worker) and set(live_at(world, worker)) >= {owner, spared}
    return [each.holder for each in told(world)]


def test_who_was_spared_is_not_taken_for_one_that_does_not_wait_for_it() -> None:
    assert told_before_it_is_renewed() == ["n3"]
    assert told_before_it_is_renewed(((Inspector, Heard),)) == [None], "it is not staged any more"


# --- what is under way when its owner dies --------------------------------------------------------------------------


def test_a_change_that_was_given_up_is_completed_by_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner dies without a word after it and one other have accepted a grant. That it is dead is seen later."""
    world = ready(clients=3)
    owner = group(world)[0]
    for _ in range(3):
        worker = held(world, "n3")
        world.command(worker, "release")
        world.run(30 * MS)
    held(world, "n3", renew=False)
    alive = WorldView.is_alive
    monkeypatch.setattr(WorldView, "is_alive", lambda view, name: name == owner or alive(view, name))
    world.crash(owner)
    for query in range(1, 4):
        ask(world, "n5", query)
        world.run(600 * MS)
    assert [each.holder for each in told(world)][:1] == ["n3"]
