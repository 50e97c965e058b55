"""Succession: how one roster follows another. Safety only; who ought to vote is the electorate's affair.

Roster e+1 is one Paxos instance among *all* voters of e: `roster_vote` is a voter's side of it, and `roster_round` a
proposer's. Here is what comes of it:

  - Only decided rosters are told to others, with the chain of those before. (A node acts on a roster that never was.)
  - A sealed node whose roster is not decided completes it at a higher ballot after a random 0.2 to 1 s, and so does a voter
    that was refused by a sealed one. (A proposer that dies leaves registers that nobody serves.)
  - Whoever comes to a new roster forgets what it promised about the one before, asks whether it is the newest
    (`confirming`), and asks what it has forgotten (`remembering`).

A *reset* is an operator's word for a roster that so many have forgotten that nobody can go on (see `reset`): it is the same
instance, at ballots above all of its ordinary ones, whose voters may have forgotten. Its epoch is above all that may have
followed e: whoever meets it yields. (Two rosters go on for ever.)

Fixed rosters are left alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from coordination.agreed.rosters.birth import Birth
from coordination.agreed.rosters.birth_round import EPOCH
from coordination.agreed.rosters.confirming import Confirming
from coordination.agreed.rosters.remembering import Remembering
from coordination.agreed.rosters.roster_round import RosterRound
from coordination.agreed.rosters.roster_vote import RosterVote
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.events import RosterConflict, RosterDecided, SealMet
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import (
    ChainIs,
    EpochAsk,
    EpochOk,
    MemoryAsk,
    MemoryIs,
    ResetPrepare,
    RosterAccept,
    RosterAccepted,
    RosterPrepare,
    RosterPromise,
    RosterRefused,
)
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Adoption, Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import Act, Directive, Directives, Emit, Event, Message, Send, Source
from mesh.membership import MemberChanged

__all__ = ["Succession"]

HANDLERS: dict[type[Message], tuple[str, str]] = {
    RosterPrepare: ("_vote", "on_prepare"),
    ResetPrepare: ("_vote", "on_reset"),
    RosterPromise: ("_round", "on_promise"),
    RosterAccept: ("_vote", "on_accept"),
    RosterRefused: ("_round", "on_refused"),
    EpochAsk: ("_confirming", "on_epoch_ask"),
    EpochOk: ("_confirming", "on_epoch_ok"),
    MemoryAsk: ("_remembering", "on_memory_ask"),
    MemoryIs: ("_remembering", "on_memory"),
}
"""Whose they are, and what of it takes them."""


class Succession:
    name = "succession"
    messages = (*HANDLERS, RosterAccepted, ChainIs)
    hears = (RosterDecided, SealMet, MemberChanged)

    def __init__(
        self,
        identity: Identity,
        view: View,
        standing: Standing,
        birth: Birth,
        random: random.Random,
        known: KnownBoots,
        memory: VoterMemory | None = None,
    ) -> None:
        self._identity = identity
        self._birth = birth
        self._view = view
        self._standing = standing
        self._agenda: Agenda[str] = Agenda("due")
        self._counts: Counter[str] = Counter()
        self._epoch = 0
        """Of the roster whose successor all of this is about."""
        agenda, counts, boots = self._agenda, self._counts, known.record
        self._confirming = Confirming(identity, view, standing, random, boots, agenda)
        self._vote = RosterVote(identity, standing, self._confirming, random, boots, agenda, counts, memory)
        self._round = RosterRound(identity, standing, self._vote, boots, agenda, counts)
        self._remembering = Remembering(identity, standing, self._confirming, self._vote, known, agenda, counts, memory)
        if memory is not None:
            standing.first = memory.first()
        note = memory.standing() if memory is not None else None
        if note is not None:
            standing.restore(
                note.origin,
                note.rosters,
                note.sealed,
                memory=note.memory,
                limit=note.limit,
                lasting=note.lasting,
                settled=note.settled,
            )
            self._epoch = standing.epoch
            self._vote.restore(note)

    # --- commands ---------------------------------------------------------------------------------------------------------

    def propose(self, voters: tuple[str, ...], now: Instant) -> Directives:
        """Have these voters follow the newest roster, if no other proposal has been accepted yet. Nothing is answered:
        `RosterDecided` follows, with these or others, or nothing does."""
        out: list[Directive] = []
        self._round.propose(voters, now, out)
        return out

    def reset(self, roster: RosterValue, now: Instant) -> Directives:
        """By an operator's word, have this roster follow the newest one, whatever its voters have forgotten. Safe as long as no
        successor that they have forgotten is in use. `RosterDecided` follows, with this roster or another one, or nothing."""
        out: list[Directive] = []
        self._round.reset(roster, now, out)
        return out

    def keep(self) -> Directives:
        """Write down where this node stands, also of earlier rosters: some have been settled, or have left the chain."""
        out: list[Directive] = []
        self._vote.keep(out)
        return out

    def begin_anew(self, out: list[Directive]) -> None:
        """The roster has been given up, and with it what was promised about its successors."""
        self._agenda.drop("confirm")
        self._epoch = 0
        self._clear()

    def votes(self) -> bool:
        """Whether this node is a voter of the newest roster that it knows, and knows what it promised about the next one."""
        return self._standing.votes()

    def accepted(self) -> RosterValue | None:
        """The undecided successor that this voter has accepted, if there is one."""
        return self._vote.roster

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        out: list[Directive] = []
        roster = self._standing.elastic
        if roster is not None and roster.epoch == self._epoch:
            self._resume(roster, now, out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, ChainIs):
            self._on_chain(message, source.name or "", now, out)
        elif self._standing.elastic is None:
            pass
        elif isinstance(message, RosterAccepted):
            self._on_accepted(message, now, out)
        else:
            whose, what = HANDLERS[type(message)]
            take: Callable[[Any, Instant, list[Directive]], None] = getattr(getattr(self, whose), what)
            take(message, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        for due in self._agenda.take(now.mono):
            if due == "round":
                self._round.repeat(now, out)
            elif due == "complete":
                self._round.complete(now, out)
            elif due == "confirm":
                self._confirming.confirm(now, out)
            elif due == "recall":
                self._remembering.recall(now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._turn(now, out)
        elif isinstance(event, MemberChanged):
            self._confirming.on_member(event.member, out)
        elif isinstance(event, SealMet) and event.epoch == self._standing.epoch and self._standing.votes():
            self._agenda.sooner("complete", now.mono + self._vote.pause(), out)
        return out

    def stats(self) -> dict[str, int]:
        return {"epoch": self._standing.epoch, "rosters": len(self._standing.rosters), **self._counts}

    # --- a new roster -------------------------------------------------------------------------------------------------------

    def _turn(self, now: Instant, out: list[Directive]) -> None:
        """See to what the newest roster asks of this node."""
        roster = self._standing.elastic
        if roster is None or roster.epoch == self._epoch:
            return
        self._epoch = roster.epoch
        self._clear()
        self._vote.keep(out)
        self._resume(roster, now, out)

    def _clear(self) -> None:
        for part in (self._vote, self._round, self._confirming, self._remembering):
            part.clear()
        for due in ("round", "complete", "recall"):
            self._agenda.drop(due)

    def _resume(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        if self._identity.name in roster.voters and not self._standing.memory:
            self._remembering.recall(now, out)
        if self._vote.to_complete():
            self._agenda.at("complete", now.mono + self._vote.pause(), out)
        self._confirming.confirm(now, out)

    def _on_chain(self, chain: ChainIs, teller: str, now: Instant, out: list[Directive]) -> None:
        standing = self._standing
        if standing.roster is None and chain.well_formed() and chain.rosters[0].epoch == EPOCH:
            out.append(Act(self._birth, self._birth.learn(chain.rosters[0], chain.origin, now)))
        adoption = standing.adopt(chain, now)
        if adoption is Adoption.NEW:
            self._decided(now, out)
        elif adoption is Adoption.STALE and teller:
            out.append(Send(teller, standing.chain(now)))
        elif adoption is Adoption.OTHER and standing.roster is not None:
            self._counts["different_mesh"] += 1
            out.append(Emit(RosterConflict(standing.roster, chain.rosters[-1], teller)))
            self._birth.told(chain.rosters[-1], now, teller)
        if chain.origin == standing.origin and teller:
            self._birth.told(None, now)

    def _on_accepted(self, answer: RosterAccepted, now: Instant, out: list[Directive]) -> None:
        before, decided = self._standing.roster, self._round.on_accepted(answer)
        if before is None or decided is None:
            return
        self._standing.follow(decided, now)
        chain = self._standing.chain(now)
        told = dict.fromkeys((*before.voters, *decided.voters, *self._view.names_alive()))
        out.extend(Send(name, chain) for name in told if name != self._identity.name)
        self._decided(now, out)

    def _decided(self, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.roster
        assert roster is not None
        self._counts["followed"] += 1
        out.append(Emit(RosterDecided(roster)))
        self._turn(now, out)
