"""The calls of an atomic register at its owner's desk: those that wait, and those that an accept under way will answer."""

from __future__ import annotations

from coordination.agreed.atomics.atomic import Results, State
from coordination.agreed.atomics.calls import Call
from mesh.directives import Boot

__all__ = ["Calls", "Served", "Waiting"]


class Waiting:
    """A call that is not answered."""

    __slots__ = ("call", "heard", "told")

    def __init__(self, call: Call, now: int) -> None:
        self.call = call
        self.heard = now
        self.told = 0
        """The attempt that was told to wait."""

    @property
    def caller(self) -> tuple[str, Boot]:
        return (self.call.name, self.call.boot)


class Served:
    """A call that is part of an accept, and what becomes of it if that is accepted."""

    __slots__ = ("results", "waiting")

    def __init__(self, waiting: Waiting, results: Results | None) -> None:
        self.waiting = waiting
        self.results = results
        """None: forgotten."""


class Calls:
    __slots__ = ("amnesia", "served", "state", "state_of", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, Boot], Waiting] = {}
        """By caller: each has one call of a register under way."""
        self.served: dict[tuple[str, Boot], Served] = {}
        """Those of the accept under way."""
        self.state: State | None = None
        """The last state that was decoded or proposed, and the bytes that it stands for."""
        self.state_of = b""
        self.amnesia = 0
        """Rounds in a row in which q of the group had no memory."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self.served)

    def known(self, caller: tuple[str, Boot]) -> Waiting | None:
        served = self.served.get(caller)
        return self.waiting.get(caller) or (served.waiting if served is not None else None)

    def all(self) -> list[Waiting]:
        return [*[served.waiting for served in self.served.values()], *self.waiting.values()]

    def wait_again(self) -> None:
        """The accept under way is none any more."""
        for caller, served in self.served.items():
            self.waiting.setdefault(caller, served.waiting)
        self.served.clear()

    def forget_stale(self, before: int) -> None:
        """Those that were not repeated since."""
        for caller, waiting in list(self.waiting.items()):
            if waiting.heard < before:
                del self.waiting[caller]
