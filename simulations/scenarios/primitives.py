"""Counters, gauges, budgets, limiters and watches of whole services under faults: `mesh simulate run primitives`.

Every host runs an ordinary service that uses all of them at once through the API, and is started again when it ends. What they
were told is written into one ledger outside of the world, in true time, and judged there:

    C2   adds that were answered are in the counter in the end; of a process that died a beginning of them. A counter that is
         set stands at the last base, and what was added by those who knew of it
    C13  the events of each watcher, folded over its snapshot, are its store; `old` is what it saw before; revisions rise, each
         change has its own, and stamps rise per key; what watchers of a counter and a gauge were told last is what these are
    B1   of a budget never more is spent than its limit, nor less than nothing, at any moment
    B2   a strict limiter admits in no time T more than burst + rate T, and in no window more than its limit; a fast one no
         more than so many times that as there are hosts
    B3   a gauge is the number of those who live and hold: within ttl + 1 s after a kill; after the faults as long, and as it
         takes until the stores have told each other what was lost (`REPAIR`)

Of each seed some hosts keep their state on disk, and come back with it, some do not. A disk may be found as it was some time
before (`OldDisk`) where it is no voter's: what a voter has promised, it must know for ever. Cuts are made every few seconds, so
that slots of processes that are gone are folded meanwhile.

A mesh of which no process that knows the roster is left is another one: its budget is another one, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random

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
from mesh.shell.outcomes import leaves
from simulations.checkers import Violation
from simulations.dice import seed_of
from simulations.faults import Fault, Faults, OldDisk
from simulations.hybrid import Host, Hosts
from simulations.scenarios.primitives_ledger import (
    BURST,
    FIRST,
    LIMIT,
    RATE,
    WINDOW_LIMIT,
    WINDOW_SECONDS,
    Bucket,
    Ledger,
    Mirror,
    Window,
    epoch_of,
)
from simulations.world import SECOND, World

__all__ = ["DURATION", "Bucket", "Ledger", "Window", "run_primitives"]

SECRET = "a secret of the simulated services, 32 bytes"
DURATION = 12 * SECOND
FOUNDERS = 3
TTL = 2.0
MAX_TTL = 3
ABSTENTION = (MAX_TTL + 1) * SECOND
CUTS = 2 * SECOND
REPAIR = 6.0
"""Seconds: a pull that is not answered, and a few digests, of one a second."""


# --- the service -------------------------------------------------------------------------------------------------------


async def service(ledger: Ledger, keepers: frozenset[str], votes: bool, host: Host) -> None:
    """A process, with a task for each primitive. `keepers`: who has a state directory."""
    dice = Random(seed_of(ledger.world.seed, "service", host.name, host.starts))
    async with open_peer(
        name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=host.starts == 1,
        state_dir="/state" if host.name in keepers else None, voter=votes, config=MeshConfig(max_ttl=MAX_TTL),
    ) as peer:  # fmt: skip
        ledger.opened(host, peer)
        async with trio.open_nursery() as nursery:
            for task in (count, write, watch, add_up, hold, spend, limit):
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
            mirror.begin()
        ledger.counts["resumed"] += resumes
        async with peer.watch(prefix="w/", snapshot=True, resume=mirror.token, history=history) as changes:
            await mirror.follow(changes, dice)
        await trio.sleep(dice.random() * 0.3)


async def add_up(ledger: Ledger, host: Host, peer: Peer, dice: Random) -> None:
    """Follow what a counter and a gauge stand at."""

    async def follow(what: str, changes: Watch) -> None:
        known = None
        async with changes:
            async for event in changes:
                if event.kind is EventKind.PUT:
                    if event.old != known:
                        ledger.fail("C13", f"{host.name} missed a change of the {what} from {known} before {event}")
                    known = ledger.followed[host.name, what] = event.value
                    ledger.counts[f"{what} changed"] += 1
                if dice.random() < 0.1:
                    await trio.sleep(dice.random())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "counter", peer.watch(counter="hits", snapshot=True))
        nursery.start_soon(follow, "gauge", peer.watch(gauge="workers", snapshot=True))


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
    while not ledger.quiet:
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
    while not ledger.quiet:
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


def keepers_of(seed: int, names: Sequence[str], plan: Sequence[Fault]) -> tuple[frozenset[str], frozenset[str]]:
    """Who keeps its state on disk, about half; and who of them does not vote, as its disk will be found as it was before.
    A founder of which that is so keeps nothing: for it the fault is a restart without memory."""
    dice = Random(seed_of(seed, "keepers"))
    rewound = {fault.whom for fault in plan if isinstance(fault, OldDisk)}
    keepers = {name for name in names if dice.random() < 0.5} - rewound.intersection(names[:FOUNDERS])
    others = rewound.difference(names[:FOUNDERS])
    return frozenset(keepers | others), frozenset(others)


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
    ledger = Ledger(world, nodes, CUTS)
    names = [f"n{number}" for number in range(nodes)]
    keepers, rewound = keepers_of(seed, names, plan)
    with Hosts(world, founders=FOUNDERS) as hosts:
        for name in names:
            hosts.add(name, partial(service, ledger, keepers, name not in rewound), restart=0.5)
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
        hosts.until(ledger.folded, within=6 * CUTS / SECOND)
        victim = f"n{seed % nodes}"
        world.kill(victim)
        if hosts.until(ledger.gauges_right, within=TTL + 1) is None:
            held = {name: peer.gauge("workers").holders() for name, peer in ledger.peers.items()}
            ledger.fail("B3", f"{victim} was killed, {ledger.holding} hold; the gauges say {held}")
        if hosts.until(lambda: not ledger.unlike(), within=30) is None:
            ledger.fail("C15", ledger.unlike())
        ledger.check_counters()
    remembered = sum([machine.disk.remembered for machine in world.machines.values()])
    return {**ledger.counts, **faults.begun, "remembered": remembered}
