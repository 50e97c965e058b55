"""The keys of registers: the kind, and the name that users gave."""

from __future__ import annotations

__all__ = ["KINDS", "LOCKS", "register_of", "split_register"]

LOCKS = ("lock", "rwlock", "semaphore", "election", "barrier")
"""What can be held."""
KINDS = (*LOCKS, "lease", "atomic")
KEPT_IN = {"budget": "atomic/budget/", "limiter": "semaphore/limiter/"}
"""Where that is kept which has no register of its own kind."""


def register_of(key: str) -> str:
    """The register that a user means: `kind/name`, or the name of a lock. (A lock whose name begins like a kind: `lock/…`.)"""
    kind, mark, name = key.partition("/")
    if mark and name and kind in KEPT_IN:
        return KEPT_IN[kind] + name
    return key if mark and name and kind in KINDS else f"lock/{key}"


def split_register(key: str) -> tuple[str, str]:
    """Kind and name."""
    kind, _, name = key.partition("/")
    return kind, name
