"""What the agreed state needs of the rest of a node. Nothing here is a matter of safety: views only choose whom to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordination.agreed.vocabulary.roster import RosterValue
from crdt.clock import Instant
from mesh.directives import Boot

__all__ = ["Identity", "RosterSource", "View"]


class Identity(Protocol):
    """Who this process is. The boot's stamp may be raised once, while joining, before it takes part in anything
    agreed."""

    @property
    def name(self) -> str: ...
    @property
    def boot(self) -> Boot: ...


class View(Protocol):
    """What gossip says, right or wrong."""

    def is_alive(self, name: str) -> bool: ...
    def boot(self, name: str) -> Boot | None: ...
    def names_alive(self) -> Sequence[str]: ...


class RosterSource(Protocol):
    """Where the roster is read: the birth part of a node, or what a sponsor told a thin client."""

    @property
    def roster(self) -> RosterValue | None: ...
    def abstaining_until(self, now: Instant) -> int | None: ...
