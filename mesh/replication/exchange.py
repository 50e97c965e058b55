"""What comes from others: merging it, and pulling what is lacking.

    a push          is merged; what was new is passed on once (in a mesh that is larger than the fan-out)
    an announcement of what is too large to be pushed: who lacks it pulls
    a gap           (a dot above one that is missing) that lasts for eight windows is pulled, from the writer if it is alive

Every frame is unreliable and may come twice or late: a cell whose dot is claimed is ignored, and what was lost is found by
the next digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import cast

from crdt.batches import batch_of
from crdt.cell import Cell, expiry_of, is_dropped, stamps_of
from crdt.clock import HybridClock, Instant, Stamp
from crdt.dots import DotSet
from crdt.store import Store
from crdt.transfer import FIRST, missing, rest
from mesh.directives import Arm, Directive, Disarm, Emit, Send, Source
from mesh.replication.burden import LIMIT
from mesh.replication.events import Synced
from mesh.replication.freshness import Freshness
from mesh.replication.joining import Resume
from mesh.replication.keeping import Keeper
from mesh.replication.masks import Masks
from mesh.replication.messages import Chunk, Dot, Masked, Pull, Pushed
from mesh.replication.pulling import Pulling
from mesh.replication.spreading import FANOUT, runs_of
from mesh.replication.standing import Standing
from mesh.replication.syncing import Syncing
from mesh.replication.windows import MS, View, Windows

__all__ = ["Exchange"]

GAP_WINDOWS = 8
GAP_DELAY = 10 * MS
"""ns that a gap may last at least before it is pulled: eight of the shortest windows, and two."""
CHUNK_BYTES = 64 << 10


class Exchange(Windows):
    """Parameters
    ----------
    name_of: the living member whose process an actor is, if any: a gap is pulled from its writer.
    """

    chunk_bytes = CHUNK_BYTES
    """Of one answer to a pull, if it is of more than one cell."""

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        view: View,
        name_of: Callable[[bytes], str | None],
        standing: Standing | None,
        keeper: Keeper | None,
        max_fading: int = LIMIT,
    ) -> None:
        super().__init__(store, clock, random, view, standing, keeper, max_fading)
        self._name_of = name_of
        self._gap_armed = False
        self._pulling = Pulling()
        self._pull_next = ""
        """A member that announced something while another transfer ran."""
        self._syncing = Syncing()
        self._freshness = Freshness()
        self._masks = Masks(clock.max_drift_ms)

    # --- merging -----------------------------------------------------------------------------------------------------

    def _pushed(self, news: Iterable[Pushed], source: Source, now: Instant, out: list[Directive]) -> None:
        store = self.store
        passing = len(self._view.names_alive()) > FANOUT
        wanting = False
        for run in runs_of(cast("Iterable[tuple[Cell, int]]", news)):
            fresh = [(cell, previous) for cell, previous in run if not store.dots.covers(cell.actor, cell.n)]
            stamps = [self._admit(cell, now) for cell, _ in fresh]
            if not fresh or None in stamps:
                continue
            (cell, _), stamp = fresh[0], stamps[-1]
            assert stamp is not None
            alone = is_dropped(cell) and expiry_of(cell) > stamp
            if alone:
                done = store.apply_touch(cell, stamp) is not None
            elif batch_of(cell) is not None:
                done = store.apply_together([cell for cell, _ in fresh], stamp)
            else:
                done = store.apply(cell, stamp) is not None
            if not done:
                wanting = True
                continue
            for cell, previous in fresh:
                store.claim_previous(cell, previous)
                if passing:
                    self._forward[cell.kind, cell.key] = (source.name, (cell.actor, cell.n), previous)
        self._merged(now, out)
        if wanting and source.name is not None:
            self._pull(source.name, now, out)

    def _admit(self, cell: Cell, now: Instant) -> Stamp | None:
        """The moment to merge it at; None if its clock is too far ahead, and it is masked."""
        clock = self._clock
        if len(self._masks) and self._masks.hides(cell.actor, cell.n, clock.read(now)):
            return None
        stamps = stamps_of(cell)
        for stamp in stamps:
            if not clock.merge(stamp, now):
                self._masks.add(cell.actor, cell.n, max(stamps))
                self._counts["masked_cells"] += 1
                return None
        return clock.read(now)

    def _merged(self, now: Instant, out: list[Directive]) -> None:
        self._changed(now, out)
        if self._forward:
            self._arm_flush(now, out)
        self._check_syncs(out)
        self._seek_gaps(now, out)

    def _announced(self, dots: Iterable[Dot], source: Source, now: Instant, out: list[Directive]) -> None:
        claimed, stamp = self.store.dots, self._clock.read(now)
        if source.name is None or all(claimed.covers(*dot) or self._masks.hides(*dot, stamp) for dot in dots):
            return
        if not self._pull(source.name, now, out):
            self._pull_next = source.name

    def _check_syncs(self, out: list[Directive]) -> None:
        if len(self._syncing):
            for query in self._syncing.fulfilled(self.store.dots):
                out.append(Emit(Synced(query)))

    # --- gaps and pulls ----------------------------------------------------------------------------------------------

    def _seek_gaps(self, now: Instant, out: list[Directive]) -> None:
        if not self._gap_armed and self.store.dots.gaps():
            self._gap_armed = True
            out.append(Arm("gap", now.mono + max(GAP_DELAY, GAP_WINDOWS * self._window.length)))

    def _pull_gap(self, now: Instant, out: list[Directive]) -> None:
        others = self._view.names_alive()
        gaps = self.store.dots.gaps()
        if not gaps or not others:
            return
        for actor in gaps:
            writer = self._name_of(actor)
            if writer is not None and writer in others:
                self._pull(writer, now, out)
                return
        self._pull(self._random.choice(others), now, out)

    def _pull(self, name: str, now: Instant, out: list[Directive]) -> bool:
        """Ask for everything that is lacking here; False if another transfer is under way."""
        session = self._view.session(name)
        if session is None or self._closed:
            return False
        self._flush(now, out)
        transfer = self._pulling.transfer
        if not self._pulling.begin(session, self.store.dots.summary(), now.mono):
            return False
        if self._pulling.transfer is not transfer:
            self.store.forget_waiting()
        self._counts["pulls"] += 1
        self._ask(now, out)
        return True

    def _ask(self, now: Instant, out: list[Directive]) -> None:
        transfer = self._pulling.transfer
        assert transfer is not None
        masked = tuple([Masked(actor, n) for actor, n in self._masks.active(self._clock.read(now))])
        out.append(Send(self._pulling.sender, Pull(self._pulling.number, transfer.known, masked, transfer.after)))
        out.append(Arm("pull", now.mono + self._pulling.patience))

    def _serve(self, ask: Pull, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._flush(now, out)
        snapshot = self.store.dots.summary() if ask.after == FIRST else None
        if self.standing is not None:
            self.standing.sent = True
        part = missing(
            self.store, DotSet(ask.have), dict(ask.masked), ask.after, self.chunk_bytes, everything=ask.everything
        )  # fmt: skip
        self._counts["cells_served"] += len(part.cells)
        chunk = Chunk(ask.pull, ask.after, snapshot, tuple(part.cells), part.last, part.done, part.complete)
        out.append(Send(source.session, chunk))

    def _serve_rest(self, ask: Resume, source: Source, now: Instant, out: list[Directive]) -> None:
        """To a joiner whom another sponsor has served until it died."""
        if source.name is None or self.standing is None:
            return
        self._flush(now, out)
        self.standing.sent = True
        cut = self.standing.cut
        known = None
        if cut.forgotten <= ask.round:
            known = DotSet(ask.snapshot)
            known.retire([each.actor for each in cut.retired if each.round <= ask.round])
        snapshot = self.store.dots.summary() if ask.after == FIRST else None
        part = rest(self.store, known, ask.upto, ask.after, self.chunk_bytes, ask.holes)
        self._counts["cells_served"] += len(part.cells)
        self._counts["joins_resumed"] += snapshot is not None
        out.append(Send(source.session, Chunk(ask.pull, ask.after, snapshot, tuple(part.cells), part.last, part.done, True)))

    def _chunk(self, chunk: Chunk, source: Source, now: Instant, out: list[Directive]) -> None:
        store = self.store
        if self._closed:
            self._stood(lambda standing: standing.joined(chunk, source, self._admit, now, out), now, out)
            if not self._closed:
                self._merged(now, out)
            return
        merged = True
        for cell in chunk.cells:
            assert isinstance(cell, Cell)
            if store.dots.covers(cell.actor, cell.n):
                continue
            stamp = self._admit(cell, now)
            if stamp is None:
                merged = False
            else:
                store.apply(cell, stamp)
        transfer = self._pulling.received(chunk, source.session, merged, now.mono)
        if transfer is not None:
            if chunk.done:
                if transfer.finish(store) and source.name is not None:
                    self._freshness.note(source.name, self._pulling.began)
                self._pulling.end()
                out.append(Disarm("pull"))
                name, self._pull_next = self._pull_next, ""
                if name:
                    self._pull(name, now, out)
            else:
                self._ask(now, out)
        self._merged(now, out)

    def _stood(self, act: Callable[[Standing], object], now: Instant, out: list[Directive]) -> None:
        """What may change the store, or how this process stands."""
        standing = self.standing
        assert standing is not None
        was_open = standing.open
        act(standing)
        if was_open and not standing.open:
            self._pulling.end()
            out.append(Disarm("pull"))
        self._changed(now, out)
        if self.store.pending:
            self._arm_flush(now, out)
