"""Counters, gauges, budgets, limiters and watches of whole services under faults: `mesh simulate run primitives`.

Every host runs an ordinary service that uses all of them at once through the API, and is started again when it ends. What they
were told is written into one ledger outside of the world, in true time, and judged there:

    C2   adds that were answered are in the counter in the end; of a process that died a beginning of them. A counter that is
         set stands at the last base, and what was added by those who knew of it
    C13  the events of each watcher, folded over its snapshot, are its store; revisions rise; `old` is what it saw before
    B1   of a budget never more is spent than its limit, nor less than nothing, at any moment
    B2   a strict limiter admits in no time T more than burst + rate T, and in no window more than its limit; a fast one no
         more than so many times that as there are hosts
    B3   a gauge is the number of those who live and hold: within ttl + 1 s after a kill; after the faults as long, and as it
         takes until the stores have told each other what was lost (`REPAIR`)

A mesh of which no process that knows the roster is left is another one: its budget is another one, too."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import trio

from coordination import (
    EventKind,
    Exhausted,
    LeaseLost,
    MemoryLost,
    MeshConfig,
    MeshError,
    NoQuorum,
    OutcomeUnknown,
    Peer,
    Watch,
    open_peer,
)
from crdt.cell import COUNTER
from crdt.counter import counter_of, slot_key
from mesh.shell.outcomes import leaves
from simulations.checkers import Violation
from simulations.checkers.sums import Add, allowed
from simulations.dice import seed_of
from simulations.faults import Fault, Faults
from simulations.hybrid import Host, Hosts
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.world import SECOND, World

__all__ = ["DURATION", "Bucket", "Ledger", "Window", "run_primitives"]

SECRET = "a secret of the simulated services, 32 bytes"
DURATION = 12 * SECOND
TTL = 2.0
MAX_TTL = 3
ABSTENTION = (MAX_TTL + 1) * SECOND
REPAIR = 6.0
"""Seconds: a pull that is not answered, and a few digests, of one a second."""
LIMIT = 60
RATE, BURST = 40, 8
WINDOW_SECONDS, WINDOW_LIMIT = 1, 8


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
    epochs = [
        (cell.order[0], cell.order[1]) for cell in peer._core.assembly.store.of_kind(COUNTER) if counter_of(cell.key) == counter
    ]
    return max(epochs, default=FIRST)  # type: ignore[return-value]


class Ledger(Observer):
    """What users were told, in true time."""

    def __init__(self, world: World, hosts: int) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()
        self.adds: dict[tuple[bytes, Epoch], list[Add]] = {}
        """To the counter that nobody sets (of the first epoch), and to the one that is set, by process and epoch."""
        self.bases: dict[Epoch, int] = {}
        self.peers: dict[str, Peer] = {}
        self.mirrors: dict[str, Mirror] = {}
        self.holding: dict[str, int] = {}
        """Hosts that hold a share of the gauge now."""
        self.spent = 0
        self.quiet = False
        """Whether nothing is to be written any more."""
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
        if not any(peer._core.assembly.agreed.birth.roster is not None for peer in self.peers.values()):
            self.ended = True

    def opened(self, host: Host, peer: Peer) -> None:
        self.peers[host.name] = peer

    def added(self, peer: Peer, n: int, epoch: Epoch = FIRST) -> None:
        self._call += 2
        actor = peer._core.assembly.store.actor
        self.adds.setdefault((actor, epoch), []).append(Add(n, self._call, self._call + 1))
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
        alive = {peer._core.assembly.store.actor for peer in self.peers.values()}
        for name, peer in self.peers.items():
            self._check(name, peer, "hits", FIRST, 0, alive)
            epoch = epoch_of(peer, "level")
            if epoch != FIRST:
                self._check(name, peer, "level", epoch, self.bases[epoch], alive)
        levels = {peer.counter("level").value for peer in self.peers.values()}
        if len(levels) != 1:
            self.fail("C2", f"the counter that is set stands at {levels}")

    def _check(self, name: str, peer: Peer, counter: str, epoch: Epoch, total: int, alive: set[bytes]) -> None:
        for (actor, begun), adds in self.adds.items():
            if begun != epoch:
                continue
            slot = peer._core.assembly.store.cell(COUNTER, slot_key(counter, actor))
            held = slot.order[2] - slot.order[3] if slot is not None and slot.order[:2] == epoch else 0  # type: ignore[operator]
            total += held
            if not allowed(adds, actor in alive, held):
                self.fail(
                    "C2", f"{name} holds {held} of {actor.hex()[:8]}, which added {sum(add.n for add in adds)} to {counter}"
                )
        if peer.counter(counter).value != total:
            self.fail("C2", f"{counter} at {name} is {peer.counter(counter).value}, its slots add up to {total}")

    def unlike(self) -> str:
        """What is not yet as it will be: the stores of all, and the gauge."""
        digests = {peer._core.assembly.store.dots.digest() for peer in self.peers.values()}
        if len(digests) > 1:
            return "the stores differ"
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
        self.token: str | None = None

    async def follow(self, changes: Watch, dice: Random) -> None:
        """Until it breaks, at a moment of chance, to go on with a token."""
        ledger, known = self._ledger, self.known
        async for event in changes:
            ledger.counts["events"] += 1
            if event.revision < self._revision:
                ledger.fail("C13", f"{self._name} was told revision {event.revision} after {self._revision}")
            self._revision = event.revision
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

    def wrong(self) -> str:
        return "" if self.known == dict(self._peer.kv.scan("w/")) else f"the watcher of {self._name} knows otherwise"


# --- the service -------------------------------------------------------------------------------------------------------


async def service(ledger: Ledger, host: Host) -> None:
    """A process, with a task for each primitive."""
    dice = Random(seed_of(ledger.world.seed, "service", host.name, host.starts))
    async with open_peer(
        name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=host.starts == 1,
        config=MeshConfig(max_ttl=MAX_TTL),
    ) as peer:  # fmt: skip
        ledger.opened(host, peer)
        async with trio.open_nursery() as nursery:
            for task in (count, write, watch, hold, spend, limit):
                nursery.start_soon(task, ledger, host, peer, Random(dice.getrandbits(64)))


async def count(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    while not ledger.quiet:
        await trio.sleep(dice.random() * 0.2)
        for _ in range(dice.randrange(1, 30)):
            n = dice.randrange(-5, 9)
            try:
                peer.counter("hits").add(n)
            except MeshError:  # its clock is off, or it has ended
                break
            if n:
                ledger.added(peer, n)
        try:
            level = peer.counter("level")
            if dice.random() < 0.05:
                level.set(dice.randrange(100))
                ledger.bases[epoch_of(peer, "level")] = level.value
                ledger.counts["set"] += 1
            elif epoch_of(peer, "level") != FIRST:
                level.add(n or 1)
                ledger.added(peer, n or 1, epoch_of(peer, "level"))
        except MeshError:
            continue


async def write(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    while not ledger.quiet:
        await trio.sleep(dice.random() * 0.1)
        key = f"w/{dice.randrange(12)}"
        try:
            if dice.random() < 0.3:
                await peer.kv.delete(key)
            else:
                await peer.kv.put(key, dice.randrange(1000), ttl=dice.choice((None, None, 1.0)))
        except MeshError:
            ledger.counts["refused"] += 1


async def watch(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    mirror = ledger.mirrors[host.name] = Mirror(ledger, peer, host.name)
    history = dice.choice((None, 8))
    while True:
        resumes = mirror.token is not None
        if not resumes:
            mirror.known.clear()
        ledger.counts["resumed"] += resumes
        async with peer.watch(prefix="w/", snapshot=True, resume=mirror.token, history=history) as changes:
            await mirror.follow(changes, dice)
        await trio.sleep(dice.random() * 0.3)


async def hold(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    while True:
        try:
            async with peer.gauge("workers").hold(1, ttl=TTL):
                ledger.holding[host.name] = 1
                await trio.sleep_forever()
        except (LeaseLost, NoQuorum):
            ledger.holding.pop(host.name, None)
            ledger.counts["holds lost"] += 1
            await trio.sleep(0.3)


async def spend(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    budget = peer.budget("seats", LIMIT)
    mine = 0
    while True:
        await trio.sleep(dice.random() * 0.3)
        try:
            if mine and dice.random() < 0.4:
                mine -= 1
                ledger.spend(-1)  # who gives back does not use it any more
                try:
                    await budget.refund(1)
                except MeshError:
                    ledger.counts["refunds failed"] += 1
            else:
                n = dice.choice((1, 1, 2))
                await budget.spend(n)
                ledger.spend(n)
                mine += n
        except Exhausted:
            ledger.counts["exhausted"] += 1
        except (NoQuorum, MemoryLost, OutcomeUnknown):
            ledger.counts["unavailable"] += 1


async def limit(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    strict = peer.limiter("strict", rate=RATE, burst=BURST, ttl=TTL)
    window = peer.limiter("window", limit=WINDOW_LIMIT, window=WINDOW_SECONDS, ttl=TTL)
    fast = peer.limiter("fast", rate=RATE, burst=BURST, mode="fast")
    while True:
        await trio.sleep(dice.random() * 0.05)
        if await fast.try_acquire():
            ledger.admitted(ledger.fast, "fast")
        for limiter, judge, name in ((strict, ledger.strict, "strict"), (window, ledger.window, "window")):
            try:
                if dice.random() < 0.05:
                    with trio.move_on_after(0.2):
                        await limiter.acquire()
                        ledger.admitted(judge, name)
                elif await limiter.try_acquire():
                    ledger.admitted(judge, name)
            except NoQuorum:
                ledger.counts["limiter unavailable"] += 1
            except (MemoryLost, OutcomeUnknown):
                ledger.counts["unavailable"] += 1


def run_primitives(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    """One run: services under a plan, then healing, then what must hold; and then one more kill.

    Raises
    ------
    Violation
    """
    try:
        return _run(seed, plan, nodes, seen)
    except BaseExceptionGroup as group:  # of a service's nursery: what it was told broke a law
        found = next((error for error in leaves(group) if isinstance(error, Violation)), None)
        if found is None:
            raise
        raise found from None


def _run(seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]) -> Mapping[str, int]:
    world = World(seed)
    seen(world)
    ledger = Ledger(world, nodes)
    with Hosts(world, founders=3) as hosts:
        for number in range(nodes):
            hosts.add(f"n{number}", partial(service, ledger), restart=0.5)
        hosts.start()
        world.run(2 * SECOND)
        faults = Faults(world)
        faults.set(plan)
        world.run(DURATION)
        faults.heal()
        settled = hosts.until(lambda: len(ledger.peers) == nodes and len(ledger.holding) == nodes, within=30)
        if settled is None:
            ledger.fail("B3", f"after healing only {sorted(ledger.holding)} hold, of {sorted(ledger.peers)}")
        if hosts.until(ledger.gauges_right, within=TTL + 1 + REPAIR) is None:
            held = {name: peer.gauge("workers").holders() for name, peer in ledger.peers.items()}
            ledger.fail("B3", f"{ledger.holding} hold; the gauges say {held}")
        ledger.quiet = True
        world.run(ABSTENTION)  # of two that do not vote, one because it was started again, no majority would be left
        victim = f"n{seed % nodes}"
        world.kill(victim)
        if hosts.until(ledger.gauges_right, within=TTL + 1) is None:
            held = {name: peer.gauge("workers").holders() for name, peer in ledger.peers.items()}
            ledger.fail("B3", f"{victim} was killed, {ledger.holding} hold; the gauges say {held}")
        if hosts.until(lambda: not ledger.unlike(), within=30) is None:
            ledger.fail("C15", ledger.unlike())
        ledger.check_counters()
    return {**ledger.counts, **faults.begun}
