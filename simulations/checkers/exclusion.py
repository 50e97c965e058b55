"""Locks in true time: what no process alone can see.

L1  at no moment do two processes believe in one lock, each by its own clock, paused ones included;
L2  the tokens of one lock rise with every grant;
L4  whoever runs under a lock has been told to stop before it is granted again. A paused process runs nothing; one whose
    machine was suspended is told at the holder's next tick, for its timers stood still: `TICK` after it woke at the latest.
    A slow one is told when its timers have their turn: what is done under the lock has no more of the processor."""

from __future__ import annotations

from coordination.agreed.vocabulary.events import Granted
from mesh.directives import Event
from simulations.checkers.base import Checker
from simulations.checkers.tokens import Tokens
from simulations.locking import Claim, Locks
from simulations.machine.process import Process

__all__ = ["TICK", "Exclusion"]

TICK = 101_000_000
"""ns: the holder looks at its clock each 100 ms, by a clock that may be 1 % slow."""


class Exclusion(Checker):
    """A belief begins in a step of its process and ends by time, so it is looked at when it begins, or begins again: two
    that overlap are both there at the beginning of the later one."""

    def __init__(self, locks: Locks) -> None:
        super().__init__(locks.cluster.world)
        self._locks = locks
        self._until: dict[Claim, int] = {}
        """Up to when (boot-time ns of its machine) each belief that was seen lasts, if nothing extends it."""
        Tokens.of(locks)
        locks.listen(self._on_event)

    def _on_event(self, claim: Claim, event: Event) -> None:
        if not isinstance(event, Granted):
            if claim.state not in ("asking", "held", "leaving"):
                self._until.pop(claim, None)
            return
        self._begins(claim)
        for other in self._locks.on(claim.key):
            if other is not claim and other.body and self._runs(other.peer.process):
                self.fail("L4", f"{other} was not told before {claim} was granted")

    def _runs(self, process: Process) -> bool:
        woken = process.woken is not None and self.world.now - process.woken <= TICK
        return process.running and not process.waking and not woken and not process.overdue

    def stepped(self, process: Process) -> None:
        claims = self._locks.of(process)
        if not claims:
            return
        deadline_of = next(iter(claims.values())).peer.assembly.agreed.holder.deadline
        for claim in claims.values():
            deadline = deadline_of(claim.request)
            if deadline is not None and claim.believed:
                if process.instant().boot >= self._until.get(claim, 0):
                    self._begins(claim)
                self._until[claim] = deadline

    def _begins(self, claim: Claim) -> None:
        for other in self._locks.on(claim.key):
            if other is not claim and other.believed:
                self.fail("L1", f"{claim} and {other} both believe")

    def died(self, process: Process) -> None:
        self._until = {claim: until for claim, until in self._until.items() if claim.peer.process is not process}
