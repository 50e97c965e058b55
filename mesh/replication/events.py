"""What replication tells the other parts and the API."""

from __future__ import annotations

from crdt.change import Change
from mesh.directives import Event
from mesh.frozen import frozen

__all__ = ["Changed", "Synced"]


@frozen
class Changed(Event):
    """What one local write, one merge or one expiry changed of what readers see, in order."""

    changes: tuple[Change, ...]
    counters: tuple[str, ...]
    """Counters of which a slot changed."""


@frozen
class Synced(Event):
    """A `begin_sync` is fulfilled."""

    query: int
