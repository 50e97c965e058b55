"""How this process stands to the cuts: which it has applied, what it may merge, and how it joins (see docs/cuts.md).

    MEMBER    merges, pushes, reports
    WAITING   has met a cut that does not count it; asks to be welcomed; merges nothing and sends nothing of its store
    PULLING   has been welcomed, and pulls everything from its sponsor into an empty store aside

Every frame carries a *mark*: the number of the sender's cut and which of its *lives* it leads. A process that starts anew in
the same session leads its next life, under another actor. Rules, each with what breaks without it:

  - What comes from the ended is not merged, nor what comes under a lower number from somebody that the own cut does not count:
    both are answered with the cut. (They may lack what has been forgotten here, and bring back what it had deleted.)
  - What comes under a higher number is not merged before that cut is applied. (A write without a fence, made after a deletion
    with one was forgotten, loses here against the deletion that is still here.)
  - A joiner's readers see its old store until the new one is whole; what they write meanwhile has left to nobody, and is put
    again at once under the new actor. What had left before waits until it is known what of it the mesh has seen.
  - So whom the own cut does not count sends nothing once it has heard of a newer one. (It would be refused; and what a process
    that restarts with its memory writes in its first moments, a gauge's share or a leader's name, would be nowhere to be seen,
    as having left, for two cuts: for minutes, or until a dead member has been ended.)
  - The pull is the sponsor's to serve: it has reported to every round before the first that must count the joiner.
  - A welcome under a lower cut than a joiner knows of is answered with that cut. (Everyone else had died: newcomers that knew
    of no cut welcomed the only ones who did, and no round was ever made from what they held.)
  - If all die whom an open round still has to count, those that it has ended are alone: they have started anew, and nobody is
    left to welcome them. Then one that had been counted goes on from its own store, under the actor of its new life. (Under the
    old one nobody would take anything from it; waiting, all would wait for ever.)"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random

from crdt.cell import COUNTER, Cell, above
from crdt.clock import HybridClock, Instant, Stamp
from crdt.cuts import Cut, Opening, Report, may_go_on
from crdt.returning import unknown
from crdt.store import Store
from crdt.transfer import FIRST
from mesh.directives import Arm, Directive, Mark, Message, Send, Source
from mesh.replication.applying import LAST_ROUND, LIFE_BITS, Applying, Held, State, actor_of
from mesh.replication.cut_messages import CutAsk, CutNews, JoinAsk, Open, Reported, Welcome
from mesh.replication.joining import Joining, Kept
from mesh.replication.messages import Chunk

__all__ = ["STRANDED", "Standing"]

MS = 1_000_000
ASK_INTERVAL = 200 * MS
"""ns between two requests to be welcomed, or for the next part of what a sponsor sends."""
STRANDED = 15_000 * MS
"""ns after which a member that has started anew, and that nobody has welcomed, looks itself at what the register holds."""
STALLED = 5_000 * MS
"""ns after which a sponsor that sends nothing is given up, and another one asked for the rest."""


class Standing(Applying):
    """Parameters
    ----------
    names_alive: of the members that may be asked for a welcome. The others: see `Applying`.
    """

    def __init__(
        self,
        store: Store,
        clock: HybridClock,
        random: Random,
        names_alive: Callable[[], Sequence[str]],
        lease_slack_ms: int,
        kept: int = 0,
    ) -> None:
        super().__init__(store, clock, lease_slack_ms, kept)
        self.sent = False
        """Whether anything of the store has left under this actor."""
        self._random = random
        self._names_alive = names_alive
        self._first = 1
        self._sponsor = b""
        self._reported = (0, 0)
        self._joining: Joining | None = None
        self._kept: Kept | None = None
        """Of a join whose sponsor has gone."""
        self._base = 0
        """While a joiner: up to which number its old store may have left."""
        self._waits_since = 0
        """While a joiner: when it began to be one."""
        self._newest = 0
        """The last cut that somebody is said to have applied."""
        self._pulls = 0

    def waits(self, mono: int) -> int:
        """For how many ns it has been a joiner; 0 if it is none."""
        return 0 if self.open else mono - self._waits_since

    # --- what comes in -----------------------------------------------------------------------------------------------

    def admits(self, message: Message, source: Source, out: list[Directive]) -> bool:
        """Whether a message about stores may be looked at."""
        if source.session == self.session:
            return True
        round, life = source.mark >> LIFE_BITS, source.mark & ((1 << LIFE_BITS) - 1)
        if source.name is not None:
            self.note_life(source.session, life)
        if not self.open:
            return isinstance(message, Chunk) and self._joining is not None
        actor = actor_of(source.session, life)
        if self.is_ended(actor) or (round < self.cut.round and not self.cut.counts(actor)):
            self.counts["frames_not_counted"] += 1
            out.append(Send(source.session, CutNews(self.cut)))
            return False
        if round > self.cut.round:
            self.counts["frames_ahead"] += 1
            out.append(Send(source.session, CutAsk(self.cut.round)))
            return False
        return True

    def heard(self, session: bytes, mark: int, out: list[Directive]) -> None:
        """Somebody has applied a newer cut than anyone heard of before."""
        round = mark >> LIFE_BITS
        if round > self.cut.round and self.open:
            self._newest = max(self._newest, round)
            out.append(Send(session, CutAsk(self.cut.round)))

    @property
    def outdated(self) -> bool:
        """Whether others go by a newer cut, and the own one does not count this actor: they refuse what it sends."""
        return self._newest > self.cut.round and not self.cut.counts(self.actor)

    def on_message(self, message: Message, source: Source, now: Instant, out: list[Directive]) -> None:
        if source.name is not None:
            self.note_life(source.session, source.mark & ((1 << LIFE_BITS) - 1))
        match message:
            case CutAsk(round):
                if self.cut.round > round and source.name is not None and self.open:
                    out.append(Send(source.session, CutNews(self.cut)))
            case CutNews(cut) | Welcome(cut=cut) if cut.round > LAST_ROUND:
                self.counts["impossible_rounds"] += 1
            case CutNews(cut):
                self._told(cut, now, out)
            case JoinAsk(life):
                self._asked(life, source, out)
            case Welcome():
                self._welcomed(message, source, now, out)
            case Open(opening):
                self._opened(opening, source, now, out)

    # --- cuts --------------------------------------------------------------------------------------------------------

    def _told(self, cut: Cut, now: Instant, out: list[Directive]) -> None:
        if self.state is State.WAITING:
            ended = [end.actor for end in cut.ended] + [row.actor for row in cut.retired]
            if self.actor in ended:  # before anybody welcomed it: under this name nobody ever will
                self.start_anew(now, out)
        elif cut.round > self.cut.round:
            self.meet(cut, now, out)

    def meet(self, cut: Cut, now: Instant, out: list[Directive]) -> bool:
        """Apply a newer cut, or start anew if it leaves this member out: then False."""
        if cut.round <= self.cut.round:
            return True
        if not may_go_on(cut, self.actor, self._first, self._sponsor):
            self.start_anew(now, out)
            return False
        self._adopt(cut, now, out)
        return True

    def take_over(self, cut: Cut, ended: Collection[bytes], now: Instant, out: list[Directive]) -> None:
        """All that a round still has to count have died: go on from the own store, whatever they alone had.

        Parameters
        ----------
        ended: by the round that is open.
        """
        self.counts["cuts_taken_over"] += 1
        gone = {*ended, *[end.actor for end in cut.ended], *[row.actor for row in cut.retired]}
        if self.led in gone or self.is_ended(self.led):  # its numbers are taken by nobody, or would be given twice
            if self.open:
                self.life += 1
            self.store.flush()  # as that life's last
            self.store.actor = self.actor
            self._led, self.sent = self.life, False
        self.state, self._joining, self._kept = State.MEMBER, None, None
        self._first, self._sponsor = cut.round + 1, b""
        self.life = self._led
        self._adopt(cut, now, out)

    # --- rounds ------------------------------------------------------------------------------------------------------

    def _opened(self, opening: Opening, source: Source, now: Instant, out: list[Directive]) -> None:
        """Report; the window has been flushed."""
        if not self.open or opening.round != self.cut.round + 1:
            if opening.round > self.cut.round + 1 and self.open:
                out.append(Send(source.session, CutAsk(self.cut.round)))
            return
        if (opening.round, opening.attempt) < self._reported:
            return
        if any(end.actor == self.actor for end in opening.ends):
            self.start_anew(now, out)
            return
        self.ends.update({end.actor: end for end in opening.ends})
        for joiner in list(self.joiners):
            if joiner in self.ends:
                del self.joiners[joiner]
        self._reported = (opening.round, opening.attempt)
        dots = self.store.dots
        report = Report(
            self.actor,
            dots.summary(),
            dots.last(self.actor),
            self._clock.read(now),
            tuple(sorted(self.joiners)),
            tuple(self.brought),
        )
        strangers = {actor for held in self.held for actor in unknown(self.store, held.store, self.cut, held.since)}
        out.append(Send(source.session, Reported(opening.round, opening.attempt, report, tuple(sorted(strangers)))))

    # --- joining -----------------------------------------------------------------------------------------------------

    def start_anew(self, now: Instant, out: list[Directive]) -> None:
        """Lead another life: join with an empty store."""
        self.counts["lives"] += 1
        if self.open:
            self._base = self.store.dots.last(self.store.actor) if self.sent else 0
            self._since = self.applied
            self._waits_since = now.mono
        self.life += 1
        self._keep()
        self.joiners.clear()
        out.append(Mark(self.mark))
        self.ask(now, out)

    def _keep(self) -> None:
        """Look for another sponsor, to go on with what has come from this one."""
        joining = self._joining
        if joining is not None:
            self._kept = joining.kept()
        self.state, self._joining = State.WAITING, None

    def ask(self, now: Instant, out: list[Directive]) -> None:
        """Once more what a joiner waits for."""
        if self.open:
            return
        out.append(Arm("join", now.mono + ASK_INTERVAL))
        names, joining = self._names_alive(), self._joining
        if joining is not None and (now.mono - joining.at > STALLED or joining.sponsor not in names):
            self.counts["sponsors_lost"] += 1
            self._keep()
            joining = None
        if joining is not None:
            out.append(Send(joining.session, joining.ask()))
        elif names:
            out.append(Send(self._random.choice(names), JoinAsk(self.life)))

    def _asked(self, life: int, source: Source, out: list[Directive]) -> None:
        if life >> LIFE_BITS:
            self.counts["impossible_lives"] += 1  # no mark can tell of it
            return
        actor = actor_of(source.session, life)
        if source.name is None or not self.open:
            return
        if self.is_ended(actor):
            out.append(Send(source.session, CutNews(self.cut)))
            return
        # Also if no cut counts this member yet: a cut that does not begins both anew. (After a rolling restart within one round
        # nobody would be left to welcome the last one.)
        self.joiners[actor] = None
        first = self.cut.round + (2 if self._reported[0] > self.cut.round else 1)
        ends = tuple([self.ends[each] for each in sorted(self.ends)])
        out.append(Send(source.session, Welcome(life, self.cut, ends, first)))

    def _welcomed(self, welcome: Welcome, source: Source, now: Instant, out: list[Directive]) -> None:
        if self.state is not State.WAITING or welcome.life != self.life or source.name is None:
            return
        if welcome.cut.round < self.cut.round:
            self.counts["welcomes_behind"] += 1
            out.append(Send(source.session, CutNews(self.cut)))
            return
        kept, self._kept = self._kept, None
        if kept is not None and welcome.cut.round < kept.round:
            self.counts["joins_begun_anew"] += 1
            kept = None  # it has not forgotten what the other had
        self.cut, self._first = welcome.cut, welcome.first
        self.ends = {end.actor: end for end in welcome.ends}
        self._clock.merge(welcome.cut.stamp, now)
        self._sponsor = actor_of(source.session, source.mark & ((1 << LIFE_BITS) - 1))
        self.state = State.PULLING
        self._begin(source.name, source.session, kept, now, out)
        out.append(Mark(self.mark))

    def _begin(self, sponsor: str, session: bytes, kept: Kept | None, now: Instant, out: list[Directive]) -> None:
        self._pulls += 1
        # Numbers of ordinary pulls are low: an answer to one is never taken for a part of this.
        number = (1 << 32) + (self._pulls << 24)
        self._joining = joining = Joining(self.actor, sponsor, session, number, self.cut.round, now.mono, kept)
        out.append(Send(session, joining.ask()))

    def joined(
        self, chunk: Chunk, source: Source, admit: Callable[[Cell, Instant], Stamp | None], now: Instant, out: list[Directive]
    ) -> bool:
        """A part of what the sponsor has; True if it was the last one, and this is a member now."""
        joining = self._joining
        if joining is None or not joining.answers(chunk, source.session):
            return False
        round = source.mark >> LIFE_BITS
        if round < joining.round:
            return False  # folds come last, and must be no older than what came before
        joining.round = round
        if chunk.after == FIRST:
            if chunk.snapshot is None:
                return False
            if not joining.begins(chunk.snapshot, round, self.cut):
                self.counts["joins_begun_anew"] += 1
                self._begin(joining.sponsor, joining.session, None, now, out)
                return False
        whole = True
        for cell in chunk.cells:
            assert isinstance(cell, Cell)
            stamp = admit(cell, now)
            if stamp is None:
                whole = False
            else:
                joining.store.absorb(cell, stamp)
        if not joining.received(chunk, whole, now.mono):
            out.append(Send(joining.session, joining.ask()))
            return False
        if not joining.transfer.finish(joining.store):
            self._begin(joining.sponsor, joining.session, None, now, out)  # a clock was too far ahead; once more
            return False
        self._settle(joining.store, now, out)
        return True

    def _settle(self, fresh: Store, now: Instant, out: list[Directive]) -> None:
        stamp = self._clock.read(now)
        store = self.store
        store.flush()
        unsent = [cell for cell in store.cells() if cell.actor == store.actor and cell.n > self._base]
        # Of its actor nobody has ever heard: its slots would stay for ever, and are moved to the new one. But what was kept may
        # come back from an old copy of the disk, beside what was moved: then they stay, and the actor is named.
        moves = not self._base and not store.kept
        stays = self._base or (store.kept and any(cell.kind == COUNTER for cell in unsent))
        for cell in unsent:  # before readers see the new store, so that none of it is gone for a moment
            if cell.kind == COUNTER and moves:
                fresh.take_slot(cell, stamp)
                continue
            here = fresh.cell(cell.kind, cell.key)
            if here is None or above(cell._replace(actor=b"", n=0), here._replace(actor=b"", n=0)):
                fresh.rewrite(cell, stamp)
        old = store.become(fresh, stamp)
        old.remove(unsent)
        self.state, self._joining, self.sent, self._led = State.MEMBER, None, False, self.life
        if len(old) or stays:
            self.held.append(Held(old, self._since))
        self._apply(now)
