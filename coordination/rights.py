"""Asking those who hold rights of a budget to give back what they do not need (message 180).

A hint, and no more: it may get lost, and whoever gets it gives back by the register, as when it leaves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated

from crdt.clock import Instant
from mesh.directives import Directives, Emit, Event, Message, Send, Source
from mesh.frozen import frozen
from mesh.wire import Length, message

__all__ = ["Rights", "RightsAsked", "RightsWanted"]


@message(180)
class RightsWanted(Message):
    budget: Annotated[str, Length(1, 512)]


@frozen
class RightsAsked(Event):
    """Another member has none left of this budget."""

    budget: str


class Rights:
    name = "rights"
    messages: tuple[type[Message], ...] = (RightsWanted,)
    hears: tuple[type[Event], ...] = ()

    def ask(self, budget: str, holders: tuple[str, ...]) -> Directives:
        """Ask these members for rights."""
        return tuple([Send(name, RightsWanted(budget)) for name in holders])

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if isinstance(message, RightsWanted) and source.name is not None:
            return (Emit(RightsAsked(message.budget)),)
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return {}
