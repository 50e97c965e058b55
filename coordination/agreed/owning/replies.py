"""What an owner tells holders, and everyone: you wait, you hold, it is occupied, it is over.

A lease that binds something is over once a value without it has been accepted by q. That is told at least once by whoever
decided it, and again by whoever finds it decided; what is lost after that the owner's `recheck` finds.

Whether a lease is over is answered, as a release is, from what a round showed that began after the question, or from its
holder's word. (An owner that was overtaken does not know of a lease that another one has granted since: it told its end, and
every replica dropped what was bound to it while its holder went on.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coordination.agreed.owning.desk import Change, Desk, GrantMade
from coordination.agreed.vocabulary.events import LeaseOver
from coordination.agreed.vocabulary.messages import CancelDone, Declined, Grant, Occupied, ReleaseDone, Waiting
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.tickets import Ticket
from coordination.agreed.vocabulary.values import Holding, LeaseId, lease_text
from mesh.directives import Directive, Emit, Send

__all__ = ["Replies"]


class Replies:
    __slots__ = ("_identity",)

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def waiting(self, desk: Desk, ticket: Ticket, mono: int, out: list[Directive], *, owner: str = "") -> None:
        """It is in the queue of `owner`, by default this node."""
        name, boot, request = ticket.asker
        ticket.told = True
        ticket.told_serial = ticket.serial
        holder = desk.base.holdings[0].lease.name if desk.base.holdings else ""
        waiting = Waiting(
            desk.key,
            name,
            boot,
            request,
            ticket.serial,
            owner or self._identity.name,
            desk.quorum_age(mono),
            desk.missing(mono),
            desk.abstainers(mono),
            holder,
        )
        out.append(Send(name, waiting))

    def grant(self, desk: Desk, made: GrantMade, out: list[Directive]) -> None:
        holding = made.holding
        grant = Grant(
            desk.key,
            holding.lease,
            holding.serial,
            holding.term,
            made.handed,
            made.ballot,
            made.value,
            made.boots,
            self._identity.name,
        )
        out.append(Send(holding.lease.name, grant))

    def occupied(self, desk: Desk, ticket: Ticket, holder: str, out: list[Directive]) -> None:
        name, boot, request = ticket.asker
        out.append(Send(name, Occupied(desk.key, name, boot, request, ticket.serial, holder)))

    def declined(self, desk: Desk, ticket: Ticket, out: list[Directive]) -> None:
        name, boot, request = ticket.asker
        out.append(Send(name, Declined(desk.key, name, boot, request, ticket.serial, desk.base.limit)))

    def release_done(self, desk: Desk, lease: LeaseId, out: list[Directive], *, binds: bool) -> None:
        out.append(Send(lease.name, ReleaseDone(desk.key, lease)))
        if binds:
            self.over(desk, lease, out)

    def over(self, desk: Desk, lease: LeaseId, out: list[Directive]) -> None:
        desk.binding.pop(lease, None)
        out.append(Emit(LeaseOver(lease_text(desk.key, lease))))

    def accepted(self, desk: Desk, change: Change, knows: Callable[[LeaseId], bool], out: list[Directive]) -> None:
        """q have accepted a value that ends these; `knows` tells whose node has learned it already."""
        if change.ends:
            desk.remember_ended(change.ends)
            for lease in change.ends:
                binds = lease in desk.binding
                if desk.ends.pop(lease, None) is not None and (binds or not knows(lease)):
                    self.release_done(desk, lease, out, binds=binds)
                elif binds:
                    self.over(desk, lease, out)
        for lease in change.expired:
            if lease in desk.binding:
                self.over(desk, lease, out)

    def settle(self, desk: Desk, alive: Sequence[Holding], out: list[Directive]) -> None:
        """Answer what needs no change. The register as it is known, accepted by q, holds `alive` and nothing else."""
        if not (desk.ends or desk.cancels or desk.checks or desk.binding):
            return
        held = [holding.lease for holding in alive]
        for lease, asked in list(desk.ends.items()):
            if asked <= desk.as_of or lease in desk.ended:
                del desk.ends[lease]
                desk.remember_ended((lease,))
                self.release_done(desk, lease, out, binds=lease in desk.binding)
        for name, boot, request in desk.cancels:
            out.append(Send(name, CancelDone(desk.key, name, boot, request, self._identity.name)))
        desk.cancels.clear()
        for lease, asked in list(desk.checks.items()):
            if lease in held:
                del desk.checks[lease]
            elif asked <= desk.as_of or lease in desk.ended:
                del desk.checks[lease]
                self.over(desk, lease, out)
        for lease in list(desk.binding):
            if lease not in held and lease not in desk.ends:
                self.over(desk, lease, out)
