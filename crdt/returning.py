"""What a member puts again that a cut took for lost: from an old store, or from its own.

First, from the store of a member that was ended while it lived on, or that restarts with its memory (`bring_back`).

It joins with an empty store and keeps its old one aside. Once a cut counts the member, and the ended ones of the old store's
actors have retired (so all that the mesh ever had of them is known, and here), what the mesh has *not* seen of the old store is
put again: with the fence, the stamps and the expiry that it had, only the dot is new.
Rules, each with what breaks without it:

  - Unseen is a cell whose number is above what the mesh has of its actor, or void there. Whatever is not above it was seen,
    also if it is not there any more: then it was deleted. (It would come back from the dead.)
  - What was brought back is told, so that it is seen from then on (see `crdt.cuts`).
  - Not before: what somebody else has and has not told yet looks unseen.
  - A fellow's cell only if the fellow has ended too. (Otherwise it has its own way, or lives and has replaced it.) One whom
    the mesh has never heard of is named by whoever returns, and ended. (What it wrote on the cut-off side, and somebody there
    acknowledged, would be lost though that one lives.)
  - An actor that the mesh may have forgotten counts as seen: a write that nobody acknowledged lost, not a deletion undone.
  - Only what is above the mesh's cell of that key. A deletion also where there is nothing: an older write that it beats may
    still be under way. (Left out there, the older write was seen after all.)
  - The slots of a counter are put again as they are, under the key of the actor that wrote them: whoever brings one back, and
    how often, the highest counts once. Not any more once a cut has closed them (see `crdt.cuts`).

Then, from the store that goes on (`put_again`). A cut takes for void what no report claims of an ended actor. But a member may
have got it after its own report: from a fellow that this cut does not count (whose sponsor has died, too), or as a joiner,
which reports nothing; and who goes on over a cut that others made without it holds all that they never had.

  - Whoever applies a cut puts again, under own dots, what it holds under a dot that the cut skips, and tells it once the actor
    has retired. (All claim that dot, and one alone has its cell: equal claims over other cells, for good.) It had passed all
    that its sender had forgotten, so nothing comes back by it that `bring_back` of the same write would not bring.
  - What is put again carries, as its mark, the dot that it was first written under. Whoever got it from a bringer that is ended
    before it has told so tells it in its place, and it is not put again from somewhere else once that is told. (A process that
    dies just after it has returned, and returns with the same memory, undid deletions made meanwhile.)
  - What is told leaves out what was claimed as void and never held. (A third one that does hold it would not bring it back.)"""

from __future__ import annotations

from crdt.cell import COUNTER, FOLD, KEY, Cell, Mark, above
from crdt.clock import Stamp
from crdt.counter import slot_actor
from crdt.cuts import Brought, Cut, Retired
from crdt.dots import NOBODY
from crdt.store import Store

__all__ = ["bring_back", "put_again", "tell_for_others", "unknown"]

MANY = 256
"""Numbers that may be named one by one when somebody tells for another: a cut keeps it of everyone who does."""

Seen = tuple[int, tuple[int, ...]]
"""The last number of an ended actor that the mesh has, and the void ones below."""

FORGOTTEN: Seen = (1 << 64, ())


def _seen(cut: Cut, actor: bytes, since: int) -> Seen | None:
    """None if it cannot be told yet, or the actor lives."""
    for each in cut.retired:
        if each.actor == actor:
            return each.last, each.void
    return FORGOTTEN if since < cut.forgotten else None


def unknown(store: Store, old: Store, cut: Cut, since: int) -> list[bytes]:
    """Actors of an old store that have to be ended before it can be brought back.

    Parameters
    ----------
    since: the last cut that the old store had applied.
    """
    actors = {cell.actor for cell in old.cells() if cell.n} | {old.actor}
    known = {each.actor for each in cut.retired} | {end.actor for end in cut.ended} | {*cut.counted}
    dots = store.dots
    known.update(old.dots.retired())
    return [] if since < cut.forgotten else sorted(actor for actor in actors - known if not dots.has(actor))


def bring_back(store: Store, old: Store, cut: Cut, since: int, stamp: Stamp) -> list[Brought] | None:
    """Put again what the mesh has not seen, without dots yet; None if it is not the time yet.

    What was brought is to be reported, until the table says so.

    Parameters
    ----------
    cut: which the store has applied.
    since: the last cut that the old store had applied.
    """
    if not cut.counts(store.actor) or unknown(store, old, cut, since):
        return None
    seen: dict[bytes, Seen | None] = {}
    for actor in sorted({cell.actor for cell in old.cells()} | {old.actor}):
        if actor not in cut.counted:
            known = FORGOTTEN if old.dots.is_retired(actor) else _seen(cut, actor, since)
            if known is None:
                return None
            seen[actor] = known
    store.expire(stamp)
    old.expire(stamp)
    table = {each.actor: each for each in cut.retired}
    closed = {actor for actor, each in table.items() if each.closed}
    for cell in list(old.cells()):
        known = seen.get(cell.actor)
        if cell.n and (known is None or (cell.n <= known[0] and cell.n not in known[1])):
            continue
        if (mark := _mark(cell)) is not None and cell.actor != cell.order[2]:
            row = table.get(cell.order[2])  # type: ignore[arg-type]
            if row is not None and mark.first <= row.last and mark.first not in row.void:
                continue  # somebody else has put it again, and that is told
        if cell.kind == FOLD or (cell.kind == COUNTER and slot_actor(cell.key) in closed):
            continue
        here = store.cell(cell.kind, cell.key)
        if here is None or above(cell._replace(actor=b"", n=0), here._replace(actor=b"", n=0)):
            store.rewrite(cell, stamp, _mark(cell))
    return [_brought(old, actor) for actor, known in seen.items() if known is not FORGOTTEN and old.dots.has(actor)]


def put_again(store: Store, cut: Cut, stamp: Stamp) -> list[Brought]:
    """Put again what this store alone holds of the ended, before it applies the cut; without dots yet. What is to be reported
    of it, until the table says so."""
    for actor, numbers in cut.void:
        for n in numbers:
            _put_again(store, store.by_dot(actor, n), stamp)
    brought = []
    for row in cut.retired:
        if row.actor == NOBODY or store.dots.is_retired(row.actor):
            continue
        for cell in store.by_actor(row.actor):
            if cell.n > row.last or cell.n in row.void:
                if cell.kind == COUNTER and row.closed:
                    store.drop((cell[:2],))
                else:
                    _put_again(store, cell, stamp)
        again = store.again.pop(row.actor, None)
        if again is not None:
            brought.append(_told(store, row, again))
    return brought


def _put_again(store: Store, cell: Cell | None, stamp: Stamp) -> None:
    if cell is not None:
        store.again.setdefault(cell.actor, set()).add(cell.n)
        store.rewrite(cell, stamp, _mark(cell))


def _mark(cell: Cell) -> Mark | None:
    """The dot that the put was first written under, if that is known and it has not been touched since."""
    if cell.kind != KEY or cell.order[4]:
        return None
    if cell.batch is not None:
        return Mark(cell.batch.first + cell.batch.place, 1, 0)
    return Mark(cell.n, 1, 0) if cell.actor == cell.order[2] and cell.n else None


def tell_for_others(store: Store, cut: Cut) -> list[Brought]:
    """What others put again that are ended, and had not told it: to be reported by whoever has seen it."""
    table = {row.actor: row for row in cut.retired}
    ended = {end.actor for end in cut.ended}
    brought = []
    for actor, numbers in list(store.origins.items()):
        row = table.get(actor)
        if row is not None:
            for n in [n for n in numbers if n <= row.last and n not in row.void]:
                del numbers[n]  # it is told
            dead = {n for n, bringer in numbers.items() if bringer in ended or bringer in table}
            last = max(dead, default=0)
            if last - row.last <= MANY:
                if dead:
                    beyond = [n for n in range(row.last + 1, last) if n not in dead]
                    void = [n for n in row.void if n < last and n not in dead]
                    brought.append(Brought(actor, last, tuple(sorted({*void, *beyond}))))
                for n in dead:
                    del numbers[n]
        if not numbers or (row is None and actor not in ended and not store.dots.has(actor)):
            del store.origins[actor]
    return brought


def _told(store: Store, row: Retired, again: set[int]) -> Brought:
    last = max(again)
    void = [n for n in row.void if n < last and n not in again]
    beyond = [n for n in range(row.last + 1, last) if n not in again and not store.dots.covers(row.actor, n)]
    return Brought(row.actor, last, tuple(sorted({*void, *beyond})))


def _brought(old: Store, actor: bytes) -> Brought:
    last = max(old.dots.last(actor), *old.dots.extras(actor), 0)
    gaps = {n for n in range(old.dots.last(actor) + 1, last) if not old.dots.covers(actor, n)}
    skipped = {n for n in old.skipped.get(actor, ()) if n < last}
    return Brought(actor, last, tuple(sorted(gaps | skipped)))
