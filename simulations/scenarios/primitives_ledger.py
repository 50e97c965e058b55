"""What users of counters, gauges, budgets, limiters and watches were told, written down in true time, and judged.

The laws are those of `simulations.scenarios.primitives`, which is where what is written here happens."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import trio

from coordination import EventKind, Peer, Watch, WatchEvent
from crdt.cell import COUNTER, FOLD, Cell
from crdt.counter import counter_of, fold_key, slot_actor, slot_key
from mesh.replication.applying import actor_of
from simulations.checkers import Violation
from simulations.checkers.sums import Add, Totals, possible
from simulations.hybrid import Host
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.world import SECOND, World

__all__ = ["FIRST", "LIMIT", "Bucket", "Ledger", "Mirror", "Window", "epoch_of"]

LIMIT = 60
"""Of the budget."""
RATE, BURST = 40, 8
WINDOW_SECONDS, WINDOW_LIMIT = 1, 8
MOST_LIVES = 16
"""Of a process. Each begins with a cut that does not count it, and there are only so many cuts."""


class Bucket:
    """B2 in true time: whether all that was admitted fits one bucket. So it fits in every interval."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst * SECOND
        self._at = 0

    def admit(self, n: int, at: int) -> bool:
        self._level = min(self.burst * SECOND, self._level + self.rate * (at - self._at)) - n * SECOND
        self._at = at
        return self._level >= 0


class Window:
    """B2 in true time: how many there were within any window."""

    def __init__(self, limit: int, length: int) -> None:
        self.limit = limit
        self._length = length
        self._past: deque[int] = deque()

    def admit(self, n: int, at: int) -> bool:
        while self._past and self._past[0] <= at - self._length:
            self._past.popleft()
        self._past.extend([at] * n)
        return len(self._past) <= self.limit


Epoch = tuple[int, bytes]
FIRST: Epoch = (0, b"")


def epoch_of(peer: Peer, counter: str) -> Epoch:
    """In which this peer would add now."""
    store = peer._core.assembly.store
    cells = [*store.of_kind(COUNTER), *store.of_kind(FOLD)]
    return max([epoch_in(cell) for cell in cells if counter_of(cell.key) == counter], default=FIRST)


def epoch_in(cell: Cell) -> Epoch:
    """That a slot counts in, or what is folded of some."""
    stamp, actor = cell.order[:2] if cell.kind == COUNTER else cell.order[1:3]
    return stamp, actor  # type: ignore[return-value]


def session_of(peer: Peer) -> bytes:
    return peer._core.identity.boot.session


@cache
def actors_of(session: bytes) -> list[bytes]:
    """Under which a process may have written."""
    return [actor_of(session, life) for life in range(MOST_LIVES)]


def of_lives(lives: Sequence[Sequence[Add]], alive: bool) -> Totals:
    """What a process may have left that began anew now and then, as a joiner. What it had not sent under one actor it puts
    again under the next; so of one that died a beginning of each life counts, and each may have begun earlier than it seems."""
    if alive or len(lives) == 1:
        return possible([add for life in lives for add in life], alive)
    first, *others = lives
    later = [add for life in others for add in life]
    if len(others) > 1:  # not worth the trouble: what is neither more nor less than all of one sign
        ns = [add.n for life in lives for add in life]
        least, most = sum([n for n in ns if n < 0]), sum([n for n in ns if n > 0])
        return Totals(least, (1 << (most - least + 1)) - 1)
    found = Totals(0, 1)
    for begun in range(len(first) + 1):
        found = found.either(possible(first[:begun], False).plus(possible([*first[begun:], *later], False)))
    return found


class Ledger(Observer):
    """What users were told, in true time.

    hosts: how many there are.
    cuts: ns between two rounds in which what is gone is forgotten, and slots are folded."""

    def __init__(self, world: World, hosts: int, cuts: int) -> None:
        self.world = world
        self._cuts = cuts
        self.counts: Counter[str] = Counter()
        self.adds: dict[tuple[bytes, Epoch], list[list[Add]]] = {}
        """To the counter that nobody sets (of the first epoch), and to the one that is set, by process (its session) and epoch;
        of each life that it led."""
        self._leads: dict[tuple[bytes, Epoch], bytes] = {}
        """Under which actor the last of them was."""
        self.bases: dict[Epoch, int] = {}
        self._sums: dict[tuple[bytes, Epoch, bool], Totals] = {}
        self.peers: dict[str, Peer] = {}
        self.mirrors: dict[str, Mirror] = {}
        self.followed: dict[tuple[str, str], int] = {}
        """What watchers were told of a counter and a gauge last, by host."""
        self.holding: dict[str, int] = {}
        """Hosts that hold a share of the gauge now."""
        self.spent = 0
        self.quiet = False
        """Whether nothing is to be written any more, spent or admitted."""
        self.ended = False
        """Whether the mesh that knew the budget is gone."""
        self.strict, self.window = Bucket(RATE, BURST), Window(WINDOW_LIMIT, WINDOW_SECONDS * SECOND)
        self.fast = Bucket(RATE * hosts, BURST * hosts)
        self._call = 0
        world.observe(self)

    def fail(self, law: str, text: str) -> None:
        raise Violation(f"{law}: {text} (seed {self.world.seed}, at {self.world.now / SECOND:.6f} s)")

    def died(self, process: Process) -> None:
        name = process.machine
        self.holding.pop(name, None)
        self.mirrors.pop(name, None)
        self.peers.pop(name, None)
        self.followed = {place: value for place, value in self.followed.items() if place[0] != name}
        if not any(peer._core.assembly.agreed.birth.roster is not None for peer in self.peers.values()):
            self.ended = True

    def opened(self, host: Host, peer: Peer) -> None:
        self.peers[host.name] = peer
        rounds = peer._core.assembly.rounds
        rounds.interval = self._cuts
        rounds._next = min(rounds._next, peer._core.now().mono + self._cuts)

    def added(self, peer: Peer, n: int, epoch: Epoch = FIRST) -> None:
        self._call += 2
        actor, place = peer._core.assembly.store.actor, (session_of(peer), epoch)
        lives = self.adds.setdefault(place, [])
        if self._leads.get(place) != actor:
            self._leads[place] = actor
            lives.append([])
        lives[-1].append(Add(n, self._call, self._call + 1))
        self.counts["added"] += 1

    def spend(self, n: int) -> None:
        self.spent += n
        self.counts["spent" if n > 0 else "refunded"] += 1
        if not self.ended and not 0 <= self.spent <= LIMIT:
            self.fail("B1", f"{self.spent} of {LIMIT} are spent")

    def admitted(self, what: Bucket | Window, name: str) -> None:
        self.counts[name] += 1
        if not what.admit(1, self.world.now):
            self.fail("B2", f"the {name} limiter admitted too much")

    # --- at the end --------------------------------------------------------------------------------------------------

    def check_counters(self) -> None:
        whole = {session_of(peer): not peer._core.assembly.replication.standing.held for peer in self.peers.values()}  # type: ignore[union-attr]
        for name, peer in self.peers.items():
            self._check(name, peer, "hits", FIRST, 0, whole)
            epoch = epoch_of(peer, "level")
            if epoch != FIRST:
                self._check(name, peer, "level", epoch, self.bases[epoch], whole)
        levels = {peer.counter("level").value for peer in self.peers.values()}
        if len(levels) != 1:
            self.fail("C2", f"the counter that is set stands at {levels}")

    def _check(self, name: str, peer: Peer, counter: str, epoch: Epoch, base: int, whole: Mapping[bytes, bool]) -> None:
        """`whole`: of the processes that live, whether all of what they have written is told."""
        store = peer._core.assembly.store
        fold = store.cell(FOLD, fold_key(counter))
        folded = None if fold is None or epoch_in(fold) != epoch else int(fold.order[3]) - int(fold.order[4])
        total, gone = base + (folded or 0), Totals(0, 1)
        self.counts["folded"] += folded is not None
        for (session, begun), lives in self.adds.items():
            if begun != epoch:
                continue
            slots = [store.cell(COUNTER, slot_key(counter, actor)) for actor in actors_of(session)]
            found = [int(cell.order[2]) - int(cell.order[3]) for cell in slots if cell is not None and epoch_in(cell) == epoch]
            held = sum(found)
            total += held
            allowed = self._possible(session, epoch, alive=whole.get(session, False))
            if folded is not None and len(found) < len(lives) and (len(lives) > 1 or session not in whole):
                gone = gone.plus(Totals(allowed.lowest - held, allowed.bits))  # some of its slots may have been folded
            elif held not in allowed:
                added = sum([add.n for life in lives for add in life])
                self.fail("C2", f"{name} holds {held} of {session.hex()[:8]}, which added {added} to {counter}")
        if folded is not None and folded not in gone:
            self.fail("C2", f"{name} holds {folded} of all that are gone in {counter}, which nothing can have left")
        if peer.counter(counter).value != total:
            self.fail("C2", f"{counter} at {name} is {peer.counter(counter).value}, its slots add up to {total}")

    def _possible(self, session: bytes, epoch: Epoch, *, alive: bool) -> Totals:
        """What its adds in this epoch may have come to; the same whoever is asked for it."""
        found = self._sums.get((session, epoch, alive))
        if found is None:
            lives = self.adds[session, epoch]
            found = self._sums[session, epoch, alive] = of_lives(lives, alive)
            self.counts["led several lives"] += len(lives) > 1
        return found

    def folded(self) -> bool:
        """Whether everyone has made one cell of what the dead have added, as far as any of that has arrived."""
        living = {actor for peer in self.peers.values() for actor in actors_of(session_of(peer))}
        stores = [peer._core.assembly.store for peer in self.peers.values()]
        return all(slot_actor(cell.key) in living for store in stores for cell in store.of_kind(COUNTER))

    def unlike(self) -> str:
        """What is not yet as it will be: the stores of all, and the gauge."""
        digests = {peer._core.assembly.store.dots.digest() for peer in self.peers.values()}
        if len(digests) > 1:
            return "the stores differ"
        for (name, what), value in self.followed.items():
            peer = self.peers[name]
            now = peer.counter("hits").value if what == "counter" else peer.gauge("workers").value
            if value != now:
                return f"the watcher of the {what} of {name} was told {value}, which is {now}"
        return next((wrong for mirror in self.mirrors.values() if (wrong := mirror.wrong())), "")

    def gauges_right(self) -> bool:
        return all(peer.gauge("workers").holders() == self.holding for peer in self.peers.values())


class Mirror:
    """What one watcher knows: everything under `w/`."""

    def __init__(self, ledger: Ledger, peer: Peer, name: str) -> None:
        self._ledger = ledger
        self._peer = peer
        self._name = name
        self.known: dict[str, Any] = {}
        self._revision = 0
        self._synced = False
        self._stamps: dict[str, tuple[int, str | None]] = {}
        """And origin, of the last write of each key."""
        self.token: str | None = None

    def begin(self) -> None:
        """Anew, with a snapshot."""
        self.known.clear()
        self._stamps.clear()
        self._synced = False

    async def follow(self, changes: Watch, dice: Random) -> None:
        """Until it breaks, at a moment of chance, to go on with a token."""
        ledger, known = self._ledger, self.known
        async for event in changes:
            ledger.counts["events"] += 1
            self._order(event)
            if event.kind is EventKind.RESYNC:
                known.clear()
                ledger.counts["resyncs"] += 1
            elif event.kind is EventKind.PUT:
                if event.old != known.get(event.key):
                    ledger.fail("C13", f"{self._name} missed a change of {event.key!r} before {event}")
                known[event.key] = event.value
            elif event.kind is not EventKind.SYNCED and known.pop(event.key, None) != event.old:
                ledger.fail("C13", f"{self._name} missed a change of {event.key!r} before {event}")
            self.token = changes.token
            if dice.random() < 0.02:
                return
            if dice.random() < 0.1:
                await trio.sleep(dice.random())

    def _order(self, event: WatchEvent) -> None:
        """Nothing twice, and everything in the order in which it happened."""
        shown = not self._synced or event.kind in (EventKind.SYNCED, EventKind.RESYNC)  # all of it at one revision
        if event.revision < self._revision or (event.revision == self._revision and not shown):
            self._ledger.fail("C13", f"{self._name} was told revision {event.revision} after {self._revision}")
        self._revision = event.revision
        if event.kind is EventKind.SYNCED:
            self._synced = True
        elif event.kind is EventKind.RESYNC:
            self._synced = False
            self._stamps.clear()
        elif event.kind in (EventKind.PUT, EventKind.DELETE):
            write, before = (event.stamp, event.origin), self._stamps.get(event.key, (0, None))
            again = write == before and event.origin is not None  # of two writes of one moment the higher actor's wins
            if write[0] < before[0] or again:
                self._ledger.fail("C13", f"{self._name} was told of {event} after one of the stamp {before[0]}")
            self._stamps[event.key] = write

    def wrong(self) -> str:
        return "" if self.known == dict(self._peer.kv.scan("w/")) else f"the watcher of {self._name} knows otherwise"
