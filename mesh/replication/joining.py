"""The pull of a joiner: everything that its sponsor has, into an empty store aside; and how it goes on with another one.

    joiner   Pull(everything, after)                        sponsor: a chunk of what stands behind `after`
    joiner   Resume(snapshot, round, upto, after, holes)    another: the same; but up to `upto` only what that snapshot lacks

A sponsor dies, or a link does, in the middle of a large store. What came from it is kept. Rules, each with what breaks
without it:

  - Up to the place `upto` the joiner holds whatever its first sponsor claimed when it began (`snapshot`). So another sends of
    those places only what the snapshot does not claim, and everything behind. (Begun anew each time, a large join behind
    sponsors that die never ends.)
  - What the joiner has and the new sponsor does not claim is dropped, and those places are asked for again (`holes`): the old
    sponsor alone had written it. (It dies, a cut takes its last writes for void, and the joiner is the only one that has them:
    see docs/cuts.md, "a joiner outlives its sponsor".)
  - Of a place where something was dropped the snapshot says nothing any more, until another one takes its place. (A third
    sponsor that does have what was dropped would pass over it.)
  - The claims of single cells are forgotten then: the new sponsor's snapshot claims all that is left, when everything is here.
  - Who has retired since is in no snapshot's vector. What the snapshot's sender had from it, it had whole, if it was retired at
    that sender's cut (`round`). If the new sponsor has forgotten so late a retirement, it sends everything.
  - A sponsor that is behind the cut under which something came is not gone on with: it has not forgotten, nor folded, what the
    other had. (Both the slots and their fold would count.)"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, NamedTuple

from crdt.cell import Cell, Place
from crdt.cuts import Cut
from crdt.dots import NOBODY, NOTHING, DotSet, Summary
from crdt.store import Store
from crdt.transfer import FIRST, Transfer
from mesh.directives import Message
from mesh.replication.messages import Chunk, Pull
from mesh.wire import U64, Length, message

__all__ = ["MAX_HOLES", "Joining", "Kept", "Resume"]

MAX_HOLES = 1_024
"""What a dead sponsor alone had; if it is more, the join begins anew."""
HOLES_AT_ONCE = 2
"""With each part: so that it fits a frame, whatever the values' sizes."""


@message(214)
class Resume(Message):
    """Send everything behind `after`, in order of place, but up to `upto` only what `snapshot` does not claim; and what stands
    at these places. Answered by a `Chunk`."""

    pull: U64
    snapshot: Summary
    round: U64
    """Of the cut that its sender had applied when it stated the snapshot."""
    upto: Place
    after: Place
    holes: Annotated[tuple[Place, ...], Length(0, HOLES_AT_ONCE)]


class Kept(NamedTuple):
    """What is left of a join whose sponsor has gone."""

    store: Store
    snapshot: Summary
    snapshot_round: int
    upto: Place
    round: int
    """The highest cut under which a part of it came."""
    holes: tuple[Place, ...]
    """Up to `upto`, where nothing is known of what is held."""


class Joining:
    """With one sponsor.

    Parameters
    ----------
    actor: under which the joiner will write.
    sponsor, session: whom it asks: the name, and the process.
    number: of the first request.
    round: the welcome's cut.
    kept: what came from an earlier sponsor.
    """

    __slots__ = (
        "_dropped",
        "_kept",
        "_snapshot_round",
        "at",
        "holes",
        "number",
        "round",
        "session",
        "sponsor",
        "store",
        "transfer",
    )

    def __init__(
        self, actor: bytes, sponsor: str, session: bytes, number: int, round: int, now: int, kept: Kept | None
    ) -> None:
        self.sponsor = sponsor
        self.session = session
        self.number = number
        self.round = round if kept is None else max(round, kept.round)
        """The highest cut under which a part of it came."""
        self.transfer = Transfer(NOTHING)
        self.at = now
        """When a part came last."""
        self._kept = kept
        self._snapshot_round = round
        self.holes: dict[Place, None] = dict.fromkeys(() if kept is None else kept.holes)
        """What is still to be asked for."""
        self._dropped = dict(self.holes)
        self.store = Store(actor) if kept is None else kept.store
        self.store.actor = actor

    def ask(self) -> Message:
        """For the next part."""
        kept, after = self._kept, self.transfer.after
        if kept is None:
            return Pull(self.number, NOTHING, (), after, True)
        return Resume(self.number, kept.snapshot, kept.snapshot_round, kept.upto, after, self._asked())

    def _asked(self) -> tuple[Place, ...]:
        """What the present request asks for again: nothing before there is a snapshot, which has to be older."""
        return () if self.transfer.snapshot is None else tuple(islice(self.holes, HOLES_AT_ONCE))

    def answers(self, chunk: Chunk, session: bytes) -> bool:
        return (chunk.pull, session, chunk.after) == (self.number, self.session, self.transfer.after)

    def begins(self, snapshot: Summary, round: int, cut: Cut) -> bool:
        """The first part has come. What only earlier sponsors had is dropped; False if that is too much to ask for again."""
        self.transfer.begins(snapshot)
        self._snapshot_round = round
        if self._kept is None:
            return True
        claims = DotSet(snapshot)
        retired = {each.actor: each for each in cut.retired}

        def claimed(cell: Cell) -> bool:
            if cell.actor == NOBODY or claims.covers(cell.actor, cell.n):
                return True
            row = retired.get(cell.actor)
            return row is not None and cell.n <= row.last and cell.n not in row.void

        alone = [cell for cell in self.store.cells() if not claimed(cell)]
        if len(alone) + len(self._dropped) > MAX_HOLES:
            return False
        self.store.remove(alone)
        self.store.dots = DotSet()
        self._dropped.update(dict.fromkeys([cell[:2] for cell in alone]))
        self.holes = dict(self._dropped)
        return True

    def received(self, chunk: Chunk, whole: bool, now: int) -> bool:
        """A part has been absorbed; whether it was the last one."""
        if chunk.snapshot is None:
            for place in self._asked():
                del self.holes[place]
        self.transfer.received(chunk.last, whole)
        self.number += 1  # a second answer to the same request answers nothing: it may leave out what the next one asks for
        self.at = now
        return chunk.done and not self.holes

    def kept(self) -> Kept | None:
        """What another sponsor need not send."""
        transfer, kept = self.transfer, self._kept
        if kept is not None and (transfer.snapshot is None or transfer.after <= kept.upto or self.holes or not transfer.clean):
            # The new sponsor has not come further than the old one: what it sent is only more.
            return kept._replace(round=self.round, holes=tuple(self._dropped))
        if transfer.snapshot is None or transfer.after == FIRST or not transfer.clean:
            return None
        return Kept(self.store, transfer.snapshot, self._snapshot_round, transfer.after, self.round, ())
