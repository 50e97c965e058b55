"""The part that keeps stores equal.

    a local write   is visible at once; its window ends; its cells get their dots and are pushed to a few members
    a push          is merged; what was new is passed on once (in a mesh that is larger than the fan-out)
    a gap           (a dot above one that is missing) that lasts for eight windows is pulled, from the writer if it is alive
    a digest        goes to one random member a second; unequal ones make both sides pull

Whatever states a summary flushes the window first, in the same step. Every frame is unreliable and may come twice or late:
a cell whose dot is claimed is ignored, and what was lost is found by the next digest."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import Protocol

from crdt.cell import (
    ACTOR,
    COUNTER,
    FENCE,
    KEY,
    LEASE_END,
    STAMP,
    ZERO_ACTOR,
    Cell,
    Order,
    counter_key,
    stamp_of,
    well_formed,
)
from crdt.clock import COUNTER_BITS, HybridClock, Instant
from crdt.dots import DotSet, Summary
from crdt.store import Change, Store
from mesh.directives import Arm, Bye, Directive, Directives, Emit, Event, Message, Send, Source
from mesh.replication.events import Changed, Synced
from mesh.replication.masks import Masks
from mesh.replication.messages import Chunk, Digest, Masked, Pull, Push, Vector, VectorAsk
from mesh.replication.pulling import Pulling
from mesh.replication.spreading import FANOUT, Window, choose, packets, size_of
from mesh.replication.syncing import Syncing

__all__ = ["Replication", "View"]

DIGEST_INTERVAL = 1_000_000_000
"""ns between two digests of one node."""
GAP_WINDOWS = 8
GAP_DELAY = 10_000_000
"""ns that a gap may last at least before it is pulled: eight of the shortest windows, and two."""
CHUNK_BYTES = 64 << 10
EXPIRIES = 1_000
"""Values that expire in one step at the most; the rest follow in the next, so that the node stays responsive."""
SERVED = 16
"""Transfers that are served at once; the asker of one that was dropped resumes behind its last key."""
MS = 1_000_000


class View(Protocol):
    """What gossip says of the members, this node left out."""

    def names_alive(self) -> Sequence[str]: ...


class Replication:
    """Parameters
    ----------
    store: the cells of this node.
    clock: its hybrid logical clock.
    random: for the choice of partners.
    view: the members.
    name_of: the living member whose process an actor is, if any: a gap is pulled from its writer.
    """

    name = "replication"
    messages = (Push, Digest, Pull, Chunk, VectorAsk, Vector)

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        view: View,
        name_of: Callable[[bytes], str | None] = lambda actor: None,
    ) -> None:
        self.store = store
        self._clock = clock
        self._random = random
        self._view = view
        self._name_of = name_of
        self._window = Window()
        self._flush_armed = False
        self._expiry_armed: int | None = None
        self._gap_armed = False
        self._pulling = Pulling()
        self._syncing = Syncing()
        self._masks = Masks(clock.max_drift_ms)
        self._forward: dict[tuple[int, str], str | None] = {}
        self._serving: OrderedDict[tuple[bytes, int], tuple[Summary, list[tuple[int, str]]]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    # --- local commands ----------------------------------------------------------------------------------------------

    def put(
        self, key: str, body: bytes | None, now: Instant, *, ttl_ms: int = 0, bound: str | None = None
    ) -> tuple[int, Directives]:
        """Put a value, or delete with a body of None; its stamp."""
        stamp = self._clock.tick(now)
        actor = self.store.actor
        expiry = stamp + (ttl_ms << COUNTER_BITS) if ttl_ms else 0
        changes = self.store.write(KEY, key, (0, stamp, actor, expiry, stamp, actor), body, bound)
        return stamp, self._written(changes, now)

    def touch(self, key: str, ttl_ms: int, now: Instant) -> tuple[bool, Directives]:
        """Extend the life of a value that is visible and has a ttl; False if there is none. It never shortens one."""
        cell = self.store.visible(key, self._clock.read(now))
        if cell is None or not cell.expiry:
            return False, ()
        stamp = self._clock.tick(now)
        expiry = stamp + (ttl_ms << COUNTER_BITS)
        if stamp >= cell.expiry:
            return False, ()
        if expiry <= cell.expiry:
            return True, ()
        fence, put_stamp, put_actor = cell.order[FENCE], cell.order[STAMP], cell.order[ACTOR]
        order: Order = (fence, put_stamp, put_actor, expiry, stamp, self.store.actor)
        return True, self._written(self.store.write(KEY, key, order, cell.body, cell.bound), now)

    def add(self, counter: str, n: int, now: Instant) -> Directives:
        """Add to a counter (subtract, if n is negative)."""
        key = counter_key(counter, self.store.actor)
        slot = self.store.get(COUNTER, key)
        stamp, actor, added, subtracted = (0, ZERO_ACTOR, 0, 0) if slot is None else slot.order
        assert isinstance(added, int) and isinstance(subtracted, int)
        order: Order = (stamp, actor, added + max(n, 0), subtracted + max(-n, 0))
        body = None if slot is None else slot.body
        return self._written(self.store.write(COUNTER, key, order, body if body is not None else b""), now)

    def end_lease(self, lease: str, now: Instant) -> Directives:
        """State that a lease has ended: what is bound to it is gone on every replica. Idempotent."""
        if self.store.has_ended(lease):
            return ()
        order: Order = (self._clock.tick(now), self.store.actor)
        return self._written(self.store.write(LEASE_END, lease, order, b""), now)

    def mark(self, now: Instant) -> tuple[Summary, Directives]:
        """All that this replica has now."""
        out: list[Directive] = []
        self._flush(now, out)
        return self.store.summary(), out

    def begin_sync(self, query: int, now: Instant, mark: Summary | None = None) -> Directives:
        """Emit `Synced(query)` once this replica has what one sponsor and two more members (or all there are) had at a
        moment after this call, or what `mark` states."""
        out: list[Directive] = []
        for name, message in self._syncing.begin(query, self._others(), self._random, mark):
            out.append(Send(name, message))
        self._check_syncs(out)
        if len(self._syncing):
            out.append(Arm("sync", now.mono + 200 * MS))
        return out

    def end_sync(self, query: int) -> None:
        """Nobody waits for it any more."""
        self._syncing.drop(query)

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return (Arm("digest", now.mono + self._random.randrange(DIGEST_INTERVAL)),)

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        match message:
            case Push(cells):
                self._merge(cells, source, now, out)
                self._seek_gaps(now, out)
            case Digest(digest, answer):
                self._compare(digest, answer, source, now, out)
            case Pull():
                self._serve(message, source, now, out)
            case Chunk():
                self._chunk(message, source, now, out)
            case VectorAsk(query):
                self._flush(now, out)
                if source.name is not None:
                    out.append(Send(source.name, Vector(query, self.store.summary())))
            case Vector(query, summary):
                if source.name is not None:
                    self._syncing.answered(query, source.name, summary)
                    self._check_syncs(out)
                    if not self.store.claimed.includes(summary):
                        self._pull(source.name, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        match timer:
            case "flush":
                self._flush(now, out)
            case "expiry":
                self._expire(now, out)
            case "digest":
                out.append(Arm("digest", now.mono + DIGEST_INTERVAL))
                self._digest(now, out)
            case "gap":
                self._gap_armed = False
                self._pull_gap(now, out)
            case "sync":
                for name, message in self._syncing.again(self._others(), self._random):
                    out.append(Send(name, message))
                self._check_syncs(out)
                if len(self._syncing):
                    out.append(Arm("sync", now.mono + 200 * MS))
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, Bye):
            out: list[Directive] = []
            self._flush(now, out)
            return out
        return ()

    def stats(self) -> dict[str, int]:
        return {"cells": len(self.store), "masked_actors": len(self._masks), **self._counts}

    # --- windows -----------------------------------------------------------------------------------------------------

    def _written(self, changes: list[Change], now: Instant) -> Directives:
        out: list[Directive] = []
        if changes:
            out.append(Emit(Changed(tuple(changes))))
        self._arm_flush(now, out)
        self._arm_expiry(now, out)
        return out

    def _arm_flush(self, now: Instant, out: list[Directive]) -> None:
        if not self._flush_armed:
            self._flush_armed = True
            out.append(Arm("flush", self._window.due(now.mono)))

    def _flush(self, now: Instant, out: list[Directive]) -> None:
        """End the window: dots for what was written, and a push of that and of what is to be passed on."""
        self._flush_armed = False
        cells = self.store.flush()
        forward, self._forward = self._forward, {}
        if not cells and not forward:
            return
        self._window.ended(now.mono, len(cells) + len(forward))
        names = self._view.names_alive()
        if not names:
            return
        if cells:
            self._push(cells, choose(names, self._random), out)
        by_origin: dict[str | None, list[Cell]] = {}
        for (kind, key), origin in forward.items():
            cell = self.store.get(kind, key)
            if cell is not None and cell.n:
                by_origin.setdefault(origin, []).append(cell)
        for origin, group in by_origin.items():
            self._push(group, choose(names, self._random, but=origin), out)

    def _push(self, cells: Sequence[Cell], names: Sequence[str], out: list[Directive]) -> None:
        for packet in packets(cells):
            message = Push(packet)
            for name in names:
                out.append(Send(name, message))
        self._counts["cells_pushed"] += len(cells) * len(names)

    # --- merging -----------------------------------------------------------------------------------------------------

    def _merge(self, cells: Sequence[Cell], source: Source, now: Instant, out: list[Directive]) -> bool:
        """Merge what was received; whether something was masked."""
        store, clock = self.store, self._clock
        changes: list[Change] = []
        masked = False
        passing = len(self._view.names_alive()) > FANOUT
        for cell in cells:
            if not well_formed(cell) or cell.n < 1:
                self._counts["malformed_cells"] += 1
                continue
            if len(self._masks) and self._masks.hides(cell.actor, cell.n, clock.read(now)):
                masked = True
                continue
            stamp = stamp_of(cell)
            if not clock.merge(stamp, now):
                self._masks.add(cell.actor, cell.n, stamp)
                self._counts["masked_cells"] += 1
                masked = True
                continue
            if store.claimed.covers(cell.actor, cell.n):
                continue
            changes += store.apply(cell, clock.read(now))
            if passing:
                self._forward[cell.kind, cell.key] = source.name
        if changes:
            out.append(Emit(Changed(tuple(changes))))
            self._arm_expiry(now, out)
        if self._forward:
            self._arm_flush(now, out)
        if len(self._syncing):
            self._check_syncs(out)
        return masked

    # --- gaps and pulls ----------------------------------------------------------------------------------------------

    def _seek_gaps(self, now: Instant, out: list[Directive]) -> None:
        if not self._gap_armed and self.store.claimed.has_gaps():
            self._gap_armed = True
            out.append(Arm("gap", now.mono + max(GAP_DELAY, GAP_WINDOWS * self._window.length)))

    def _pull_gap(self, now: Instant, out: list[Directive]) -> None:
        others = self._others()
        for actor in self.store.claimed.gap_actors():
            writer = self._name_of(actor)
            if writer is not None and writer in others:
                self._pull(writer, now, out)
                return
        if others and self.store.claimed.has_gaps():
            self._pull(self._random.choice(others), now, out)

    def _pull(self, name: str, now: Instant, out: list[Directive]) -> None:
        transfer = self._pulling.begin(name, now.mono)
        if transfer is None:
            return
        self._counts["pulls"] += 1
        self._ask(transfer.pull, name, None, now, out)

    def _ask(self, pull: int, name: str, after: tuple[int, str] | None, now: Instant, out: list[Directive]) -> None:
        self._flush(now, out)
        masked = tuple([Masked(actor, n) for actor, n in self._masks.active(self._clock.read(now))])
        out.append(Send(name, Pull(pull, self.store.summary(), masked, after)))

    def _serve(self, ask: Pull, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._flush(now, out)
        key = (source.session, ask.pull)
        served = self._serving.pop(key, None)
        if served is None or ask.after is None:
            served = (self.store.summary(), self.store.missing(DotSet(ask.have)))
        snapshot, places = served
        hidden = dict(ask.masked)
        have = DotSet(ask.have)
        cells: list[Cell] = []
        room = CHUNK_BYTES
        position = 0
        while position < len(places) and room > 0:
            place = places[position]
            position += 1
            if ask.after is not None and place <= ask.after:
                continue
            cell = self.store.get(*place)
            if cell is None or not cell.n or have.covers(cell.actor, cell.n):
                continue
            if cell.actor in hidden and cell.n >= hidden[cell.actor]:
                continue
            cells.append(cell)
            room -= size_of(cell)
        last = places[position - 1] if position < len(places) else None
        if last is not None:
            self._serving[key] = (snapshot, places[position:])
            if len(self._serving) > SERVED:
                self._serving.popitem(last=False)
        self._counts["cells_served"] += len(cells)
        out.append(Send(source.name, Chunk(ask.pull, snapshot, tuple(cells), last)))

    def _chunk(self, chunk: Chunk, source: Source, now: Instant, out: list[Directive]) -> None:
        transfer = self._pulling.received(chunk.pull, source.name, chunk.snapshot, now.mono)
        masked = self._merge(chunk.cells, source, now, out)
        if transfer is None:
            self._seek_gaps(now, out)
            return
        transfer.masked |= masked or bool(self._masks.active(self._clock.read(now)))
        if chunk.last is not None:
            self._ask(transfer.pull, transfer.sender, chunk.last, now, out)
            return
        if not transfer.masked:
            assert transfer.snapshot is not None
            self._claim(transfer.snapshot)
        self._pulling.end()
        self._check_syncs(out)
        self._seek_gaps(now, out)

    def _claim(self, snapshot: Summary) -> None:
        """After the last chunk: everything that the sender had when the transfer began is here."""
        self.store.claimed.absorb(snapshot)

    # --- digests -----------------------------------------------------------------------------------------------------

    def _digest(self, now: Instant, out: list[Directive]) -> None:
        others = self._others()
        if others:
            self._flush(now, out)
            out.append(Send(self._random.choice(others), Digest(self.store.claimed.digest(), False)))
            self._counts["digests"] += 1

    def _compare(self, digest: bytes, answer: bool, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._flush(now, out)
        if digest == self.store.claimed.digest():
            return
        self._counts["unequal_digests"] += 1
        if not answer:
            out.append(Send(source.name, Digest(self.store.claimed.digest(), True)))
        self._pull(source.name, now, out)

    # --- expiry ------------------------------------------------------------------------------------------------------

    def _arm_expiry(self, now: Instant, out: list[Directive]) -> None:
        due = self.store.next_expiry()
        if due is None or due == self._expiry_armed:
            return
        self._expiry_armed = due
        wait_ms = (due - self._clock.read(now) + (1 << COUNTER_BITS) - 1) >> COUNTER_BITS
        out.append(Arm("expiry", now.mono + max(0, wait_ms) * MS))

    def _expire(self, now: Instant, out: list[Directive]) -> None:
        self._expiry_armed = None
        changes = self.store.expire(self._clock.read(now), EXPIRIES)
        if changes:
            out.append(Emit(Changed(tuple(changes))))
        self._arm_expiry(now, out)

    # --- help --------------------------------------------------------------------------------------------------------

    def _others(self) -> Sequence[str]:
        return self._view.names_alive()

    def _check_syncs(self, out: list[Directive]) -> None:
        for query in self._syncing.fulfilled(self.store.claimed):
            out.append(Emit(Synced(query)))
