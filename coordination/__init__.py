"""What users hold of a mesh: keys, locks, leases, counters and watches, as a peer of it or as a thin client.

    from coordination import open_peer, connect

Every name is loaded when it is first used, so that importing the package costs next to nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordination.agreed.vocabulary.events import Explanation as Explanation
    from coordination.arguments.rotating import SecretStanding as SecretStanding
    from coordination.config import MeshConfig as MeshConfig
    from coordination.counting.atomic import AtomicRegister as AtomicRegister
    from coordination.counting.budgets import Budget as Budget
    from coordination.counting.counters import Counter as Counter
    from coordination.counting.gauges import Gauge as Gauge
    from coordination.counting.limiters import Limiter as Limiter
    from coordination.errors import AddressRefused as AddressRefused
    from coordination.errors import AlreadyHeld as AlreadyHeld
    from coordination.errors import BadConfig as BadConfig
    from coordination.errors import BadKey as BadKey
    from coordination.errors import BadTTL as BadTTL
    from coordination.errors import BadValue as BadValue
    from coordination.errors import BindFailed as BindFailed
    from coordination.errors import ClockDrift as ClockDrift
    from coordination.errors import Closed as Closed
    from coordination.errors import DifferentMesh as DifferentMesh
    from coordination.errors import Disconnected as Disconnected
    from coordination.errors import DiskFailed as DiskFailed
    from coordination.errors import Exhausted as Exhausted
    from coordination.errors import Fenced as Fenced
    from coordination.errors import Forked as Forked
    from coordination.errors import JoinFailed as JoinFailed
    from coordination.errors import LeaseLost as LeaseLost
    from coordination.errors import LimitDiffers as LimitDiffers
    from coordination.errors import MemoryLost as MemoryLost
    from coordination.errors import MeshError as MeshError
    from coordination.errors import NameTaken as NameTaken
    from coordination.errors import NoQuorum as NoQuorum
    from coordination.errors import NotDelivered as NotDelivered
    from coordination.errors import NotHolding as NotHolding
    from coordination.errors import OutcomeUnknown as OutcomeUnknown
    from coordination.errors import ResetRefused as ResetRefused
    from coordination.errors import SecretLacking as SecretLacking
    from coordination.errors import StoreFull as StoreFull
    from coordination.errors import TooLarge as TooLarge
    from coordination.errors import Unreachable as Unreachable
    from coordination.fence import Fence as Fence
    from coordination.fence import SqliteFence as SqliteFence
    from coordination.keys import KV as KV
    from coordination.keys import Entry as Entry
    from coordination.locking.barriers import Barrier as Barrier
    from coordination.locking.elections import Election as Election
    from coordination.locking.elections import Leader as Leader
    from coordination.locking.exclusive import exclusive as exclusive
    from coordination.locking.holding import Held as Held
    from coordination.locking.leases import Lease as Lease
    from coordination.locking.locks import Lock as Lock
    from coordination.locking.locks import RWLock as RWLock
    from coordination.locking.locks import Semaphore as Semaphore
    from coordination.locking.standing import Holding as Holding
    from coordination.locking.standing import Locked as Locked
    from coordination.members import MemberEvent as MemberEvent
    from coordination.members import MemberEventKind as MemberEventKind
    from coordination.members import MemberWatch as MemberWatch
    from coordination.messaging import Answer as Answer
    from coordination.messaging import Answers as Answers
    from coordination.messaging import Messages as Messages
    from coordination.messaging import Received as Received
    from coordination.opening.opening import open_peer as open_peer
    from coordination.peer import Peer as Peer
    from coordination.thin.client import Client as Client
    from coordination.thin.client import connect as connect
    from coordination.watch import EventKind as EventKind
    from coordination.watch import WatchEvent as WatchEvent
    from coordination.watches import Watch as Watch
    from mesh.membership import Member as Member
    from mesh.membership import State as State

_HOMES = {
    "coordination.agreed.vocabulary.events": ("Explanation",),
    "coordination.counting.atomic": ("AtomicRegister",),
    "coordination.config": ("MeshConfig",),
    "coordination.counting.counters": ("Counter",),
    "coordination.locking.barriers": ("Barrier",),
    "coordination.counting.budgets": ("Budget",),
    "coordination.locking.elections": ("Election", "Leader"),
    "coordination.errors": (
        "AddressRefused", "AlreadyHeld", "BadConfig", "BadKey", "BadTTL", "BadValue", "BindFailed", "ClockDrift", "Closed",
        "DifferentMesh", "Disconnected", "DiskFailed", "Exhausted", "Fenced", "Forked", "JoinFailed", "LeaseLost",
        "LimitDiffers", "MemoryLost", "MeshError", "NameTaken", "NoQuorum", "NotDelivered", "NotHolding", "OutcomeUnknown",
        "ResetRefused", "SecretLacking", "StoreFull", "TooLarge", "Unreachable",
    ),
    "coordination.locking.exclusive": ("exclusive",),
    "coordination.fence": ("Fence", "SqliteFence"),
    "coordination.counting.gauges": ("Gauge",),
    "coordination.locking.holding": ("Held",),
    "coordination.keys": ("KV", "Entry"),
    "coordination.locking.leases": ("Lease",),
    "coordination.counting.limiters": ("Limiter",),
    "coordination.locking.locks": ("Lock", "RWLock", "Semaphore"),
    "coordination.members": ("MemberEvent", "MemberEventKind", "MemberWatch"),
    "coordination.messaging": ("Answer", "Answers", "Messages", "Received"),
    "coordination.opening.opening": ("open_peer",),
    "coordination.peer": ("Peer",),
    "coordination.arguments.rotating": ("SecretStanding",),
    "coordination.locking.standing": ("Holding", "Locked"),
    "coordination.thin.client": ("Client", "connect"),
    "coordination.watch": ("EventKind", "WatchEvent"),
    "coordination.watches": ("Watch",),
    "mesh.membership": ("Member", "State"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'coordination' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
