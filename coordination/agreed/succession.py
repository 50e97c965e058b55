"""Succession: how one roster follows another. Safety only; who ought to vote is the electorate's affair.

Roster e+1 is one Paxos instance among *all* voters of e. Each rule with what breaks without it:

  - A proposer asks for promises first, and goes on only with Q of them; it takes the highest roster that any of them has
    accepted, its own only if there is none. (Two rosters e+1 are decided: the mesh forks.)
  - An acceptor takes a proposal only with Q promises named in it, none of them older than the newest process of that voter
    that it knows; every answer names the boots that its voter knows, and answers of older processes do not count. (A
    voter restarts, forgets its promise, is asked again, and both proposals are decided.)
  - Accepting any proposal seals the node for registers up to e, for good. (A register of e is changed after a mover has
    read it.) A sealed node whose roster is not decided completes it at a higher ballot after a random 0.2 to 1 s, and so
    does a voter that was refused by a sealed one. (A proposer that dies leaves registers that nobody serves.)
  - Only decided rosters are told to others, with the chain of those before. (A node acts on a roster that never was.)
  - A voter serves registers only within `served` of asking a majority of its roster that has accepted no successor. (An
    evicted one that nobody has told goes on granting for ever.)
  - A voter that has lost its memory takes part in nothing, until N-Q+1 others that have theirs told it their promises and
    accepted proposals. (One of any Q that decided is among them; it would break the seal, or decide anew.) If one of
    those has accepted the successor, it asks again once that is decided: see `Standing.recalled`. The process that a roster
    admits has nothing to remember.

A *reset* is an operator's word for a roster that so many have forgotten that nobody can go on (see `reset`): it is the same
instance, at ballots above all of its ordinary ones, whose voters may have forgotten. Beside:

  - To promise one seals, also who has accepted nothing, and takes the operator's word for a memory. (A voter that has
    forgotten the seal of e+1 vouches for e again.)
  - What any voter of a majority has accepted is completed, whatever the operator wants. (The roster e+1 is decided, and both
    go on.)
  - Its epoch is above all that may have followed e: whoever meets it yields. (Two rosters go on for ever.)

Fixed rosters are left alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable

from coordination.agreed.agenda import Agenda
from coordination.agreed.ballot import ZERO, Ballot
from coordination.agreed.birth import EPOCH, Birth
from coordination.agreed.boots import BootRecord
from coordination.agreed.events import RosterConflict, RosterDecided, SealMet
from coordination.agreed.ports import Identity, View
from coordination.agreed.roster import Joined, RosterValue
from coordination.agreed.standing import Adoption, Standing
from coordination.agreed.succession_messages import (
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
from coordination.agreed.voter_memory import StandingNote, VoterMemory
from coordination.agreed.vouching import Memories, Vouching
from crdt.clock import Instant
from mesh.directives import Act, Boot, Directive, Directives, Emit, Event, Message, Send, Source
from mesh.membership import MemberChanged, State

__all__ = ["Succession"]

MS = 1_000_000
REPEAT = 100 * MS
"""An unanswered question is asked again after this long."""
ROUND_LASTS = 1_000 * MS
COMPLETE_FIRST = 200
COMPLETE_LAST = 1_000
"""ms, random."""
CONFIRMATIONS = 4
"""In the time for which one lasts."""
STRANGERS = 2
"""Of all members, so many are asked each time after a reset."""
OUTSIDERS_ASK = 5_000 * MS
"""Who does not vote asks a voter for news this often."""


HANDLERS: dict[type[Message], str] = {
    RosterPrepare: "_on_prepare",
    ResetPrepare: "_on_reset",
    RosterPromise: "_on_promise",
    RosterAccept: "_on_accept",
    RosterAccepted: "_on_accepted",
    RosterRefused: "_on_refused",
    EpochAsk: "_on_epoch_ask",
    EpochOk: "_on_epoch_ok",
    MemoryAsk: "_on_memory_ask",
    MemoryIs: "_on_memory",
}


class Succession:
    name = "succession"
    messages = (*HANDLERS, ChainIs)
    hears = (RosterDecided, SealMet, MemberChanged)

    def __init__(
        self,
        identity: Identity,
        view: View,
        standing: Standing,
        birth: Birth,
        random: random.Random,
        boots: BootRecord,
        memory: VoterMemory | None = None,
    ) -> None:
        self._identity = identity
        self._birth = birth
        self._view = view
        self._standing = standing
        self._random = random
        self._boots = boots
        self._memory = memory
        self._agenda: Agenda[str] = Agenda("due")
        self._counts: Counter[str] = Counter()
        # As a voter, of the successor of the newest roster.
        self._epoch = 0
        self._promised = ZERO
        self._accepted = ZERO
        self._accepted_roster: RosterValue | None = None
        self._reset: RosterValue | None = None
        """What the last reset that was promised to wants."""
        # As a proposer.
        self._counter = 0
        self._ballot: Ballot | None = None
        self._begun = 0
        self._wanted: RosterValue | None = None
        self._proposing: RosterAccept | None = None
        self._resetting: RosterValue | None = None
        """What this ballot is to reset to, if it is one of those."""
        self._promises: dict[str, RosterPromise] = {}
        self._accepts: dict[str, Boot] = {}
        self._named: dict[str, Boot] = {}
        # Confirmation and memory.
        self._vouching = Vouching()
        self._memories = Memories()
        note = memory.standing() if memory is not None else None
        if note is not None:
            standing.restore(note.origin, note.rosters, note.sealed, memory=note.memory, limit=note.limit, lasting=note.lasting)
            self._epoch = standing.epoch
            self._promised, self._accepted, self._accepted_roster = note.promised, note.accepted, note.roster
            self._counter = max(note.promised.counter, note.accepted.counter)

    # --- commands ---------------------------------------------------------------------------------------------------------

    def propose(self, voters: tuple[str, ...], now: Instant) -> Directives:
        """Have these voters follow the newest roster, if no other proposal has been accepted yet. Nothing is answered:
        `RosterDecided` follows, with these or others, or nothing does."""
        out: list[Directive] = []
        roster = self._elastic()
        if roster is None or not voters or not self._standing.votes() or self._ballot is not None:
            return out
        names = tuple(sorted(voters))
        joined = tuple([Joined(name, self._boots.of(name)) for name in names if name not in roster.voters])
        self._wanted = roster._replace(epoch=roster.epoch + 1, voters=names, joined=joined)
        self._begin(now, out)
        return out

    def reset(self, roster: RosterValue, now: Instant) -> Directives:
        """By an operator's word, have this roster follow the newest one, whatever its voters have forgotten. Safe as long as no
        successor that they have forgotten is in use. `RosterDecided` follows, with this roster or another one, or nothing."""
        out: list[Directive] = []
        current = self._elastic()
        if current is not None and current.may_be_reset_to(roster):
            self._wanted = roster
            self._begin(now, out, roster)
        return out

    def begin_anew(self, out: list[Directive]) -> None:
        """The roster has been given up, and with it what was promised about its successors."""
        for due in ("round", "complete", "recall", "confirm"):
            self._agenda.drop(due)
        self._epoch = 0
        self._promised = self._accepted = ZERO
        self._accepted_roster = self._reset = self._ballot = self._wanted = self._proposing = None
        self._vouching.clear()
        self._memories.clear()

    def votes(self) -> bool:
        """Whether this node is a voter of the newest roster that it knows, and knows what it promised about the next one."""
        return self._standing.votes()

    def accepted(self) -> RosterValue | None:
        """The undecided successor that this voter has accepted, if there is one."""
        return self._accepted_roster

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        out: list[Directive] = []
        roster = self._elastic()
        if roster is not None and roster.epoch == self._epoch:
            self._resume(roster, now, out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, ChainIs):
            self._on_chain(message, source.name or "", now, out)
        elif self._elastic() is not None:
            getattr(self, HANDLERS[type(message)])(message, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        for due in self._agenda.take(now.mono):
            if due == "round":
                self._repeat(now, out)
            elif due == "complete":
                self._complete(now, out)
            elif due == "confirm":
                self._confirm(now, out)
            elif due == "recall":
                self._recall(now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._turn(now, out)
        elif isinstance(event, MemberChanged):
            if self._standing.was_reset() and event.member.state is State.ALIVE and event.member.name != self._identity.name:
                out.append(Send(event.member.name, EpochAsk(self._standing.epoch, 0, self._identity.name)))
        elif isinstance(event, SealMet) and event.epoch == self._standing.epoch and self._standing.votes():
            self._agenda.sooner("complete", now.mono + self._pause(), out)
        return out

    def stats(self) -> dict[str, int]:
        return {"epoch": self._standing.epoch, "rosters": len(self._standing.rosters), **self._counts}

    # --- a new roster -------------------------------------------------------------------------------------------------------

    def _turn(self, now: Instant, out: list[Directive]) -> None:
        """See to what the newest roster asks of this node."""
        roster = self._elastic()
        if roster is None or roster.epoch == self._epoch:
            return
        self._epoch = roster.epoch
        self._promised = self._accepted = ZERO
        self._accepted_roster = self._reset = None
        self._ballot = None
        self._wanted = self._proposing = None
        self._vouching.clear()
        self._memories.clear()
        self._agenda.drop("round")
        self._agenda.drop("complete")
        self._agenda.drop("recall")
        self._keep(out)
        self._resume(roster, now, out)

    def _resume(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        if self._identity.name in roster.voters and not self._standing.memory:
            self._recall(now, out)
        if self._accepted_roster is not None:
            self._agenda.at("complete", now.mono + self._pause(), out)
        self._confirm(now, out)

    def _keep(self, out: list[Directive]) -> None:
        """Write down where this node stands: what follows rests on it."""
        if self._memory is not None:
            standing = self._standing
            self._memory.keep_standing(
                StandingNote(
                    standing.origin,
                    standing.rosters,
                    standing.sealed,
                    standing.memory,
                    self._promised,
                    self._accepted,
                    self._accepted_roster,
                    standing.limit,
                    standing.lasting,
                ),
                out,
            )

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

    def _decided(self, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.roster
        assert roster is not None
        self._counts["followed"] += 1
        out.append(Emit(RosterDecided(roster)))
        self._turn(now, out)

    # --- voting -----------------------------------------------------------------------------------------------------------

    def _may_vote(self, epoch: int, asker: str, now: Instant, out: list[Directive]) -> bool:
        standing = self._standing
        if epoch != standing.epoch + 1 and not (self._is_reset(epoch) and epoch == self._promised.epoch):
            self._differ(epoch - 1, asker, now, out)
            return False
        if not standing.votes():
            self._counts["abstained"] += 1
            return False
        return self._able(now)

    def _is_reset(self, epoch: int) -> bool:
        """Whether a ballot of that epoch is none of the ordinary ones of this instance."""
        return epoch > self._standing.epoch + 1

    def _able(self, now: Instant) -> bool:
        if self._boots.superseded():
            self._counts["superseded"] += 1
            return False
        if self._memory is not None and not self._memory.ready(now.mono):
            self._counts["disk_failing"] += 1
            return False
        return True

    def _on_prepare(self, ask: RosterPrepare, now: Instant, out: list[Directive]) -> None:
        ballot = ask.ballot
        if not self._may_vote(ballot.epoch, ballot.name, now, out):
            return
        self._counter = max(self._counter, ballot.counter)
        if ballot < self._promised:
            out.append(Send(ballot.name, RosterRefused(ballot, self._promised)))
            return
        self._promised = ballot
        self._keep(out)
        self._promise(ballot, out)

    def _on_reset(self, ask: ResetPrepare, now: Instant, out: list[Directive]) -> None:
        ballot, standing, roster = ask.ballot, self._standing, self._standing.roster
        if ask.epoch != standing.epoch:
            self._differ(ask.epoch, ballot.name, now, out)
            return
        if roster is None or self._identity.name not in roster.voters or not self._able(now):
            return
        if not self._is_reset(ballot.epoch) or not (roster.may_be_reset_to(ask.roster) or roster.may_be_followed(ask.roster)):
            self._counts["malformed"] += 1
            return
        self._counter = max(self._counter, ballot.counter)
        if ballot < self._promised:
            out.append(Send(ballot.name, RosterRefused(ballot, self._promised)))
            return
        self._counts["reset_promised"] += 1
        self._promised, self._reset = ballot, ask.roster
        standing.sealed = max(standing.sealed, roster.epoch)
        if not standing.memory:
            standing.recalled(undecided=True)
        self._agenda.drop("recall")
        self._keep(out)
        self._promise(ballot, out)
        self._agenda.sooner("complete", now.mono + self._pause(), out)

    def _promise(self, ballot: Ballot, out: list[Directive]) -> None:
        identity = self._identity
        promise = RosterPromise(ballot, identity.name, identity.boot, self._record(), self._accepted, self._accepted_roster)
        out.append(Send(ballot.name, promise))

    def _on_accept(self, ask: RosterAccept, now: Instant, out: list[Directive]) -> None:
        ballot = ask.ballot
        if not self._may_vote(ballot.epoch, ballot.name, now, out):
            return
        self._counter = max(self._counter, ballot.counter)
        if ballot < self._promised:
            out.append(Send(ballot.name, RosterRefused(ballot, self._promised)))
            return
        roster = self._standing.roster
        if roster is None or not self._rests_on_majority(ask, roster) or not self._proper(roster, ask):
            self._counts["malformed"] += 1
            return
        if any(self._boots.of(name) > boot for name, boot in ask.rests):
            out.append(Send(ballot.name, RosterRefused(ballot, self._promised)))
            return
        self._promised = self._accepted = ballot
        self._accepted_roster = ask.roster
        self._standing.sealed = max(self._standing.sealed, roster.epoch)
        self._keep(out)
        out.append(Send(ballot.name, RosterAccepted(ballot, self._identity.name, self._identity.boot, self._record())))
        self._agenda.at("complete", now.mono + self._pause(), out)

    def _proper(self, roster: RosterValue, ask: RosterAccept) -> bool:
        """A reset may have to complete a change, but no change is a reset."""
        reset = self._is_reset(ask.ballot.epoch) and roster.may_be_reset_to(ask.roster)
        return roster.may_be_followed(ask.roster) or reset

    @staticmethod
    def _rests_on_majority(ask: RosterAccept, roster: RosterValue) -> bool:
        names = {name for name, _ in ask.rests}
        return names <= set(roster.voters) and len(names) >= roster.majority

    # --- proposing --------------------------------------------------------------------------------------------------------

    def _begin(self, now: Instant, out: list[Directive], reset: RosterValue | None = None) -> None:
        roster = self._elastic()
        assert roster is not None
        if reset is None and self._is_reset(self._promised.epoch):
            reset = self._accepted_roster or self._reset
            if reset is None:
                return  # promised by an earlier process: others have to complete it
            self._wanted = reset
        self._counter += 1
        epoch = roster.epoch + 1 if reset is None else max(reset.epoch, self._promised.epoch)
        self._ballot = Ballot(epoch, self._counter, self._identity.name, self._identity.boot)
        self._resetting = reset
        self._begun = now.mono
        self._proposing = None
        self._promises.clear()
        self._accepts.clear()
        self._named.clear()
        self._repeat(now, out)

    def _repeat(self, now: Instant, out: list[Directive]) -> None:
        ballot, roster = self._ballot, self._elastic()
        if ballot is None or roster is None:
            return
        if now.mono - self._begun >= ROUND_LASTS:
            self._retreat(now, out)
            return
        reset = self._resetting
        prepare = RosterPrepare(ballot) if reset is None else ResetPrepare(ballot, roster.epoch, reset)
        message: Message = self._proposing or prepare
        done = self._promises if self._proposing is None else self._accepts
        out.extend(Send(name, message) for name in roster.voters if name not in done)
        self._agenda.at("round", now.mono + REPEAT, out)

    def _retreat(self, now: Instant, out: list[Directive]) -> None:
        """Give the round up. What may have been accepted is completed; what was only wanted is wanted again by whoever
        wanted it."""
        self._ballot = None
        self._agenda.drop("round")
        self._wanted = self._proposing = None
        if self._to_complete():
            self._agenda.sooner("complete", now.mono + self._pause(), out)

    def _to_complete(self) -> bool:
        return self._accepted_roster is not None or self._reset is not None

    def _complete(self, now: Instant, out: list[Directive]) -> None:
        if self._elastic() is not None and self._standing.votes():
            if self._ballot is None:
                self._counts["completed"] += 1
                self._begin(now, out)
            if self._to_complete():
                self._agenda.sooner("complete", now.mono + self._pause(), out)

    def _on_promise(self, promise: RosterPromise, now: Instant, out: list[Directive]) -> None:
        roster = self._elastic()
        if promise.ballot != self._ballot or self._proposing is not None or roster is None or promise.name not in roster.voters:
            return
        self._promises[promise.name] = promise
        self._name(roster, promise.name, promise.boot, promise.boots)
        counted = [each for name, each in self._promises.items() if each.boot >= self._named[name]]
        if len(counted) < roster.majority:
            return
        best = max(counted, key=lambda each: each.accepted)
        value = best.roster if best.roster is not None else self._wanted
        if value is None:
            self._retreat(now, out)  # nothing to complete
            return
        rests = tuple([Joined(each.name, each.boot) for each in counted])
        self._proposing = RosterAccept(promise.ballot, value, rests)
        self._repeat(now, out)

    def _on_accepted(self, answer: RosterAccepted, now: Instant, out: list[Directive]) -> None:
        roster, proposal = self._elastic(), self._proposing
        if answer.ballot != self._ballot or proposal is None or roster is None or answer.name not in roster.voters:
            return
        self._accepts[answer.name] = answer.boot
        self._name(roster, answer.name, answer.boot, answer.boots)
        if sum(boot >= self._named[name] for name, boot in self._accepts.items()) < roster.majority:
            return
        self._standing.follow(proposal.roster, now)
        chain = self._standing.chain(now)
        told = dict.fromkeys((*roster.voters, *proposal.roster.voters, *self._view.names_alive()))
        out.extend(Send(name, chain) for name in told if name != self._identity.name)
        self._decided(now, out)

    def _on_refused(self, answer: RosterRefused, now: Instant, out: list[Directive]) -> None:
        if answer.promised.epoch > self._standing.epoch:
            self._counter = max(self._counter, answer.promised.counter)
        if answer.ballot == self._ballot:
            self._retreat(now, out)

    def _name(self, roster: RosterValue, name: str, boot: Boot, boots: tuple[Boot, ...]) -> None:
        for voter, known in (*zip(roster.voters, boots, strict=False), (name, boot)):
            if known > self._named.get(voter, Boot(0, b"")):
                self._named[voter] = known

    def _record(self) -> tuple[Boot, ...]:
        roster = self._standing.roster
        assert roster is not None
        return self._boots.group(roster.voters)

    def _pause(self) -> int:
        return self._random.randrange(COMPLETE_FIRST, COMPLETE_LAST) * MS

    # --- is it the newest? --------------------------------------------------------------------------------------------------

    def _differ(self, epoch: int, name: str, now: Instant, out: list[Directive]) -> None:
        """Someone spoke of another roster than the newest one: whoever is behind is told."""
        if epoch < self._standing.epoch:
            out.append(Send(name, self._standing.chain(now)))
        elif epoch > self._standing.epoch:
            out.append(Send(name, EpochAsk(self._standing.epoch, 0, self._identity.name)))

    def _confirm(self, now: Instant, out: list[Directive]) -> None:
        """Ask whether this is still the newest roster: a voter everyone, and others some voter."""
        roster = self._elastic()
        assert roster is not None
        others = [name for name in roster.voters if name != self._identity.name]
        if not others:
            return
        if not self._standing.votes() or self._standing.sealed >= roster.epoch:
            out.append(Send(self._random.choice(others), EpochAsk(roster.epoch, 0, self._identity.name)))
            self._agenda.at("confirm", now.mono + OUTSIDERS_ASK // 2 + self._random.randrange(OUTSIDERS_ASK // 2), out)
            return
        ask = EpochAsk(roster.epoch, self._vouching.asking(now.boot), self._identity.name)
        out.extend(Send(name, ask) for name in others)
        self._meet(roster, out)
        age = now.boot - self._standing.confirmed
        pause = roster.served // CONFIRMATIONS if age <= roster.served // 2 else REPEAT
        self._agenda.at("confirm", now.mono + pause, out)

    def _meet(self, roster: RosterValue, out: list[Directive]) -> None:
        """After a reset there may be others, wrongly given up, who go on with a roster that has nobody of this one."""
        if self._standing.was_reset():
            earlier = [name for older in self._standing.rosters for name in older.voters if self._view.is_alive(name)]
            alive = [name for name in self._view.names_alive() if name not in roster.voters]
            asked = dict.fromkeys((*earlier, *self._random.sample(alive, min(len(alive), STRANGERS))))
            ask = EpochAsk(roster.epoch, 0, self._identity.name)
            out.extend(Send(name, ask) for name in asked if name not in roster.voters)

    def _on_epoch_ask(self, ask: EpochAsk, now: Instant, out: list[Directive]) -> None:
        if ask.epoch != self._standing.epoch:
            self._differ(ask.epoch, ask.name, now, out)
        elif ask.serial and self._standing.votes() and self._standing.sealed < ask.epoch:
            out.append(Send(ask.name, EpochOk(ask.epoch, ask.serial, self._identity.name)))

    def _on_epoch_ok(self, answer: EpochOk, now: Instant, out: list[Directive]) -> None:
        roster = self._elastic()
        if roster is not None and answer.epoch == roster.epoch and answer.name in roster.voters:
            since = self._vouching.answered(answer, roster.majority)
            self._standing.confirmed = max(self._standing.confirmed, since)

    # --- memory -------------------------------------------------------------------------------------------------------------

    def _recall(self, now: Instant, out: list[Directive]) -> None:
        """Ask the other voters what became of the roster: this process does not know what its name has promised."""
        roster = self._elastic()
        if roster is None or self._standing.memory or self._identity.name not in roster.voters:
            return
        ask = MemoryAsk(roster.epoch, self._identity.name, self._identity.boot)
        out.extend(Send(name, ask) for name in roster.voters if name not in self._memories and name != self._identity.name)
        self._agenda.at("recall", now.mono + 2 * REPEAT, out)

    def _on_memory_ask(self, ask: MemoryAsk, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.roster
        assert roster is not None
        if ask.epoch != roster.epoch:
            self._differ(ask.epoch, ask.name, now, out)
            return
        if ask.name not in roster.voters:
            return
        self._boots.learn((ask.name,), (ask.boot,))
        if self._standing.votes() and not self._boots.superseded():
            if self._memory is not None:
                self._memory.rest(out)
            identity = self._identity
            out.append(
                Send(
                    ask.name,
                    MemoryIs(roster.epoch, identity.name, identity.boot, self._promised, self._accepted, self._accepted_roster),
                )
            )

    def _on_memory(self, answer: MemoryIs, now: Instant, out: list[Directive]) -> None:
        roster = self._elastic()
        if roster is None or self._standing.memory or answer.epoch != roster.epoch or answer.name not in roster.voters:
            return
        self._boots.learn((answer.name,), (answer.boot,))
        told = self._memories.add(answer, roster, self._boots)
        if not told:
            return
        best = max(told, key=lambda each: each.accepted)
        self._promised = max(each.promised for each in told)
        self._accepted, self._accepted_roster = best.accepted, best.roster
        undecided = best.roster is not None or self._is_reset(self._promised.epoch)
        self._standing.recalled(undecided=undecided)
        self._counts["recalled"] += 1
        if undecided:
            self._agenda.at("complete", now.mono + self._pause(), out)
        self._keep(out)
        self._confirm(now, out)

    def _elastic(self) -> RosterValue | None:
        """The newest roster, if it can be followed by another."""
        roster = self._standing.roster
        return roster if roster is not None and roster.elastic else None
