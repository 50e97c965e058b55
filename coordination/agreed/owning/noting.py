"""Releases that nobody waits for: q acceptors note the holder's word, and no round is needed.

A round would say the same at twice the cost: an accept of a value without the lease, by the same acceptors. Instead the owner
has its own acceptor note the end (`Acceptor.drop`), and asks others for it where the holder does not see to that; each tells
the holder, who counts to q. The value goes on naming a lease that has ended, and the next accept takes it out.

- Only where the register is known: the lease stands in it alone, nothing else is asked, no round is under way, and a ballot is
  ready. Everything else is a round, and so is a release that comes again: then a note has been lost.
- Only notes of one roster count together, and of the newest processes that are known of its voters.
- Any quorum that is read later meets one of those q, and so takes the lease for ended, whoever reads. (Confirmed by fewer, a
  lock that has been given back is closed for a ttl once its owner dies.)
- Whoever may count the lease as live is told, beyond q, too: it would name a holder that there is not. A lease that may have
  been renewed everyone may count, so its end takes a round.
- The holder's own node notes its end without being asked (`leavings`), so that with disks it is written in two places at once.
- The end of a lease that binds is told to everyone by whoever decides it, so it is decided.
- Nothing is noted of one lease among several: a reading has to see who stands beside whom."""

from __future__ import annotations

from coordination.agreed.owning.desk import Desk
from coordination.agreed.vocabulary.messages import Drop, Release
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import Instant
from mesh.directives import Act, Directive, Send

__all__ = ["note_end"]


def note_end(desk: Desk, ask: Release, identity: Identity, acceptor: Acceptor, now: Instant, out: list[Directive]) -> bool:
    """Have the end of a lease noted; False if that takes a round."""
    lease, held = ask.lease, desk.base.holdings
    if len(held) != 1 or held[0].lease != lease or desk.base.limit or ask.binds or held[0].binds or lease in desk.binding:
        return False
    if desk.ready is None or desk.round is not None or lease in desk.ended or desk.wanted():
        return False
    register = acceptor.register(desk.key)
    if register is not None:
        desk.sparing.look(desk.base, register)
    if desk.sparing.renewed(lease, now.mono):
        return False
    own = identity.name
    told: list[Directive] = []
    noted = acceptor.drop(desk.key, lease, now, told)
    if noted:
        for name in desk.sparing.noted(lease, desk.group, own, desk.heard, now.mono):
            out.append(Send(name, Drop(desk.key, lease, desk.ready.epoch)))
        desk.remember_ended((lease,))
        answer = Send(lease.name, acceptor.dropped(desk.key, lease))
        if told:
            told.append(answer)  # it may be said once that is durable
        else:
            out.append(answer)
    if told:
        out.append(Act(acceptor, told))
    return noted
