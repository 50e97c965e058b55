"""Several stores that write, push and pull in any order, and the rules that must hold after every step.

A `World` does what replication does with stores, but without a network: pushes lie in a bag from which they are delivered in
any order, twice, or never; transfers go slice by slice, with everything else between the slices, from any sender that may
carry them on. Each step ends with `check`, which compares every replica with a log of all writes that ever got a dot:

    claims     a claimed dot's own cell is at least the dot's cell
    index      the index of dots holds exactly the cells that have one
    digests    replicas with equal digests have equal cells
    shown      changes folded over nothing are what is visible; `old` is what was; revisions rise
    expired    a value that was said to have expired comes back only through touches stamped before the expiries

`settle` exchanges everything: then all replicas are equal, cell by cell, and each cell is the highest ever written."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from crdt.cell import KEY, Cell, Order, above, cell_of, drop, expiry_of, fence_of, is_dropped, put_of, stamps_of
from crdt.change import ChangeKind
from crdt.clock import COUNTER_BITS, HybridClock, Instant, Stamp
from crdt.dots import DotSet, Summary
from crdt.store import Place, Store, StoreFencedError
from crdt.transfer import FIRST, Slice, Transfer, missing
from mesh.wire import load

KEYS = tuple(f"k{n}" for n in range(6))
TIMED = ("k0", "k1")
FENCED = "k5"
LEASES = ("l0", "l1", "l2", "l3")
COUNTERS = ("c0", "k0")
"""One of them has the name of a key, and they never meet."""
MAX_SKEW_MS = 200
NS_PER_MS = 1_000_000
EVERYTHING = 1 << 30

Dot = tuple[bytes, int]


class Broken(AssertionError):
    """A rule does not hold."""


def require(holds: bool, *what: object) -> None:
    if not holds:
        raise Broken(" ".join(map(str, what)))


@dataclass(slots=True)
class Running:
    """One transfer under way."""

    transfer: Transfer
    sender: int


@dataclass(slots=True)
class Replica:
    store: Store
    skew_ms: int
    clock: HybridClock = field(default_factory=HybridClock)
    shown: dict[str, Cell] = field(default_factory=dict)
    """The changes so far, folded."""
    expired: dict[tuple[str, tuple[int | bytes, ...]], Stamp] = field(default_factory=dict)
    """Puts that were said to have expired, and at which expiry."""
    revision: int = 0
    running: Running | None = None


@dataclass(frozen=True, slots=True)
class Push:
    to: int
    cell: Cell
    previous: int


class World:
    def __init__(
        self, replicas: int = 3, skews: tuple[int, ...] = (0, MAX_SKEW_MS, -MAX_SKEW_MS, 57), store: type[Store] = Store
    ) -> None:
        self.ms = 1_000_000
        self.replicas = [Replica(store(bytes((65 + n,)) * 16), skews[n % len(skews)]) for n in range(replicas)]
        self.log: dict[Dot, Cell] = {}
        """Every cell that got a dot, as it was at its writer."""
        self.touches: dict[tuple[str, tuple[int | bytes, ...]], list[tuple[Stamp, Stamp]]] = {}
        """Of each put: (touch stamp, expiry)."""
        self.fenced: list[Order] = []
        """Puts under the key that carries fences."""
        self.overruled: dict[Order, None] = {}
        """Of these, those whose writers were told that a fence has beaten them."""
        self.added = dict.fromkeys(COUNTERS, 0)
        self.bag: list[Push] = []

    # --- time --------------------------------------------------------------------------------------------------------

    def now(self, replica: Replica) -> Instant:
        return Instant(0, self.ms * NS_PER_MS, self.ms + replica.skew_ms)

    def read(self, replica: Replica) -> Stamp:
        return replica.clock.read(self.now(replica))

    def tick(self, replica: Replica) -> Stamp:
        return replica.clock.tick(self.now(replica))

    def advance(self, ms: int) -> None:
        self.ms += ms

    # --- local writes ------------------------------------------------------------------------------------------------

    def put(self, at: int, key: str, body: bytes | None, ttl_ms: int = 0, bound: str | None = None, fence: int = 0) -> None:
        replica = self.replicas[at]
        stamp = self.tick(replica)
        expiry = stamp + (ttl_ms << COUNTER_BITS) if ttl_ms else 0
        try:
            cell = replica.store.put(key, body, stamp, expiry, bound, fence)
        except StoreFencedError:
            return
        if key == FENCED:
            self.fenced.append(put_of(cell))
        seen = replica.store.get(key, stamp)
        hidden = body is None or (bound is not None and replica.store.lease_ended(bound))
        require(seen is None if hidden else seen == cell, "a write is not seen by its writer:", cell, seen)

    def touch(self, at: int, key: str, ttl_ms: int) -> None:
        replica = self.replicas[at]
        stamp = self.tick(replica)
        cell = replica.store.touch(key, stamp, stamp + (ttl_ms << COUNTER_BITS))
        if cell is not None and cell.n == 0 and cell.order[4] == stamp:
            self.touches.setdefault((key, put_of(cell)), []).append((stamp, expiry_of(cell)))

    def add(self, at: int, counter: str, amount: int) -> None:
        replica = self.replicas[at]
        replica.store.add(counter, amount, self.tick(replica))
        self.added[counter] += amount

    def end_lease(self, at: int, lease: str) -> None:
        replica = self.replicas[at]
        replica.store.end_lease(lease, self.tick(replica))

    def expire(self, at: int) -> None:
        replica = self.replicas[at]
        replica.store.expire(self.read(replica))

    def flush(self, at: int, alone: bool = False, lost: bool = False) -> None:
        """End the window, and push what it holds to all others; `alone`: touches without their values."""
        store = self.replicas[at].store
        for cell, previous in store.flush():
            require((cell.actor, cell.n) not in self.log, "one dot for two cells:", cell)
            self.log[cell.actor, cell.n] = cell
            if not lost:
                sent = drop(cell) if alone and cell.kind == KEY and cell.order[4] else cell
                self.bag += [Push(to, sent, previous) for to in range(len(self.replicas)) if to != at]

    # --- pushes ------------------------------------------------------------------------------------------------------

    def forward(self, at: int, to: int, kind: int, key: str) -> None:
        """Push a cell as it is held, whoever wrote it."""
        self.flush(at)
        cell = self.replicas[at].store.cell(kind, key)
        if cell is not None and at != to:
            self.bag.append(Push(to, cell, 0))

    def deliver(self, index: int, keep: bool = False) -> None:
        """Deliver one push of those that are under way; `keep`: it will come again."""
        push = self.bag[index] if keep else self.bag.pop(index)
        replica = self.replicas[push.to]
        stamp = self.admit(replica, push.cell)
        alone = is_dropped(push.cell) and expiry_of(push.cell) > stamp
        store = replica.store
        if (store.apply_touch(push.cell, stamp) if alone else store.apply(push.cell, stamp)) is not None:
            store.claim_previous(push.cell, push.previous)

    def admit(self, replica: Replica, cell: Cell) -> Stamp:
        now = self.now(replica)
        for stamp in stamps_of(cell):
            require(replica.clock.merge(stamp, now), "a clock refused a fellow within the drift")
        return replica.clock.read(now)

    # --- transfers ---------------------------------------------------------------------------------------------------

    def begin(self, at: int, sender: int) -> None:
        """Ask for what is lacking; a transfer that was under way is forgotten, or carried on if this sender may."""
        replica = self.replicas[at]
        if at == sender:
            return
        self.flush(at)
        running = replica.running
        if running is not None and running.transfer.snapshot is not None:
            self.flush(sender)
            if self.replicas[sender].store.dots.covers_all(running.transfer.snapshot):
                running.sender = sender
                return
        replica.running = Running(self.new_transfer(replica.store), sender)

    def new_transfer(self, store: Store) -> Transfer:
        return Transfer(store.dots.summary())

    def slice(self, at: int, limit: int = EVERYTHING, masks: dict[bytes, int] | None = None, lost: bool = False) -> bool | None:
        """One slice of the replica's transfer; whether its snapshot was claimed, None before the end.

        Of a slice that was `lost` the asker has nothing, and asks again."""
        replica = self.replicas[at]
        running = replica.running
        if running is None:
            return None
        transfer, sender = running.transfer, self.replicas[running.sender].store
        self.flush(running.sender)
        snapshot: Summary | None = sender.dots.summary() if transfer.after == FIRST else None
        part = self.missing(sender, DotSet(transfer.known), masks or {}, transfer.after, limit)
        if lost:
            return None
        for data in part.cells:
            self.merge(replica, cell_of(load(data, EVERYTHING, 4)))
        if snapshot is not None:
            transfer.begins(snapshot)
        transfer.received(part.last, part.complete)
        if not part.done:
            return None
        replica.running = None
        return transfer.finish(replica.store)

    def merge(self, replica: Replica, cell: Cell) -> None:
        replica.store.apply(cell, self.admit(replica, cell))

    def missing(self, store: Store, known: DotSet, masks: dict[bytes, int], after: Place, limit: int) -> Slice:
        return missing(store, known, masks, after, limit)

    # --- rules -------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every rule, of every replica."""
        for replica in self.replicas:
            self.check_claims(replica)
            self.check_index(replica)
            self.check_changes(replica)
        self.check_digests()

    def check_claims(self, replica: Replica) -> None:
        store = replica.store
        summary = store.dots.summary()
        dots = [(actor, n) for actor, last in summary.vector for n in range(1, last + 1)]
        dots += [(actor, n) for actor, numbers in summary.extras for n in numbers]
        for dot in dots:
            require(dot in self.log, "a dot is claimed that nobody wrote:", dot)
            cell = self.log[dot]
            own = store.cell(cell.kind, cell.key)
            require(own is not None, "a dot is claimed whose key is not held:", dot, cell)
            assert own is not None
            require(not above(cell, own), "a dot is claimed that is above the own cell:", cell, own)

    def check_index(self, replica: Replica) -> None:
        indexed = replica.store.lacking(DotSet(), EVERYTHING)
        assert indexed is not None
        held = [cell for cell in replica.store.cells() if cell.n]
        require(sorted(indexed) == sorted(held), "the index of dots is not what is held")

    def check_changes(self, replica: Replica) -> None:
        store, shown = replica.store, replica.shown
        stamp = self.read(replica)
        store.expire(stamp)
        changes, _ = store.take_changes()
        for kind, key, new, old, _, revision, _ in changes:
            require(revision > replica.revision, "a revision does not rise:", revision)
            replica.revision = revision
            if kind is ChangeKind.FENCED:
                self.check_overruled(replica, new)
                continue
            before = shown.get(key)
            require((before and before.body) == (old and old.body), "old is not what was shown of", key, before, old)
            if kind is ChangeKind.PUT:
                require(new.body is not None, "a put without a value:", new)
                self.check_return(replica, new)
                shown[key] = new
            else:
                require(before is not None, "an end of what was not shown:", new)
                assert before is not None
                if kind is ChangeKind.EXPIRE and put_of(new) == put_of(before):
                    replica.expired[key, put_of(new)] = expiry_of(new)
                del shown[key]
        visible = {cell.key: cell.body for cell in store.scan("", stamp)}
        require(visible == {key: cell.body for key, cell in shown.items()}, "changes folded are not what is visible")
        for key in KEYS:
            cell = store.get(key, stamp)
            require((cell and cell.body) == visible.get(key), "get and scan differ on", key)

    def check_overruled(self, replica: Replica, lost: Cell) -> None:
        """Only a write of its own is told, that the fence alone has beaten; and never twice."""
        now = replica.store.cell(KEY, lost.key)
        assert now is not None
        require(lost.order[2] == replica.store.actor, "told of another one's write:", lost)
        require(fence_of(now) > fence_of(lost), "told of a write that no fence has beaten:", lost, now)
        require(put_of(lost) not in self.overruled, "told twice that it has lost:", lost)
        self.overruled[put_of(lost)] = None

    def check_return(self, replica: Replica, cell: Cell) -> None:
        """A value that had expired here may be shown again only because it was touched before."""
        expiry = replica.expired.get((cell.key, put_of(cell)))
        if expiry is None:
            return
        touches = sorted(self.touches.get((cell.key, put_of(cell)), ()))
        for stamp, later in touches:
            if stamp < expiry < later:
                expiry = later
        require(
            replica.expired[cell.key, put_of(cell)] < expiry_of(cell) <= expiry,
            "an expired value is shown again, and no touch in time says so:",
            cell,
        )

    def check_digests(self) -> None:
        """Of replicas without a window in progress, as that is what may be stated."""
        by_digest: dict[bytes, list[Cell]] = {}
        for replica in self.replicas:
            store = replica.store
            if not store.pending:
                cells = [drop(cell) if cell.kind == KEY and expiry_of(cell) else cell for cell in store.cells()]
                require(by_digest.setdefault(store.dots.digest(), cells) == cells, "equal digests of unequal stores")

    # --- the end -----------------------------------------------------------------------------------------------------

    def exchange(self, at: int, sender: int) -> None:
        """A whole transfer that nothing disturbs."""
        self.replicas[at].running = None
        self.begin(at, sender)
        require(self.slice(at) is True, "an undisturbed transfer was not claimed")
        self.check()

    def settle(self) -> None:
        """Exchange everything, in two rounds through the first replica; then all are equal and nothing is lost."""
        everyone = range(len(self.replicas))
        for at in everyone:
            self.flush(at, lost=True)
        for at in everyone[1:]:
            self.exchange(0, at)
        for at in everyone[1:]:
            self.exchange(at, 0)
        stamp = max(self.read(replica) for replica in self.replicas)
        for replica in self.replicas:
            replica.store.expire(stamp)
        first, *others = [replica.store for replica in self.replicas]
        for other in others:
            require(other.dots.digest() == first.dots.digest(), "digests differ after everything was exchanged")
            require(list(other.cells()) == list(first.cells()), "stores differ after everything was exchanged")
        for cell in self.log.values():
            own = first.cell(cell.kind, cell.key)
            require(own is not None and not above(cell, own), "a write is lost:", cell, own)
        if self.fenced:
            won = first.cell(KEY, FENCED)
            require(won is not None and put_of(won) == max(self.fenced), "not the highest (token, stamp) has won:", won)
        for counter, total in self.added.items():
            require(first.counter(counter) == total, "the adds to", counter, "are", total, "but it is", first.counter(counter))


def step(world: World, random: Random) -> None:
    """Something, anywhere; then every rule is checked."""
    everyone = range(len(world.replicas))
    at, other = random.choice(everyone), random.choice(everyone)
    key, body = random.choice(KEYS), random.randbytes(2)
    match random.randrange(25):
        case 0 | 1:
            world.put(at, key, body)
        case 2 | 3:
            world.put(at, random.choice(TIMED), body, ttl_ms=random.choice((1_000, 2_000)))
        case 4:
            world.put(at, key, body, bound=random.choice(LEASES))
        case 5:
            world.put(at, key, None)
        case 6:
            world.put(at, FENCED, body, fence=random.randrange(3))
        case 7 | 8 | 9:
            world.touch(at, random.choice(TIMED), random.choice((1_000, 2_000, 4_000)))
        case 10:
            world.add(at, random.choice(COUNTERS), random.randrange(-9, 10))
        case 11:
            if random.randrange(8) == 0:
                world.end_lease(at, random.choice(LEASES))
        case 12 | 13:
            world.advance(random.choice((1, 50, 400, 900)))
            world.expire(at)
        case 14 | 15:
            world.flush(at, alone=random.randrange(2) == 0, lost=random.randrange(3) == 0)
        case 16:
            world.forward(at, other, KEY, key)
        case 17 | 18 | 19:
            if world.bag:
                world.deliver(random.randrange(len(world.bag)), keep=random.randrange(4) == 0)
        case 20:
            if world.bag and random.randrange(2):
                world.bag.pop(random.randrange(len(world.bag)))
        case 21:
            world.begin(at, other)
        case _:
            masks: dict[bytes, int] = {}
            if random.randrange(6) == 0:
                masks[world.replicas[other].store.actor] = random.randrange(1, 1 + max(1, len(world.log)))
            world.slice(at, random.choice((1, 60, 200, EVERYTHING)), masks, lost=random.randrange(8) == 0)
    world.check()


def campaign(world: World, seed: int, steps: int) -> None:
    """Many steps, then the exchange of everything; a `Broken` names the seed."""
    random = Random(seed)
    try:
        for _ in range(steps):
            step(world, random)
        world.settle()
    except Broken as problem:
        raise Broken(f"seed {seed}: {problem}") from problem
