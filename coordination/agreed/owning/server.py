"""The owner's side of atomic registers: the calls that wait at a desk, applied together, in one accept.

- All calls that wait are applied to the register as the last prepare or accept showed it, in order of arrival, and become
  one accept; they are answered once q have accepted it. If the round is lost they wait for the next one, which finds by the
  register's own entries what was applied after all.
- A read is an accept, too: of the same value, if nothing else is to be done. It is answered from a round that began after it
  arrived. (An owner that was overtaken does not know it, and tells what is no longer so.)
- A call that is new here while another proposer is at work is passed on to it, once; a repeated one is served in any case.
  (Where a round trip takes long every call comes to two nodes, and the two outbid each other.)
- "No memory" is said if q of the group have none in two rounds running. (One that has just read it back, and one that has
  just restarted, may both be counted in one round.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from coordination.agreed.atomics.atomic import State
from coordination.agreed.atomics.calls import Call, CallDone, CallRefused, CallWaiting, Refusal
from coordination.agreed.atomics.pending import Served, Waiting
from coordination.agreed.owning.desk import ASKED_CAP, Change, Desk
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.round import Round
from coordination.agreed.owning.usher import TELL_WITHIN, Usher
from coordination.agreed.vocabulary.messages import Reason
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.values import Value
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Directive, Send

__all__ = ["Server"]

BATCH = 32
"""Calls of one accept, each of another process: none of them is forgotten by its own round."""
FORGET_AFTER = NANOSECONDS
"""A call that has not been repeated for so long is dropped: its caller does so four times as often."""


class Server:
    __slots__ = ("_counts", "_identity", "_proposer", "_usher")

    def __init__(self, identity: Identity, usher: Usher, proposer: Proposer, counts: Counter[str]) -> None:
        self._identity = identity
        self._usher = usher
        self._proposer = proposer
        self._counts = counts

    # --- what is asked ------------------------------------------------------------------------------------------------

    def ask(self, desk: Desk, call: Call, now: Instant, out: list[Directive]) -> Waiting | None:
        """Take a call in: what waits for its turn now, or None if it has been dealt with."""
        calls = desk.calls
        known = calls.known((call.name, call.boot))
        if known is not None and known.call.sequence >= call.sequence:
            if known.call.sequence > call.sequence:
                return None
            known.heard = now.mono
            if call.attempt > known.call.attempt:
                known.call = call
            return known
        if not all(op.well_formed() for op in call.ops):
            self._counts["malformed_calls"] += 1
            return None
        if call.attempt == 1 and not desk.wanted() and (busy := self._usher.at_work(desk, now)):
            out.append(Send(busy, replace(call, attempt=2)))
            self._counts["passed_on"] += 1
            return None
        if len(calls.waiting) >= ASKED_CAP:
            self._counts["calls_full"] += 1
            return None
        waiting = Waiting(call, now.mono)
        calls.waiting[waiting.caller] = waiting
        return waiting

    def reassure(self, desk: Desk, waiting: Waiting, mono: int, out: list[Directive]) -> None:
        """It was asked for just now, and is perhaps not answered yet: say so, at once if it was asked for before."""
        if waiting.told < waiting.call.attempt and waiting in desk.calls.all():
            if waiting.call.attempt > 1 or desk.round is None:
                self.tell(desk, waiting, mono, out)
            elif not desk.tell_at:
                desk.tell_at = mono + TELL_WITHIN

    def tell(self, desk: Desk, waiting: Waiting, mono: int, out: list[Directive]) -> None:
        """Tell its caller that it is under way."""
        call = waiting.call
        waiting.told = call.attempt
        age, missing = desk.quorum_age(mono), desk.missing(mono)
        out.append(Send(call.name, CallWaiting(desk.key, call.boot, call.sequence, self._identity.name, age, missing)))

    def tell_all(self, desk: Desk, mono: int, out: list[Directive]) -> None:
        for waiting in desk.calls.all():
            if waiting.told < waiting.call.attempt:
                self.tell(desk, waiting, mono, out)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def propose(self, desk: Desk, now: Instant, out: list[Directive]) -> bool:
        """Have what waits accepted, at the ballot that is ready; False if the register cannot be read."""
        calls, data = desk.calls, desk.base.state
        state = calls.state if calls.state_of == data and calls.state is not None else State.read(data)
        if state is None:
            self._counts["malformed_states"] += 1
            calls.waiting.clear()
            return False
        before = state.version
        for caller in list(calls.waiting)[:BATCH]:
            waiting = calls.waiting.pop(caller)
            call = waiting.call
            results = state.serve(call.boot.session, call.sequence, call.seen, call.ops) if call.ops else ()
            calls.served[caller] = Served(waiting, results)
        if state.version != before:
            data = state.encoded()
        calls.state, calls.state_of = state, data
        self._proposer.propose(desk, Value((), data), Change((), ()), now, out)
        return True

    def accepted(self, desk: Desk, epoch: int, out: list[Directive]) -> None:
        """q have accepted what was proposed: answer the calls that it serves."""
        calls = desk.calls
        state = calls.state
        assert state is not None
        calls.amnesia = 0
        for served in calls.served.values():
            call = served.waiting.call
            if served.results is None:
                self._counts["forgotten_calls"] += 1
                self._refuse(desk, call, Refusal.FORGOTTEN, (), out)
                continue
            self._counts["calls"] += 1
            value = state.value if call.read else None
            forgets = state.floor > 0
            done = CallDone(desk.key, call.boot, call.sequence, state.version, forgets, value, served.results, epoch)
            out.append(Send(call.name, done))
        calls.served.clear()

    def lost(self, desk: Desk, round_: Round, out: list[Directive]) -> None:
        """The round is given up: its calls wait for the next one, unless there is no memory left to serve them from."""
        calls = desk.calls
        calls.wait_again()
        blank = [name for name, refusal in round_.refusals.items() if refusal.reason == Reason.MEMORY]
        calls.amnesia = calls.amnesia + 1 if len(blank) >= desk.group.quorum else 0
        if calls.amnesia > 1:
            self.forgotten(desk, blank, out)

    def forgotten(self, desk: Desk, names: Iterable[str], out: list[Directive]) -> None:
        """So many have lost their memory that nobody will ever know what the register held."""
        for waiting in desk.calls.waiting.values():
            self._refuse(desk, waiting.call, Refusal.MEMORY, tuple(sorted(names)), out)
        desk.calls.waiting.clear()

    def forget_stale(self, desk: Desk, mono: int) -> None:
        desk.calls.forget_stale(mono - FORGET_AFTER)

    @staticmethod
    def _refuse(desk: Desk, call: Call, reason: int, names: tuple[str, ...], out: list[Directive]) -> None:
        out.append(Send(call.name, CallRefused(desk.key, call.boot, call.sequence, reason, names)))
