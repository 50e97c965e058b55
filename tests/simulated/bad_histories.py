"""Histories that are known to be bad, each with a model that refuses it and one that lacks the rule, and accepts."""

from __future__ import annotations

from collections.abc import Hashable

from simulations.checkers import UNKNOWN, Counter, Model, Mutex, Operation, Queue, Register
from tests.simulated.histories import op

__all__ = ["BAD"]


class AnyRead(Register):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "read" else result)


class AnyCas(Register):
    """Compares nothing: it sets, whatever it says."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return arguments[1] if name == "cas" else super().step(state, name, arguments, result)


class NoExclusion(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        return super().step((None, state[1]) if name == "acquire" else state, name, arguments, result)


class AnyToken(Mutex):
    def _rises(self, highest: int, token: Hashable) -> bool:
        return True


class AnyRefusal(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return state if name == "acquire" and result is None else super().step(state, name, arguments, result)


class AnyRelease(Mutex):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "release" else result)


class ForgetfulCounter(Counter):
    """An add is not always in the sum."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "read" else result)


class AnySum(Counter):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return super().step(state, name, arguments, UNKNOWN if name == "add" else result)


class Bag(Queue):
    """Keeps no order."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        assert isinstance(state, tuple)
        if name == "dequeue" and result in state:
            place = state.index(result)
            state = (result, *state[:place], *state[place + 1 :])
        return super().step(state, name, arguments, result)


class Copies(Queue):
    """What was taken stays."""

    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        after = super().step(state, name, arguments, result)
        return state if name == "dequeue" and isinstance(after, tuple) else after


class AnyEmpty(Queue):
    def step(self, state: Hashable, name: str, arguments: tuple[Hashable, ...], result: Hashable) -> Hashable:
        return state if name == "dequeue" and result is None else super().step(state, name, arguments, result)


BAD: dict[str, tuple[Model, Model, list[Operation]]] = {
    "stale read": (
        Register(),
        AnyRead(),
        [op("a", "write", 1, at=0, until=10, result=None), op("b", "read", at=11, until=20, result=None)],
    ),
    "the new value, then the old one again": (
        Register(0),
        AnyRead(0),
        [
            op("a", "write", 1, at=0, until=50, result=None),
            op("b", "read", at=5, until=10, result=1),
            op("c", "read", at=11, until=20, result=0),
        ],
    ),
    "lost update": (
        Register(0),
        AnyCas(0),
        [
            op("a", "cas", 0, 1, at=0, until=10, result=True),
            op("b", "cas", 0, 2, at=0, until=10, result=True),
        ],
    ),
    "double grant": (
        Mutex(),
        NoExclusion(),
        [op("a", "acquire", "a", at=0, until=10, result=1), op("b", "acquire", "b", at=0, until=11, result=2)],
    ),
    "granted before the lease can have ended": (
        Mutex(),
        NoExclusion(),
        [
            op("a", "acquire", "a", at=0, until=10, result=1),
            op("a", "lapse", "a", at=30),
            op("b", "acquire", "b", at=11, until=29, result=2),
        ],
    ),
    "a token that falls": (
        Mutex(),
        AnyToken(),
        [
            op("a", "acquire", "a", at=0, until=10, result=7),
            op("a", "release", "a", at=11, until=12, result=True),
            op("b", "acquire", "b", at=13, until=20, result=6),
        ],
    ),
    "a token that comes twice": (
        Mutex(),
        AnyToken(),
        [
            op("a", "acquire", "a", at=0, until=10, result=7),
            op("a", "lapse", "a", at=11),
            op("b", "acquire", "b", at=0, until=20, result=7),
        ],
    ),
    "refused though nobody holds it": (Mutex(), AnyRefusal(), [op("a", "acquire", "a", at=0, until=10, result=None)]),
    "a release of what another one holds": (
        Mutex(),
        AnyRelease(),
        [op("a", "acquire", "a", at=0, until=10, result=1), op("b", "release", "b", at=11, until=12, result=True)],
    ),
    "lost increment": (
        Counter(),
        ForgetfulCounter(),
        [
            op("a", "add", 1, at=0, until=10, result=None),
            op("b", "add", 1, at=0, until=10, result=None),
            op("a", "read", at=11, until=20, result=1),
        ],
    ),
    "one sum told to two": (
        Counter(),
        AnySum(),
        [op("a", "add", 1, at=0, until=10, result=1), op("b", "add", 1, at=0, until=10, result=1)],
    ),
    "dequeue twice": (
        Queue(),
        Copies(),
        [
            op("a", "enqueue", "x", at=0, until=10, result=None),
            op("b", "dequeue", at=11, until=20, result="x"),
            op("c", "dequeue", at=11, until=20, result="x"),
        ],
    ),
    "out of order": (
        Queue(),
        Bag(),
        [
            op("a", "enqueue", "x", at=0, until=10, result=None),
            op("a", "enqueue", "y", at=11, until=20, result=None),
            op("b", "dequeue", at=21, until=30, result="y"),
        ],
    ),
    "empty though something is in it": (
        Queue(),
        AnyEmpty(),
        [op("a", "enqueue", "x", at=0, until=10, result=None), op("b", "dequeue", at=11, until=20, result=None)],
    ),
}
