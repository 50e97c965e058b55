"""Replicated state between nodes: pushes, gaps, digests and pulls, over `crdt.store`."""

from mesh.replication.events import Changed, Synced
from mesh.replication.replication import Replication

__all__ = ["Changed", "Replication", "Synced"]
