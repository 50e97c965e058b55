"""Planted faults of memory: a voter in which one thing is not durable, or not what it should be. Each must be caught."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.recalling.recall import Recall
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.ballot import ZERO
from coordination.agreed.vocabulary.messages import Accept, Accepted
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.register import Kept, Register
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import Act, Directive, Directives
from tests.coordination.agreed_faults import Planted

__all__ = ["MEMORY_FAULTS"]


class AnswersFirst(VoterMemory):
    """What is told does not wait for the disk: the record stands in a list of its own."""

    __slots__ = ()

    def keep(self, key: str, register: Register, out: list[Directive]) -> None:
        record: list[Directive] = []
        super().keep(key, register, record)
        out.append(Act(None, record))  # type: ignore[arg-type]


class NoBarrier(VoterMemory):
    """The repetition of an answer, and a renewal, do not wait for the disk."""

    __slots__ = ()

    def rest(self, out: list[Directive]) -> None:
        return


class ForgetsPromises(VoterMemory):
    __slots__ = ()

    def registers(self, mono: int) -> Iterator[tuple[str, Register]]:
        for key, register in super().registers(mono):
            register.promised = register.accepted.next() if register.accepted != ZERO else ZERO
            yield key, register


class NoEnds(VoterMemory):
    """Releases are not written down."""

    __slots__ = ()

    def registers(self, mono: int) -> Iterator[tuple[str, Register]]:
        for key, register in super().registers(mono):
            register.ended.clear()
            yield key, register


class OwnVoteFirst(Acceptor):
    """The proposer of the same node counts its vote at once."""

    @property
    def remembers(self) -> bool:
        return False


class LearnsFirst(Acceptor):
    """Takes a lease for granted as soon as its owner's vote is durable, whether its own is or not."""

    def accept(self, ask: Accept, now: Instant, out: list[Directive]) -> Any:
        answer = super().accept(ask, now, out)
        if (undecided := self._undecided.get((ask.key, ask.ballot))) is not None:
            undecided.here = True
        return answer

    def _learn_late(self, ask: Accept, group: Group, bound: tuple[LeaseId, ...], out: list[Directive]) -> None:
        learned: list[Directive] = []
        super()._learn_late(ask, group, bound, learned)
        out[:0] = learned


class TellsItsVoteFirst(Proposer):
    """Tells its vote to whom a lease is granted before it is durable."""

    __slots__ = ()

    def _tell_vote(self, desk: Desk, message: Accept, answer: Accepted, told: list[Directive]) -> None:
        early: list[Directive] = []
        super()._tell_vote(desk, message, answer, early)
        told[:0] = early


UNTIL: dict[tuple[str, LeaseId], int] = {}


class OldUntil(VoterMemory):
    """Writes down until when a lease counts, and goes by that after a restart: renewals came later."""

    __slots__ = ()

    def keep(self, key: str, register: Register, out: list[Directive]) -> None:
        UNTIL.update({(key, lease): kept.until for lease, kept in register.leases.items()})
        super().keep(key, register, out)

    def registers(self, mono: int) -> Iterator[tuple[str, Register]]:
        for key, register in super().registers(mono):
            for lease, kept in register.leases.items():
                register.leases[lease] = Kept(kept.serial, UNTIL.get((key, lease), kept.until), kept.binds)
            yield key, register


class LowToken(VoterMemory):
    """The highest token is that of the value, whatever was granted before."""

    __slots__ = ()

    def registers(self, mono: int) -> Iterator[tuple[str, Register]]:
        for key, register in super().registers(mono):
            register.highest = max([holding.lease.token for holding in register.value.holdings], default=0)
            yield key, register


class CompleteAtOnce(Recall):
    """Takes an empty disk for a complete memory, from the second process on."""

    def _look(self, now: Instant) -> Directives:
        out: list[Directive] = []
        if self._memory is not None and not self._complete:
            self._complete = True
            self._memory.keep_complete(1, out)
        return out


class EmptyIsComplete(Birth):
    """Votes at once, also with nothing on its disk."""

    def abstaining_until(self, now: Instant) -> int | None:
        return None


class PromisesOnAFullDisk(VoterMemory):
    """Says what it cannot write down while the disk is full."""

    __slots__ = ()

    def keep(self, key: str, register: Register, out: list[Directive]) -> None:
        if self._memory.error:
            return
        super().keep(key, register, out)

    def rest(self, out: list[Directive]) -> None:
        return

    def ready(self, mono: int) -> bool:
        return True


def anywhere(old: type, new: type, *focus: str) -> Planted:
    return Planted(((old, new),), focus)


MEMORY_FAULTS: dict[str, Planted] = {
    "answers before it is durable": anywhere(VoterMemory, AnswersFirst, "torn"),
    "repeats an answer before it is durable": anywhere(VoterMemory, NoBarrier, "torn", "slow_disk"),
    "forgets a promise on restart": anywhere(VoterMemory, ForgetsPromises, "all_at_once"),
    "does not keep ended leases": anywhere(VoterMemory, NoEnds, "all_at_once"),
    "counts its own vote before it is durable": anywhere(Acceptor, OwnVoteFirst, "slow_disk"),
    "learns of its grant before its own vote is durable": anywhere(Acceptor, LearnsFirst, "slow_disk"),
    "tells its vote before it is durable": anywhere(Proposer, TellsItsVoteFirst, "slow_disk"),
    "goes by the until that it wrote down": anywhere(VoterMemory, OldUntil, "all_at_once"),
    "a token lower than the highest": anywhere(VoterMemory, LowToken, "all_at_once"),
    "takes an empty disk for complete": anywhere(Recall, CompleteAtOnce, "wipe"),
    "votes at once whatever it remembers": anywhere(Birth, EmptyIsComplete, "wipe"),
    "promises on a full disk": anywhere(VoterMemory, PromisesOnAFullDisk, "full_disk"),
}
