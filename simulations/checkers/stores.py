"""Replicated state: do the stores agree, do the counters add up, do the events tell the store?

C15 after faults stop, all replicas are equal within a bound
C5  equal claims (digests) mean equal cells
C2  of a counter every acknowledged add counts once: all of a process that lives, a beginning of those of one that died
C13 the changes that a process was told of, folded, are what its store shows; put stamps of a key rise"""

from __future__ import annotations

from collections.abc import Sequence

from crdt.cell import Cell, drop
from crdt.change import ChangeKind
from crdt.counter import slot_key
from crdt.store import Store
from mesh.directives import Event
from mesh.replication import Changed
from simulations.checkers.base import Checker, Violation
from simulations.cluster import Cluster, SimPeer
from simulations.process import Process

__all__ = ["Sums", "WatchFold", "agree", "cells", "differences"]


def cells(store: Store) -> dict[tuple[int, str], Cell]:
    """Every cell by its place, values as their hashes: a value that expired is dropped here sooner, there later."""
    return {(cell.kind, cell.key): drop(cell) for cell in store.cells()}


def differences(peers: Sequence[SimPeer]) -> list[str]:
    """What the stores of some peers do not agree in; empty if they are equal.

    Raises
    ------
    Violation: two stores claim the same and hold different cells.
    """
    found: list[str] = []
    if not peers:
        return found
    first = peers[0]
    expected, digest = cells(first.store), first.store.dots.digest()
    for peer in peers[1:]:
        held = cells(peer.store)
        places = [place for place in expected.keys() | held.keys() if expected.get(place) != held.get(place)]
        same = peer.store.dots.digest() == digest
        if places and same and not peer.store.pending and not first.store.pending:
            place = min(places)
            raise Violation(
                f"C5: {first} and {peer} claim the same and differ in {place}: {expected.get(place)}, {held.get(place)}"
            )
        found += [f"{first.name} and {peer.name} differ in {place}" for place in sorted(places)]
        if not same:
            found.append(f"{first.name} and {peer.name} claim different dots")
    return found


def agree(peers: Sequence[SimPeer]) -> bool:
    """Whether the stores are equal. Cheap as long as they claim different dots."""
    return len({peer.store.dots.digest() for peer in peers}) <= 1 and not differences(peers)


class Sums(Checker):
    """Adds to counters, as acknowledged to those who added."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._adds: dict[str, dict[bytes, list[int]]] = {}

    def add(self, peer: SimPeer, counter: str, n: int) -> None:
        """Add, and remember it."""
        peer.add(counter, n)
        self._adds.setdefault(counter, {}).setdefault(peer.store.actor, []).append(n)

    def check(self) -> None:
        """Of stores that have converged."""
        living = self._cluster.living()
        alive = {peer.store.actor for peer in living}
        for peer in living:
            for counter, actors in self._adds.items():
                total = 0
                for actor, adds in actors.items():
                    total += self._slot(peer, counter, actor, adds, actor in alive)
                if peer.store.counter(counter) != total:
                    self.fail("C2", f"{counter} at {peer} is {peer.store.counter(counter)}, its slots add up to {total}")

    def _slot(self, peer: SimPeer, counter: str, actor: bytes, adds: list[int], alive: bool) -> int:
        cell = peer.store.cell(1, slot_key(counter, actor))
        held = int(cell.order[2]) - int(cell.order[3]) if cell is not None else 0
        sums = [0]
        for n in adds:
            sums.append(sums[-1] + n)
        allowed = sums[-1:] if alive else sums
        if held not in allowed:
            self.fail("C2", f"{counter} at {peer} holds {held} of {actor.hex()[:8]}, which added up to {sums[-1]}")
        return held


class WatchFold(Checker):
    """What a watcher of everything knows, at each process."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._shown: dict[Process, dict[str, bytes]] = {}
        self._orders: dict[tuple[Process, str], tuple[int | bytes, ...]] = {}
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
            before = change.old.body if change.old is not None else None
            if before != shown.get(key):
                self.fail("C13", f"{process} missed a change of {key!r}")
            touched[key] = None
            if change.kind is not ChangeKind.PUT:
                shown.pop(key, None)
                continue
            if change.new.body is None:
                self.fail("C13", f"{process} was told of a put of {key!r} without its value")
            order = change.new.order[:3]
            if order < self._orders.get((process, key), (0,)):
                self.fail("C13", f"{process} was told of an older put of {key!r}")
            self._orders[process, key] = order
            shown[key] = change.new.body

    def stepped(self, process: Process) -> None:
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
