"""Broadcasts: to everyone, quickly, at most once each.

    spreading   whoever hears of a broadcast first tells it at once to `FANOUT` members, and then in each of some further
                rounds to as many that have not been told by it, nor told it: rumour mongering, with a number of rounds that
                grows with log N. With nine tellings by each of 30 one in 8,000 is left out, in about three hops.
    repair      as long as there is anything recent, each tells one member a second the hashes of what it has heard of, one for
                each half second; of those that differ the two exchange names, and then what either lacks. So a loss of half of
                all datagrams, or a partition of some seconds, costs some seconds, and an idle mesh says nothing.
    once        what was taken is remembered by its name (stamp, origin) for `LIFE`. What is older than that, or not above the
                highest stamp that had to make room, counts as taken: remembering less never takes anything twice, it only
                leaves out. A process takes nothing from before the half second of its
                own start.

Demers et al., 1987 (rumour mongering, anti-entropy); Das et al., 2002 (SWIM's dissemination)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random

from crdt.clock import COUNTER_BITS, HybridClock, Instant, make_stamp, stamp_ms
from mesh.messaging.messages import HASH_BYTES, MAX_KNOWN, SLICES, Item, ItemName, SliceHash

__all__ = ["FANOUT", "LIFE_MS", "REPAIR", "ROUND", "Broadcasts", "rounds", "slice_start"]

MS = 1_000_000

FANOUT = 3
"""Members that are told in one round."""

ROUND = 5 * MS
"""ns between two rounds: on a local network most copies of the round before have arrived by then."""

REPAIR = 1_000 * MS
"""ns between two comparisons with another member, on the average."""

SLICE_MS = 500
SETTLED_MS = 200
"""What is younger is still on its way, and not compared."""
EXPIRING_MS = 2_000
"""What will be forgotten so soon may be forgotten elsewhere, and is not compared either."""

LIFE_MS = 30_000
"""ms for which a broadcast is remembered, compared and given to who asks for it. Beyond `MAX_KNOWN` the one with the lowest
stamp goes sooner."""

MAX_TOLD = 1_024
"""Broadcasts that are still being told; beyond it the oldest is told no more (the repair sees to the rest)."""


def rounds(members: int) -> int:
    """1 + ceil(log10 N): 2 for up to 10 members, 3 for 100, 4 for 1,000."""
    count = 2
    while members > 10:
        members = (members + 9) // 10
        count += 1
    return count


NOTHING = bytes(HASH_BYTES)


def slice_of(which: ItemName) -> int:
    return stamp_ms(which.stamp) // SLICE_MS


def slice_start(stamp: int) -> int:
    """The first stamp of the half second of a stamp: a process takes what was said from there on, for half seconds are compared
    as a whole."""
    return make_stamp(stamp_ms(stamp) // SLICE_MS * SLICE_MS)


@dataclass(slots=True)
class Slice:
    """What is known of one half second, and its hash."""

    names: dict[ItemName, None] = field(default_factory=dict)
    hash: int = 0

    def toggle(self, which: ItemName) -> None:
        """Put it in, or take it out."""
        if which in self.names:
            del self.names[which]
        else:
            self.names[which] = None
        data = which.stamp.to_bytes(8, "big") + which.origin
        self.hash ^= int.from_bytes(blake2b(data, digest_size=HASH_BYTES).digest(), "big")

    def encoded(self) -> bytes:
        return self.hash.to_bytes(HASH_BYTES, "big")


@dataclass(slots=True)
class Telling:
    """A broadcast that this node still tells."""

    item: Item
    left: int
    """Rounds."""
    knowing: dict[str, None] = field(default_factory=dict)
    """Who has been told by this node, or has told it."""


class Broadcasts:
    """What is known, and what is still told. It decides whom to tell; its owner sends."""

    __slots__ = ("_clock", "_floor", "_heap", "_known", "_random", "_slices", "_telling", "counts")

    def __init__(self, clock: HybridClock, random: Random, counts: Counter[str]) -> None:
        self._clock = clock
        self._random = random
        self._known: dict[ItemName, Item] = {}
        self._heap: list[tuple[int, bytes]] = []
        """Stamps and origins of what is known, the lowest first."""
        self._slices: dict[int, Slice] = {}
        self._floor = 0
        """The highest stamp of those that made room."""
        self._telling: dict[ItemName, Telling] = {}
        self.counts = counts

    def acceptable(self, which: ItemName, start: int, now: Instant) -> bool:
        """Whether it is new, and neither of the future nor from before this process, nor older than what is remembered."""
        if which in self._known:
            self.counts["repeated"] += 1
        elif which.stamp < start:
            self.counts["before_start"] += 1
        elif which.stamp <= self._floor or which.stamp <= self._oldest(now):
            self.counts["too_old"] += 1
        elif stamp_ms(which.stamp) > self._clock.physical_ms(now) + self._clock.max_drift_ms:
            self.counts["of_the_future"] += 1
        else:
            return True
        return False

    def take(self, item: Item, source: str | None, members: int, now: Instant) -> None:
        """Remember it and begin to tell it: it is acceptable, and has been taken."""
        self._clock.merge(item.which.stamp, now)
        self._known[item.which] = item
        heappush(self._heap, (item.which.stamp, item.which.origin))
        number = slice_of(item.which)
        of_slice = self._slices.get(number)
        if of_slice is None:
            of_slice = self._slices[number] = Slice()
        of_slice.toggle(item.which)
        if len(self._known) > MAX_KNOWN:
            self._floor = self._drop()
        telling = self._telling[item.which] = Telling(item, rounds(members))
        telling.knowing[item.sender] = None
        if source is not None:
            telling.knowing[source] = None
        if len(self._telling) > MAX_TOLD:
            del self._telling[next(iter(self._telling))]
            self.counts["cut_short"] += 1

    def knows(self, which: ItemName, name: str) -> None:
        """That member has told it: it need not be told."""
        telling = self._telling.get(which)
        if telling is not None:
            telling.knowing[name] = None

    def round(self, others: Sequence[str]) -> dict[str, list[Item]]:
        """One round of everything that is still told: what to tell to whom."""
        told: dict[str, list[Item]] = {}
        for which, telling in list(self._telling.items()):
            self._tell(telling, others, told)
            if telling.left <= 0:
                del self._telling[which]
        return told

    def first(self, which: ItemName, others: Sequence[str]) -> dict[str, list[Item]]:
        """The first round of one that has just been taken."""
        told: dict[str, list[Item]] = {}
        telling = self._telling.get(which)
        if telling is not None:
            self._tell(telling, others, told)
            if telling.left <= 0:
                del self._telling[which]
        return told

    def _tell(self, telling: Telling, others: Sequence[str], told: dict[str, list[Item]]) -> None:
        ignorant = [name for name in others if name not in telling.knowing]
        chosen = ignorant if len(ignorant) <= FANOUT else self._random.sample(ignorant, FANOUT)
        telling.left = telling.left - 1 if len(ignorant) > FANOUT else 0
        for name in chosen:
            telling.knowing[name] = None
            told.setdefault(name, []).append(telling.item)

    def recent(self, start: int, now: Instant) -> tuple[int, tuple[SliceHash, ...]]:
        """What is compared with another member; what is too old is forgotten first."""
        oldest = self._oldest(now)
        while self._heap and self._heap[0][0] <= oldest:
            self._drop()
        first, last = self._compared(start, now)
        slices = sorted([number for number in self._slices if first <= number <= last])[-SLICES:]
        return first, tuple([SliceHash(number, self._slices[number].encoded()) for number in slices])

    def differing(self, since: int, slices: Sequence[SliceHash], start: int, now: Instant) -> list[int]:
        """The half seconds of which another member has heard otherwise."""
        first, last = self._compared(start, now)
        first = max(first, since)
        theirs = {each.slice: each.hash for each in slices if first <= each.slice <= last}
        mine = {number for number in self._slices if first <= number <= last}
        return [number for number in sorted({*theirs, *mine}) if self._hash(number) != theirs.get(number, NOTHING)]

    def names(self, number: int) -> tuple[ItemName, ...]:
        """All that is known of a half second."""
        of_slice = self._slices.get(number)
        return () if of_slice is None else tuple(of_slice.names)

    def compare(self, number: int, theirs: Sequence[ItemName], start: int, now: Instant) -> tuple[list[Item], list[ItemName]]:
        """Of a half second: what another member has not, and what it has and this node wants."""
        their_names = set(theirs)
        lacking = [self._known[which] for which in self.names(number) if which not in their_names]
        wanted = [which for which in theirs if which not in self._known and self.acceptable(which, start, now)]
        return lacking, wanted

    def _hash(self, number: int) -> bytes:
        of_slice = self._slices.get(number)
        return NOTHING if of_slice is None else of_slice.encoded()

    def _compared(self, start: int, now: Instant) -> tuple[int, int]:
        """The first and the last half second that are compared: neither unsettled nor about to be forgotten, nor from before
        this process."""
        ms = self._clock.physical_ms(now)
        whole = (stamp_ms(self._floor) // SLICE_MS + 1) * SLICE_MS if self._floor else 0
        first = max(ms - LIFE_MS + EXPIRING_MS, stamp_ms(start), whole, 0)
        return first // SLICE_MS, (ms - SETTLED_MS) // SLICE_MS - 1

    def get(self, which: ItemName) -> Item | None:
        return self._known.get(which)

    def _oldest(self, now: Instant) -> int:
        return max(0, self._clock.physical_ms(now) - LIFE_MS) << COUNTER_BITS

    def _drop(self) -> int:
        stamp, origin = heappop(self._heap)
        which = ItemName(stamp, origin)
        del self._known[which]
        self._telling.pop(which, None)
        number = slice_of(which)
        self._slices[number].toggle(which)
        if not self._slices[number].names:
            del self._slices[number]
        return stamp

    @property
    def telling(self) -> bool:
        return bool(self._telling)

    def __len__(self) -> int:
        return len(self._known)
