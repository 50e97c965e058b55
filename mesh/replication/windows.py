"""Windows: what is written or passed on within a moment leaves together, and is recorded with what covers it.

Whatever states a summary flushes the window first, in the same step: a write that others could see without its dot would
be claimed by nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Protocol

from crdt.cell import Cell, drop
from crdt.clock import COUNTER_BITS, HybridClock, Instant, Stamp
from crdt.store import Place, Store
from mesh.directives import Arm, Directive, Directives, Emit, Persist, Record, Send
from mesh.replication.burden import LIMIT, Burden
from mesh.replication.events import Changed
from mesh.replication.keeping import Keeper
from mesh.replication.spreading import Window, choose, news_of
from mesh.replication.standing import Standing

__all__ = ["MS", "View", "Windows"]

MS = 1_000_000
KEEP_WITHIN = 50 * MS
"""ns within which what others wrote is recorded: they have it."""


class View(Protocol):
    """What gossip says of the members, this node left out."""

    def names_alive(self) -> Sequence[str]: ...
    def session(self, name: str) -> bytes | None:
        """Of the member's newest process."""


class Windows:
    """Parameters
    ----------
    store: the cells of this node.
    clock: its hybrid logical clock.
    random: for the choice of partners.
    view: the members.
    standing: to the cuts; without one nothing is ever forgotten here.
    keeper: what keeps the store on a disk, if there is one.
    max_fading: keys that may wait to be forgotten while cuts stand still.
    """

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        view: View,
        standing: Standing | None,
        keeper: Keeper | None,
        max_fading: int = LIMIT,
    ) -> None:
        self.store = store
        self.standing = standing
        self._clock = clock
        self._random = random
        self._view = view
        self._keeper = keeper
        self._recording = False
        """What has changed is recorded in this step."""
        self._keep_armed = False
        self._window = Window()
        self._flush_armed = False
        self._expiry_armed: Stamp | None = None
        self._touched: dict[str, None] = {}
        """Keys of this window whose put others have been told already: only the touch need travel."""
        self._forward: dict[Place, tuple[str | None, tuple[bytes, int], int]] = {}
        """What was new and is to be passed on: from whom it came, its dot, and its writer's previous dot."""
        self._counts: Counter[str] = Counter()
        self._burden = Burden(max_fading)

    @property
    def round(self) -> int:
        """Of the cut that this store is at."""
        return 0 if self.standing is None else self.standing.cut.round

    @property
    def _closed(self) -> bool:
        """Nothing of the store leaves, and nothing is merged."""
        return self.standing is not None and not self.standing.open

    @property
    def _silent(self) -> bool:
        """Nothing of the store leaves by itself."""
        return self.standing is not None and (not self.standing.open or self.standing.outdated)

    def _written(self, now: Instant) -> Directives:
        out: list[Directive] = []
        self._changed(now, out)
        self._arm_flush(now, out)
        return out

    def _changed(self, now: Instant, out: list[Directive]) -> None:
        """Tell what readers see differently, and wake up when the next value expires."""
        changes, counters = self.store.take_changes()
        if changes or counters:
            out.append(Emit(Changed(changes, counters)))
        due = self.store.next_expiry()
        if due is not None and (self._expiry_armed is None or due < self._expiry_armed):
            self._expiry_armed = due
            wait_ms = (due - self._clock.read(now) + (1 << COUNTER_BITS) - 1) >> COUNTER_BITS
            out.append(Arm("expiry", now.mono + max(1, wait_ms) * MS))  # never in this very step: the rest has its turn

    def _arm_flush(self, now: Instant, out: list[Directive]) -> None:
        if not self._flush_armed:
            self._flush_armed = True
            out.append(Arm("flush", self._window.due(now.mono)))

    def _flush(self, now: Instant, out: list[Directive]) -> None:
        """End the window: dots for what was written, and a push of that and of what is to be passed on."""
        self._flush_armed = False
        written = self.store.flush()
        if written:
            self._wrote()
        self._changed(now, out)
        touched, self._touched = self._touched, {}
        forward, self._forward = self._forward, {}
        if not written and not forward:
            return
        self._window.ended(now.mono, len(written) + len(forward))
        names = self._view.names_alive()
        if not names or self._silent:
            return
        if written:
            cells = [(drop(cell) if touched and cell.key in touched else cell, previous) for cell, previous in written]
            self._push(cells, choose(names, self._random), out)
        by_origin: dict[str | None, list[tuple[Cell, int]]] = {}
        for (kind, key), (origin, dot, previous) in forward.items():
            cell = self.store.cell(kind, key)
            if cell is not None and cell.n:
                # What replaced it meanwhile has another writer, of whom the previous dot says nothing.
                by_origin.setdefault(origin, []).append((cell, previous if dot == (cell.actor, cell.n) else 0))
        for origin, group in by_origin.items():
            self._push(group, choose(names, self._random, but=origin), out)

    def _wrote(self) -> None:
        if self._keeper is not None:
            self._recording = True
            self._keeper.wrote()

    def _kept(self, now: Instant, out: list[Directive]) -> Directives:
        """The end of a step: what has changed is recorded, at once if it was written here, else soon; and what may tell of
        own writes leaves behind their records. (What only tells the own process waits for nothing.)"""
        keeper = self._keeper
        if keeper is None:
            return out
        back = keeper.holds_back(now.mono)
        records: tuple[Record, ...] = ()
        if self._recording:
            if self.store.pending:  # what a cut that came in this step let be put again
                self._flush(now, out)
            self._recording = False
            if self.standing is not None:
                keeper.round = self.standing.applied
            records = keeper.records(now)
        if keeper.dirty and not self._keep_armed:
            self._keep_armed = True
            out.append(Arm("keep", now.mono + KEEP_WITHIN))
        if not back:
            return [*out, Persist(records)] if records else out
        sends = [each for each in out if isinstance(each, Send)]
        if not sends and not records:
            return out
        return [*[each for each in out if not isinstance(each, Send)], Persist(records), *sends]

    def _push(self, cells: Sequence[tuple[Cell, int]], names: Sequence[str], out: list[Directive]) -> None:
        if self.standing is not None:
            self.standing.sent = True
        for message in news_of(cells):
            for name in names:
                out.append(Send(name, message))
        self._counts["cells_pushed"] += len(cells) * len(names)
