"""A hall of voters and their readers, of one roster, in which what is said between them is passed by hand."""

from __future__ import annotations

from coordination.agreed.owning.round import Round
from coordination.agreed.recalling.reader import Reader
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Accept, Accepted, Prepare, Reason, Rejected
from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.reader_messages import TableIs
from coordination.agreed.vocabulary.roster import Parameters, RosterValue, found
from coordination.agreed.vocabulary.values import Holding, LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Send, Source
from tests.coordination.agreed_nodes import ThinView
from tests.coordination.agreed_world import Changes, S, Self_, plant

__all__ = ["KEY", "PARAMETERS", "SOURCE", "TOKEN", "TTL", "WALL", "Hall", "at"]

KEY = "lock/a"

TTL = 10 * S

PARAMETERS = Parameters(R=5, max_ttl=TTL)

WALL = 1_700_000_000_000

TOKEN = WALL << 16

SOURCE = Source(b"", "", "", None, None)


def at(seconds: float) -> Instant:
    ns = int(seconds * S) + 100 * S
    return Instant(ns, ns, WALL + int(seconds * 1000))


class Voter:
    """One process after the other of one name; the first remembers everything."""

    def __init__(self, name: str, roster: RosterValue, changes: Changes) -> None:
        self.name, self.roster, self.changes = name, roster, changes
        self.number = 0
        self.start(at(0), whole=0)

    def start(self, now: Instant, whole: int | None = None) -> None:
        self.number += 1
        self.boot = Boot(self.number, self.name.encode() * 16)
        me = Self_(self.name, self.boot)
        self.standing = Standing(me)
        self.standing.begin(now)
        self.standing.found(self.roster, Ballot(1, 1, "a", Boot(1, b"")), now, memory=True)
        self.standing.whole = whole
        self.record = BootRecord(me, ThinView())
        self.acceptor = Acceptor(me, self, HybridClock(500), self.record, None, self.standing)
        self.reader = Reader(me, self, KnownBoots(self.record), self.acceptor)
        plant((self.acceptor, self.reader), self.changes)
        self.acceptor.start(now)
        self.reader.start(now)

    def abstaining_until(self, now: Instant) -> int | None:
        until = self.standing.started + self.roster.abstention
        return until if self.standing.whole is None and now.mono < until else None


class Hall:
    def __init__(self, count: int = 3, changes: Changes = (), parameters: Parameters = PARAMETERS) -> None:
        names = tuple("abcdefgh"[:count])
        self.roster = found(names, parameters)
        self.voters = {name: Voter(name, self.roster, changes) for name in names}
        self.group: Group = Placement(self.roster).group(KEY)

    def boots(self) -> tuple[Boot, ...]:
        return tuple([self.voters[name].boot for name in self.group])

    def fill(self, name: str, count: int) -> None:
        """Let one voter keep so many registers."""
        placement, boot = Placement(self.roster), Boot(1, b"a" * 16)
        for number in range(count):
            key = f"lock/{number:03}"
            boots = tuple([self.voters[each].boot for each in placement.group(key)])
            self.voters[name].acceptor.prepare(Prepare(key, Ballot(1, 1, "a", boot), boots), at(1), [])

    def round(self, token: int, owner: str = "a", boots: tuple[Boot, ...] | None = None) -> Round:
        """Of an accept that grants a lease."""
        lease = LeaseId(TOKEN + token, owner, Boot(1, b"holder"), token)
        value = Value((Holding(lease, 1, TTL, TTL, False),), b"")
        ballot = Ballot(1, token, owner, Boot(1, owner.encode() * 16))
        return Round(Accept(KEY, ballot, boots or self.boots(), 0, value, (TTL,), 0, ()), self.group, 0)

    def accept(self, round_: Round, *names: str, now: Instant | None = None) -> dict[str, int]:
        """Let these answer; their reasons."""
        reasons: dict[str, int] = {}
        for name in names:
            assert isinstance(round_.message, Accept)
            answer = self.voters[name].acceptor.accept(round_.message, now or at(1), [])
            assert isinstance(answer, Accepted | Rejected)
            round_.add(answer)
            reasons[name] = Reason.OK if isinstance(answer, Accepted) else answer.reason
        return reasons

    def read(self, asker: str, *others: str, now: Instant | None = None) -> int:
        """Let one read the tables of these; how many pages were told."""
        pages = 0
        moment = now or at(1)
        todo = [each for each in self.asks(asker, moment) if each.to in others]
        while todo:
            send = todo.pop(0)
            pages += isinstance(send.message, TableIs)
            answers = self.voters[str(send.to)].reader.on_message(send.message, SOURCE, moment)
            todo += [each for each in answers if isinstance(each, Send)]
        return pages

    def asks(self, asker: str, now: Instant) -> list[Send]:
        reader = self.voters[asker].reader
        for reading in reader._readings.values():
            reading.due = 0
        return [each for each in reader.on_timer("ask", now) if isinstance(each, Send)]

    def votes(self, name: str, key: str = KEY, now: Instant | None = None) -> bool:
        return self.voters[name].acceptor.abstaining(key, now or at(1)) == 0
