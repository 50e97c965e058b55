"""The part that keeps stores equal.

    a local write   is visible at once; its window ends; its cells get their dots and are pushed to a few members
    a push          is merged; what was new is passed on once (in a mesh that is larger than the fan-out)
    a gap           (a dot above one that is missing) that lasts for eight windows is pulled
    a digest        goes to one random member a second; unequal ones make both sides pull

Local commands are in `writing`, windows in `windows`, merging and pulling in `exchange`; here is who hears what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Hashable, Sequence
from random import Random

from crdt.cell import Cell, Place
from crdt.clock import HybridClock, Instant
from crdt.cuts import Cut
from crdt.dots import Summary
from crdt.store import Store
from mesh.directives import Arm, Bye, Directive, Directives, Emit, Event, Marked, Message, Send, Source
from mesh.replication.applying import LIFE_BITS
from mesh.replication.burden import LIMIT
from mesh.replication.cut_messages import CutAsk, CutNews, JoinAsk, Open, Welcome
from mesh.replication.events import Corrupted, Diverged
from mesh.replication.exchange import Exchange
from mesh.replication.joining import Resume
from mesh.replication.keeping import Keeper
from mesh.replication.messages import Announce, Chunk, Digest, Pull, Push, Pushed, Vector, VectorAsk
from mesh.replication.standing import Standing
from mesh.replication.windows import MS, View
from mesh.replication.writing import Writing

__all__ = ["Replication", "View"]

DIGEST_INTERVAL = 1_000 * MS
"""ns between two digests of one node."""
SYNC_RETRY = 200 * MS
COUNTED = 256
"""Cells that are counted again with each digest at the most, which takes about 0.5 ms: of 100,000 all within seven minutes."""
COUNTED_FIRST = 2_048
"""As long as nothing has been counted."""
OF_CUTS = frozenset((CutAsk, CutNews, JoinAsk, Welcome, Open))
EXPIRED_AT_ONCE = 256
"""Values that one step drops, which takes about 2 ms; the others are dropped in the next ones, a ms apart."""


class Replication(Writing, Exchange):
    """Parameters
    ----------
    store: the cells of this node.
    clock: its hybrid logical clock.
    random: for the choice of partners.
    view: the members.
    name_of: the living member whose process an actor is, if any: a gap is pulled from its writer.
    standing: to the cuts; without one nothing is ever forgotten here.
    keeper: what keeps the store on a disk, if there is one.
    max_fading: keys that may wait to be forgotten while cuts stand still (see `burden`).
    """

    name = "replication"
    messages = (
        Push, Announce, Digest, Pull, Chunk, VectorAsk, Vector, CutAsk, CutNews, JoinAsk, Welcome, Open, Resume,
    )  # fmt: skip
    hears = (Bye, Marked)

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        view: View,
        name_of: Callable[[bytes], str | None] = lambda actor: None,
        standing: Standing | None = None,
        keeper: Keeper | None = None,
        max_fading: int = LIMIT,
    ) -> None:
        super().__init__(store, clock, random, view, name_of, standing, keeper, max_fading)

    # --- local commands ----------------------------------------------------------------------------------------------

    def lag(self, now: Instant) -> int:
        """ns since this replica was last heard to have all that the others had: the longest of those alive; 0 if alone."""
        return self._freshness.lag(self._view.names_alive(), now.mono)

    def still(self, now: Instant) -> int:
        """ns since the last cut was applied here, if so many that cuts stand still; else 0."""
        return self._burden.still(now.mono)

    def take(self, cells: Sequence[Cell], source: Source, now: Instant) -> Directives:
        """Merge cells that somebody wants to be held here."""
        out: list[Directive] = []
        pushed = Push(tuple([Pushed(cell, 0) for cell in cells]))
        if self.standing is None or self.standing.admits(pushed, source, out):
            self._pushed(pushed.news, source, now, out)
        return self._kept(now, out)

    def admits(self, message: Message, source: Source, out: list[Directive]) -> bool:
        """Whether what somebody sends about stores may be looked at, by the rules of cuts."""
        return self.standing is None or self.standing.admits(message, source, out)

    def mend(self, cells: Sequence[Cell], trusted: Container[Place], now: Instant) -> tuple[int, Directives]:
        """Join cells whatever is claimed; how many changed something. `trusted`: where the own cell has changed without a
        write, and gives way even if it is the higher one."""
        out: list[Directive] = []
        self._flush(now, out)
        mended = 0
        for cell in cells:
            stamp = self._admit(cell, now)
            if stamp is not None:
                mended += self.store.mend(cell, stamp, trusted=cell[:2] in trusted)
        self._merged(now, out)
        return mended, self._kept(now, out)

    def drop(self, places: Sequence[Place], now: Instant) -> Directives:
        """Forget cells that nobody has ever written."""
        out: list[Directive] = []
        self.store.drop(places)
        self._changed(now, out)
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
        if type(message) in OF_CUTS:
            if self.standing is not None:
                self._flush(now, out)
                self._stood(lambda standing: standing.on_message(message, source, now, out), now, out)
            return self._kept(now, out)
        if self.standing is not None and not self.standing.admits(message, source, out):
            return out
        match message:
            case Push(news):
                self._pushed(news, source, now, out)
            case Announce(dots):
                self._announced(dots, source, now, out)
            case Digest():
                self._compare(message, source, now, out)
            case Pull():
                self._serve(message, source, now, out)
            case Resume():
                self._serve_rest(message, source, now, out)
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
                told = self._burden.look(self.store.fading(), self.round, now.mono)
                if told is not None:
                    out.append(Emit(told))
                if self._keeper is not None and self._keeper.is_due(now):
                    self._flush(now, out)
                    self._recording = True
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
            "fading_keys": self.store.fading(),
            "fading_limit": self._burden.limit,
            "writes_refused_full": self._burden.refused,
            "waiting_batch_cells": self.store.waiting,
            **self._counts,
            **standing,
            **kept,
        }

    # --- cuts --------------------------------------------------------------------------------------------------------

    def meet(self, cut: Cut, now: Instant) -> Directives:
        """Apply a cut that was agreed, or start anew if it leaves this member out."""
        return self._stand(lambda standing, out: standing.meet(cut, now, out), now)

    def take_over(self, cut: Cut, ended: Collection[bytes], now: Instant) -> Directives:
        """Go on from that cut though it leaves this member out, or the open round has ended it: nobody else is left."""
        return self._stand(lambda standing, out: standing.take_over(cut, ended, now, out), now)

    def start_anew(self, now: Instant) -> Directives:
        """The open round has ended this member."""
        return self._stand(lambda standing, out: standing.start_anew(now, out), now)

    def _stand(self, act: Callable[[Standing, list[Directive]], object], now: Instant) -> Directives:
        out: list[Directive] = []
        self._flush(now, out)
        self._stood(lambda standing: act(standing, out), now, out)
        return self._kept(now, out)

    def leaves(self) -> bool:
        """Whether something of the store may leave now; it counts as having left from then on."""
        if self._silent:
            return False
        if self.standing is not None:
            self.standing.sent = True
        return True

    # --- digests and vectors -----------------------------------------------------------------------------------------

    def _digest(self, now: Instant, out: list[Directive]) -> None:
        others = self._view.names_alive()
        if others and not self._closed:
            self._flush(now, out)
            out.append(Send(self._random.choice(others), self._own_digest(False)))
            self._counts["digests"] += 1
            self._recount(out)

    def _own_digest(self, answer: bool) -> Digest:
        prints = self.store.fingerprint
        return Digest(self.store.dots.digest(), answer, prints.total() if prints is not None else b"")

    def _recount(self, out: list[Directive]) -> None:
        prints = self.store.fingerprint
        known = prints is not None and prints.known
        wrong = self.store.recount(COUNTED if known else COUNTED_FIRST)
        if wrong:
            out.append(Emit(Corrupted(tuple(wrong))))

    def _compare(self, message: Digest, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._flush(now, out)
        own = self._own_digest(True)
        if message.digest == own.digest:
            self._freshness.note(source.name, now.mono)
            known = bool(message.fingerprint and own.fingerprint)
            if known and message.fingerprint != own.fingerprint and self._same_cut(source):
                out.append(Emit(Diverged(source.name, source.session)))
            return
        self._counts["unequal_digests"] += 1
        if not message.answer:
            out.append(Send(source.session, own))
        self._pull(source.name, now, out)

    def _same_cut(self, source: Source) -> bool:
        """Whether the sender has forgotten what was forgotten here. (Under unequal cuts equal claims may be unequal stores.)"""
        return source.mark >> LIFE_BITS == self.round

    def _told(self, query: int, summary: Summary, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is None:
            return
        self._syncing.answered(query, source.name, summary)
        self._check_syncs(out)
        if not self.store.dots.covers_all(summary):
            self._pull(source.name, now, out)
