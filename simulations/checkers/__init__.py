"""Checkers: properties of docs/invariants.md, asserted while a world runs and at its end."""

from simulations.checkers.alarms import Alarms
from simulations.checkers.base import Checker, Violation
from simulations.checkers.convergence import Convergence
from simulations.checkers.exclusion import Exclusion
from simulations.checkers.history import UNKNOWN, History, Operation
from simulations.checkers.linearizable import (
    Linearizability,
    Linearizable,
    NotLinearizable,
    TooLarge,
    Verdict,
    linearize,
)
from simulations.checkers.members import Members
from simulations.checkers.models import REFUSED, Counter, Model, Mutex, Queue, Register
from simulations.checkers.nonces import Nonces
from simulations.checkers.recorded_locks import RecordedLocks
from simulations.checkers.resurrection import Resurrection
from simulations.checkers.stores import WatchFold, agree, cells, differences
from simulations.checkers.sums import Sums
from simulations.checkers.temporal import Always, Eventually, LeadsTo
from simulations.checkers.tokens import Tokens
from simulations.checkers.writes import Acks, Kept, Wholeness

__all__ = [
    "Alarms",
    "REFUSED",
    "UNKNOWN",
    "Acks",
    "Always",
    "Checker",
    "Convergence",
    "Counter",
    "Eventually",
    "Exclusion",
    "History",
    "Kept",
    "LeadsTo",
    "Linearizability",
    "Linearizable",
    "Members",
    "Model",
    "Mutex",
    "Nonces",
    "NotLinearizable",
    "Operation",
    "Queue",
    "RecordedLocks",
    "Register",
    "Resurrection",
    "Sums",
    "Tokens",
    "TooLarge",
    "Verdict",
    "Violation",
    "WatchFold",
    "Wholeness",
    "agree",
    "cells",
    "differences",
    "linearize",
]
