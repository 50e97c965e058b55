"""What a cut lets a replica forget: functions of the store and the cut alone, so that all do the same.

What is forgotten or folded no reader sees: nothing here changes what anyone is shown. Rules, with what breaks without each:

  - A deletion goes if the cut's `purge` covers its dot (see `crdt.cuts`). An expired value besides only if its expiry lies
    before that cut's least clock. (Dropped at once, a touch from before the expiry finds no put to extend, and an older value
    that is under way nothing that beats it.)
  - What is bound to a lease that ended goes like a deletion, once the end is covered as well. The end itself goes a while
    later, counted in the cut's time and not in the replica's: by then all that could be bound to it is covered, and went at
    this cut or before. (If an end goes first, what was bound to it is seen again.)
  - Slots of retired actors are folded into one cell a counter, tagged with the cut that folded the last of them: what it folded
    is in it. (A joiner has slots from a part of its transfer and the fold from a later one: both count.)
  - Whoever leaves the table of the retired is forgotten: its cells are nobody's from then on. (A joiner would claim their dots,
    and the actor would be back in every vector.)"""

from __future__ import annotations

from collections.abc import Iterable

from crdt.cell import COUNTER, FOLD, LEASE_END, Cell, expiry_of, is_dropped
from crdt.clock import Stamp
from crdt.counter import counter_of, fold_key, folded, slot_actor
from crdt.cuts import Cut, Retired
from crdt.dots import NOBODY
from crdt.store import Store

__all__ = ["apply_cut"]


def apply_cut(store: Store, cut: Cut, stamp: Stamp, lease_slack: Stamp) -> int:
    """Skip what is void, retire, forget and fold; the number of cells that went. Applying a cut again changes nothing.

    Parameters
    ----------
    stamp: the replica's clock, which has been raised to the cut's.
    lease_slack: how long after the end of a lease something may still be bound to it: max_ttl and twice max_drift.
    """
    store.expire(max(stamp, cut.stamp))
    dots = store.dots
    table = {each.actor: each for each in cut.retired}
    for actor, numbers in cut.void:
        for n in numbers:
            dots.claim(actor, n)
    store.skipped = {actor: {*numbers} - store.again.get(actor, set()) for actor, numbers in cut.void}
    dots.retire([actor for actor in table if actor != NOBODY])
    gone = _purged(store, cut, table, lease_slack)
    store.remove(gone)
    count = len(gone) + _fold(store, cut.retired)
    for actor in [actor for actor in dots.retired() if actor not in table and actor != NOBODY]:
        store.settle(actor)
    store.slim(table)
    return count


def _purged(store: Store, cut: Cut, table: dict[bytes, Retired], lease_slack: Stamp) -> list[Cell]:
    purge = cut.purge
    if not purge.round:
        return []
    least = dict(purge.least)

    def covers(cell: Cell) -> bool:
        if not cell.n:
            return False
        if cell.actor == NOBODY:  # who is forgotten had retired by then
            return True
        retired = table.get(cell.actor)
        return cell.n <= least.get(cell.actor, 0) or (retired is not None and retired.round <= purge.round)

    gone = []
    for cell in store.faded():
        if not covers(cell):
            continue
        if is_dropped(cell):
            if expiry_of(cell) < purge.stamp:
                gone.append(cell)
        elif cell.body is None:
            gone.append(cell)
        else:
            end = store.cell(LEASE_END, cell.bound or "")
            if end is not None and covers(end):
                gone.append(cell)
    for end in store.of_kind(LEASE_END):
        if covers(end) and end.order[0] + lease_slack < purge.before:  # type: ignore[operator]
            gone.append(end)
    return gone


def _fold(store: Store, table: Iterable[Retired]) -> int:
    slots: dict[str, list[tuple[int, Cell]]] = {}
    tags = {each.actor: each.folded for each in table if each.folded}
    for cell in store.of_kind(COUNTER) if tags else ():
        tag = tags.get(slot_actor(cell.key))
        if tag is not None:
            slots.setdefault(counter_of(cell.key), []).append((tag, cell))
    for name, tagged in slots.items():
        fold = store.cell(FOLD, fold_key(name))
        tag = int(fold.order[0]) if fold is not None else 0
        fresh = [(number, cell) for number, cell in tagged if number > tag]
        store.remove([cell for _, cell in tagged])
        if fresh:
            highest = max(number for number, _ in fresh)
            store.replace(folded(name, fold, [cell for _, cell in fresh], highest))
    return sum(map(len, slots.values()))
