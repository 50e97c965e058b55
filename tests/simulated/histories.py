"""Small histories: of real objects, spoilt ones, and the judgement of a brute force over all orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from random import Random
from typing import Any

from simulations.checkers import REFUSED, UNKNOWN, Counter, Model, Mutex, Operation, Queue, Register

__all__ = ["OBJECTS", "brute_force", "explains", "op", "real_history", "spoilt"]


def op(
    process: str, name: str, *arguments: Hashable, at: int, until: int | None = None, result: Hashable = UNKNOWN, key: str = "k"
) -> Operation:
    return Operation(process, key, name, arguments, at, until, result)


def explains(order: Sequence[Operation], operations: Sequence[Operation], model: Model) -> bool:
    """Whether this order holds every operation that returned, goes against no real time, and is the model's."""
    if {id(each) for each in operations if each.returned is not None} - {id(each) for each in order}:
        return False
    for place, later in enumerate(order):
        if any(later.returned is not None and later.returned < earlier.invoked for earlier in order[:place]):
            return False
    state = model.initial
    for each in order:
        state = model.step(state, each.name, each.arguments, each.result)
        if state is REFUSED:
            return False
    return True


def brute_force(operations: Sequence[Operation], model: Model) -> bool:
    """Every order of every subset that holds all that returned."""
    returned = [each for each in operations if each.returned is not None]
    optional = [each for each in operations if each.returned is None]
    return any(
        explains(order, operations, model)
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
        for order in permutations([*returned, *chosen])
    )


# --- real objects, each written without a look at its model ---------------------------------------------------------------


class RealRegister:
    calls = ("read", "write", "cas")

    def __init__(self) -> None:
        self.value: Hashable = None

    def draw(self, dice: Random, number: int) -> tuple[Hashable, ...]:
        return tuple([dice.choice((None, 1, 2)) for _ in range(number)])

    def arguments(self, name: str, dice: Random, owner: str) -> tuple[Hashable, ...]:
        return self.draw(dice, {"read": 0, "write": 1, "cas": 2}[name])

    def read(self) -> Hashable:
        return self.value

    def write(self, value: Hashable) -> None:
        self.value = value

    def cas(self, old: Hashable, new: Hashable) -> bool:
        if self.value != old:
            return False
        self.value = new
        return True


class RealMutex:
    """Tokens rise by one or two. Owners are few, so that releases meet acquires."""

    calls = ("acquire", "acquire", "release", "lapse")

    def __init__(self) -> None:
        self.owner: str | None = None
        self.token = 0

    def arguments(self, name: str, dice: Random, owner: str) -> tuple[Hashable, ...]:
        return (dice.choice(("x", "y", "z")),)

    def acquire(self, owner: str) -> int | None:
        if self.owner is not None:
            return UNKNOWN if self.owner == owner else None  # type: ignore[return-value]
        self.owner = owner
        self.token += 1 + (owner == "x")
        return self.token

    def release(self, owner: str) -> bool:
        held = self.owner == owner
        if held:
            self.owner = None
        return held

    def lapse(self, owner: str) -> Hashable:
        self.release(owner)
        return UNKNOWN


class RealCounter:
    calls = ("add", "read")

    def __init__(self) -> None:
        self.value = 0

    def arguments(self, name: str, dice: Random, owner: str) -> tuple[Hashable, ...]:
        return (dice.choice((-1, 1, 2)),) if name == "add" else ()

    def add(self, n: int) -> int | None:
        self.value += n
        return self.value if n == 2 else None

    def read(self) -> int:
        return self.value


class RealQueue:
    calls = ("enqueue", "dequeue")

    def __init__(self) -> None:
        self.values: deque[Hashable] = deque()

    def arguments(self, name: str, dice: Random, owner: str) -> tuple[Hashable, ...]:
        return (dice.randrange(3),) if name == "enqueue" else ()

    def enqueue(self, value: Hashable) -> None:
        self.values.append(value)

    def dequeue(self) -> Hashable:
        return self.values.popleft() if self.values else None


OBJECTS: dict[str, tuple[Callable[[], Any], Model]] = {
    "register": (RealRegister, Register()),
    "mutex": (RealMutex, Mutex()),
    "counter": (RealCounter, Counter()),
    "queue": (RealQueue, Queue()),
}


def real_history(make: Callable[[], Any], dice: Random, size: int, *, width: int = 6, lost: float = 0.2) -> list[Operation]:
    """Calls of a real object, each of which works at a moment of its interval; of some the caller hears nothing, of some the
    object neither."""
    real = make()
    operations = []
    for moment in range(size):
        name = dice.choice(real.calls)
        arguments = real.arguments(name, dice, f"p{moment}")
        time = 10 * moment + 100
        invoked, returned = time - dice.randrange(10 * width), time + dice.randrange(10 * width)
        call = op(f"p{moment}", name, *arguments, at=invoked)
        if dice.random() < lost / 2:
            operations.append(call)
            continue
        result = getattr(real, name)(*arguments)
        if dice.random() >= lost:
            call = replace(call, returned=returned, result=result)
        operations.append(call)
    dice.shuffle(operations)
    return operations


def spoilt(operations: list[Operation], dice: Random) -> list[Operation]:
    """One to three things are otherwise: a result, or a time."""
    changed = list(operations)
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(changed))
        each = changed[place]
        results = [other.result for other in changed if other.name == each.name]
        moved = each.invoked + dice.randrange(-40, 40)
        if each.returned is None:
            changed[place] = replace(each, invoked=moved)
        elif dice.random() < 0.5:
            other = dice.choice(results)
            again = isinstance(other, int) and not isinstance(other, bool)
            changed[place] = replace(each, result=other + dice.choice((-1, 0, 1)) if again else other)  # type: ignore[operator]
        else:
            changed[place] = replace(each, invoked=moved, returned=moved + each.returned - each.invoked)
    return changed
