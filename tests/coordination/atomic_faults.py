"""Planted faults of atomic registers: copies of the parts in which one rule is broken. Each must be caught by a checker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from coordination.agreed.atomics.atomic import Op, Results, State
from coordination.agreed.atomics.caller import Caller, Line, Request
from coordination.agreed.atomics.calls import Call, CallDone, Recollect, Recollection
from coordination.agreed.atomics.pending import Waiting
from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.round import Round
from coordination.agreed.owning.server import Server
from coordination.agreed.recalling.recollector import Recollector
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Accept, Reason
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.values import Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.atomic_memory import AtomicMemory
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Send
from tests.coordination.agreed_faults import ForgetsPromise, OwnerAlone, Planted


class OverAnothersBallot(Proposer):
    """Whoever refused: the next accept goes out above that ballot, with what was read before."""

    __slots__ = ()

    def lost(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> str:
        winner = super().lost(desk, round_, now, out)
        if isinstance(round_.message, Accept):
            desk.counter += 1
            desk.ready = Ballot(round_.message.ballot.epoch, desk.counter, self._identity.name, self._identity.boot)
        return winner


class ReusesBallot(Proposer):
    """What some have accepted, and not enough, is followed by something else under the same ballot."""

    __slots__ = ()

    def lost(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> str:
        winner = super().lost(desk, round_, now, out)
        if isinstance(round_.message, Accept) and round_.answers and desk.losses == 1:
            desk.ready = round_.message.ballot
        return winner


class Forgetful(State):
    """Keeps no results: each copy of a request is applied."""

    __slots__ = ()

    def serve(self, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
        self.entries.clear()
        return super().serve(session, sequence, seen, ops)


class OneResult(State):
    """Keeps the last process's result only, and does not note that it has forgotten others."""

    __slots__ = ()

    def serve(self, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
        results = super().serve(session, sequence, seen, ops)
        while len(self.entries) > 1:
            del self.entries[next(iter(self.entries))]
        return results


class FloorIgnored(State):
    """Keeps the last two processes' results, and serves who is not among them whatever it had seen."""

    __slots__ = ()

    def serve(self, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
        return few(self, 2, session, sequence, self.floor, ops)


class FewResults(State):
    """Keeps the results of two processes, as the rules say: right, and hard on the callers."""

    __slots__ = ()

    def serve(self, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
        return few(self, 2, session, sequence, seen, ops)


def few(state: State, count: int, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
    results = State.serve(state, session, sequence, seen, ops)
    while len(state.entries) > count:
        state._forget()
    return results


def with_state(kind: type[State]) -> type[Server]:
    class Changed(Server):
        __slots__ = ()

        def propose(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
            state = State.read(desk.base.state)
            assert state is not None
            state.__class__ = kind
            desk.calls.state, desk.calls.state_of = state, desk.base.state
            return super().propose(desk, now, out)

    return Changed


class ReadsWithoutRound(Server):
    """Answers reads from what it knows of the register while a ballot is ready."""

    __slots__ = ()

    def ask(self, desk: Desk, call: Call, now: Instant, out: list[Directive]) -> Waiting | None:
        state = State.read(desk.base.state) if desk.ready is not None and not call.ops else None
        if state is None:
            return super().ask(desk, call, now, out)
        out.append(Send(call.name, CallDone(desk.key, call.boot, call.sequence, state.version, False, state.value, ())))
        return None


class NeverForgot(AtomicMemory):
    """A voter that has lost its memory answers that there is nothing."""

    __slots__ = ()

    def remembers(self, key: str) -> bool:
        return True


class ReadsFromFewer(Recollector):
    """Reads back from one voter less than it takes."""

    def _take(self, answer: Recollection, now: Instant, out: list[Directive]) -> None:
        reading = self._readings.get(answer.key)
        if reading is not None and len(reading.group) > 1:
            group = Group(tuple(reading.group))
            group.quorum = len(group) // 2 + 2
            reading.group = group
        super()._take(answer, now, out)


class ReadsFromBlank(Recollector):
    """Reads back from voters that have no memory themselves, too."""

    def _take(self, answer: Recollection, now: Instant, out: list[Directive]) -> None:
        super()._take(replace(answer, remembers=True), now, out)


class ForgetsToPromise(Acceptor):
    """Reads back what was accepted, not what was promised."""

    def recollect(self, key: str, promised: Ballot, accepted: Ballot, value: Value, now: Instant, out: list[Directive]) -> None:
        super().recollect(key, accepted, accepted, value, now, out)


class RestsOnTheDead(AtomicMemory):
    """A proposal may rest on the promise of a process that has been replaced."""

    __slots__ = ()

    @staticmethod
    def rests_on_replaced(ask: Accept, known: tuple[Boot, ...]) -> bool:
        return False


class TeachesNothing(Recollector):
    """Nobody who is asked takes note of the restart."""

    def _tell(self, ask: Recollect, now: Instant, out: list[Directive]) -> None:
        known = dict(self._boots._known)
        super()._tell(ask, now, out)
        self._boots._known = known


class NewSequences(Caller):
    """Each attempt is another request."""

    def _send(self, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        if request.attempt:
            self._sequence += 1
            request.sequence = self._sequence
        super()._send(line, request, now, out)


class SureOfNothing(Caller):
    """Says "no quorum", so that nothing was changed, of changes that had been sent."""

    def _unavailable(self, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        request.reads += request.changes
        request.changes = []
        super()._unavailable(line, request, now, out)


class LosesHope(Server):
    """Says that memory is lost if one voter lacks it."""

    __slots__ = ()

    def lost(self, desk: Desk, round_: Round, out: list[Directive]) -> None:
        if any(refusal.reason == Reason.MEMORY for refusal in round_.refusals.values()):
            desk.calls.amnesia = 5
            round_.refusals.update(dict.fromkeys(desk.group, next(iter(round_.refusals.values()))))
        super().lost(desk, round_, out)


class Sought(NamedTuple):
    planted: Planted
    within: int
    """Seeds, by which it has to be found."""


FAULTS: dict[str, Sought] = {
    "forgets a promise": Sought(Planted(((Acceptor, ForgetsPromise),)), 10),
    "fast path over another's ballot": Sought(Planted(((Proposer, OverAnothersBallot),)), 10),
    "reuses a ballot": Sought(Planted(((Proposer, ReusesBallot),), ("one_way",)), 60),
    "takes one answer for a quorum": Sought(Planted(((Owner, OwnerAlone),)), 10),
    "a retry is applied twice": Sought(Planted(((Server, with_state(Forgetful)),)), 10),
    "one result is kept": Sought(Planted(((Server, with_state(OneResult)),)), 10),
    "two results are kept, whatever was seen": Sought(Planted(((Server, with_state(FloorIgnored)),)), 20),
    "a retry has another sequence": Sought(Planted(((Caller, NewSequences),)), 20),
    "a read is served without a round": Sought(Planted(((Server, ReadsWithoutRound),)), 10),
    "answers empty after losing its memory": Sought(Planted(((AtomicMemory, NeverForgot),), ("crash", "blank")), 60),
    "says no quorum of what was sent": Sought(Planted(((Caller, SureOfNothing),)), 30),
    "gives memory up too soon": Sought(Planted(((Server, LosesHope),)), 10),
}
"""Found by random histories. What those hardly ever hit is staged in `test_atomic_memory`."""

RARE: dict[str, Sought] = {
    "reads back from those without memory": Sought(Planted(((Recollector, ReadsFromBlank),), ("blank",)), 100),
    "reads back from too few": Sought(Planted(((Recollector, ReadsFromFewer),), ("reborn",)), 400),
}
