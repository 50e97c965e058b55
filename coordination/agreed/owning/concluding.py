"""What an owner does with what q have said: it takes in what a prepare has read, and tells what an accept has changed.

- A prepare that finds nothing, and is told of a higher promise, has lost: what is accepted below that ballot is never the
  highest value.
- Where something blocks, the silent are waited for, for a moment: q of the others may not know of it.
- So they are if an acceptor is said to be behind, and what is alive has to be brought to it, and one that has promised to a
  higher ballot is asked again above that, once. (The q that answer first are never the one that is behind: it was asked to
  be mended each time it refused a renewal, and stayed behind for as long as the lease was held.)
- After an accept that nobody refused the next ballot is ready.
- What an earlier round wanted to grant, and this one has carried through, is told to whoever still asks for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from coordination.agreed.owning.desk import Desk, GrantMade, Reading
from coordination.agreed.owning.desks import Desks
from coordination.agreed.owning.grants import Grants
from coordination.agreed.owning.proposer import Proposer
from coordination.agreed.owning.replies import Replies
from coordination.agreed.owning.round import Round
from coordination.agreed.owning.search import started
from coordination.agreed.owning.server import Server
from coordination.agreed.owning.usher import Usher
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.ballot import ZERO
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Accept, Prepare, Promise
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.values import Holding, LeaseId
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.keeping import NS_PER_MS, STAMP_SHIFT
from coordination.agreed.voting.learner import learned_by
from coordination.agreed.voting.standing import Standing
from crdt.clock import HybridClock, Instant
from mesh.directives import Directive

__all__ = ["Concluding"]


class Concluding:
    """The lower layer of `Owner`."""

    def __init__(
        self,
        identity: Identity,
        view: View,
        roster: RosterSource,
        clock: HybridClock,
        random: random.Random,
        boots: BootRecord,
        acceptor: Acceptor,
        standing: Standing | None = None,
    ) -> None:
        self._identity = identity
        self._view = view
        self._source = roster
        self._clock = clock
        self._acceptor = acceptor
        self._roster: RosterValue | None = None
        self._agenda: Agenda[str] = Agenda("desk")
        self._counts: Counter[str] = Counter()
        self._proposer = Proposer(identity, standing or Standing(identity), clock, random, boots, acceptor, self._agenda)
        self._desks = Desks(identity, self._proposer, self._agenda, self._counts)
        self._grants = Grants(clock, self._proposer)
        self._replies = Replies(identity)
        self._usher = Usher(identity, view, acceptor, self._replies, self._counts)
        self._server = Server(identity, self._usher, self._proposer, self._counts)

    def _reached(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> bool:
        """Take in what q say; False if it is better to hear the others, too, for a moment."""
        reading = None
        if isinstance(round_.message, Prepare):
            promises = [answer for answer in round_.counted() if isinstance(answer, Promise)]
            past = None
            epoch = round_.message.ballot.epoch
            if epoch > 1 and not started(promises, epoch) and self._proposer.search(desk, now, out):
                assert desk.search is not None
                past = desk.search.past()
                if past is None:
                    if desk.searching is None:
                        desk.searching = now.mono
                    if desk.calls and (blank := desk.search.blank()):
                        self._server.forgotten(desk, blank, out)
                    return False
            desk.searching = None
            reading = Reading(promises, desk.group.quorum, (*desk.ended, *desk.ends), past)
            if reading.foreign and not round_.resent and round_.silent():
                return False
            mending = bool(reading.live) and desk.mending(round_.started)
            if mending and not round_.resent and round_.silent() and not round_.refused():
                return False
            if (reading.ballot == ZERO or (mending and not desk.losses)) and round_.overtaken():
                # These have forgotten the register, and another has not: what is accepted below its ballot is never the highest
                # value, and nobody would be granted anything beside it. Or the other one is behind, and would refuse.
                self._lost(desk, round_, now, out)
                return True
        desk.round = desk.search = None
        self._proposer.gained(round_, now)
        desk.boots, desk.rests = round_.grounds()
        message = round_.message
        if reading is not None:
            desk.learn(reading, round_.started, now.mono)
            desk.skew = reading.clock - self._clock.read(now)
            desk.ready = message.ballot
            return True
        assert isinstance(message, Accept)
        desk.losses, desk.lost, desk.gives_way = 0, (), False
        change, desk.change = desk.change, None
        assert change is not None
        desk.ready = message.ballot.next()
        desk.ballot = message.ballot
        desk.base = message.value
        desk.dead = {}
        desk.foreign = {}
        desk.behind = desk.unmoved = False
        desk.waits = {}
        if desk.made:
            desk.made = {asker: made for asker, made in desk.made.items() if message.value.has(made.holding.lease)}
        desk.live_until = now.mono + max(message.waits, default=0)
        desk.known_until = 0
        desk.read_at = now.mono
        if round_.refused():
            desk.refused()
        desk.as_of = round_.started

        def knows(lease: LeaseId) -> bool:
            return learned_by(message, desk.group, round_.answers, lease)

        self._replies.accepted(desk, change, knows, out)
        if desk.calls.served:
            self._server.accepted(desk, message.ballot.epoch, out)
        if change.granted is not None:
            self._granted(desk, change.granted, change.handed, message, knows, now, out)
        self._tell_completed(desk, message, now, out)
        return True

    def _tell_completed(self, desk: Desk, message: Accept, now: Instant, out: list[Directive]) -> None:
        """What an earlier round wanted to grant, and this one has carried through, is told to whoever still asks for it. (It
        would wait for its own lease to run out.) It counts from the attempt that it names, as any grant does, and is
        handed over.

        Unless its token is so old that any of the voters that were read would have refused it: nobody looks at the token of
        what is only completed. (A voter whose clock is an hour slow grants alone, after all have forgotten what was granted
        before; another one completes that, and the token falls.)"""
        if not desk.queue.tickets:
            return
        assert self._roster is not None
        oldest = desk.latest - (self._roster.abstention // 4 // NS_PER_MS << STAMP_SHIFT)
        for holding in message.value.holdings:
            asker = holding.lease.asker
            ticket = desk.queue.get(asker) if holding.lease.token >= oldest else None
            if ticket is not None and asker not in desk.made and asker not in desk.cancels and not desk.is_ended(holding.lease):
                desk.made[asker] = made = GrantMade(holding, message.ballot, message.value, desk.boots, now.mono, handed=True)
                desk.queue.remove(asker)
                self._replies.grant(desk, made, out)
                self._counts["grants_completed"] += 1

    def _granted(
        self,
        desk: Desk,
        holding: Holding,
        handed: bool,
        message: Accept,
        knows: Callable[[LeaseId], bool],
        now: Instant,
        out: list[Directive],
    ) -> None:
        desk.highest = max(desk.highest, holding.lease.token)
        if holding.binds:
            desk.binding[holding.lease] = None
        asker = holding.lease.asker
        if asker in desk.cancels:
            desk.queue.remove(asker)  # its acquire came after its cancel
            return
        made = desk.made[asker] = GrantMade(holding, message.ballot, message.value, desk.boots, now.mono, handed=handed)
        desk.queue.remove(asker)
        # Its holder may have learned of it before this node, but not before the round began.
        desk.sparing.granted(message.value, message.granting, desk.as_of if handed else now.mono, handed=handed)
        if not knows(holding.lease):
            self._replies.grant(desk, made, out)
        self._counts["grants"] += 1

    def _lost(self, desk: Desk, round_: Round, now: Instant, out: list[Directive]) -> None:
        if desk.calls:
            self._server.lost(desk, round_, out)
        winner = self._proposer.lost(desk, round_, now, out)
        if winner:
            self._usher.forward(desk, winner, now, out)
