"""Elections under faults, taken down as a history: who came to lead and when that ended, and what those that asked were told.

A register `election/NAME` is led by whoever holds it; `Election.leader` reads it (`coordination.locking.standing`), as the
readers here do: what q voters say alike, at some moment between question and answer. The history is judged by the checker of
linearizability against `Election`, one leader at a time with rising tokens (L10); nothing looks at what a process believes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from coordination.agreed.telling.inspector import Inspector, Question
from coordination.agreed.vocabulary.events import Ended, Explained, Granted
from coordination.agreed.vocabulary.values import LeaseId
from mesh.directives import Event
from simulations.checkers import REFUSED, UNKNOWN, Linearizable, Mutex, Operation, linearize
from tests.coordination.agreed_campaign import Campaign
from tests.coordination.agreed_world import MS, Changes, Node, Violation, Worker, World

__all__ = ["Election", "ElectionCampaign", "HeardForgetful", "ReadsOne", "TellsHalfNoted", "judge"]

KEY = "election/chief"
KINDS = ("cut", "one_way", "from_owner", "isolate", "heal", "pause", "suspend", "jump", "lie", "stall", "thin", "crash")


OVER = ""
"""Stands for a leader whose lease ran out."""


class Election(Mutex):
    """`acquire(owner) -> token`, `release`, `lapse` as of a lock, and `leader() -> token`, or None: nobody leads.

    A leader that gives up its leadership is gone for everyone in one moment. One whose lease runs out stops leading first, and
    is then forgotten by one voter after the other: until somebody else leads, those that ask may be told either."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        holder, highest = state
        if name == "leader":
            leads = (highest,) if holder not in (None, OVER) else (None, highest) if holder == OVER else (None,)
            return state if result is UNKNOWN or result in leads else REFUSED
        if name == "lapse":
            return (OVER, highest) if (holder,) == arguments else state
        return super().step((None, highest) if holder == OVER else state, name, arguments, result)

    @staticmethod
    def observes(name: str, result: Hashable) -> bool:
        return name == "leader"


@dataclass(eq=False)
class Leadership:
    worker: Worker
    granted: int
    ends: int
    """True ns at which it may be over by itself, at the earliest."""
    leaves: int | None = None
    crashed: bool = False


class ElectionWorld(World):
    """Takes the history down, in place of looking into heads."""

    def __init__(self, seed: int, **options: object) -> None:
        self.leaderships: dict[int, Leadership] = {}
        """By token."""
        self.asked: dict[tuple[str, int], int] = {}
        self.reads: list[Operation] = []
        self.queries = 0
        super().__init__(seed, **options)

    def ask(self, name: str) -> None:
        node = self.nodes[name]
        if self.running(node) and node.parts is not None:
            self.queries += 1
            self.asked[name, self.queries] = self.now
            inspector = node.parts.inspector
            self.perform(node, inspector, inspector.explain(self.queries, KEY, self.instant(node), early=True))

    def observe(self, node: Node, event: Event) -> None:
        if isinstance(event, Explained):
            asked = self.asked.pop((node.name, event.query), None)
            found = event.explanation
            if asked is not None and found.decided:
                leads = next((token for _, token, _, _ in found.holders), None)
                self.reads.append(Operation(node.name, KEY, "leader", (), asked, self.now, leads))
        elif isinstance(event, Granted | Ended):
            worker = node.workers.get(event.request)
            if worker is not None and isinstance(event, Granted) and worker.state == "asking":
                self.leaderships[event.token] = Leadership(worker, self.now, self.now)
        super().observe(node, event)

    def check_grant(self, node: Node, worker: Worker, event: Granted) -> None:
        worker.state, worker.body, worker.token = "held", True, event.token
        self.grants += 1

    def check_beliefs(self) -> None:
        for leadership in self.leaderships.values():
            if leadership.leaves is None and not leadership.crashed:
                self.follow(leadership)

    def follow(self, leadership: Leadership) -> None:
        worker = leadership.worker
        node = self.nodes[worker.node]
        if not node.up or worker.request not in node.workers:
            leadership.crashed = True
            return
        deadline = node.holder.deadline(worker.request) if node.holder is not None else None
        if worker.state == "held" and deadline is not None:
            leadership.ends = max(leadership.ends, int((deadline - node.offset) / node.rate))

    def crash(self, name: str) -> None:
        for leadership in self.leaderships.values():
            if leadership.worker.node == name and leadership.leaves is None and not leadership.crashed:
                self.follow(leadership)
                leadership.crashed = True
                leadership.ends = min(leadership.ends, self.now)
        super().crash(name)

    def command(self, worker: Worker, what: str) -> None:
        if what in ("release", "cancel"):
            for leadership in self.leaderships.values():
                if leadership.worker is worker and leadership.leaves is None and not leadership.crashed:
                    self.follow(leadership)
                    leadership.leaves = self.now
        super().command(worker, what)

    def history(self) -> Iterator[Operation]:
        """What was read of a leader that never knew of it is left out: it died, or was told that there is no quorum."""
        for token, each in self.leaderships.items():
            owner = f"{each.worker.node} {each.worker.request} {token}"
            yield Operation(each.worker.node, KEY, "acquire", (owner,), each.worker.since, each.granted, token)
            if each.leaves is not None and each.leaves <= each.ends:
                yield Operation(each.worker.node, KEY, "release", (owner,), each.leaves)
            else:
                yield Operation(each.worker.node, KEY, "lapse", (owner,), max(each.granted, each.ends))
        yield from [read for read in self.reads if read.result is None or read.result in self.leaderships]


class ElectionCampaign(Campaign):
    world: ElectionWorld
    world_class = ElectionWorld
    all_kinds = KINDS

    def __init__(self, seed: int, faults: Changes = (), focus: tuple[str, ...] = ()) -> None:
        super().__init__(seed, faults, focus, keys=((KEY,),))
        for name in self.members:
            self.world.after(self.dice.randrange(1, 300) * MS, self.read, name)

    def read(self, name: str) -> None:
        self.world.ask(name)
        if self.world.now < self.stop:
            self.world.after(self.dice.randrange(20, 300) * MS, self.read, name)


class ReadsOne(Inspector):
    """Takes one voter's word for it."""

    def explain(self, query: int, key: str, now: object, *, early: bool = False) -> object:  # type: ignore[override]
        answered = super().explain(query, key, now, early=early)  # type: ignore[arg-type]
        question = self._questions.get(query)
        if question is not None:
            question.group = type(question.group)(tuple(question.group))
            question.group.quorum = 1
        return answered


class TellsHalfNoted(Inspector):
    """Answers that nobody leads as soon as one voter has noted it."""

    def explain(self, query: int, key: str, now: object, *, early: bool = False) -> object:  # type: ignore[override]
        answered = super().explain(query, key, now, early=early)  # type: ignore[arg-type]
        question = self._questions.get(query)
        if question is not None:
            question.__class__ = HalfNoted
        return answered


class HalfNoted(Question):
    __slots__ = ()

    def unsure(self) -> tuple[LeaseId, ...]:
        return ()


class HeardForgetful(TellsHalfNoted):
    """Takes what a voter has forgotten for what it does not wait for."""

    def explain(self, query: int, key: str, now: object, *, early: bool = False) -> object:  # type: ignore[override]
        answered = super().explain(query, key, now, early=early)
        question = self._questions.get(query)
        if question is not None:
            question.__class__ = CountsForgetful
        return answered


class CountsForgetful(Question):
    __slots__ = ()

    def may_hold(self, lease: LeaseId) -> bool:
        return len(self.told(lease)) + len(self.group) - len(self.answers) >= self.group.quorum


def judge(seed: int, *, faults: Changes = (), focus: tuple[str, ...] = ()) -> ElectionWorld:
    """One history. Raises Violation."""
    campaign = ElectionCampaign(seed, faults, focus)
    world = campaign.run()
    assert isinstance(world, ElectionWorld)
    verdict = linearize(list(world.history()), Election())
    if not isinstance(verdict, Linearizable):
        raise Violation(f"L10: {verdict}, seed {seed}")
    return world
