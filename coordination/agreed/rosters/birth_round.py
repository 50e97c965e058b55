"""A proposer's side of birth: one ballot at a time, for a set of founders.

- It asks a set of n for promises, and proposes the set of the highest ballot that any of them accepted, else its own. (Two
  halves each found a mesh.)
- The first name of the set proposes; the others only if nothing comes of it.
- A promise or an acceptance counts only while its process is the newest known of its name, and both of a name only if they are
  of one process. (The process restarts, knows nothing of what it accepted, accepts another set, and both sets are decided.)
- A round that was refused, or lasts too long, is given up, and another ballot tried a little later. What comes late does not
  count. (All others restart, know nothing, and found another mesh; what they once accepted arrives, and is decided.)
- So is one whose proposer has promised to another one, and who is not of the set that was accepted leaves it to those that
  are. (The same set is decided under two ballots, and an elastic mesh is known by the one that founded it: two meshes.)
- Who has promised gives that round its time, and others of its set theirs. (Thirty founders outbid each other for minutes.)"""

from __future__ import annotations

import random
from collections.abc import Sequence

from coordination.agreed.rosters.candidates import Candidates
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.birth_messages import BirthAccept, BirthAccepted, BirthPrepare, BirthPromise, BirthRefused
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import Parameters, RosterValue, found
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Send

__all__ = ["EPOCH", "BirthRound"]

MS = 1_000_000
PROPOSAL_LASTS = 1_500 * MS
STAGGER = 200 * MS
"""Between the first and the second of a set that propose again, if a third one's proposal has come to nothing."""
EPOCH = 1
"""Of the first roster."""


class BirthRound:
    """Parameters
    ----------
    expect: how many are to found.
    """

    __slots__ = (
        "_accepts",
        "_ballot",
        "_begun",
        "_candidates",
        "_expect",
        "_identity",
        "_parameters",
        "_promises",
        "_propose_at",
        "_proposing",
        "_random",
        "_yields_until",
        "counter",
        "wanted",
    )

    def __init__(
        self, identity: Identity, candidates: Candidates, random: random.Random, expect: int, parameters: Parameters
    ) -> None:
        self._identity = identity
        self._candidates = candidates
        self._random = random
        self._expect = expect
        self._parameters = parameters
        self._ballot: Ballot | None = None
        self._begun = 0
        self._proposing: RosterValue | None = None
        self._promises: dict[str, BirthPromise] = {}
        self._accepts: dict[str, Boot] = {}
        self._propose_at = 0
        self._yields_until = 0
        self.counter = 0
        """The highest of any ballot that is known here."""
        self.wanted: tuple[str, ...] = ()
        """Who is asked."""

    @property
    def ballot(self) -> Ballot | None:
        """Of the round that is under way."""
        return self._ballot

    def clear(self) -> None:
        """There is a roster."""
        self._ballot = None

    def overtaken(self, ballot: Ballot, voters: Sequence[str], now: Instant) -> None:
        """This node has promised to another proposer, or accepted its set: what it could still decide may be decided there,
        under another ballot. It proposes nothing itself for as long as that one's round may last, and then by rank."""
        own = self._identity.name
        if ballot.name == own:
            return
        if self._ballot is not None and ballot > self._ballot:
            self._ballot = None
        rank = voters.index(own) if own in voters else len(voters)
        self._yields_until = now.mono + PROPOSAL_LASTS + rank * STAGGER

    def under_way(self, now: Instant, out: list[Directive]) -> bool:
        """Whether there is a round: then those that have not answered are asked again."""
        ballot, roster = self._ballot, self._proposing
        if ballot is None or self._late(now):
            return False
        for name in self.wanted:
            if roster is None and name not in self._promises:
                out.append(Send(name, BirthPrepare(ballot, self.wanted)))
            elif roster is not None and name not in self._accepts:
                out.append(Send(name, BirthAccept(ballot, roster)))
        return True

    def propose(self, accepted: RosterValue | None, now: Instant, out: list[Directive]) -> None:
        """Begin one, if it is time: with the set that this node has accepted, else with the first of those that could found."""
        if now.mono < self._propose_at:
            return
        founders = self._candidates.founders(now)
        voters = accepted.voters if accepted is not None else tuple(founders[: self._expect])
        if len(founders) < self._expect or self._identity.name not in voters:
            return
        leader = voters[0] == self._identity.name
        if not leader and self._propose_at == 0:
            # The first of the set proposes; the others only if nothing comes of it.
            self._retreat(now)
            return
        if now.mono < self._yields_until:
            return
        self.counter += 1
        ballot = self._ballot = Ballot(EPOCH, self.counter, self._identity.name, self._identity.boot)
        self._begun = now.mono
        self._retreat_after(now, PROPOSAL_LASTS)
        self.wanted = voters
        self._promises.clear()
        self._accepts.clear()
        self._proposing = None
        out.extend(Send(name, BirthPrepare(ballot, voters)) for name in voters)

    def on_promise(self, promise: BirthPromise, now: Instant, out: list[Directive]) -> None:
        if promise.ballot != self._ballot or self._proposing is not None or promise.name not in self.wanted:
            return
        promises = self._promises
        promises[promise.name] = promise
        if any(name not in promises for name in self.wanted):
            return
        if any(self._candidates.replaced(each.name, each.boot) for each in self._promises.values()):
            self._retreat(now)
            return
        best = max(promises.values(), key=lambda each: each.accepted)
        roster = best.roster if best.roster is not None else found(self.wanted, self._parameters)
        if self._identity.name not in roster.voters:
            # Those who accepted it propose it themselves: whoever decides must be one of those that are asked to promise. They
            # have promised to this round, so they wait for its end: the next one has to be later than theirs.
            self._ballot = None
            self._yields_until = now.mono + 2 * PROPOSAL_LASTS + len(roster.voters) * STAGGER
            return
        self.wanted = roster.voters
        if missing := [name for name in roster.voters if name not in promises]:
            # Another set was accepted. Its voters promise, too: one of them may know of a third, that all but one of these
            # have not heard of, and that one has forgotten what it promised. (Two rosters would be decided.)
            out.extend(Send(name, BirthPrepare(promise.ballot, roster.voters)) for name in missing)
            return
        self._proposing = roster
        out.extend(Send(name, BirthAccept(promise.ballot, roster)) for name in roster.voters)

    def on_accepted(self, accepted: BirthAccepted, now: Instant) -> RosterValue | None:
        """The roster that is decided by this answer, if one is."""
        roster = self._proposing
        if accepted.ballot != self._ballot or roster is None or accepted.name not in roster.voters or self._late(now):
            return None
        promise = self._promises.get(accepted.name)
        if promise is not None and promise.boot != accepted.boot:
            # It would be counted for two processes: the one that promised may have accepted another proposal meanwhile, which
            # was decided, and the one that accepts knows nothing of that. (What that roster decided would be lost.)
            self._retreat(now)
            return None
        self._accepts[accepted.name] = accepted.boot
        if len(self._accepts) < len(roster.voters):
            return None
        if any(self._candidates.replaced(name, boot) for name, boot in self._accepts.items()):
            self._retreat(now)
            return None
        return roster

    def on_refused(self, answer: BirthRefused, now: Instant) -> None:
        self.counter = max(self.counter, answer.promised.counter)
        if answer.ballot == self._ballot:
            self._retreat(now)

    def _late(self, now: Instant) -> bool:
        return now.mono - self._begun >= PROPOSAL_LASTS

    def _retreat(self, now: Instant) -> None:
        self._ballot = None
        self._retreat_after(now, 0)

    def _retreat_after(self, now: Instant, least: int) -> None:
        self._propose_at = now.mono + least + self._random.randrange(200, 1000) * MS
