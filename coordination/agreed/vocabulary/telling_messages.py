"""The wire messages by which a voter tells what it holds (numbers 90 to 99): of one register, and of all.

Each question is named by its number and the process that asks."""

from __future__ import annotations

from typing import NamedTuple

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.messages import Live
from coordination.agreed.vocabulary.values import LeaseId, Value
from mesh.directives import Boot, Message
from mesh.wire import message

__all__ = ["ExplainAnswer", "ExplainAsk", "ListAnswer", "ListAsk", "ListRow", "Standing", "Waiter"]


class Waiter(NamedTuple):
    """One in an owner's queue."""

    name: str
    age: int
    """ns that it has waited."""
    permits: int


@message(90)
class ExplainAsk(Message):
    query: int
    """Counted from the start of each process: with `boot` it names one question."""
    name: str
    key: str
    boot: Boot = NO_BOOT


@message(91)
class ExplainAnswer(Message):
    query: int
    key: str
    voter: str
    promised: Ballot
    accepted: Ballot
    value: Value
    leases: tuple[Live, ...]
    abstaining: int
    """ns left, 0 if it votes."""
    queue: tuple[str, ...]
    note: str
    waiting: tuple[Waiter, ...] = ()
    firm: bool = True
    """Whether it votes as far as its disk goes."""
    ended: tuple[LeaseId, ...] = ()
    """Leases that have been given back, as this voter knows."""
    asker: Boot = NO_BOOT
    """The process that asked: what was answered to an earlier one of its name is nothing to the next."""


class Standing(NamedTuple):
    """One lease of a register that somebody holds."""

    name: str
    token: int
    permits: int
    remaining: int
    """ns, 0: not live at this voter."""


class ListRow(NamedTuple):
    key: str
    accepted: Ballot
    holders: tuple[Standing, ...]


@message(98)
class ListAsk(Message):
    """Which locks whose names begin with `prefix` are held? Each page is asked for until it has come."""

    query: int
    name: str
    boot: Boot
    prefix: str
    after: str
    """Go on behind this key; empty: at the first page."""


@message(99)
class ListAnswer(Message):
    query: int
    asker: Boot
    """The process that asked."""
    voter: str
    after: str
    rows: tuple[ListRow, ...]
    following: str
    """The key behind which the next page starts; empty: this was the last."""
