"""Remembering: a voter that does not know what its name has promised about the next roster is told by the others.

- It takes part in nothing, until N-Q+1 others that have their memory told it their promises and accepted proposals, each by
  its newest process. (One of any Q that decided is among them; it would break the seal, or decide anew.)
- Whoever is asked has learned the asker's boot before, durably, and each answer carries its giver's record of boots: a
  successor that the earlier process had accepted, and that is not decided yet, does not count it beside those that know. (It
  was decided after all, by two majorities of which one took the forgotten word, and the other the new one.)
- It goes on asking everyone of whose newest process it has no answer. (One answers and is replaced before the others have
  answered: its name was asked already, what it said does not count, and the asker takes part in nothing for ever.)
- An answer counts only if its record names the very process that takes it. (It may have waited for a disk meanwhile.) Without a
  record it is of an earlier version, and counts. (In a mixed mesh nobody would come back.)
- If one of those has accepted the successor, it asks again once that is decided: see `Standing.recalled`.
- The process that a roster admits has nothing to remember."""

from __future__ import annotations

from collections import Counter

from coordination.agreed.rosters.confirming import REPEAT, Confirming
from coordination.agreed.rosters.roster_vote import RosterVote
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import MemoryAsk, MemoryIs
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import Directive, Send

__all__ = ["Remembering"]


class Memories:
    """What the others have said."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[str, MemoryIs] = {}

    def clear(self) -> None:
        self._told.clear()

    def counts(self, name: str, boots: BootRecord) -> bool:
        """Whether the newest process of that name, as far as is known, has answered."""
        told = self._told.get(name)
        return told is not None and told.boot >= boots.of(name)

    def add(self, answer: MemoryIs, roster: RosterValue, boots: BootRecord) -> list[MemoryIs]:
        """All that count, once they are enough; else nothing. A late answer of an earlier process replaces no newer one's."""
        known = self._told.get(answer.name)
        if known is None or answer.boot >= known.boot:
            self._told[answer.name] = answer
        told = [each for name, each in self._told.items() if self.counts(name, boots)]
        return told if len(told) > len(roster.voters) - roster.majority else []


class Remembering:
    """`agenda` brings up "recall"."""

    def __init__(
        self,
        identity: Identity,
        standing: Standing,
        confirming: Confirming,
        vote: RosterVote,
        known: KnownBoots,
        agenda: Agenda[str],
        counts: Counter[str],
        memory: VoterMemory | None,
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._confirming = confirming
        self._vote = vote
        self._known = known
        self._boots = known.record
        self._agenda = agenda
        self._counts = counts
        self._memory = memory
        self._memories = Memories()

    def clear(self) -> None:
        """Another roster is the newest."""
        self._memories.clear()

    def recall(self, now: Instant, out: list[Directive]) -> None:
        """Ask the other voters what became of the roster: this process does not know what its name has promised."""
        roster = self._standing.elastic
        if roster is None or self._standing.memory or self._identity.name not in roster.voters:
            return
        ask = MemoryAsk(roster.epoch, self._identity.name, self._identity.boot)
        others = [name for name in roster.voters if name != self._identity.name]
        out.extend(Send(name, ask) for name in others if not self._memories.counts(name, self._boots))
        self._agenda.at("recall", now.mono + 2 * REPEAT, out)

    def on_memory_ask(self, ask: MemoryAsk, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.roster
        assert roster is not None
        if ask.epoch != roster.epoch:
            self._confirming.differ(ask.epoch, ask.name, now, out)
            return
        if ask.name not in roster.voters:
            return
        if self._memory is not None and not self._memory.ready(now.mono):
            return  # an answer would wait for the disk, beside those to all the questions that follow
        self._known.learn((ask.name,), (ask.boot,), out)
        if self._standing.votes() and not self._boots.superseded():
            if self._memory is not None:
                self._memory.rest(out)
            identity, vote = self._identity, self._vote
            boots = self._boots.group(roster.voters)
            answer = MemoryIs(roster.epoch, identity.name, identity.boot, vote.promised, vote.accepted, vote.roster, boots)
            out.append(Send(ask.name, answer))

    def on_memory(self, answer: MemoryIs, now: Instant, out: list[Directive]) -> None:
        roster, vote = self._standing.elastic, self._vote
        if roster is None or self._standing.memory or answer.epoch != roster.epoch or answer.name not in roster.voters:
            return
        if answer.boots and len(answer.boots) != len(roster.voters):
            self._counts["malformed"] += 1
            return
        if answer.boots and answer.boots[roster.voters.index(self._identity.name)] != self._identity.boot:
            self._counts["outdated"] += 1
            return
        self._known.learn((answer.name,), (answer.boot,), out)
        self._known.learn(roster.voters, answer.boots, out)
        told = self._memories.add(answer, roster, self._boots)
        if not told:
            return
        best = max(told, key=lambda each: each.accepted)
        vote.promised = max(each.promised for each in told)
        vote.accepted, vote.roster = best.accepted, best.roster
        undecided = best.roster is not None or self._standing.is_reset(vote.promised.epoch)
        self._standing.recalled(undecided=undecided)
        self._counts["recalled"] += 1
        if undecided:
            self._agenda.at("complete", now.mono + vote.pause(), out)
        vote.keep(out)
        self._confirming.confirm(now, out)
