"""How a voter that has forgotten what it promised about the next roster is told: staged, for histories hardly come to it.

Five voters; nothing tells of a restart but messages. `p` proposes; `f` accepts and is restarted without memory while its answer
is on its way. A second proposal, of `y`, must not be decided beside the first one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coordination.agreed.rosters.confirming import Confirming
from coordination.agreed.rosters.remembering import Remembering
from coordination.agreed.rosters.roster_round import RosterRound
from coordination.agreed.rosters.roster_vote import RosterVote
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT, BootRecord
from coordination.agreed.vocabulary.roster import Parameters, RosterValue, found
from coordination.agreed.vocabulary.succession_messages import (
    EpochAsk,
    MemoryAsk,
    MemoryIs,
    RosterAccept,
    RosterAccepted,
    RosterPrepare,
    RosterPromise,
)
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from mesh.directives import Boot, Directive, Message, Persist, Send
from mesh.memory import Memory
from tests.coordination.agreed_nodes import ThinView
from tests.coordination.agreed_world import Self_
from tests.coordination.reader_hall import at

ROSTER = found(tuple("fpwxy"), Parameters(elastic=True))
BORN = Ballot(1, 1, "p", Boot(1, b"p" * 16))


class Voter:
    """One process. With the `disk` of an earlier one it goes on where that stood."""

    def __init__(self, name: str, number: int, *, memory: bool = True, disk: Voter | None = None) -> None:
        self.name = name
        self.boot = Boot(number, name.encode() * 16)
        self.disk: dict[bytes, bytes] = disk.disk if disk is not None else {}
        """Of whom it has learned what boot."""
        me, view, agenda, counts, rng = Self_(name, self.boot), ThinView(), Agenda[str]("due"), Counter[str](), random.Random(1)
        self.standing = Standing(me)
        self.standing.begin(at(0))
        self.standing.found(ROSTER, BORN, at(0), memory=memory)
        known = KnownBoots(BootRecord(me, view), VoterMemory(Memory({"known": self.disk})))
        self.confirming = confirming = Confirming(me, view, self.standing, rng, known.record, agenda)
        self.vote = RosterVote(me, self.standing, confirming, rng, known.record, agenda, counts, None)
        self.round = RosterRound(me, self.standing, self.vote, known.record, agenda, counts)
        self.remembering = Remembering(me, self.standing, confirming, self.vote, known, agenda, counts, None)
        if disk is not None:
            self.vote.promised, self.vote.accepted, self.vote.roster = disk.vote.promised, disk.vote.accepted, disk.vote.roster

    def hear(self, message: Message) -> list[Send]:
        handlers: dict[type, Callable[..., Any]] = {
            RosterPrepare: self.vote.on_prepare,
            RosterAccept: self.vote.on_accept,
            RosterPromise: self.round.on_promise,
            MemoryAsk: self.remembering.on_memory_ask,
            MemoryIs: self.remembering.on_memory,
            EpochAsk: self.confirming.on_epoch_ask,
        }
        out: list[Directive] = []
        handlers[type(message)](message, at(0.1), out)
        for each in out:
            if isinstance(each, Persist):
                self.disk.update({key: data for _, key, data in each.records if data is not None})
        return sends(out)

    def answer(self, message: Message) -> Message:
        (send,) = [each for each in self.hear(message) if each.to != self.name or isinstance(message, RosterAccept)]
        return send.message

    def recall(self) -> dict[str, Message]:
        """What it asks of each other voter."""
        out: list[Directive] = []
        self.remembering.recall(at(0.2), out)
        return {str(each.to): each.message for each in sends(out)}


def sends(out: list[Directive]) -> list[Send]:
    return [each for each in out if isinstance(each, Send)]


def proposed(proposer: Voter, voters: str, promised_by: list[Voter]) -> RosterAccept | None:
    """The proposal that rests on the promises of these, if they give them."""
    out: list[Directive] = []
    proposer.round.propose(tuple(voters), at(0), out)
    prepare = sends(out)[0].message
    for voter in promised_by:
        for promise in voter.hear(prepare):
            if isinstance(promise.message, RosterPromise):
                for send in proposer.hear(promise.message):
                    if isinstance(send.message, RosterAccept):
                        return send.message
    return None


def accepted(voters: list[Voter], accept: RosterAccept | None) -> list[RosterAccepted]:
    if accept is None:
        return []
    answers = [send.message for voter in voters for send in voter.hear(accept)]
    return [each for each in answers if isinstance(each, RosterAccepted)]


def decided(proposer: Voter, answers: list[RosterAccepted]) -> RosterValue | None:
    for each in answers:
        if (roster := proposer.round.on_accepted(each)) is not None:
            return roster
    return None


def second_of_two(crossing: bool) -> tuple[bool, bool]:
    """Whether the proposal of `p` was decided, and that of `y` beside it, with f restarted without memory in between."""
    voters = {name: Voter(name, 1) for name in "fpwxy"}
    p, y = voters["p"], voters["y"]
    first = proposed(p, "fpwx", [voters[name] for name in "fpx"])
    assert first is not None
    on_its_way = accepted([voters["f"], p], first)
    assert len(on_its_way) == 2
    f = Voter("f", 2, memory=False)
    asks = f.recall()
    if crossing:  # w tells f, is replaced by one that has forgotten, and that one reads from x and y before they tell f
        told = [voters["w"].answer(asks["w"])]
        w = Voter("w", 2, memory=False)
        for name, ask in w.recall().items():
            if name in "pxy":
                w.hear(voters[name].answer(ask))
        told += [voters[name].answer(asks[name]) for name in "xy"]
    else:  # w tells f, and is restarted with its disk
        told = [voters[name].answer(asks[name]) for name in "wxy"]
        w = Voter("w", 2, disk=voters["w"])
    for message in told:
        f.hear(message)
    one = decided(p, [*on_its_way, *accepted([w], first)])
    y.vote.counter = 5
    trio = [f, voters["x"], y]
    other = decided(y, accepted(trio, proposed(y, "fxy", trio)))
    return one is not None, other is not None


@pytest.mark.parametrize("crossing", [False, True])
def test_two_rosters_are_never_decided_of_one_epoch(crossing: bool) -> None:
    """(Both were: what w had learned of f was not on its disk; and nobody told f that w had been replaced.)"""
    assert sum(second_of_two(crossing)) == 1


def ready() -> tuple[Voter, list[MemoryIs]]:
    """A voter that has forgotten, and enough answers to it."""
    f = Voter("f", 2, memory=False)
    answers = [Voter(name, 1).answer(ask) for name, ask in f.recall().items() if name in "pwx"]
    return f, [each for each in answers if isinstance(each, MemoryIs)]


@pytest.mark.parametrize("wrong", ["the boots of another roster", "an earlier process of the asker"])
def test_an_answer_that_does_not_fit_counts_for_nothing(wrong: str) -> None:
    f, answers = ready()
    for answer in answers[:2]:
        f.hear(answer)
    boots = answers[2].boots
    f.hear(replace(answers[2], boots=boots[:-1] if "roster" in wrong else (NO_BOOT, *boots[1:])))
    assert not f.standing.votes()
    f.hear(answers[2])
    assert f.standing.votes()


@pytest.mark.parametrize("late", [False, True])
def test_whoever_was_replaced_after_it_had_answered_is_asked_again(late: bool) -> None:
    """`late`: a copy of what it answered arrives once more, behind the answer of its newest process."""
    f, w = Voter("f", 2, memory=False), Voter("w", 1)
    first = w.answer(f.recall()["w"])
    f.hear(first)
    new = Voter("w", 2, disk=w)
    p = Voter("p", 1)
    p.remembering._known.learn(("w",), (new.boot,), [])
    f.hear(p.answer(f.recall()["p"]))
    asked = f.recall()
    assert set(asked) == {"w", "x", "y"}, "who has answered is asked in vain, or who is to answer is not asked"
    f.hear(new.answer(asked["w"]))
    if late:
        f.hear(first)
    assert set(f.recall()) == {"x", "y"}
    f.hear(Voter("x", 1).answer(asked["x"]))
    assert f.standing.votes()


def test_whoever_has_been_replaced_vouches_no_more() -> None:
    w, asked = Voter("w", 1), EpochAsk(ROSTER.epoch, 1, "p")
    assert w.hear(asked)
    w.vote._boots.learn(("w",), (Boot(2, b"w" * 16),))
    assert not w.hear(asked)
