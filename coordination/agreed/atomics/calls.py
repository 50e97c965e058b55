"""The wire messages of atomic registers (numbers 140 to 149): calls of them, and what a voter without memory reads back.

    caller                        owner                           the other acceptors
      Call(sequence, ops)    ->     state read, changed; Accept  ->
                             <-     CallDone                     <-  Accepted
                             <-     or CallWaiting: under way; or CallRefused: forgotten, or no memory is left

Answers go to the name in the call, as those for holders do."""

from __future__ import annotations

from typing import Annotated

from coordination.agreed.atomics.atomic import Op
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.values import Value
from mesh.directives import Boot, Message
from mesh.wire import U64, Length, message

__all__ = [
    "KEYS_A_PAGE",
    "OPS_CAP",
    "Call",
    "CallDone",
    "CallRefused",
    "CallWaiting",
    "Moved",
    "Recollect",
    "AskKeys",
    "Recollection",
    "KeysAre",
    "Refusal",
]

OPS_CAP = 16
"""Changes of one call."""
KEYS_A_PAGE = 128


class Refusal:
    """Why a call is refused. Plain numbers: an unknown one, from a newer version, leaves the outcome unknown."""

    FORGOTTEN = 1
    """Whether it was applied is not remembered any more."""
    MEMORY = 2
    """A majority of the register's group has lost its memory."""


@message(140)
class Call(Message):
    """Ask for changes, or with none of them for the value, of a register. The same sequence stands for the same changes."""

    key: str
    name: str
    boot: Boot
    sequence: U64
    seen: U64
    """The register's version as this process knew it before it first sent this."""
    attempt: U64
    """From 1."""
    read: bool
    """The value is to be told."""
    ops: Annotated[tuple[Op, ...], Length(0, OPS_CAP)]


@message(141)
class CallDone(Message):
    key: str
    boot: Boot
    sequence: U64
    version: U64
    forgets: bool
    """The register has forgotten someone who changed it."""
    value: bytes | None
    """CBOR, if it was asked for."""
    results: tuple[int | bytes, ...]
    """Of each op, as `coordination.agreed.atomics.atomic` says."""
    epoch: U64 = 1
    """Of the roster whose voters have accepted it."""


@message(142)
class CallWaiting(Message):
    """`owner` is at work on it."""

    key: str
    boot: Boot
    sequence: U64
    owner: str
    quorum_age: int
    """ns since q of the group had answered, -1 if they never did."""
    missing: tuple[str, ...]


@message(143)
class CallRefused(Message):
    key: str
    boot: Boot
    sequence: U64
    reason: U64
    names: tuple[str, ...]
    """Who has no memory."""


@message(144)
class Recollect(Message):
    """From a voter that has no memory of a register: what do you keep of it?"""

    key: str
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    """The asker's record of the group's boots."""
    epoch: U64 = 1
    """Of its newest roster. Whoever has another one does not answer."""


@message(145)
class Recollection(Message):
    key: str
    name: str
    boot: Boot
    boots: tuple[Boot, ...]
    """The answerer's record of the group's boots, the asker's own among them."""
    remembers: bool
    """If not, the rest says nothing."""
    promised: Ballot
    accepted: Ballot
    value: Value
    epoch: U64 = 1


@message(146)
class AskKeys(Message):
    """From a voter without memory: which atomic registers do you remember whose group I am of?"""

    name: str
    of: Boot
    """The process whose list is being read; another one begins at its own first."""
    start: U64
    """The place in that list to go on from."""


@message(147)
class KeysAre(Message):
    name: str
    boot: Boot
    start: U64
    keys: Annotated[tuple[str, ...], Length(0, KEYS_A_PAGE)]
    following: U64
    """Where the next page starts; 0: this was the last."""


@message(148)
class Moved(Message):
    """All atomic registers that this voter keeps have been moved to a roster, or to a later one."""

    name: str
    epoch: U64
    lasting: U64
    """The first roster of which it remembers everything: of earlier ones it says nothing."""
    oldest: U64
    """In its chain."""
    settled: U64 = 0
    """It knows that every earlier roster up to this one is settled; only in large rosters."""
