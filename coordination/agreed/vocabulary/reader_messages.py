"""The wire messages by which a voter without memory reads the leases of its groups back (numbers 230 to 239)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Live
from coordination.agreed.vocabulary.values import LeaseId, Value
from mesh.directives import Boot, Message
from mesh.wire import U64, Length, message

__all__ = ["ROWS_A_PAGE", "TableAsk", "TableIs", "TableRow"]

ROWS_A_PAGE = 64


@message(232)
class TableAsk(Message):
    """From a voter without memory: what do you keep of the lease registers whose group I am of?"""

    name: str
    boot: Boot
    epoch: U64
    """Of its newest roster. Whoever has another one does not answer."""
    of: Boot
    """The process whose table is being read; another one begins at the first page."""
    after: str
    """Go on behind this key; empty: at the first page."""


class TableRow(NamedTuple):
    """What an acceptor keeps of one register, as far as it belongs to the newest roster."""

    key: str
    promised: Ballot
    accepted: Ballot
    value: Value
    leases: tuple[Live, ...]
    ended: tuple[LeaseId, ...]
    highest: int


@message(233)
class TableIs(Message):
    name: str
    boot: Boot
    asker: Boot
    """The process that asked: what was written for an earlier one of its name is nothing to the next."""
    epoch: U64
    after: str
    firm: bool
    """Whether the answerer remembers everything itself; if not, the rest says nothing."""
    boots: tuple[Boot, ...]
    """On the first page, the answerer's record of the voters' boots, in the roster's order, the asker's among them."""
    rows: Annotated[tuple[TableRow, ...], Length(0, ROWS_A_PAGE)]
    following: str
    """The key behind which the next page starts; empty: this was the last."""
