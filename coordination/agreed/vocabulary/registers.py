"""The keys of registers: the kind, and the name that users gave."""

from __future__ import annotations

__all__ = ["KINDS", "LOCKS", "register_of", "split_register"]

LOCKS = ("lock", "rwlock", "semaphore", "election", "barrier")
"""What can be held."""
KINDS = (*LOCKS, "lease", "atomic")


def register_of(key: str) -> str:
    """The register that a user means: `kind/name`, or the name of a lock."""
    kind, mark, name = key.partition("/")
    return key if mark and name and kind in KINDS else f"lock/{key}"


def split_register(key: str) -> tuple[str, str]:
    """Kind and name."""
    kind, _, name = key.partition("/")
    return kind, name
