"""Birth: how a mesh comes by its first roster, and how everyone else learns it.

`expect=n` founds with exactly n names: one ballot-ordered proposal of a set, decided when all n of it accepted the
same set at the same ballot.

  - A proposer goes on with what has been accepted (`birth_round`). At most 2n-1 nodes may start with expect=n, so any two
    sets of n share a name, and that name accepts one set only, or the one it was asked to go on with. (Two halves each
    found a mesh.)
  - Whoever is asked to accept has promised before, also where another set is gone on with. (Of those that were asked at first
    one alone is of a third set, restarts, forgets its promise, and accepts that one: both are decided.)
  - A node takes part only if fewer than half of n of its seeds are unreachable and none that it reaches has a roster. Only
    founders count as reached. (A partitioned half that restarts founds anew; of two founders one restarts while the other one
    is cut off, and founds with a third.) So, unless more than half of the n founders have restarted without memory, each of
    them that has meets one that has not. And a new set is the first n names of those that are reached, so any two sets share
    more than half. (One founder restarts while it accepts, and its set is decided beside the one that it founds meanwhile.)
  - A process that finds others with an accepted set that names it takes that set up, the highest one: an earlier
    process of its name may have accepted it.
  - `fresh=True` exempts from abstention only in a birth in which this very process accepted the decided ballot. A
    node that finds a roster abstains, whatever `fresh` says. (It restarted: leases that it promised may be alive.)
  - Who has the roster tells it to anyone who asks, with all that followed it; for what a voter of an elastic roster has
    to know beside, see `succession`.
  - With a memory, promises and acceptances are durable before they are answered, and the roster is kept: a node that
    finds it there knows it without asking. It asks all the same whether this is still its mesh, and ends if others
    contradict it and nobody confirms it for a while. (All restart at once, one stranger among them: they must not end.)

`expect=1` without seeds founds at once; with seeds it joins and never founds. A node without network has nobody who
could remember a lease: it never abstains."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable

from coordination.agreed.rosters.birth_round import EPOCH, BirthRound
from coordination.agreed.rosters.candidates import HEARD_FOR, Candidates
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.birth_messages import (
    BirthAccept,
    BirthAccepted,
    BirthPrepare,
    BirthPromise,
    BirthRefused,
    Candidate,
    RosterIs,
)
from coordination.agreed.vocabulary.events import RosterConflict, RosterDecided
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS, Parameters, RosterValue, found
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import PromiseNote, RosterNote, VoterMemory
from coordination.errors import DifferentMesh
from crdt.clock import Instant
from mesh.directives import Arm, Directive, Directives, Emit, Event, Message, Send, Source, Stop

__all__ = ["Birth"]

MS = 1_000_000
CALL_EVERY = 100 * MS
CALL_LATER = 1_000 * MS
CALLS_QUICK = 50
CALL_WIDTH = 64
"""A node without a roster calls at most this many members at a time; a founder calls those that it has heard of beside. (Of
80 that wait for the last one each heard some too seldom, and they founded 15 s after it had come.)"""
ACCEPTED_CAP = 16
"""Of the ballots that were accepted here, so many are remembered."""


class Birth:
    """The roster of this node, once there is one."""

    name = "birth"
    messages = (Candidate, BirthPrepare, BirthPromise, BirthAccept, BirthAccepted, BirthRefused, RosterIs)
    hears: tuple[type[Event], ...] = ()

    def __init__(
        self,
        identity: Identity,
        view: View,
        random: random.Random,
        *,
        expect: int,
        voter: bool,
        fresh: bool,
        networked: bool,
        seeds: int,
        parameters: Parameters = DEFAULT_PARAMETERS,
        memory: VoterMemory | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._identity = identity
        self._view = view
        self._standing = standing or Standing(identity)
        self._random = random
        self._expect = expect
        self._founder = voter and (expect > 1 or seeds == 0)
        self._fresh = fresh
        self._networked = networked
        self._seeds = seeds
        self._parameters = parameters
        self._exempt = not networked
        self._promised = ZERO
        self._accepted = ZERO
        self._accepted_roster: RosterValue | None = None
        self._accepted_here: tuple[Ballot, ...] = ()
        """The ballots that this very process, or an earlier one with this memory, accepted, the highest one last."""
        self._recalled: tuple[Ballot, ...] = ()
        """Those of them that only an earlier process accepted."""
        self._founding = False
        self._calls = 0
        self._counts: Counter[str] = Counter()
        self._candidates = Candidates(identity, view, expect, self._counts)
        self._round = BirthRound(identity, self._candidates, random, expect, parameters)
        self._memory = memory
        self._doubted = False
        """The roster comes from the disk, and no member has confirmed it yet."""
        self._conflict: tuple[int, DifferentMesh] | None = None
        """Since when it is contradicted, and how."""
        if memory is not None:
            self._recall(memory)

    def _recall(self, memory: VoterMemory) -> None:
        known, promise = memory.roster(), memory.promise()
        if promise is not None:
            self._promised, self._accepted, self._accepted_roster = promise.promised, promise.accepted, promise.roster
            self._accepted_here = self._recalled = (*promise.before, promise.here)
            self._round.counter = max(self._promised.counter, self._accepted.counter)
        if known is not None:
            lasting = 0 if known.founding else None
            self._standing.restore(known.ballot, (known.roster,), 0, memory=known.founding, lasting=lasting)
            self._founding = known.founding
            self._exempt = self._exempt or memory.complete()
            self._standing.by_word = memory.by_word()
            self._doubted = self._networked

    @property
    def roster(self) -> RosterValue | None:
        """The newest one."""
        return self._standing.roster

    @property
    def doubted(self) -> bool:
        """Whether the roster comes from the disk, and no member has confirmed it yet."""
        return self._doubted

    def abstaining_until(self, now: Instant) -> int | None:
        """Monotonic ns until which this process gives no vote; None if it votes, or never will."""
        standing = self._standing
        roster = standing.roster
        if roster is None or standing.whole is not None or self._identity.name not in roster.voters:
            return None
        until = standing.started + roster.abstention
        return until if now.mono < until else None

    def incomplete_until(self, now: Instant) -> int | None:
        """Monotonic ns until which an earlier process of this name may have promised something that counts, or None."""
        standing = self._standing
        roster = standing.roster
        if roster is None or not roster.elastic:
            return self.abstaining_until(now)
        return None if standing.whole_from(now) == 0 else standing.started + roster.abstention

    def by_word_until(self, now: Instant) -> int | None:
        """Monotonic ns until which nothing but an operator's word says that its memory is whole; None if more does."""
        roster = self._standing.roster
        return self._standing.started + roster.abstention if roster is not None and self._standing.worded(now) else None

    def join_another(self, now: Instant) -> Directives:
        """This node, which has founded alone, gives that mesh up: it joins the one that it sees."""
        out: list[Directive] = []
        self._founder = self._founding = self._fresh = self._exempt = self._doubted = False
        self._promised = self._accepted = ZERO
        self._accepted_here = ()
        self._accepted_roster = None
        self._conflict = None
        self._calls = 0
        self._standing.give_up()
        if self._memory is not None:
            self._memory.forget_mesh(out)
        out.append(Arm("call", now.mono))
        return out

    def learn(self, roster: RosterValue, ballot: Ballot, now: Instant) -> Directives:
        """The first roster is told of by a chain, before birth's own message came: who founded counts as a founder all the
        same. (It would abstain, as one that has forgotten, and two such would wait for each other for ever.) Not if only its
        disk took part: a later process of its name may have voted without it."""
        out: list[Directive] = []
        if ballot not in self._recalled:
            self._learn(roster, ballot, now, out)
        return out

    def told(self, roster: RosterValue | None, now: Instant, told_by: str = "") -> None:
        """A member goes by rosters of this very founding (None), or by this one of another."""
        own = self.roster
        if roster is None:
            self._doubted = False
        elif self._doubted and self._conflict is None and own is not None:
            both_lone = len(roster.voters) == len(own.voters) == 1  # see `yielding`
            if not both_lone:
                self._conflict = now.mono, DifferentMesh(own.voters, roster.voters, told_by)

    def waiting_for(self) -> tuple[str, ...]:
        """While there is no roster: the founders that are known, for whoever explains the wait."""
        return tuple(sorted(self._round.wanted or (self._identity.name, *self._candidates)))

    # --- part -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._standing.begin(now)
        if self._exempt:
            self._standing.whole = 0
        if self.roster is not None:
            return (Emit(RosterDecided(self.roster)), *((Arm("call", now.mono),) if self._doubted else ()))
        if self._founder and self._expect == 1:
            out: list[Directive] = []
            roster = found((self._identity.name,), self._parameters)
            ballot = Ballot(EPOCH, 1, self._identity.name, self._identity.boot)
            self._accepted_here = (ballot,)
            self._learn(roster, ballot, now, out)
            return out
        return (Arm("call", now.mono),)

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if self.roster is not None and not self._doubted:
            return out
        if self._conflict is not None and now.mono - self._conflict[0] >= HEARD_FOR:
            return (Stop(self._conflict[1]),)
        self._call(now, out)
        if self.roster is None and not self._round.under_way(now, out) and self._may_take_part(now):
            self._round.propose(self._accepted_roster, now, out)
        self._calls += 1
        every = CALL_EVERY if self._calls < CALLS_QUICK else CALL_LATER
        out.append(Arm("call", now.mono + every + self._random.randrange(every)))
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, RosterIs):
            self._learn(message.roster, message.ballot, now, out, source.name or "")
        elif self.roster is not None:
            asker = self._asker(message)
            if asker and asker != self._identity.name and not self._standing.yielding:
                out.append(Send(asker, self._answer(self.roster, now)))
        elif isinstance(message, Candidate):
            self._on_candidate(message, now)
        elif isinstance(message, BirthPrepare):
            self._on_prepare(message, now, out)
        elif isinstance(message, BirthPromise):
            self._round.on_promise(message, now, out)
        elif isinstance(message, BirthAccept):
            self._on_accept(message, now, out)
        elif isinstance(message, BirthAccepted):
            roster = self._round.on_accepted(message, now)
            if roster is not None:
                self._decided(roster, message.ballot, now, out)
        elif isinstance(message, BirthRefused):
            self._round.on_refused(message, now)
        return out

    # --- who is there -------------------------------------------------------------------------------------------------

    @staticmethod
    def _asker(message: Message) -> str:
        if isinstance(message, Candidate):
            return message.name
        if isinstance(message, BirthPrepare | BirthAccept):
            return message.ballot.name
        return ""

    def _call(self, now: Instant, out: list[Directive]) -> None:
        voters = self._accepted_roster.voters if self._accepted_roster is not None else ()
        own = self._identity
        call = Candidate(own.name, own.boot, self._expect, self._founder, self._accepted, voters, self._fresh)
        names = [name for name in self._view.names_alive() if name != self._identity.name]
        if len(names) > CALL_WIDTH:
            known = self._candidates.fellows() if self._founder else ()
            rest = [name for name in names if name not in known]
            names = [name for name in names if name in known] + self._random.sample(rest, min(len(rest), CALL_WIDTH))
        out.extend(Send(name, call) for name in names)

    def _on_candidate(self, call: Candidate, now: Instant) -> None:
        if call.name == self._identity.name:
            return
        if not self._candidates.take(call, now):
            return
        self._round.counter = max(self._round.counter, call.accepted.counter)
        own = self._identity.name
        if self._candidates.fellow(call) and own in call.voters and call.accepted > self._accepted:
            # Perhaps an earlier process of this name accepted it: it is never forgotten by those that did.
            self._accepted = call.accepted
            self._accepted_roster = found(call.voters, self._parameters)

    def _may_take_part(self, now: Instant) -> bool:
        if not self._founder:
            return False
        return 2 * (self._seeds - len(self._candidates.founders(now))) < self._expect

    # --- accepting ----------------------------------------------------------------------------------------------------

    def _on_prepare(self, ask: BirthPrepare, now: Instant, out: list[Directive]) -> None:
        if not self._may_take_part(now) or len(ask.voters) != self._expect:
            self._counts["birth_declined"] += 1
            return
        if ask.ballot < self._promised:
            out.append(Send(ask.ballot.name, BirthRefused(ask.ballot, self._promised)))
            return
        self._promised = ask.ballot
        self._round.overtaken(ask.ballot, ask.voters, now)
        self._round.counter = max(self._round.counter, ask.ballot.counter)
        self._keep_promise(out)
        promise = BirthPromise(ask.ballot, self._identity.name, self._identity.boot, self._accepted, self._accepted_roster)
        out.append(Send(ask.ballot.name, promise))

    def _on_accept(self, ask: BirthAccept, now: Instant, out: list[Directive]) -> None:
        voters = ask.roster.voters
        if not self._may_take_part(now) or len(voters) != self._expect or self._identity.name not in voters:
            self._counts["birth_declined"] += 1
            return
        if ask.ballot < self._promised:
            out.append(Send(ask.ballot.name, BirthRefused(ask.ballot, self._promised)))
            return
        self._promised = self._accepted = ask.ballot
        self._recalled = tuple([ballot for ballot in self._recalled if ballot != ask.ballot])
        if ask.ballot not in self._accepted_here:
            self._accepted_here = (*self._accepted_here, ask.ballot)[-ACCEPTED_CAP:]
        self._accepted_roster = ask.roster
        self._round.overtaken(ask.ballot, voters, now)
        self._round.counter = max(self._round.counter, ask.ballot.counter)
        self._keep_promise(out)
        out.append(Send(ask.ballot.name, BirthAccepted(ask.ballot, self._identity.name, self._identity.boot)))

    def _keep_promise(self, out: list[Directive]) -> None:
        if self._memory is not None:
            *before, here = self._accepted_here or (ZERO,)
            note = PromiseNote(self._promised, self._accepted, self._accepted_roster, here, tuple(before))
            self._memory.keep_promise(note, out)

    def _answer(self, roster: RosterValue, now: Instant) -> Message:
        """To someone who has no roster."""
        return self._standing.chain(now) if roster.elastic else RosterIs(roster, self._standing.origin)

    def _decided(self, roster: RosterValue, ballot: Ballot, now: Instant, out: list[Directive]) -> None:
        known = dict.fromkeys((*roster.voters, *self._candidates))
        out.extend(Send(name, RosterIs(roster, ballot)) for name in known if name != self._identity.name)
        self._learn(roster, ballot, now, out)

    def _learn(self, roster: RosterValue, ballot: Ballot, now: Instant, out: list[Directive], told_by: str = "") -> None:
        standing = self._standing
        if standing.roster is not None:
            if ballot != standing.origin if roster.elastic else roster != standing.roster:
                self._counts["different_mesh"] += 1
                out.append(Emit(RosterConflict(standing.roster, roster, told_by)))
                self.told(roster, now, told_by)
            else:
                self.told(None, now)
            return
        self._founding = ballot in self._accepted_here
        if self._fresh and self._founding:
            standing.whole = 0
            standing.by_word = not all(self._candidates.fresh(name) for name in roster.voters if name != self._identity.name)
        standing.found(roster, ballot, now, memory=self._founding)
        self._candidates.clear()
        self._round.clear()
        out.append(Emit(RosterDecided(roster)))
        if self._memory is not None:
            self._memory.keep_roster(RosterNote(roster, ballot, self._founding), out)
