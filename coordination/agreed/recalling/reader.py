"""The reader: how a voter that has restarted without memory comes to vote on leases again before M has passed.

It asks every other voter for all that they keep of the registers whose group it is of, page by page (`TableAsk`, `TableIs`),
and takes it over: the highest promise, ballot and token, every end, and every lease that anyone calls live, for as long as
whoever waits longest. A register is voted on once R-q+1 others of its group have told everything (`lease_memory`). Why that
is enough, and what breaks with less; f0 is the process that forgot, f1 the one that reads:

  - A lease is believed as long as q acceptors wait for it. If f0 was one of them, at least one of the R-q+1 is another. (Read
    from fewer, and f1 lets another lease in beside it.)
  - That one, w, has answered for the lease before it told f1 of its table, or afterwards. Before: then it told of the lease,
    and waits at least as long as it is believed. Afterwards: w had learned f1's boot before it told the first page, so its
    answer names f1, and beside it no answer of f0 counts (`Round`, `Belief`). So a register that was not there yet when its
    page was written needs no second look. (w learns it later, and both count.)
  - What f0 had promised, and nobody has used yet, matters little: two leases that exclude each other are never both accepted by
    one acceptor, whatever was promised. It is taken over so that a proposer which others have promised to is not overtaken.
  - w itself may be a process that forgot, w1. If it has read back what it keeps, the same holds of its own reading: whatever
    w0 had answered w1 was told of by one that it shares, or w0's answer does not count any more beside that one's. If it
    votes by M alone, whatever w0 answered is over; it counts M later, a whole M more than the argument asks for. (w1 says
    "nothing".)
  - Two that forgot read from one another's earlier processes: w told f1, died, and w1 read from others before f1 had asked
    those. Then they have learned of w1, their record of boots comes with their first page, and w's word does not count for
    f1. (f1 has what w0 kept and w1 does not, w1 what f0 did not: q others hear of neither.)
  - What is learned so is on the disk of those that have one before they answer, and on the disk of f1 what it takes over. (It
    restarts with a memory that is called complete, and is not.)
  - A page names the process that it was written for. (One that waits for a disk goes to whoever has the name by then: to f2,
    whose boot w had not learned when it wrote the page, and answered for f1's leases since.)
  - Pages go on behind a key, not at a place. (Places move when w forgets registers that nobody uses, and what lies between two
    pages that were written from different lists is never told.)

With a group of three both others are needed, of five three of four. If more have forgotten at once, M stands in, as ever.
Nothing is said of atomic registers, see `recollector`; nor of what a register held in earlier rosters: that f1 cannot speak
of before M has passed (`Standing.whole`)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.ballot import ZERO
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.placement import Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource
from coordination.agreed.vocabulary.reader_messages import ROWS_A_PAGE, TableAsk, TableIs, TableRow
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.values import FREE
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import Act, Arm, Boot, Directive, Directives, Disarm, Event, Message, Send, Source

__all__ = ["Reader"]

MS = 1_000_000
TICK = 50 * MS
ASK_AGAIN = 200 * MS
"""A page that has not come for so long is asked for again; doubled up to the next."""
ASK_LATEST = 2_000 * MS
NOT_FIRM = 500 * MS
"""Who has forgotten itself is asked again after this long,"""
EACH_VOTER = 20 * MS
"""and so much more for each voter that there is: all of them may have begun at the same time."""
WIDTH = 32
"""Voters that are asked in one tick."""
HOLDINGS_A_PAGE = 512
TABLES_CAP = 64
"""Voters whose reading is under way; of one that is pushed out it begins anew."""


class Reading:
    """How far one voter's table has been read."""

    __slots__ = ("after", "due", "of", "pause")

    def __init__(self) -> None:
        self.of = NO_BOOT
        self.after = ""
        self.due = 0
        self.pause = ASK_AGAIN


class Reader:
    name = "reader"
    messages = (TableAsk, TableIs)
    hears = (RosterDecided,)

    def __init__(
        self,
        identity: Identity,
        roster: RosterSource,
        known: KnownBoots,
        acceptor: Acceptor,
        memory: VoterMemory | None = None,
    ) -> None:
        self._identity = identity
        self._source = roster
        self._known = known
        self._acceptor = acceptor
        self._leases = acceptor.lease_memory
        self._memory = memory
        self._placement: Placement | None = None
        self._readings: dict[str, Reading] = {}
        self._ticked = 0
        """When it was last looked who is due."""
        self._tables: dict[str, tuple[Boot, list[str]]] = {}
        """Of those that are being told, by name: which process asked, and the keys as they were at its first page, in order."""
        self._counts: Counter[str] = Counter()

    # --- part ---------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return self._load(now)

    def on_event(self, event: Event, now: Instant) -> Directives:
        return self._load(now) if isinstance(event, RosterDecided) else ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if not self._readings or self._source.abstaining_until(now) is None:
            self._readings.clear()
            return out
        self._read_replaced()
        due = [name for name, reading in self._readings.items() if reading.due <= now.mono]
        for name in due[:WIDTH]:
            self._ask(name, self._readings[name], now, out)
        self._ticked = now.mono
        self._arm(out)
        return out

    def _arm(self, out: list[Directive]) -> None:
        """Look again in the tick in which somebody is due."""
        wait = min([reading.due for reading in self._readings.values()]) - self._ticked
        out.append(Arm("ask", self._ticked + TICK * max(1, -(-wait // TICK))))

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, TableAsk):
            self._tell(message, now, out)
        elif isinstance(message, TableIs):
            self._take(message, now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {"reading": len(self._readings), **self._counts}

    def _load(self, now: Instant) -> Directives:
        roster = self._source.roster
        if roster is None:
            self._placement = None
            return ()
        if self._placement is not None and self._placement.roster.epoch == roster.epoch:
            return ()
        self._placement = placement_of(roster)
        self._leases.clear()
        self._tables.clear()
        self._readings.clear()
        if self._source.abstaining_until(now) is None:
            return (Disarm("ask"),)
        self._readings = {name: Reading() for name in roster.voters if name != self._identity.name}
        return (Arm("ask", now.mono),)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _ask(self, name: str, reading: Reading, now: Instant, out: list[Directive]) -> None:
        assert self._placement is not None
        reading.due = now.mono + reading.pause
        reading.pause = min(2 * reading.pause, ASK_LATEST)
        own = self._identity
        out.append(Send(name, TableAsk(own.name, own.boot, self._placement.roster.epoch, reading.of, reading.after)))

    def _read_replaced(self) -> bool:
        """Whoever has told everything and was replaced since does not count: its next process is asked. Whether any is."""
        again = [name for name in self._leases.replaced() if name not in self._readings]
        for name in again:
            self._readings[name] = Reading()
        return bool(again)

    def _take(self, answer: TableIs, now: Instant, out: list[Directive]) -> None:
        reading, placement = self._readings.get(answer.name), self._placement
        if reading is None or placement is None or answer.epoch != placement.roster.epoch:
            return
        if answer.asker != self._identity.boot or answer.boot < self._known.record.of(answer.name):
            self._counts["outdated"] += 1
            return
        if self._source.abstaining_until(now) is None or not self._durable(now):
            return
        roster = placement.roster
        if not answer.firm:
            reading.due = now.mono + NOT_FIRM + len(roster.voters) * EACH_VOTER
            self._arm(out)
            return
        if not answer.after:
            if len(answer.boots) != len(roster.voters):
                self._counts["malformed"] += 1
                return
            self._known.learn(roster.voters, answer.boots, out)
            reading.of = answer.boot
        elif answer.boot != reading.of or answer.after != reading.after:
            return
        for row in answer.rows:
            out.append(Act(self._acceptor, self._acceptor.read_back(row, now)))
        self._counts["rows_read"] += len(answer.rows)
        if answer.following > answer.after:
            reading.after, reading.pause = answer.following, ASK_AGAIN
            self._ask(answer.name, reading, now, out)
            self._arm(out)
            return
        del self._readings[answer.name]
        self._leases.told(answer.name, answer.boot)
        self._counts["tables_read"] += 1
        if self._read_replaced():
            self._arm(out)

    def _durable(self, now: Instant) -> bool:
        return self._memory is None or self._memory.ready(now.mono)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, ask: TableAsk, now: Instant, out: list[Directive]) -> None:
        placement = self._placement
        if placement is None or ask.epoch != placement.roster.epoch or self._known.record.superseded():
            self._counts["misrouted"] += 1
            return
        roster, own = placement.roster, self._identity
        if ask.name == own.name or ask.name not in roster.voters or own.name not in roster.voters or not self._durable(now):
            self._counts["misrouted"] += 1
            return
        # Before anything is told, and whatever it is: from now on the earlier process counts for nothing here.
        self._known.learn((ask.name,), (ask.boot,), out)
        if self._known.record.of(ask.name) > ask.boot:
            self._counts["replaced"] += 1
            return
        if not self._leases.firm(now):
            out.append(Send(ask.name, TableIs(own.name, own.boot, ask.boot, roster.epoch, "", False, (), (), "")))
            return
        after = ask.after if ask.of == own.boot else ""
        rows, following = self._page(self._table(ask), after, roster, now)
        boots = self._known.record.group(roster.voters) if not after else ()
        if self._memory is not None:
            self._memory.rest(out)  # a repeated question must not be answered before what the first one taught is on disk
        out.append(Send(ask.name, TableIs(own.name, own.boot, ask.boot, roster.epoch, after, True, boots, rows, following)))
        self._counts["pages_told"] += 1

    def _table(self, ask: TableAsk) -> list[str]:
        """The keys of the registers that are shared with the asker, in order, as they were when it asked first or later."""
        boot, keys = self._tables.get(ask.name, (NO_BOOT, []))
        if boot != ask.boot:
            self._tables.pop(ask.name, None)
            while len(self._tables) >= TABLES_CAP:
                del self._tables[next(iter(self._tables))]
            kept = self._acceptor.keys()
            keys = sorted([key for key in kept if self._shared(key, ask.name)])
            self._tables[ask.name] = ask.boot, keys
        return keys

    def _shared(self, key: str, name: str) -> bool:
        assert self._placement is not None
        if is_atomic(key):
            return False
        group = self._placement.group(key)
        return name in group and self._identity.name in group

    def _page(self, keys: list[str], after: str, roster: RosterValue, now: Instant) -> tuple[tuple[TableRow, ...], str]:
        """The rows behind a key, and the key to go on behind, or nothing."""
        rows: list[TableRow] = []
        holdings = 0
        place = bisect_right(keys, after)
        while place < len(keys) and len(rows) < ROWS_A_PAGE and holdings < HOLDINGS_A_PAGE:
            row = self._row(keys[place], roster.epoch, now)
            place += 1
            if row is not None:
                rows.append(row)
                holdings += len(row.value.holdings)
        return tuple(rows), keys[place - 1] if place < len(keys) else ""

    def _row(self, key: str, epoch: int, now: Instant) -> TableRow | None:
        """Nothing if the register has been forgotten since, or belongs to earlier rosters alone."""
        register = self._acceptor.register(key)
        if register is None:
            return None
        if register.accepted.epoch == epoch:
            live, ended = tuple(register.live(now.mono)), tuple(register.ended)
            return TableRow(key, register.promised, register.accepted, register.value, live, ended, register.highest)
        if register.promised.epoch == epoch or register.ended:
            return TableRow(key, register.promised, ZERO, FREE, (), tuple(register.ended), register.highest)
        return None
