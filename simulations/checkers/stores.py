"""Replicated state: do the stores agree, do the events tell the store?

C15 after faults stop, all replicas are equal within a bound (see also `simulations.checkers.convergence`)
C5  equal claims (digests) mean equal cells
C13 the changes that a process was told of, folded, are what its store shows; the writes of a key are told in their order, but
    for a change that says that it fell"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crdt.cell import COUNTER, KEY, Cell, Order, drop, expiry_of, put_of, stamps_of
from crdt.change import ChangeKind
from crdt.clock import stamp_ms
from crdt.counter import counter_of
from crdt.dots import NOBODY
from crdt.store import Store
from mesh.directives import Event
from mesh.replication import Changed
from mesh.values import decode_value
from simulations.checkers.base import Checker, Violation
from simulations.cluster import Cluster, SimPeer
from simulations.machine.clocks import EPOCH_MS
from simulations.machine.process import Process

__all__ = ["WatchFold", "agree", "cells", "differences", "is_put_again"]

Place = tuple[int, str]


def cells(store: Store) -> dict[Place, Cell]:
    """Every cell by its place, values as their hashes: a value that expired is dropped here sooner, there later."""
    return {(cell.kind, cell.key): drop(cell) for cell in store.cells()}


def is_put_again(cell: Cell) -> bool:
    """Whether the dot of a key's cell is another's than the one's that wrote it: a returning member has brought it back."""
    return cell.actor not in (NOBODY, cell.order[5] or cell.order[2])


def differences(peers: Sequence[SimPeer]) -> list[str]:
    """What the stores of some peers do not agree in, one line a place and who holds what there; then who lacks whose writes.
    Empty if they are equal.

    Raises
    ------
    Violation: two stores claim the same and hold different cells.
    """
    held = {peer: cells(peer.store) for peer in peers}
    writers = {peer.store.actor: peer.name for peer in peers}
    lines: list[str] = []
    for place in sorted({place for each in held.values() for place in each}):
        groups: dict[Cell | None, list[SimPeer]] = {}
        for peer in peers:
            groups.setdefault(held[peer].get(place), []).append(peer)
        if len(groups) > 1:
            holds = "; ".join([_holds(group, place, writers) for group in groups.values()])
            lines.append(f"{_named(place)}: {holds}")
            _same_claims(groups, place, lines[-1])
    return lines + _lacking(peers, writers)


def _same_claims(groups: Mapping[Cell | None, Sequence[SimPeer]], place: Place, line: str) -> None:
    """C5: whoever differs in a place must not claim the same."""
    claims: dict[bytes, Cell | None] = {}
    for cell, group in groups.items():
        for peer in group:
            if not peer.store.pending and claims.setdefault(peer.store.dots.digest(), cell) != cell:
                raise Violation(f"C5: some claim the same and differ in {place}: {line}")


def _named(place: Place) -> str:
    kind, key = place
    if kind == COUNTER:
        return f"counter {counter_of(key)!r}"
    return f"key {key!r}" if kind == KEY else f"kind {kind} {key!r}"


def _holds(group: Sequence[SimPeer], place: Place, writers: Mapping[bytes, str]) -> str:
    names = ", ".join([peer.name for peer in group])
    return f"{names} {_shown(group[0].store.cell(*place), writers)}"


def _shown(cell: Cell | None, writers: Mapping[bytes, str]) -> str:
    """A cell in a few words: what it holds, when and by whom it was written (s of the world's time), and its dot."""
    if cell is None:
        return "nothing"
    writer = writers.get(cell.actor, cell.actor.hex()[:8])
    dot = f"{writer}'s {cell.n}" if cell.n else f"{writer}'s, not flushed"
    if cell.kind == COUNTER:
        return f"+{cell.order[2]!r} -{cell.order[3]!r} ({dot})"
    stamps = stamps_of(cell)
    when = f" at {(stamp_ms(max(stamps)) - EPOCH_MS) / 1_000:.3f} s" if stamps else ""
    if cell.kind != KEY:
        return f"{cell.order!r}{when} ({dot})"
    if cell.body is None:
        return f"{'expired' if cell.hash else 'deleted'}{when} ({dot})"
    text = repr(decode_value(cell.body))
    until = f" until {(stamp_ms(expiry_of(cell)) - EPOCH_MS) / 1_000:.3f} s" if expiry_of(cell) else ""
    return f"{text if len(text) <= LONGEST else text[:LONGEST] + '...'}{when}{until} ({dot})"


LONGEST = 60
"""Characters that are shown of a value."""


def _lacking(peers: Sequence[SimPeer], writers: Mapping[bytes, str]) -> list[str]:
    """Who does not claim what others do."""
    if len({peer.store.dots.digest() for peer in peers}) <= 1:
        return []
    claimed: dict[bytes, set[int]] = {}
    for peer in peers:
        summary = peer.store.dots.summary()
        for actor, last in summary.vector:
            claimed.setdefault(actor, set()).add(last)
        for actor, extras in summary.extras:
            claimed.setdefault(actor, set()).update(extras)
    lines = []
    for actor, numbers in sorted(claimed.items()):
        for peer in peers:
            last = peer.store.dots.last(actor)
            lacks = [n for n in sorted(numbers) if not peer.store.dots.covers(actor, n)]
            if lacks:
                who = writers.get(actor, actor.hex()[:8])
                lines.append(f"{peer.name} lacks writes of {who}: it claims up to {last}, others {lacks[-1]}")
    return lines


def agree(peers: Sequence[SimPeer]) -> bool:
    """Whether the stores are equal. Cheap as long as they claim different dots."""
    return len({peer.store.dots.digest() for peer in peers}) <= 1 and not differences(peers)


class WatchFold(Checker):
    """What a watcher of everything knows, at each process."""

    hears = (Changed,)

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._shown: dict[Process, dict[str, bytes]] = {}
        self._orders: dict[tuple[Process, str], Order] = {}
        self._revisions: dict[Process, int] = {}
        self._touched: dict[Process, dict[str, None]] = {}
        self.changes = 0

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        shown = self._shown.setdefault(process, {})
        touched = self._touched.setdefault(process, {})
        for change in event.changes:
            self.changes += 1
            key = change.key
            if change.revision <= self._revisions.get(process, 0):
                self.fail("C13", f"{process} was told revision {change.revision} again")
            self._revisions[process] = change.revision
            if change.kind is ChangeKind.FENCED:
                continue  # what is seen is told by the next one
            order = put_of(change.new)
            last = self._orders.get((process, key), order)
            if order < last and order[1] <= last[1] and not change.fell:  # type: ignore[operator]
                self.fail("C13", f"{process} was told of an older write of {key!r}")
            self._orders[process, key] = order
            before = change.old.body if change.old is not None else None
            if before != shown.get(key):
                self.fail("C13", f"{process} missed a change of {key!r}")
            touched[key] = None
            if change.kind is not ChangeKind.PUT:
                shown.pop(key, None)
                continue
            if change.new.body is None:
                self.fail("C13", f"{process} was told of a put of {key!r} without its value")
            shown[key] = change.new.body

    def settled(self, process: Process) -> None:
        touched = self._touched.get(process)
        if touched:
            shown, store = self._shown[process], self._cluster.peers[process.machine].store
            for key in touched:
                self._compare(process, store, key, shown.get(key))
            touched.clear()

    def check(self) -> None:
        """Every key of every store: also one that changed and was not told."""
        for peer in self._cluster.living():
            shown = self._shown.get(peer.process, {})
            for cell in peer.store.cells():
                if cell.kind == 0:
                    self._compare(peer.process, peer.store, cell.key, shown.get(cell.key))

    def _compare(self, process: Process, store: Store, key: str, shown: bytes | None) -> None:
        cell = store.peek(key)
        held = cell.body if cell is not None else None
        if held != shown:
            self.fail("C13", f"{process} shows {key!r} otherwise than it told: {held!r}, {shown!r}")
