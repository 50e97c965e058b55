"""What must outlast forgetting (C7): over purges, returns, and memories of any age.

Told of every cut and of every store as a run goes on, it keeps a log of writes by their dots, so that what a cut covers is
known also where it has been replaced since. Rules:

  - What a cut covers was had by everyone who counts. In the end it is there, or something higher is, or it was ended: deleted,
    or given an end, at least as high.
  - Something lower in its place is allowed in one case only, which is documented: the write of somebody who was away, which no
    cut had ever covered, outlives a deletion that has been forgotten. No value that some cut has covered is ever put again.
  - What was acknowledged is owed like what a cut covers, as long as one who held it then kept its memory (`Acks.owed`)."""

from __future__ import annotations

from collections.abc import Iterable

from crdt.cell import KEY, Cell, Order, expiry_of, is_dropped, put_of
from crdt.cuts import Cut
from crdt.dots import NOBODY
from crdt.store import Place
from mesh.replication.standing import Standing
from simulations.checkers.base import Checker
from simulations.checkers.stores import is_put_again
from simulations.cluster import Cluster, SimPeer

__all__ = ["Resurrection"]

Dot = tuple[bytes, int]
Write = tuple[Place, Order]


def standing_of(peer: SimPeer) -> Standing:
    standing = peer.assembly.replication.standing
    assert standing is not None
    return standing


class Resurrection(Checker):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._log: dict[Dot, Cell] = {}
        self._round = 0
        self.safe: dict[Place, Cell] = {}
        """Of each key the highest write that must not be lost."""
        self._covered: set[Write] = set()
        self._late: set[Write] = set()
        """What was written by those that no cut counts yet: it may be lower than what has been forgotten."""
        self._returned: set[Write] = set()
        """What was put again under another dot before any cut had covered it."""
        self._ends: dict[Place, set[Order]] = {}
        """The puts that were deletions, or had an end."""

    # --- as the run goes on --------------------------------------------------------------------------------------------

    def put(self, peer: SimPeer, cells: Iterable[Cell]) -> None:
        """A peer has just written them."""
        for cell in cells:
            self._note(cell)
            if self._round and not self._counts(peer):
                self._late.add((cell[:2], cell.order))

    @staticmethod
    def _counts(peer: SimPeer) -> bool:
        """Whether it knows of a cut that counts it: else it will join, or has yet to be told that it must."""
        standing = standing_of(peer)
        return standing.open and standing.cut.counts(standing.actor)

    def look(self) -> None:
        for peer in self._cluster.living():
            standing = standing_of(peer)
            for old in [held.store for held in standing.held] + ([] if standing.open else [peer.store]):
                for cell in old.cells():
                    self._note(cell)
            if not standing.open:
                continue
            for cell in peer.store.cells():
                if cell.kind == KEY and cell.n and (cell.actor, cell.n) not in self._log and is_put_again(cell):
                    self._comes_back(peer, cell)
                self._note(cell)
            if standing.cut.round > self._round:
                self._covers(standing.cut)

    def owe(self, cells: Iterable[Cell]) -> None:
        """These must not be lost either."""
        for cell in cells:
            safe = self.safe.get(cell[:2])
            if cell.kind == KEY and (safe is None or cell.order > safe.order):
                self.safe[cell[:2]] = cell

    def was_ended(self, cell: Cell) -> bool:
        """Whether something at least as high was a deletion, or had an end."""
        return any(order >= put_of(cell) for order in self._ends.get(cell[:2], ()))

    def _comes_back(self, peer: SimPeer, cell: Cell) -> None:
        write = (cell[:2], cell.order)
        if write in self._covered and cell.body is not None:  # a deletion that is put again undoes nothing
            self.fail("C7", f"{peer} puts again what a cut had covered: {cell}")
        self._returned.add(write)

    def _note(self, cell: Cell) -> None:
        if cell.kind != KEY:
            return
        if cell.n and cell.actor != NOBODY:
            self._log.setdefault((cell.actor, cell.n), cell)
        if cell.body is None or expiry_of(cell) or is_dropped(cell):
            self._ends.setdefault(cell[:2], set()).add(put_of(cell))

    def _covers(self, cut: Cut) -> None:
        self._round = cut.round
        last = dict(cut.least) | {row.actor: row.last for row in cut.retired}
        void = {(actor, n) for actor, numbers in cut.void for n in numbers}
        void |= {(row.actor, n) for row in cut.retired for n in row.void}
        for dot, cell in self._log.items():
            if dot[1] <= last.get(dot[0], 0) and dot not in void:
                self._covered.add((cell[:2], cell.order))
                self.owe((cell,))

    # --- at the end ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """When all stores are equal."""
        store = self._cluster.living()[0].store
        for place, safe in self.safe.items():
            final = store.cell(*place)
            if final is None:
                if not self.was_ended(safe):
                    self.fail("C7", f"{safe} is lost")
            elif final.order < safe.order and (place, final.order) not in self._returned | self._late:
                self.fail("C7", f"{safe} is lost, or undone by {final}")
