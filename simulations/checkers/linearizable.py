"""Is a history linearizable: can each operation be given one moment between its call and its return, such that, in the order of
these moments, the object did what its model says?

The search of Wing and Gong (1993) with the memory of Lowe (2017): a configuration is the set of operations that have had their
moment and the state after them, and is never entered twice, nor one that can do no more than another. Each key is an object of
its own and is judged alone (Herlihy and Wing: a history is linearizable if that of each object is; Horn and Kroening call it
P-compositional)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from simulations.checkers.base import Checker
from simulations.checkers.history import History, Operation, until
from simulations.checkers.models import REFUSED, Model
from simulations.world import World

__all__ = ["Linearizability", "Linearizable", "NotLinearizable", "TooLarge", "Verdict", "linearize"]

LIMIT = 1_000_000
"""Steps of the model, for one search: a second or two."""
SHOWN = 30
"""Operations that a failure shows of the prefix, which holds all."""


@dataclass(frozen=True, slots=True)
class Linearizable:
    orders: dict[str, tuple[Operation, ...]]
    """Of each key one order that explains it; without the operations that need not have happened."""


@dataclass(frozen=True, slots=True)
class NotLinearizable:
    key: str
    prefix: tuple[Operation, ...]
    """Of that key's history, up to the return that cannot be explained; later returns are not in it."""
    shortest: bool
    """Whether no shorter prefix is refused; False if looking for one was too large."""

    @property
    def last(self) -> Operation:
        """The one whose return cannot be explained by any order of what was called before."""
        return max(self.prefix, key=lambda each: -1 if each.returned is None else each.returned)

    def __str__(self) -> str:
        shown = "\n  ".join(map(str, self.prefix[-SHOWN:]))
        which = "the shortest prefix that is refused" if self.shortest else "a prefix that is refused"
        return (
            f"the history of {self.key!r} cannot be linearized: nothing explains {self.last}; {which} has {len(self.prefix)} "
            f"operations, which end with:\n  {shown}"
        )


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Not decided. Record less at one time, or give a higher limit."""

    key: str
    operations: int
    steps: int

    def __str__(self) -> str:
        return f"the history of {self.key!r} is too large: {self.operations} operations, not decided after {self.steps} steps"


Verdict = Linearizable | NotLinearizable | TooLarge


def linearize(history: Iterable[Operation], model: Model, *, limit: int = LIMIT) -> Verdict:
    """Judge a history, each key alone.

    Parameters
    ----------
    limit: steps of the model that one search may take. A failing history takes several searches, about log2 of its length, to
        find the shortest prefix.

    Raises
    ------
    ValueError: the history has an operation that the model does not know.
    """
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    orders: dict[str, tuple[Operation, ...]] = {}
    undecided: TooLarge | None = None
    for key in sorted(keys):
        operations = sorted(keys[key], key=lambda each: each.invoked)
        search = _Search(operations, model, limit)
        found = search.run()
        if found is None:
            undecided = undecided or TooLarge(key, len(operations), limit)
        elif not found:
            return _shortest(key, operations, model, limit, search.furthest)
        else:
            orders[key] = search.order()
    return undecided or Linearizable(orders)


def _shortest(key: str, operations: list[Operation], model: Model, limit: int, furthest: int) -> NotLinearizable:
    """A prefix of a linearizable history is linearizable, so the shortest that is not is found by halving. It is no
    shorter than what the search could explain at the furthest, and mostly ends there."""
    ends = sorted({each.returned for each in operations if each.returned is not None and each.returned >= furthest})
    low, high, shortest, middle = 0, len(ends) - 1, True, 0
    while low < high:
        found = _Search(until(operations, ends[middle]), model, limit).run()
        if found is False:
            high = middle
        else:
            shortest = shortest and found is not None
            low = middle + 1
        middle = (low + high) // 2
    return NotLinearizable(key, tuple(until(operations, ends[high])), shortest)


HEAD = 0


class _Search:
    """Calls and returns are entries of a doubly linked list, by time; an operation that is given its moment is taken out. What
    may come next are the calls before the first return that is left."""

    def __init__(self, operations: list[Operation], model: Model, limit: int) -> None:
        self.furthest = -1
        """The latest return that could not be explained, true ns."""
        self._operations = operations
        self._model = model
        self._observes: Callable[[str, Hashable], bool] = getattr(model, "observes", lambda name, result: False)
        self._limit = limit
        self._chosen: list[int] = []
        self._optional = sum([1 << number for number, each in enumerate(operations) if each.returned is None])
        events = [(each.invoked, 0, number) for number, each in enumerate(operations)]
        events += [(each.returned, 1, number) for number, each in enumerate(operations) if each.returned is not None]
        events.sort()
        self._end = len(events) + 1
        self._next = [*range(1, self._end + 1), self._end]
        self._previous = [0, *range(self._end)]
        self._number = [-1, *[number for _, _, number in events], -1]
        self._is_call = [False, *[kind == 0 for _, kind, _ in events], False]
        self._call = [0] * len(operations)
        self._return = [0] * len(operations)
        for entry, (_, kind, number) in enumerate(events, 1):
            (self._return if kind else self._call)[number] = entry

    def order(self) -> tuple[Operation, ...]:
        return tuple([self._operations[number] for number in self._chosen])

    def run(self) -> bool | None:
        """Whether it can be linearized; None if that took too long."""
        step, state, done, steps = self._model.step, self._model.initial, 0, 0
        known: dict[tuple[int, Hashable], list[int]] = {}
        candidates = self._candidates()
        if candidates is None:
            return True
        before: list[tuple[Hashable, Iterator[int]]] = []
        while True:
            while (number := next(candidates, None)) is not None:
                operation = self._operations[number]
                steps += 1
                if steps > self._limit:
                    return None
                after = step(state, operation.name, operation.arguments, operation.result)
                if after is REFUSED or (after == state and operation.returned is None):
                    continue  # what need not have happened, and would change nothing, did not happen
                if self._observes(operation.name, operation.result):
                    candidates = iter(())  # its moment may as well be now: nothing is explained better with others before it
                configuration = (done | 1 << number, after)
                if self._is_new(known, *configuration):
                    break
            else:
                if not before:
                    return False
                number = self._chosen.pop()
                self._put_back(number)
                done ^= 1 << number
                state, candidates = before.pop()
                continue
            before.append((state, candidates))
            self._chosen.append(number)
            self._take_out(number)
            done, state = configuration
            following = self._candidates()
            if following is None:
                return True
            candidates = following

    def _is_new(self, known: dict[tuple[int, Hashable], list[int]], done: int, state: Hashable) -> bool:
        """Whether nothing that was tried can do all that this configuration can. One that differs by fewer operations that need
        not have happened can: they may happen later, or never."""
        optional = done & self._optional
        tried = known.setdefault((done ^ optional, state), [])
        if any(each & optional == each for each in tried):
            return False
        tried.append(optional)
        return True

    def _candidates(self) -> Iterator[int] | None:
        """What may have its moment next; None if nothing that returned is left. What need not have happened comes last, and of
        such that are alike the first stands for all: in any order it can change places with the others."""
        returned: list[int] = []
        optional: dict[tuple[str, tuple[Hashable, ...]], int] = {}
        entry = self._next[HEAD]
        while self._is_call[entry]:
            number = self._number[entry]
            operation = self._operations[number]
            if operation.returned is not None:
                returned.append(number)
            else:
                optional.setdefault((operation.name, operation.arguments), number)
            entry = self._next[entry]
        if entry == self._end:
            return None
        self.furthest = max(self.furthest, self._operations[self._number[entry]].returned or 0)
        return iter([*returned, *optional.values()])

    def _take_out(self, number: int) -> None:
        for entry in (self._call[number], self._return[number]):
            if entry:
                self._next[self._previous[entry]] = self._next[entry]
                self._previous[self._next[entry]] = self._previous[entry]

    def _put_back(self, number: int) -> None:
        for entry in (self._return[number], self._call[number]):
            if entry:
                self._next[self._previous[entry]] = self._previous[self._next[entry]] = entry


class Linearizability(Checker):
    """Operations of a workload in a world, taken down in `history`, judged by `check` at the end."""

    def __init__(self, world: World, model: Model, law: str, *, limit: int = LIMIT) -> None:
        super().__init__(world)
        self.history = History()
        self._model = model
        self._law = law
        self._limit = limit

    def check(self) -> None:
        """Raises
        ------
        Violation: it is not linearizable, or too large to tell.
        """
        verdict = linearize(self.history, self._model, limit=self._limit)
        if not isinstance(verdict, Linearizable):
            self.fail(self._law, str(verdict))
