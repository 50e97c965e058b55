"""What replication tells the other parts and the API."""

from __future__ import annotations

from crdt.change import Change
from mesh.directives import Event
from mesh.frozen import frozen

__all__ = ["Changed", "Corrupted", "Diverged", "Synced"]


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


@frozen
class Diverged(Event):
    """A member claims what this replica claims, under the same cut, and holds something else."""

    name: str
    session: bytes


@frozen
class Corrupted(Event):
    """Something in this replica's memory has changed without a write."""

    buckets: tuple[int, ...]
    """Of its fingerprint."""
