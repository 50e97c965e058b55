"""The part that keeps stores equal.

    a local write   is visible at once; its window ends; its cells get their dots and are pushed to a few members
    a push          is merged; what was new is passed on once (in a mesh that is larger than the fan-out)
    an announcement of what is too large to be pushed: who lacks it pulls
    a gap           (a dot above one that is missing) that lasts for eight windows is pulled, from the writer if it is alive
    a digest        goes to one random member a second; unequal ones make both sides pull

Whatever states a summary flushes the window first, in the same step: a write that others could see without its dot would
be claimed by nobody. Every frame is unreliable and may come twice or late: a cell whose dot is claimed is ignored, and what
was lost is found by the next digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from random import Random
from typing import Protocol, cast

from crdt.cell import Cell, drop, expiry_of, is_dropped, stamps_of
from crdt.clock import COUNTER_BITS, HybridClock, Instant, Stamp
from crdt.cuts import Cut
from crdt.dots import DotSet, Summary
from crdt.store import Place, Put, Store
from crdt.transfer import FIRST, missing
from mesh.directives import (
    Arm,
    Bye,
    Directive,
    Directives,
    Disarm,
    Emit,
    Event,
    Marked,
    Message,
    Persist,
    Record,
    Send,
    Source,
)  # fmt: skip
from mesh.replication.cut_messages import CutAsk, CutNews, JoinAsk, Open, Welcome
from mesh.replication.events import Changed, Synced
from mesh.replication.freshness import Freshness
from mesh.replication.keeping import Keeper
from mesh.replication.masks import Masks
from mesh.replication.messages import Announce, Chunk, Digest, Dot, Masked, Pull, Push, Pushed, Vector, VectorAsk
from mesh.replication.pulling import REPEAT, Pulling
from mesh.replication.spreading import FANOUT, Window, choose, news_of, runs_of
from mesh.replication.standing import Standing
from mesh.replication.syncing import Syncing

__all__ = ["Replication", "View"]

MS = 1_000_000
DIGEST_INTERVAL = 1_000 * MS
"""ns between two digests of one node."""
GAP_WINDOWS = 8
GAP_DELAY = 10 * MS
"""ns that a gap may last at least before it is pulled: eight of the shortest windows, and two."""
SYNC_RETRY = 200 * MS
CHUNK_BYTES = 64 << 10
KEEP_WITHIN = 50 * MS
"""ns within which what others wrote is recorded: they have it."""
EXPIRED_AT_ONCE = 256
"""Values that one step drops, which takes about 2 ms; the others are dropped in the next ones, a ms apart."""


class View(Protocol):
    """What gossip says of the members, this node left out."""

    def names_alive(self) -> Sequence[str]: ...
    def session(self, name: str) -> bytes | None:
        """Of the member's newest process."""


class Replication:
    """Parameters
    ----------
    store: the cells of this node.
    clock: its hybrid logical clock.
    random: for the choice of partners.
    view: the members.
    name_of: the living member whose process an actor is, if any: a gap is pulled from its writer.
    standing: to the cuts; without one nothing is ever forgotten here.
    keeper: what keeps the store on a disk, if there is one.
    """

    name = "replication"
    messages = (
        Push, Announce, Digest, Pull, Chunk, VectorAsk, Vector, CutAsk, CutNews, JoinAsk, Welcome, Open,
    )  # fmt: skip
    hears = (Bye, Marked)
    chunk_bytes = CHUNK_BYTES
    """Of one answer to a pull, if it is of more than one cell."""

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        view: View,
        name_of: Callable[[bytes], str | None] = lambda actor: None,
        standing: Standing | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.store = store
        self._keeper = keeper
        self._recording = False
        """What has changed is recorded in this step."""
        self._keep_armed = False
        self._clock = clock
        self._random = random
        self._view = view
        self.standing = standing
        self._name_of = name_of
        self._window = Window()
        self._flush_armed = False
        self._expiry_armed: Stamp | None = None
        self._gap_armed = False
        self._pulling = Pulling()
        self._pull_next = ""
        """A member that announced something while another transfer ran."""
        self._syncing = Syncing()
        self._freshness = Freshness()
        self._masks = Masks(clock.max_drift_ms)
        self._touched: dict[str, None] = {}
        """Keys of this window whose put others have been told already: only the touch need travel."""
        self._forward: dict[Place, tuple[str | None, tuple[bytes, int], int]] = {}
        """What was new and is to be passed on: from whom it came, its dot, and its writer's previous dot."""
        self._counts: Counter[str] = Counter()

    # --- local commands ----------------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        body: bytes | None,
        now: Instant,
        *,
        ttl_ms: int = 0,
        bound: str | None = None,
        fence: int = 0,
        lock: str = "",
    ) -> tuple[Stamp, Directives]:
        """Put a value, or delete with a body of None; its stamp. `fence`: under that token of `lock`.

        Raises
        ------
        StoreFencedError: the key's cell carries a higher fence, or one of another lock. Nothing was written.
        """
        stamp = self._clock.tick(now)
        expiry = stamp + (ttl_ms << COUNTER_BITS) if ttl_ms else 0
        self.store.put(key, body, stamp, expiry, bound, fence, lock)
        if self._touched:
            self._touched.pop(key, None)
        return stamp, self._written(now)

    def put_batch(self, puts: Sequence[Put], now: Instant, *, fence: int = 0, lock: str = "") -> tuple[Stamp, Directives]:
        """Put several keys, or delete them, so that every replica sees all or none; their stamp. The expiry of each is given in
        ms from now. Raises `StoreFencedError` as `put` does; then nothing was written."""
        self.store.check_fences(puts, fence, lock)  # before the window ends: what that answers must not be lost
        out: list[Directive] = []
        self._flush(now, out)
        stamp = self._clock.tick(now)
        stamped = [put._replace(expiry=stamp + (put.expiry << COUNTER_BITS)) if put.expiry else put for put in puts]
        written = self.store.put_batch(stamped, stamp, fence, lock)
        self._changed(now, out)
        self._window.ended(now.mono, len(written))
        names = self._view.names_alive()
        if names and not self._closed:
            self._push(written, choose(names, self._random), out)
        self._wrote()
        return stamp, self._kept(now, out)

    def touch(self, key: str, ttl_ms: int, now: Instant) -> tuple[bool, Directives]:
        """Extend the life of a value that is visible and has a ttl; False if there is none. It never shortens one."""
        stamp = self._clock.tick(now)
        before = self.store.peek(key)
        cell = self.store.touch(key, stamp, stamp + (ttl_ms << COUNTER_BITS))
        if before is not None and before.n and cell is not None and not cell.n:
            self._touched[key] = None
        return cell is not None and expiry_of(cell) > 0, self._written(now)

    def add(self, counter: str, n: int, now: Instant) -> Directives:
        """Add to a counter (subtract, if n is negative)."""
        self.store.add(counter, n, self._clock.tick(now))
        return self._written(now)

    def add_more(self, counter: str, n: int) -> bool:
        """Add to a counter that this window has added to: there is nothing to perform, it leaves with the window, and watchers
        are told then. False, and nothing is done, if it has not: `add` then. (A command of the node for each add takes twenty
        times as long.)"""
        return self.store.add_more(counter, n)

    def set_counter(self, counter: str, base: int, now: Instant) -> Directives:
        """Let a counter stand at a number, from a new epoch on."""
        self.store.set_counter(counter, base, self._clock.tick(now))
        return self._written(now)

    def lag(self, now: Instant) -> int:
        """ns since this replica was last heard to have all that the others had: the longest of those alive; 0 if alone."""
        return self._freshness.lag(self._view.names_alive(), now.mono)

    def end_lease(self, lease: str, now: Instant) -> Directives:
        """State that a lease has ended: what is bound to it is gone on every replica. Idempotent."""
        if not self.store.end_lease(lease, self._clock.tick(now)):
            return ()
        return self._written(now)

    def flush(self, now: Instant) -> Directives:
        """End the window at once: what was written has its dots, and leaves."""
        out: list[Directive] = []
        self._flush(now, out)
        return self._kept(now, out)

    def keep(self, now: Instant) -> Directives:
        """Record what has changed: whatever the caller puts behind a barrier waits until it is durable."""
        out: list[Directive] = []
        self._flush(now, out)
        self._recording = True
        return self._kept(now, out)

    @property
    def trouble(self) -> str:
        """Why nothing that is written here now would be kept; empty if it is, or nothing ever is."""
        return "" if self._keeper is None else self._keeper.error

    def keeps(self, mono: int) -> bool:
        """Whether it can be said of what is held here that it is kept, as far as this node keeps anything."""
        return self._keeper is None or self._keeper.ready(mono)

    def take(self, cells: Sequence[Cell], source: Source, now: Instant) -> Directives:
        """Merge cells that somebody wants to be held here."""
        out: list[Directive] = []
        pushed = Push(tuple([Pushed(cell, 0) for cell in cells]))
        if self.standing is None or self.standing.admits(pushed, source, out):
            self._pushed(pushed.news, source, now, out)
        return self._kept(now, out)

    def begin_sync(self, query: int, now: Instant) -> Directives:
        """Emit `Synced(query)` once this replica has what one sponsor and two more members (or all there are) had at a
        moment after this call."""
        out: list[Directive] = []
        for name, message in self._syncing.begin(query, self._view.names_alive(), self._random):
            out.append(Send(name, message))
        self._check_syncs(out)
        if len(self._syncing):
            out.append(Arm("sync", now.mono + SYNC_RETRY))
        return out

    def end_sync(self, query: int) -> None:
        """Nobody waits for it any more."""
        self._syncing.drop(query)

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._freshness.begins(now.mono)
        out: list[Directive] = [Arm("digest", now.mono + self._random.randrange(DIGEST_INTERVAL))]
        self._changed(now, out)  # what was kept is shown from the start
        self._recording = True
        return self._kept(now, out)

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, CutAsk | CutNews | JoinAsk | Welcome | Open):
            if self.standing is not None:
                self._flush(now, out)
                self._stood(lambda standing: standing.on_message(message, source, now, out), now, out)
            return out
        if self.standing is not None and not self.standing.admits(message, source, out):
            return out
        match message:
            case Push(news):
                self._pushed(news, source, now, out)
            case Announce(dots):
                self._announced(dots, source, now, out)
            case Digest(digest, answer):
                self._compare(digest, answer, source, now, out)
            case Pull():
                self._serve(message, source, now, out)
            case Chunk():
                self._chunk(message, source, now, out)
            case VectorAsk(query):
                self._flush(now, out)
                if source.name is not None:
                    out.append(Send(source.session, Vector(query, self.store.dots.summary())))
            case Vector(query, summary):
                self._told(query, summary, source, now, out)
        return self._kept(now, out)

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        match timer:
            case "flush":
                self._flush(now, out)
            case "expiry":
                self._expiry_armed = None
                self.store.expire(self._clock.read(now), EXPIRED_AT_ONCE)
                self._changed(now, out)
            case "digest":
                out.append(Arm("digest", now.mono + DIGEST_INTERVAL))
                self._digest(now, out)
            case "gap":
                self._gap_armed = False
                self._pull_gap(now, out)
            case "pull":
                if self._pulling.repeat():
                    self._counts["pulls_repeated"] += 1
                    self._ask(now, out)
            case "join":
                if self.standing is not None:
                    self.standing.ask(now, out)
            case "sync":
                for name, message in self._syncing.again(self._view.names_alive(), self._random):
                    out.append(Send(name, message))
                self._check_syncs(out)
                if len(self._syncing):
                    out.append(Arm("sync", now.mono + SYNC_RETRY))
            case "keep":
                self._keep_armed = False
                self._flush(now, out)
                self._recording = True
        return self._kept(now, out)

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, Bye):
            self._flush(now, out)
        elif isinstance(event, Marked) and self.standing is not None:
            self.standing.heard(event.session, event.mark, out)
        return self._kept(now, out)

    def stats(self) -> dict[str, int]:
        standing = self.standing.stats() if self.standing is not None else {}
        kept = self._keeper.counts if self._keeper is not None else {}
        return {
            "masked_actors": len(self._masks),
            "waiting_batch_cells": self.store.waiting,
            **self._counts,
            **standing,
            **kept,
        }

    # --- cuts --------------------------------------------------------------------------------------------------------

    def meet(self, cut: Cut, now: Instant, *, over: bool = False) -> Directives:
        """Apply a cut that was agreed; `over`: although it leaves this member out, as all that it counts have died."""
        out: list[Directive] = []
        self._flush(now, out)
        self._stood(lambda standing: (standing.take_over if over else standing.meet)(cut, now, out), now, out)
        return self._kept(now, out)

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

    def leaves(self) -> bool:
        """Whether something of the store may leave now; it counts as having left from then on."""
        if self._closed:
            return False
        if self.standing is not None:
            self.standing.sent = True
        return True

    @property
    def _closed(self) -> bool:
        """Nothing of the store leaves, and nothing is merged."""
        return self.standing is not None and not self.standing.open

    # --- windows -----------------------------------------------------------------------------------------------------

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
        if not names or self._closed:
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
            self._recording = False
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
            elif cell.batch is not None:
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
        out.append(Arm("pull", now.mono + REPEAT))

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

    # --- digests and vectors -----------------------------------------------------------------------------------------

    def _digest(self, now: Instant, out: list[Directive]) -> None:
        others = self._view.names_alive()
        if others and not self._closed:
            self._flush(now, out)
            out.append(Send(self._random.choice(others), Digest(self.store.dots.digest(), False)))
            self._counts["digests"] += 1

    def _compare(self, digest: bytes, answer: bool, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._flush(now, out)
        if digest == self.store.dots.digest():
            self._freshness.note(source.name, now.mono)
            return
        self._counts["unequal_digests"] += 1
        if not answer:
            out.append(Send(source.session, Digest(self.store.dots.digest(), True)))
        self._pull(source.name, now, out)

    def _told(self, query: int, summary: Summary, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._syncing.answered(query, source.name, summary)
        self._check_syncs(out)
        if not self.store.dots.covers_all(summary):
            self._pull(source.name, now, out)

    def _check_syncs(self, out: list[Directive]) -> None:
        if len(self._syncing):
            for query in self._syncing.fulfilled(self.store.dots):
                out.append(Emit(Synced(query)))
