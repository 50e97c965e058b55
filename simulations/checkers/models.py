"""What an object does when its operations come one after another: the models that a history is measured against.

A model is pure: a state, which can be hashed, and `step`, which says the state after an operation, or `REFUSED` if it could
not have had that result in that state. With the result `UNKNOWN` any result will do.

A model may also have `observes(name, result)`: whether such an operation with that result changes no state whatever. It is then
given its moment as soon as it fits, and the search need not try the others first."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, Protocol

from simulations.checkers.history import UNKNOWN

__all__ = ["REFUSED", "Counter", "Model", "Mutex", "Queue", "Refused", "Register"]

Arguments = tuple[Hashable, ...]


class Refused(Enum):
    REFUSED = "refused"


REFUSED: Final = Refused.REFUSED


class Model(Protocol):
    """One object, that of one key."""

    @property
    def initial(self) -> Hashable: ...

    def step(self, state: Hashable, name: str, arguments: Arguments, result: Hashable) -> Hashable:
        """The state after it, or `REFUSED`.

        Raises
        ------
        ValueError: the model has no operation of that name.
        """


class Register:
    """`read() -> value`, `write(value) -> None`, `cas(old, new) -> bool`, `add(n) -> sum`. Its first value is None unless told
    otherwise; None counts as 0."""

    def __init__(self, initial: Hashable = None) -> None:
        self.initial = initial

    def step(self, state: Hashable, name: str, arguments: Arguments, result: Hashable) -> Hashable:
        match name, arguments:
            case "read", ():
                return _told(result, state, then=state)
            case "write", (value,):
                return _told(result, None, then=value)
            case "cas", (old, new):
                return _told(result, state == old, then=new if state == old else state)
            case "add", (int(n),) if state is None or isinstance(state, int):
                return _told(result, (state or 0) + n, then=(state or 0) + n)
        raise _no_such(self, name, arguments)

    @staticmethod
    def observes(name: str, result: Hashable) -> bool:
        return name == "read" or (name == "cas" and result is False)


class Mutex:
    """A lock with a fencing token, held under a lease.

    `acquire(owner) -> token`, higher than every token before it, or None: another one holds it. `release(owner) -> bool`:
    whether it still held it. A lease may also end by itself: `lapse(owner)`, which nobody calls; the history has it from the
    moment at which the lease may be over, without a return, so that it may have happened or not. An owner is one request, not
    one process."""

    initial: Hashable = (None, 0)
    """The owner, and the highest token so far."""

    def step(self, state: Hashable, name: str, arguments: Arguments, result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        holder, highest = state
        match name, arguments:
            case "acquire", (owner,):
                if result is None:
                    return state if holder not in (None, owner) else REFUSED
                if result is UNKNOWN:  # whatever its token was, the next one is higher than the least that it can have been
                    return (owner, highest + 1) if holder is None else state
                return (owner, result) if holder is None and self._rises(highest, result) else REFUSED
            case "release", (owner,):
                return _told(result, holder == owner, then=(None, highest) if holder == owner else state)
            case "lapse", (owner,):
                return (None, highest) if holder == owner else state
        raise _no_such(self, name, arguments)

    def _rises(self, highest: int, token: Hashable) -> bool:
        return isinstance(token, int) and token > highest


class Counter:
    """`add(n) -> None`, or the value after it, of a counter that tells it; `read() -> value`."""

    initial: Hashable = 0

    def step(self, state: Hashable, name: str, arguments: Arguments, result: Hashable) -> Hashable:
        assert isinstance(state, int)
        match name, arguments:
            case "add", (int(n),):
                return state + n if result is None else _told(result, state + n, then=state + n)
            case "read", ():
                return _told(result, state, then=state)
        raise _no_such(self, name, arguments)


class Queue:
    """First in, first out: `enqueue(value) -> None`; `dequeue() -> value`, or None if it is empty."""

    initial: Hashable = ()

    def step(self, state: Hashable, name: str, arguments: Arguments, result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        match name, arguments:
            case "enqueue", (value,):
                return _told(result, None, then=(*state, value))
            case "dequeue", ():
                return _told(result, state[0] if state else None, then=state[1:])
        raise _no_such(self, name, arguments)


def _told(result: Hashable, expected: Hashable, *, then: Hashable) -> Hashable:
    """The state `then`, unless the caller was told something else than it should have been."""
    return then if result is UNKNOWN or result == expected else REFUSED


def _no_such(model: Model, name: str, arguments: Arguments) -> ValueError:
    return ValueError(f"{type(model).__name__} has no operation {name}{arguments!r}")
