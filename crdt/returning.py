"""What a member brings back that was ended while it lived on, or that restarts with its memory.

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
    how often, the highest counts once. Not any more once a cut has closed them (see `crdt.cuts`)."""

from __future__ import annotations

from crdt.cell import COUNTER, FOLD, above
from crdt.clock import Stamp
from crdt.counter import slot_actor
from crdt.cuts import Brought, Cut
from crdt.store import Store

__all__ = ["bring_back", "unknown"]

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
    closed = {each.actor for each in cut.retired if each.closed}
    for cell in list(old.cells()):
        known = seen.get(cell.actor)
        if cell.n and (known is None or (cell.n <= known[0] and cell.n not in known[1])):
            continue
        if cell.kind == FOLD or (cell.kind == COUNTER and slot_actor(cell.key) in closed):
            continue
        here = store.cell(cell.kind, cell.key)
        if here is None or above(cell._replace(actor=b"", n=0), here._replace(actor=b"", n=0)):
            store.rewrite(cell, stamp)
    return [_brought(old, actor) for actor, known in seen.items() if known is not FORGOTTEN and old.dots.has(actor)]


def _brought(old: Store, actor: bytes) -> Brought:
    last = max(old.dots.last(actor), *old.dots.extras(actor), 0)
    return Brought(actor, last, tuple([n for n in range(old.dots.last(actor) + 1, last) if not old.dots.covers(actor, n)]))
