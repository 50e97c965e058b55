"""What a replica keeps over its restarts, and in which order that is written and told.

    cell        by kind and key: every cell that has its dot
    replica     the vector, the clock, and the actors of this node so far

Rules, each with what breaks without it:

  - The cells of a step and the vector that covers them are one batch of records. (A vector that is durable before its cells
    claims what a crash has taken.) Of dots above the vector only a few are written: each is claimed again by the cell that
    carries it, and what is claimed beyond that is learnt again from others.
  - What this replica wrote is durable before its dot is sent. (Others have seen it, everyone dies, and it is gone.) As long as
    the disk takes nothing it is sent all the same, for then others are the only ones who can keep it; and nothing more is
    written here, nor said to be held here.
  - What others wrote is written behind, in batches: they have it.
  - A process never writes as an actor of before: it may not know all that those wrote. One whose entropy repeats itself does
    not start.
  - The number of the cut that the store is at is written with its cells. (Of an actor that the mesh has forgotten since, nobody
    could tell whether it had been retired before: what it wrote unseen would count as seen, and be lost; `crdt.returning`.)
  - The clock is written ahead of its use: `RESERVE` above what it shows, and again before it comes there. A process whose
    wall clock is below what it was goes on from there. (What had expired, and was shown to nobody any more, would be seen
    again: the disk knows of the last write, not of the last look.)
  - What is on the disk is in the store before there are peers, and the clock is above it. (A put would be lower than what it
    replaces.) But this machine's clock may have been wrong when it wrote: own stamps that are further ahead than clocks may
    differ, of the wall, of all that others wrote, and of when peers last agreed with this clock, were merged by nobody. Those
    cells are put again under the new actor, with stamps of now. (The clock would be dragged ahead, and everything that it
    stamps be merged by nobody.)"""

from __future__ import annotations

from typing import NamedTuple

from crdt.cell import COUNTER, KEY, Cell, CellError, cell_of, encode_cell, expiry_of, stamps_of
from crdt.clock import COUNTER_BITS, HybridClock, Instant, stamp_ms
from crdt.dots import NOTHING, Summary
from crdt.store import Place, Store
from mesh.directives import Record
from mesh.errors import MeshError
from mesh.memory import Memory
from mesh.records import DamagedRecordError, RecordKind
from mesh.wire import MAX_FRAME_BYTES, WireError, load

__all__ = ["CELLS", "ONLY", "REPLICA", "REPLICAS", "Keeper", "RepeatedActorError"]

CELLS = "cell"
REPLICAS = "replica"
ONLY = b""
"""The key of a table of one record."""
ACTORS = 64
"""Of this node, the last, whose cells are known as its own."""
EXTRAS = 256
"""Dots above the vector that are written with it: the first of them."""
CELL_DEPTH = 4
KIND_BYTES = 2
RESERVE = 5_000 << COUNTER_BITS
"""Stamps: 5 s. A node that does nothing writes one small record each half of it."""


class RepeatedActorError(MeshError):
    """The random session of this process is one that this node had before: its source of entropy repeats itself."""


class ReplicaNote(NamedTuple):
    claims: Summary
    clock: int
    """The highest stamp that it has given or followed."""
    actors: tuple[bytes, ...]
    """Sessions of this node, the newest last."""
    vouched: int
    """The last stamp at which this node's clock was with those of its peers: what it wrote until then it wrote rightly."""
    round: int = 0
    """The cut that these cells are at: what it forgot is not here, what it did not is."""
    reserved: int = 0
    """No stamp above it has been given or told since."""


REPLICA: RecordKind[ReplicaNote] = RecordKind(ReplicaNote)


def row_of(place: Place) -> bytes:
    return place[0].to_bytes(KIND_BYTES, "big") + place[1].encode()


def cell_from(data: bytes) -> Cell:
    """Raises `DamagedRecordError`."""
    try:
        return cell_of(load(data, MAX_FRAME_BYTES, CELL_DEPTH))
    except (WireError, CellError) as problem:
        raise DamagedRecordError(f"no cell: {problem}") from None


class Keeper:
    """Between one store and one memory."""

    __slots__ = ("_actors", "_claims", "_clock", "_memory", "_reserved", "_store", "_unsent", "_vouched", "counts", "round")

    def __init__(self, store: Store, clock: HybridClock, memory: Memory) -> None:
        self.round = 0
        """Of the cut that the store is at; what is told of it is written with the next cells."""
        self._reserved = 0
        self._store = store
        self._clock = clock
        self._memory = memory
        self._claims: Summary | None = None
        """As they were recorded last by this process."""
        self._vouched = 0
        self._unsent = False
        """Something that this replica wrote may not be durable yet."""
        self.counts = {"cells_read": 0, "cells_put_again": 0}
        data = memory.table(REPLICAS).get(ONLY)
        note = REPLICA.read(data) if data is not None else ReplicaNote(NOTHING, 0, (), 0)
        if store.actor in note.actors:
            raise RepeatedActorError(f"the session {store.actor.hex()} was this node's before: its source of entropy repeats")
        self._actors = (*note.actors, store.actor)[-ACTORS:]

    # --- at the start ------------------------------------------------------------------------------------------------

    def read(self, now: Instant) -> None:
        """Fill the store with what was kept."""
        memory, store, clock = self._memory, self._store, self._clock
        data = memory.table(REPLICAS).get(ONLY)
        note = REPLICA.read(data) if data is not None else ReplicaNote(NOTHING, 0, (), 0)
        cells = [cell_from(row) for row in memory.take(CELLS)]
        self.counts["cells_read"] = len(cells)
        own = frozenset(self._actors)
        wall = clock.read(now)
        known = [max(stamps_of(cell), default=0) for cell in cells if cell.actor not in own]
        self._vouched = note.vouched
        horizon = stamp_ms(max(wall, note.vouched, *known)) + clock.max_drift_ms
        ahead: list[Cell] = []
        whole: list[Cell] = []
        for cell in cells:
            (ahead if any(stamp_ms(stamp) > horizon for stamp in stamps_of(cell)) else whole).append(cell)
        highest = max([0, *[stamp for cell in whole for stamp in stamps_of(cell)]])
        used = note.clock if stamp_ms(note.clock) <= horizon else 0
        if stamp_ms(wall) < stamp_ms(used) - clock.max_drift_ms:
            used = max(used, note.reserved)  # the wall clock went back: all that was reserved may have been used
        clock.raise_floor(max(highest, used))
        self.round = note.round
        stamp = clock.read(now)
        store.restore(whole, NOTHING if ahead else note.claims, stamp)
        for cell in sorted(ahead, key=stamps_of):
            self._put_again(cell, now)
        store.keep()
        if ahead:
            store.flush()  # these have no fellows yet to be pushed to

    def _put_again(self, cell: Cell, now: Instant) -> None:
        """What was written under a clock that was wrong, as if it was written now. A lease that it ended stays so; the slot of
        a counter has its value whatever its stamps say."""
        self.counts["cells_put_again"] += 1
        store, stamp = self._store, self._clock.tick(now)
        if cell.kind == KEY and not cell.hash:
            expiry = expiry_of(cell)
            life = max(0, expiry - max(stamps_of(cell))) if expiry else 0
            old = store.cell(KEY, cell.key)
            if old is None or old.order[0] <= cell.order[0]:  # type: ignore[operator]
                store.put(cell.key, cell.body, stamp, stamp + life if life else 0, cell.bound, cell.order[0], cell.lock)  # type: ignore[arg-type]
        elif cell.kind == COUNTER:
            store.restore((cell,), NOTHING, stamp)
        elif cell.kind != KEY:
            store.end_lease(cell.key, stamp)

    # --- from then on ------------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        return self._store.is_dirty

    def ready(self, mono: int) -> bool:
        """Whether the disk takes what is recorded now, as far as is known."""
        return self._memory.ready(mono)

    @property
    def error(self) -> str:
        """Why the disk takes nothing; empty if it does."""
        return self._memory.error

    def is_due(self, now: Instant) -> bool:
        """Whether the clock comes near what is reserved."""
        return self._clock.read(now) + RESERVE // 2 > self._reserved

    def wrote(self) -> None:
        """Something was written here, and has its dot."""
        self._unsent = True

    def holds_back(self, mono: int) -> bool:
        """Whether what is sent now may tell of own writes that are not durable yet, and soon will be."""
        if not self._memory.pending and not self._store.is_dirty:
            self._unsent = False
        return self._unsent and self._memory.ready(mono)

    def records(self, now: Instant) -> tuple[Record, ...]:
        """What has changed since the last call. Every write has its dot: the window has just been flushed."""
        store = self._store
        assert not store.pending, "a cell without its dot is not kept, and its place would be claimed all the same"
        if store.actor != self._actors[-1]:  # another life of this process
            self._actors = (*self._actors, store.actor)[-ACTORS:]
        claims = store.dots.brief(EXTRAS)
        places = store.take_dirty()
        if not places and claims == self._claims and not self.is_due(now):
            return ()
        self._claims = claims
        records: list[Record] = []
        for place in places:
            cell = store.cell(*place)
            records.append((CELLS, row_of(place), None if cell is None else encode_cell(cell)))
        clock = self._clock
        if clock.offset() is not None and clock.check() is None:
            self._vouched = clock.read(now)
        stamp = clock.read(now)
        self._reserved = stamp + RESERVE
        note = ReplicaNote(claims, stamp, self._actors, self._vouched, self.round, self._reserved)
        records.append((REPLICAS, ONLY, REPLICA.write(note)))
        return tuple(records)
