"""Writes that others must have before their caller goes on: `acks=n`, `acks="majority"`.

    writer   Entrust(query, part, cells)  ->  member
             <-  Entrusted(query, part)       it holds cells at least as high, on its disk if it has one

Rules:
  - Only an answer counts, and only for what it names. (That a member's vector covers a dot says that it held something as high
    in its memory: not that its disk has it, nor that it will have it after a crash.)
  - Whoever is asked compares cell by cell what it holds, and answers once its disk has it, if it has one. If its clock refuses
    the writer's, or its disk takes nothing, it does not answer.
  - Whoever starts anew (`standing`) holds what it wrote aside until it is brought back. Until then its store shows something
    lower in its place, or nothing: that is not what its caller waits for, and nobody is asked to hold it.
  - Members are counted by name. For a majority only the roster's voters count, and this node is one of them if it votes.
  - What is not answered is sent again, at growing intervals, to whoever else there is, for as long as the caller waits. That
    the caller gives up undoes nothing: the write stands and spreads as any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Annotated

from crdt.cell import Cell, Order, above, encode_cell
from crdt.clock import Instant
from crdt.store import Place
from mesh.directives import Act, Arm, Directive, Directives, Disarm, Emit, Event, Message, Persist, Send, Source
from mesh.frozen import frozen
from mesh.replication.messages import AnyCell
from mesh.replication.replication import Replication, View
from mesh.replication.spreading import PUSH_BYTES, runs_of
from mesh.wire import U32, U64, Length, message

__all__ = ["MAJORITY", "MAX_ACKS", "Acknowledged", "Entrust", "Entrusted", "Entrusting"]

MS = 1_000_000
FIRST_RETRY = 200 * MS
LONGEST_RETRY = 5_000 * MS
NS_PER_BYTE = 200
"""Added to the first interval: what is large takes its time on the way, and on a disk."""
SPARE_BYTES = 64 << 10
"""What is no larger is sent to one member more than must answer."""
STREAM_BYTES = 16 << 10
"""Above it the parts are of `PART_BYTES`, and travel over a stream: so many datagrams at once would be lost."""
PART_BYTES = 64 << 10
MAJORITY = 0
"""In place of a number of members: of the roster's voters."""
MAX_ACKS = 255
MAX_CELLS = 4_096


@message(47)
class Entrust(Message):
    """Cells for the receiver to hold, and to say so."""

    query: U64
    part: U32
    cells: Annotated[tuple[AnyCell, ...], Length(0, MAX_CELLS)]


@message(48)
class Entrusted(Message):
    """The sender holds these, or higher ones."""

    query: U64
    part: U32


@frozen
class Acknowledged(Event):
    """As many members as were asked for hold what was written."""

    query: int


@dataclass(slots=True)
class Query:
    parts: list[list[Place]]
    need: int
    """Other members, or `MAJORITY`."""
    interval: int
    size: int
    written: dict[Place, Order]
    lacking: dict[str, set[int]] = field(default_factory=dict)
    """Of each member that was asked: the parts that it has not answered."""


class Entrusting:
    """Parameters
    ----------
    name: of this node.
    voters: the roster's, None as long as there is none.
    """

    name = "entrusting"
    messages: tuple[type[Message], ...] = (Entrust, Entrusted)
    hears: tuple[type[Event], ...] = ()

    def __init__(
        self,
        own: str,
        replication: Replication,
        view: View,
        voters: Callable[[], Sequence[str] | None],
        random: Random,
    ) -> None:
        self._own = own
        self._replication = replication
        self._view = view
        self._voters = voters
        self._random = random
        self._queries: dict[int, Query] = {}
        self._counts: Counter[str] = Counter()

    # --- the writer --------------------------------------------------------------------------------------------------

    def begin(self, query: int, places: Sequence[Place], need: int, now: Instant) -> Directives:
        """Have `need` other members (or `MAJORITY`) hold what was written at these places just now. Emits
        `Acknowledged(query)`."""
        flushed = self._replication.flush(now)
        runs = runs_of([(cell, 0) for cell in self._cells(places)])
        sizes = [sum([len(encode_cell(cell)) for cell, _ in run]) for run in runs]
        total = sum(sizes)
        limit = PUSH_BYTES if total <= STREAM_BYTES else PART_BYTES
        parts: list[list[Place]] = []
        room = 0
        for run, size in zip(runs, sizes, strict=True):
            if size > room:
                parts.append([])
                room = limit
            parts[-1] += [(cell.kind, cell.key) for cell, _ in run]
            room -= size
        interval = FIRST_RETRY + total * NS_PER_BYTE
        written = {(cell.kind, cell.key): cell.order for cell in self._cells(places)}
        self._queries[query] = Query(parts, need, interval, total, written)
        out: list[Directive] = [Act(self._replication, flushed)]
        self._ask(query, now, out)
        return out

    def end(self, query: int) -> None:
        """Nobody waits for it any more."""
        self._queries.pop(query, None)

    def _cells(self, places: Sequence[Place]) -> list[Cell]:
        store = self._replication.store
        return [cell for place in places if (cell := store.cell(*place)) is not None]

    def _here(self, query: Query) -> bool:
        """Whether the store has what was written, or something higher; or it was, and is forgotten by everyone."""
        standing = self._replication.standing
        aside = standing is not None and bool(standing.held)
        for place, order in query.written.items():
            cell = self._replication.store.cell(*place)
            if aside if cell is None else cell.order < order:
                return False
        return True

    def _candidates(self, query: Query) -> list[str]:
        """Who may answer, those that have been asked first."""
        alive = self._view.names_alive()
        if query.need == MAJORITY:
            voters = self._voters()
            alive = [name for name in alive if voters is not None and name in voters]
        asked = [name for name in alive if name in query.lacking]
        others = [name for name in alive if name not in query.lacking]
        self._random.shuffle(others)
        return asked + others

    def _missing(self, query: Query) -> int:
        """How many more have to answer; -1 if that is not known yet."""
        done = [name for name, parts in query.lacking.items() if not parts]
        if query.need != MAJORITY:
            return max(0, query.need - len(done))
        voters = self._voters()
        if voters is None:
            return -1
        have = sum(name in voters for name in done) + (self._own in voters)
        return max(0, len(voters) // 2 + 1 - have)

    def _ask(self, number: int, now: Instant, out: list[Directive], *, again: bool = False) -> None:
        query = self._queries[number]
        missing = self._missing(query)
        if missing == 0:
            self._conclude(number, out)
            return
        if self._replication.store.pending:
            out.append(Act(self._replication, self._replication.flush(now)))
        if missing > 0 and self._replication.leaves() and self._here(query):
            waited = [name for name in self._candidates(query) if query.lacking.get(name, True)]
            count = missing + (query.size <= SPARE_BYTES) + (again and len(query.lacking))
            out.append(Persist())  # what is sent rests on what this node has on its own disk
            for name in waited[:count]:
                lacking = query.lacking.setdefault(name, set(range(len(query.parts))))
                for part in sorted(lacking):
                    cells = tuple([encode_cell(cell) for cell in self._cells(query.parts[part])])
                    out.append(Send(name, Entrust(number, part, cells)))
                    self._counts["entrusts"] += 1
        out.append(Arm(number, now.mono + query.interval))
        query.interval = min(LONGEST_RETRY, query.interval * 2)

    def _conclude(self, number: int, out: list[Directive]) -> None:
        del self._queries[number]
        out += (Disarm(number), Emit(Acknowledged(number)))

    def _answered(self, message: Entrusted, source: Source, out: list[Directive]) -> None:
        query = self._queries.get(message.query)
        if query is None or source.name is None or source.session != self._view.session(source.name):
            return
        lacking = query.lacking.get(source.name)
        if lacking is not None:
            lacking.discard(message.part)
            if self._missing(query) == 0:
                self._conclude(message.query, out)

    # --- whoever is asked --------------------------------------------------------------------------------------------

    def _hold(self, message: Entrust, source: Source, now: Instant, out: list[Directive]) -> None:
        cells = [cell for cell in message.cells if isinstance(cell, Cell)]
        out.append(Act(self._replication, self._replication.take(cells, source, now)))
        if all(map(self._holds, cells)) and self._replication.keeps(now.mono):
            out.append(Act(self._replication, self._replication.keep(now)))
            out += (Persist(), Send(source.session, Entrusted(message.query, message.part)))
        else:
            self._counts["not_held"] += 1

    def _holds(self, cell: Cell) -> bool:
        """Whether the own cell is at least this one: never inferred from claims."""
        own = self._replication.store.cell(cell.kind, cell.key)
        return own is not None and not above(cell, own)

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, Entrust):
            if source.name is not None:
                self._hold(message, source, now, out)
        elif isinstance(message, Entrusted):
            self._answered(message, source, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(timer, int) and timer in self._queries:
            self._ask(timer, now, out, again=True)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return {"queries": len(self._queries), **self._counts}
