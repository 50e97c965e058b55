"""Entropy, secrets and sessions for tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mesh.keyring import Keyring

__all__ = ["OTHER_SECRET", "SECRET", "entropy", "ring", "session"]

SECRET = "a secret of the tests, 32 bytes or more"
OTHER_SECRET = "another secret of the tests, as long as that"


def entropy(seed: object = 0) -> Callable[[int], bytes]:
    """Random bytes, the same for the same seed."""
    return Random(f"entropy {seed}").randbytes


def session(name: str) -> bytes:
    return Random(f"session {name}").randbytes(16)


def ring(*secrets: str | bytes) -> Keyring:
    return Keyring(secrets or (SECRET,))
