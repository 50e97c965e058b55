"""The directives of one step, gathered from the sub-parts of membership in the order in which they decided.

It also remembers when each timer was due, so that a node can tell how late its own timers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from mesh.directives import Arm, Directive, Disarm, Emit, Event, Message, Send

__all__ = ["Actions"]


class Actions:
    __slots__ = ("counts", "directives", "due")

    def __init__(self) -> None:
        self.directives: list[Directive] = []
        """Those of this step."""
        self.due: dict[Hashable, int] = {}
        self.counts: Counter[str] = Counter()

    def add(self, directive: Directive) -> None:
        self.directives.append(directive)

    def send(self, to: str | bytes, message: Message) -> None:
        self.directives.append(Send(to, message))

    def emit(self, event: Event) -> None:
        self.directives.append(Emit(event))

    def arm(self, timer: Hashable, at: int) -> None:
        self.due[timer] = at
        self.directives.append(Arm(timer, at))

    def disarm(self, timer: Hashable) -> None:
        if self.due.pop(timer, None) is not None:
            self.directives.append(Disarm(timer))

    def count(self, what: str) -> None:
        self.counts[what] += 1
