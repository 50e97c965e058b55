"""Replicated state between nodes: pushes, gaps, digests and pulls, over `crdt.store`."""

from mesh.replication.burden import Relieved, StoreFullError, Unforgotten
from mesh.replication.entrusting import MAJORITY, MAX_ACKS, Acknowledged, Entrusting
from mesh.replication.events import Changed, Synced
from mesh.replication.keeping import CELLS, REPLICA, REPLICAS, Keeper, RepeatedActorError
from mesh.replication.mending import Alarm, Mending
from mesh.replication.replication import Replication

__all__ = [
    "CELLS",
    "REPLICA",
    "REPLICAS",
    "Keeper",
    "RepeatedActorError",
    "MAJORITY",
    "MAX_ACKS",
    "Acknowledged",
    "Alarm",
    "Changed",
    "Entrusting",
    "Mending",
    "Relieved",
    "Replication",
    "StoreFullError",
    "Synced",
    "Unforgotten",
]
