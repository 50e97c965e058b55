"""What membership tells the other parts and the API."""

from __future__ import annotations

from mesh.directives import Address, Event
from mesh.frozen import frozen
from mesh.membership.member import Member

__all__ = ["JoinFailed", "Joined", "MemberChanged", "MemberForgotten"]


@frozen
class MemberChanged(Event):
    """A member appeared, or its state, boot, address or tags changed. This node itself is a member from its start.

    Events folded by name are equal to `Membership.members()` at every moment."""

    member: Member
    previous: Member | None


@frozen
class MemberForgotten(Event):
    """A member that has long been dead or left is no longer listed."""

    member: Member


@frozen
class Joined(Event):
    """This node has been admitted, or founds: its boot is final from now on. Emitted once."""

    sponsor: str | None
    """The member that answered; None for a founder."""


@frozen
class JoinFailed(Event):
    """One attempt to join reached no sponsor; the next follows by itself, for ever."""

    reasons: tuple[tuple[Address, str], ...]
    """For each address that was tried, why: a word as in `ChannelDown.reason` (`refused`, `silent`, `unanswered`, `unresolved`,
    `itself`, `reset`), or `unwelcomed` (it answered, and let the conversation end), `full` (it has no room for another member),
    `busy` (this node has too many conversations)."""
