"""What those who write keys are promised.

C26 a batch is seen whole or not at all, at every replica, after every step: while any of its keys shows what the batch put
    there, each of its keys holds that, or something higher (one that a returning member puts again, in the end)
C27 what was acknowledged is held, at that moment, by as many others as were asked for, on their disks if they have some; and it
    is in every store in the end, as long as one who held it kept its memory
C30 what a node with a disk wrote is on that disk before another shows it, as long as the disk takes it
C31 a process begins with all that is on its disk, and under an actor that was never used"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from crdt.cell import KEY, Cell, above, put_of
from crdt.store import Store
from mesh.directives import Event
from mesh.replication import CELLS, Acknowledged, Changed
from mesh.replication.keeping import cell_from, row_of
from simulations.checkers.base import Checker
from simulations.checkers.stores import is_put_again
from simulations.cluster import Cluster, SimPeer
from simulations.machine.disk import Disk
from simulations.machine.process import Process

__all__ = ["Acks", "Kept", "Wholeness"]


class Wholeness(Checker):
    """Batches that were written, told to it by whoever wrote them.

    Parameters
    ----------
    forgotten: whether a key may show nothing since the batch, though nobody holds a deletion of it any more.
    """

    def __init__(self, cluster: Cluster, forgotten: Callable[[Cell], bool] = lambda cell: False) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._forgotten = forgotten
        self._batches: dict[str, list[tuple[Cell, ...]]] = {}
        """By key."""
        self._touched: dict[Process, dict[str, None]] = {}
        self.seen = 0
        """How often a batch was looked at of which something was shown."""

    def batch(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            self._batches.setdefault(cell.key, []).append(tuple(cells))

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Changed):
            touched = self._touched.setdefault(process, {})
            for change in event.changes:
                touched[change.key] = None

    def stepped(self, process: Process) -> None:
        touched = self._touched.pop(process, None)
        if touched:
            store = self._cluster.peers[process.machine].store
            for key in touched:
                self._look(process, store, key)

    def check(self) -> None:
        """Every batch in every store."""
        for peer in self._cluster.living():
            for key in self._batches:
                self._look(peer.process, peer.store, key, at_rest=True)

    def _look(self, process: Process, store: Store, key: str, *, at_rest: bool = False) -> None:
        own = store.cell(KEY, key)
        for batch in self._batches.get(key, ()) if own is not None else ():
            assert own is not None
            if put_of(own) != put_of(batch[0]) or (is_put_again(own) and not at_rest):
                continue
            self.seen += 1
            for cell in batch:
                other = store.cell(KEY, cell.key)
                if other is not None and put_of(other) >= put_of(cell):
                    continue
                if not self._forgotten(cell) or not (other is None or is_put_again(other)):
                    self.fail("C26", f"{process} shows {key!r} of a batch, but of the same {cell.key!r} it has {other!r}")


@dataclass(slots=True)
class Entrusted:
    writer: SimPeer
    cells: tuple[Cell, ...]
    need: int
    held: dict[str, Process] = field(default_factory=dict)
    """Who has been seen to hold all of it, by name; on disk if there are some."""
    losses: dict[str, int] = field(default_factory=dict)
    """How often their disks had lost everything by then."""


class Acks(Checker):
    """Writes whose writers wait for others, by their queries.

    Parameters
    ----------
    forgotten: as for `Wholeness`.
    """

    def __init__(self, cluster: Cluster, forgotten: Callable[[Cell], bool] = lambda cell: False) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._forgotten = forgotten
        self._waiting: dict[tuple[Process, int], Entrusted] = {}
        self._kept: list[Entrusted] = []
        self.acknowledged = 0

    def begins(self, writer: SimPeer, query: int, cells: Sequence[Cell], need: int) -> None:
        self._waiting[writer.process, query] = Entrusted(writer, tuple(cells), need)

    def stepped(self, process: Process) -> None:
        peer = self._cluster.peers[process.machine]
        for entrusted in self._waiting.values():
            if peer.name in entrusted.held or peer.name == entrusted.writer.name:
                continue
            durable = self._cluster.durable
            if on_disk(process.disk, entrusted.cells) if durable else holds(peer.store, entrusted.cells):
                entrusted.held[peer.name] = process
                entrusted.losses[peer.name] = process.disk.losses

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Acknowledged):
            entrusted = self._waiting.pop((process, event.query), None)
            if entrusted is not None:
                self.acknowledged += 1
                if len(entrusted.held) < entrusted.need and not self._held_in_part(entrusted):
                    names = ", ".join(entrusted.held) or "nobody"
                    self.fail("C27", f"{process} was told that {entrusted.need} others have what {names} has")
                self._kept.append(entrusted)

    def _held_in_part(self, entrusted: Entrusted) -> bool:
        """Whether enough others hold what of it has not been forgotten by everyone."""
        store = self._cluster.peers[entrusted.writer.name].store
        left = [cell for cell in entrusted.cells if not self._forgotten(cell) or store.cell(cell.kind, cell.key) is not None]
        others = [peer for peer in self._cluster.living() if peer.name != entrusted.writer.name and holds(peer.store, left)]
        return len(left) < len(entrusted.cells) and len(others) >= entrusted.need

    def check(self) -> None:
        """At the end, when all stores are equal."""
        store = self._cluster.living()[0].store
        for entrusted in self.owed():
            if not holds(store, entrusted.cells):
                keys = ", ".join([cell.key for cell in entrusted.cells])
                self.fail("C27", f"what {entrusted.writer.name} wrote under {keys} was acknowledged, and is lost")

    def owed(self) -> Iterator[Entrusted]:
        """What was acknowledged, and is held by one who kept its memory."""
        running = [peer.process for peer in self._cluster.living()]
        for entrusted in self._kept:
            kept = any(process in running for process in (entrusted.writer.process, *entrusted.held.values()))
            if self._cluster.durable:
                disks = {name: process.disk for name, process in entrusted.held.items()}
                kept = any(disk.losses == entrusted.losses[name] for name, disk in disks.items())
            if kept:
                yield entrusted


class Kept(Checker):
    """What is on the disks of nodes that have some."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._writers: dict[bytes, Process] = {}
        self.seen = 0
        """Changes that were looked up on the disk of their writer."""
        self.restored = 0
        """Cells with which processes began."""

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        for change in event.changes:
            writer = self._writers.get(change.new.actor)
            if writer is None or writer.machine == process.machine or not writer.disk.takes or not change.new.n:
                continue
            self.seen += 1
            if not on_disk(writer.disk, (change.new,)):
                self.fail("C30", f"{process} shows what {writer} wrote under {change.key!r} and has not on its disk")

    def stepped(self, process: Process) -> None:
        actor = self._cluster.peers[process.machine].store.actor
        if self._writers.setdefault(actor, process) is not process:
            self.fail("C31", f"{process} writes as {self._writers[actor]} did")

    def booted(self, process: Process) -> None:
        """Its node has been built, and has not started."""
        store = self._cluster.peers[process.machine].store
        for data in process.disk.snapshot().get(CELLS, {}).values():
            self.restored += 1
            if not holds(store, (cell_from(data),)):
                self.fail("C31", f"{process} begins without {cell_from(data).key!r}, which is on its disk")


def on_disk(disk: Disk, cells: Sequence[Cell]) -> bool:
    """Whether these cells, or higher ones, are durable there."""
    for cell in cells:
        data = disk.row(CELLS, row_of((cell.kind, cell.key)))
        if data is None or _lower(cell_from(data), cell):
            return False
    return True


def holds(store: Store, cells: Sequence[Cell]) -> bool:
    """Whether it has these cells, or higher ones."""
    for cell in cells:
        own = store.cell(cell.kind, cell.key)
        if own is None or _lower(own, cell):
            return False
    return True


def _lower(cell: Cell, other: Cell) -> bool:
    """Whatever their dots: what is brought back has another one."""
    return above(other._replace(actor=b"", n=0), cell._replace(actor=b"", n=0))
