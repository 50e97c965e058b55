"""The recollector: how a voter that has restarted without memory comes to vote on atomic registers again.

A register's group is R voters, q of which accept a value. A voter *remembers* a register if what it keeps of it is all that it
ever answered: since the mesh's birth, in which this very process took part, or since it read the register back. It reads it
back from R-q+1 others that remember, and takes the highest promise and the highest accepted value. Why that is enough, and what
breaks with less:

  - Any q acceptors share a voter with those R-q+1, other than the one that forgot. So whatever was decided is known to one of
    them. (Read from fewer, and the value is lost; likewise if those count that do not remember themselves.)
  - What the earlier process had promised or accepted *and is not decided yet* may still be on its way to a quorum that counts
    it. Everyone who is asked learns the asker's boot before it answers. So an acceptor that they share with that quorum either
    accepted before it answered, and then the asker knows; or afterwards, and then its answer names the newer boot, by which the
    earlier process's own no longer counts, or it refuses what rests on that process's promise (`Acceptor`).
    (Two quorums that do not meet, one with the forgotten promise and one without.)
  - What is learned so is on the disk of those that have one before they answer. (They restart, remember the register, and not
    that the other one has forgotten it.)
  - An answer counts only if no other answer names a newer boot of the one that gave it.
  - Each answer carries its giver's record of boots, and the asker learns it. (Those who knew of the restart restart in turn,
    and nobody knows of it any more.)
  - An answer counts only if its record names the very process that takes it. (One that waits for a disk goes to whoever has the
    name by then, of whose boot its giver had not learned when it answered.)

If q of the group have lost their memory, fewer than R-q+1 remember, nobody ever votes again, and calls are answered "no
memory": the value may have been known to those q alone. A voter that forgot takes nothing in meanwhile, whatever is proposed
to it: an accept that it took would tell it nothing of what it had promised above it.

Where rosters follow each other, a register is read back in one of them, the newest that asker and answerer know, by a voter
that is not sealed for it. (One that has forgotten, and is, may have answered in the next roster already: it reads back there.)

A register is read back when it is asked for. And as nobody may ask for one until the next voter restarts, a voter that has
forgotten reads all of them back: it asks each other voter in turn which there are, until all have answered and named nothing
new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.atomics.calls import KEYS_A_PAGE, AskKeys, KeysAre, Recollect, Recollection
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.messages import Reason
from coordination.agreed.vocabulary.placement import Group, Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource
from coordination.agreed.vocabulary.values import FREE
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.atomic_memory import Blank
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Arm, Boot, Directive, Directives, Disarm, Event, Message, Send, Source

__all__ = ["Recollector"]

MS = 1_000_000
ASK_AGAIN = 100 * MS
"""A register that is asked for again and again is read back once in so long."""
READING_CAP = 4_096
"""Registers that are being read back; others wait until they are asked for again."""
PAGE_WITHIN = 250 * MS
"""A voter that does not answer for so long is left for the next one."""
PAUSE = NANOSECONDS // 2
"""Before all voters are asked again, doubled up to the next: some were down, or had not read back enough themselves."""
LONGEST_PAUSE = 60 * NANOSECONDS


class Reading:
    """A register that is being read back."""

    __slots__ = ("answers", "asked_at", "group")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.asked_at = 0
        self.answers: dict[str, Recollection] = {}


class Recollector:
    name = "recollector"
    messages = (Recollect, Recollection, AskKeys, KeysAre)
    hears = (RosterDecided, Blank)

    def __init__(
        self,
        identity: Identity,
        roster: RosterSource,
        known: KnownBoots,
        acceptor: Acceptor,
        memory: VoterMemory | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._identity = identity
        self._source = roster
        self._standing = standing or Standing(identity)
        self._known = known
        self._boots = known.record
        self._acceptor = acceptor
        self._atomic = acceptor.atomic
        self._memory = memory
        self._placement: Placement | None = None
        self._readings: dict[str, Reading] = {}
        self._to_ask: list[str] = []
        """Voters that have still to be asked which registers there are; the last one is being asked."""
        self._start = 0
        self._of = NO_BOOT
        self._clean = False
        """All that were asked so far have answered, and named nothing that is not remembered here."""
        self._pause = PAUSE
        self._counts: Counter[str] = Counter()

    # --- part ---------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return self._load(now)

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, RosterDecided):
            return self._load(now)
        out: list[Directive] = []
        if isinstance(event, Blank):
            self._read(event.key, now, out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        match message:
            case Recollect():
                self._tell(message, now, out)
            case Recollection():
                self._take(message, now, out)
            case AskKeys():
                self._tell_keys(message, out)
            case KeysAre():
                self._take_keys(message, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        self._sweep_on(now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {"reading": len(self._readings), **self._counts}

    def _load(self, now: Instant) -> Directives:
        roster, standing = self._source.roster, self._standing
        if roster is None or (self._placement is not None and self._placement.roster.epoch == roster.epoch):
            return ()
        self._placement = placement_of(roster)
        self._readings.clear()
        self._to_ask = []
        lasting = standing.lasting
        if self._identity.name not in roster.voters or (lasting is not None and lasting <= roster.epoch):
            return (Disarm("sweep"),)
        return (Arm("sweep", now.mono),)

    def _open(self, now: Instant) -> bool:
        """Whether no process of this name can have answered anything in a later roster."""
        return self._standing.closed(now) in (Reason.OK, Reason.UNCONFIRMED)

    # --- one register -------------------------------------------------------------------------------------------------

    def _read(self, key: str, now: Instant, out: list[Directive]) -> None:
        placement = self._placement
        if placement is None or not is_atomic(key) or self._atomic.remembers(key) or not self._open(now):
            return
        reading = self._readings.get(key)
        if reading is None:
            group = placement.group(key)
            if self._identity.name not in group or len(self._readings) >= READING_CAP:
                return
            reading = self._readings[key] = Reading(group)
        elif now.mono - reading.asked_at < ASK_AGAIN:
            return
        reading.asked_at = now.mono
        own = self._identity
        ask = Recollect(key, own.name, own.boot, self._boots.group(reading.group), placement.roster.epoch)
        out.extend(Send(name, ask) for name in reading.group if name != self._identity.name)

    def _tell(self, ask: Recollect, now: Instant, out: list[Directive]) -> None:
        placement = self._placement
        same = placement is not None and placement.roster.epoch == ask.epoch
        group = placement.group(ask.key) if placement is not None and same and is_atomic(ask.key) else None
        if group is None or ask.name not in group or self._identity.name not in group or self._boots.superseded():
            self._counts["misrouted"] += 1
            return
        if self._memory is not None and not self._memory.ready(now.mono):
            return
        # Before the answer, and whatever it is: from now on the earlier process counts for nothing here.
        self._known.learn((ask.name,), (ask.boot,), out)
        self._known.learn(group, ask.boots, out)
        boots = self._boots.group(group)
        own = self._identity
        register = self._acceptor.register(ask.key)
        remembers = self._atomic.remembers(ask.key)
        kept = (ZERO, ZERO, FREE)
        if remembers and register is not None:
            kept = (register.promised, register.accepted, register.value)
        if self._memory is not None:
            self._memory.rest(out)  # a repeated question must not be answered before what the first one taught is on disk
        out.append(Send(ask.name, Recollection(ask.key, own.name, own.boot, boots, remembers, *kept, ask.epoch)))

    def _take(self, answer: Recollection, now: Instant, out: list[Directive]) -> None:
        reading, placement = self._readings.get(answer.key), self._placement
        if reading is None or answer.name not in reading.group or len(answer.boots) != len(reading.group):
            return
        if placement is None or answer.epoch != placement.roster.epoch or not self._open(now):
            return
        if answer.boots[reading.group.index(self._identity.name)] != self._identity.boot:
            self._counts["outdated"] += 1
            return
        known = reading.answers.get(answer.name)
        if known is None or answer.boot >= known.boot:
            reading.answers[answer.name] = answer
        counted = self._counted(reading)
        if len(counted) < len(reading.group) - reading.group.quorum + 1:
            return
        if self._memory is not None and not self._memory.ready(now.mono):
            return
        for each in reading.answers.values():
            self._known.learn(reading.group, each.boots, out)
        highest = max(counted, key=_accepted)
        promised = max(each.promised for each in counted)
        self._acceptor.recollect(answer.key, promised, highest.accepted, highest.value, now, out)
        del self._readings[answer.key]

    @staticmethod
    def _counted(reading: Reading) -> list[Recollection]:
        """The answers of those that remember, and are not known to have been replaced since."""
        counted = []
        for index, name in enumerate(reading.group):
            answer = reading.answers.get(name)
            if answer is not None and answer.remembers:
                named = max(each.boots[index] for each in reading.answers.values())
                if answer.boot >= named:
                    counted.append(answer)
        return counted

    # --- all of them --------------------------------------------------------------------------------------------------

    def _sweep_on(self, now: Instant, out: list[Directive]) -> None:
        """Begin to ask the voters, or leave one that does not answer for the next."""
        if not self._open(now):
            out.append(Arm("sweep", now.mono + PAUSE))
            return
        if self._to_ask:
            self._clean = False
            self._next_voter(now, out)
            return
        assert self._placement is not None
        self._clean = True
        self._to_ask = [name for name in self._placement.roster.voters if name != self._identity.name]
        self._ask_keys(0, NO_BOOT, now, out)

    def _ask_keys(self, start: int, of: Boot, now: Instant, out: list[Directive]) -> None:
        self._start, self._of = start, of
        out.append(Send(self._to_ask[-1], AskKeys(self._identity.name, of, start)))
        out.append(Arm("sweep", now.mono + PAGE_WITHIN))

    def _next_voter(self, now: Instant, out: list[Directive]) -> None:
        self._to_ask.pop()
        if self._to_ask:
            self._ask_keys(0, NO_BOOT, now, out)
        elif self._clean:
            out.append(Disarm("sweep"))
            self._counts["read_all"] += 1
        else:
            out.append(Arm("sweep", now.mono + self._pause))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _tell_keys(self, ask: AskKeys, out: list[Directive]) -> None:
        own = self._identity
        start = ask.start if ask.of == own.boot else 0
        if self._placement is None:
            return
        keys, following = self._atomic.page(start, KEYS_A_PAGE, ask.name, self._placement)
        out.append(Send(ask.name, KeysAre(own.name, own.boot, start, keys, following)))

    def _take_keys(self, answer: KeysAre, now: Instant, out: list[Directive]) -> None:
        if not self._to_ask or answer.name != self._to_ask[-1]:
            return
        if answer.start not in (0, self._start) or (answer.start and answer.boot != self._of):
            return
        for key in answer.keys:
            if not self._atomic.remembers(key):
                self._clean = False
                self._read(key, now, out)
        if answer.following > answer.start:
            self._ask_keys(answer.following, answer.boot, now, out)
        else:
            self._next_voter(now, out)


def _accepted(answer: Recollection) -> Ballot:
    return answer.accepted
