"""Histories: what callers asked for and were told, and when. What `simulations.checkers.linearizable` judges.

C3: an operation whose caller gave up may or may not have happened, now or at any later time. It stays in the history without
a return. One that certainly did not happen is left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

__all__ = ["UNKNOWN", "History", "Operation", "Unknown", "until"]


class Unknown(Enum):
    UNKNOWN = "?"

    def __repr__(self) -> str:
        return "?"


UNKNOWN: Final = Unknown.UNKNOWN
"""The result that nobody was told."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. Of two calls the first came before the second only if it returned at an earlier ns than the other was
    invoked: at one and the same ns they count as concurrent.

    Raises
    ------
    ValueError: it returned before it was invoked, or has a result and did not return.
    """

    process: str
    key: str
    name: str
    arguments: tuple[Hashable, ...]
    invoked: int
    """True ns."""
    returned: int | None = None
    """True ns; None: never, and so it may have happened at any time since, or not at all."""
    result: Hashable = UNKNOWN
    """`UNKNOWN` of an operation that returned: it has happened, and may have had any result."""

    def __post_init__(self) -> None:
        if self.returned is None and self.result is not UNKNOWN:
            raise ValueError(f"{self} never returned, so its result must be UNKNOWN")
        if self.returned is not None and self.returned < self.invoked:
            raise ValueError(f"{self} returned before it was invoked")

    def __str__(self) -> str:
        end = "never" if self.returned is None else self.returned
        arguments = ", ".join(map(repr, self.arguments))
        return f"{self.process}: {self.name}({arguments}) -> {self.result!r} [{self.invoked}, {end}]"


class History:
    """Takes down operations as they begin and end. An open one, or one whose caller gives up, is one that never returned."""

    def __init__(self) -> None:
        self._operations: dict[int, Operation] = {}
        self._calls = 0

    def __iter__(self) -> Iterator[Operation]:
        """In the order in which they were invoked."""
        return iter(list(self._operations.values()))

    def __len__(self) -> int:
        return len(self._operations)

    def invoke(self, process: str, key: str, name: str, *arguments: Hashable, at: int) -> int:
        """The number of the call."""
        self._calls += 1
        self._operations[self._calls] = Operation(process, key, name, arguments, at)
        return self._calls

    def returns(self, call: int, result: Hashable, *, at: int) -> None:
        """Raises
        ------
        ValueError: it has returned before.
        """
        operation = self._operations[call]
        if operation.returned is not None:
            raise ValueError(f"{operation} returns twice")
        self._operations[call] = replace(operation, returned=at, result=result)

    def fails(self, call: int) -> None:
        """It certainly did not happen, and never will. Of a call whose fate is not known say nothing instead."""
        del self._operations[call]


def until(operations: list[Operation], end: int) -> list[Operation]:
    """The history as it stood at the end of that ns: what had not returned yet may still have any result, or none."""
    seen = [each for each in operations if each.invoked <= end]
    return [each if _over(each, end) else replace(each, returned=None, result=UNKNOWN) for each in seen]


def _over(operation: Operation, end: int) -> bool:
    return operation.returned is not None and operation.returned <= end
