"""The locks of a world as a history, for `Mutex` to judge: it must be that of a lock, whatever clocks did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coordination.agreed.vocabulary.events import Granted
from mesh.directives import Event
from simulations.checkers.base import Checker
from simulations.checkers.history import Operation
from simulations.checkers.linearizable import Linearizable, linearize
from simulations.checkers.models import Mutex
from simulations.locking import Claim, Locks
from simulations.machine.process import Process

__all__ = ["RecordedLocks"]


@dataclass(slots=True)
class _Grant:
    owner: str
    claim: Claim
    token: int
    granted: int
    ends: int
    """True ns at which the belief may end by itself, at the earliest."""
    leaves: int | None = None
    """True ns at which its process released it."""


class RecordedLocks(Checker):
    """Each grant is an `acquire`, from the request on, and one end: a `release` if its process asked for one in time, else a
    `lapse`, from the moment at which the belief may be over: when a clock that is 1 % fast reaches its deadline, or when the
    process gives it up or dies. Ends have no return: one that comes late refuses nothing that is taken down here.

    Requests that were never granted are left out, and so are refusals: all that a grant of which nobody heard can do is to keep
    the lock from others for a time, so that a history never fails for its absence."""

    def __init__(self, locks: Locks) -> None:
        super().__init__(locks.cluster.world)
        self._grants: list[_Grant] = []
        self._open: dict[Process, dict[Claim, _Grant]] = {}
        locks.listen(self._on_event)

    def __iter__(self) -> Iterator[Operation]:
        for grant in self._grants:
            claim = grant.claim
            place = (claim.peer.name, claim.key)
            yield Operation(*place, "acquire", (grant.owner,), claim.since, grant.granted, grant.token)
            if grant.leaves is not None and grant.leaves <= grant.ends:
                yield Operation(*place, "release", (grant.owner,), grant.leaves)
            else:
                yield Operation(*place, "lapse", (grant.owner,), grant.ends)

    def check(self) -> None:
        """Raises
        ------
        Violation: they are not the locks of a mutex with rising tokens.
        """
        verdict = linearize(self, Mutex())
        if not isinstance(verdict, Linearizable):
            self.fail("L1/L2", str(verdict))

    def _on_event(self, claim: Claim, event: Event) -> None:
        process = claim.peer.process
        if isinstance(event, Granted):
            grant = _Grant(f"{process} request {claim.request}", claim, event.token, self.world.now, self.world.now)
            self._grants.append(grant)
            self._open.setdefault(process, {})[claim] = grant
            self.stepped(process)

    def stepped(self, process: Process) -> None:
        grants = self._open.get(process)
        if not grants:
            return
        now = process.instant()
        for claim, grant in list(grants.items()):
            deadline = claim.peer.assembly.agreed.holder.deadline(claim.request)
            if claim.state == "held" and deadline is not None:
                left = deadline - now.boot
                if left > 0:  # else it woke too late: its belief was over before this step
                    grant.ends = max(grant.ends, self.world.now + left * 99 // 100)
                continue
            if claim.state in ("leaving", "released"):
                grant.leaves = self.world.now
            self._close(claim, grant)

    def died(self, process: Process) -> None:
        for claim, grant in list(self._open.get(process, {}).items()):
            self._close(claim, grant)

    def _close(self, claim: Claim, grant: _Grant) -> None:
        """It is believed no longer from now on, if it was until now."""
        grant.ends = min(grant.ends, self.world.now)
        del self._open[claim.peer.process][claim]
