"""The messages of cuts and of joining (160 to 169, 215, 216)."""

from __future__ import annotations

from typing import Annotated

from crdt.cuts import Cut, End, Opening, Report
from mesh.directives import Message
from mesh.wire import U64, Length, SessionId, message

__all__ = ["CutAsk", "CutNews", "GivenUp", "JoinAsk", "Open", "Reported", "RoundState", "Returning", "Welcome"]

MAX_NAMED = 4_096


@message(160)
class CutAsk(Message):
    """The sender has applied this cut, and would have the newest."""

    round: U64


@message(161)
class CutNews(Message):
    """The newest cut; also the answer to a frame that is not merged, as its sender is ended, or behind and not counted."""

    cut: Cut


@message(162)
class JoinAsk(Message):
    """The sender's store is empty, and it merges nothing until it has been welcomed."""

    life: U64


@message(163)
class Welcome(Message):
    """Begin with this cut, take nothing from the ended, and pull from the sender."""

    life: U64
    cut: Cut
    ends: Annotated[tuple[End, ...], Length(0, MAX_NAMED)]
    first: U64
    """The first cut that must count the joiner."""


@message(164)
class Open(Message):
    """A round is open: apply the ends and report to the sender."""

    opening: Opening


@message(165)
class Reported(Message):
    round: U64
    attempt: U64
    report: Report
    strangers: Annotated[tuple[SessionId, ...], Length(0, MAX_NAMED)]
    """Actors that the mesh does not know, and that have to be ended before what the reporter held of them is brought back."""


@message(166)
class RoundState(Message):
    """What the register of the rounds holds; it is never sent."""

    cut: Cut
    opening: Opening | None


@message(215)
class GivenUp(Message):
    """An operator says that this process, which is dead, will not come back: to whoever leads the rounds."""

    session: SessionId


@message(216)
class Returning(Message):
    """The sender holds what it wrote while it was cut off, which nobody sees before the next cuts: it asks their leader to
    hurry."""

    round: U64
    """Of the cut that it has applied."""
