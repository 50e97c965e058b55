"""C2, C3: what counters may stand at, given what those who added were told.

Each add is one of three:

    acknowledged   it counts once, as long as its process lives. Adds are answered before they have left the process, so that
                   of a process that died a beginning of them counts: its slot only grows, in the order of the adds
    given up       its caller was told nothing (a broken connection, a timeout): it may have happened at any time since, or
                   not at all. Every subset of such is allowed, and nothing else
    refused        it certainly did not happen; nothing remembers it

So of a process that died whatever was asked after the answer to an add that is lost is lost too. Counters that somebody sets
are not looked at here: an epoch loses what is added at the same time, by definition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from crdt.cell import COUNTER, FOLD
from crdt.counter import fold_key, slot_key
from simulations.checkers.base import Checker
from simulations.cluster import Cluster, SimPeer

__all__ = ["Add", "Sums", "allowed", "possible"]


class Add(NamedTuple):
    """One call."""

    n: int
    invoked: int
    """In the order of all calls and answers of its checker."""
    answered: int | None
    """None: its caller gave up."""


class Totals(NamedTuple):
    """Numbers, as the bits of one: a thousand adds of a thousand each are no trouble."""

    lowest: int
    """What bit 0 stands for."""
    bits: int

    def __contains__(self, total: object) -> bool:
        return isinstance(total, int) and total >= self.lowest and bool(self.bits >> (total - self.lowest) & 1)

    def either(self, other: Totals) -> Totals:
        lowest = min(self.lowest, other.lowest)
        return Totals(lowest, self.bits << (self.lowest - lowest) | other.bits << (other.lowest - lowest))

    def plus(self, other: Totals) -> Totals:
        """Every sum of one of these and one of those."""
        few, many = sorted((self.bits, other.bits), key=int.bit_count)
        bits = 0
        while few:
            last = few & -few
            bits |= many * last
            few ^= last
        return Totals(self.lowest + other.lowest, bits)


def possible(adds: Sequence[Add], alive: bool) -> Totals:
    """What the slot of one process may stand at: exactly the sums of what some execution would have left."""
    certain = sorted([(add.answered, add) for add in adds if add.answered is not None])
    open_ = [add for add in adds if add.answered is None]
    found = _subsets(sum([add.n for _, add in certain]), [add.n for add in open_])
    if alive:
        return found
    kept = 0
    earliest = [*accumulate([add.invoked for _, add in reversed(certain)], min)][::-1]
    for number, (first, lost) in enumerate(certain):
        # This one was lost, and is the first of the lost to have been answered. Whatever was answered before it counts;
        # what was asked before that answer may; what was asked later came after it in the slot, and is lost with it.
        at_once = number + 1 < len(certain) and earliest[number + 1] < first  # if not, nobody need look for them
        free = [add.n for _, add in certain[number + 1 :] if add.invoked < first] if at_once else []
        free += [add.n for add in open_ if add.invoked < first]
        found = found.either(_subsets(kept, free))
        kept += lost.n
    return found


def allowed(adds: Sequence[Add], alive: bool, total: int) -> bool:
    """Whether the slot of one process may stand at `total`."""
    return total in possible(adds, alive)


def _subsets(base: int, numbers: Sequence[int]) -> Totals:
    """A base, and the sum of any of the numbers."""
    lowest, sums = base, 1
    for n in numbers:
        lowest += min(n, 0)  # a negative number is taken in from the start, and may be left out
        sums |= sums << abs(n)
    return Totals(lowest, sums)


class Sums(Checker):
    """Adds to counters, as those who added were told; each is known by the process that was asked."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._calls: dict[int, tuple[str, bytes, Add]] = {}
        self._clock = 0

    def add(self, peer: SimPeer, counter: str, n: int) -> None:
        """Add, and remember it as acknowledged. Raises what a command to a process that does not run raises; then it is
        refused."""
        peer.add(counter, n)
        self.acknowledged(self.begins(peer, counter, n))

    def begins(self, peer: SimPeer, counter: str, n: int) -> int:
        """Somebody asks this process to add; the number of the call. Until more is said, it may have happened or not."""
        self._clock += 1
        self._calls[self._clock] = (counter, peer.store.actor, Add(n, self._clock, None))
        return self._clock

    def acknowledged(self, call: int) -> None:
        """Who asked was told that it is done."""
        counter, actor, add = self._calls[call]
        self._clock += 1
        self._calls[call] = (counter, actor, add._replace(answered=self._clock))

    def refused(self, call: int) -> None:
        """It certainly was not done, and never will be."""
        del self._calls[call]

    def check(self) -> None:
        """Of stores that have converged.

        Raises
        ------
        Violation: C2, a slot stands at what no execution could have left, or a counter is not the sum of its slots.
        """
        ledger: dict[str, dict[bytes, list[Add]]] = {}
        for counter, actor, add in self._calls.values():
            ledger.setdefault(counter, {}).setdefault(actor, []).append(add)
        living = self._cluster.living()
        alive = {peer.store.actor for peer in living}
        for peer in living:
            for counter, actors in ledger.items():
                folded = _folded(peer, counter)
                total = folded or 0
                gone = _subsets(0, ())
                for actor, adds in actors.items():
                    held = _slot(peer, counter, actor)
                    if held is None and folded is not None and actor not in alive:
                        gone = gone.plus(possible(adds, alive=False))  # its slot may be one of those that were folded
                        continue
                    held = held or 0
                    total += held
                    if held not in possible(adds, actor in alive):
                        self.fail("C2", f"{counter} at {peer} holds {held} of {actor.hex()[:8]}, {_told(adds)}")
                if folded is not None and folded not in gone:
                    self.fail("C2", f"{counter} at {peer} holds {folded} of all that are gone, which nothing can have left")
                if peer.store.counter(counter) != total:
                    self.fail("C2", f"{counter} at {peer} is {peer.store.counter(counter)}, its slots add up to {total}")


def _slot(peer: SimPeer, counter: str, actor: bytes) -> int | None:
    cell = peer.store.cell(COUNTER, slot_key(counter, actor))
    return int(cell.order[2]) - int(cell.order[3]) if cell is not None else None


def _folded(peer: SimPeer, counter: str) -> int | None:
    """What cuts have made of the slots of actors that are gone, if there were any."""
    cell = peer.store.cell(FOLD, fold_key(counter))
    return int(cell.order[3]) - int(cell.order[4]) if cell is not None else None


def _told(adds: Sequence[Add]) -> str:
    certain = sum([add.n for add in adds if add.answered is not None])
    open_ = [add.n for add in adds if add.answered is None]
    text = f"whose acknowledged adds are {certain}"
    return f"{text}, and {open_[:10]} of {len(open_)} may have happened" if open_ else text
