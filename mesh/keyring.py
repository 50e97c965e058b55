"""The secrets of a mesh.

A ring holds one primary secret, with which everything is sealed, and any number of others that are still or already
accepted. To rotate: add the new one everywhere, wait until all have it, use it everywhere, wait, remove the old one.

Every key is derived (HKDF-SHA256) from a secret, a purpose, and what the key is for, so that no key serves twice."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

__all__ = ["KEY_ID_BYTES", "MIN_SECRET_BYTES", "Keyring"]

MIN_SECRET_BYTES = 32
KEY_ID_BYTES = 4
KEY_BYTES = 32
PUBLIC = b"trio-mesh without a secret: framing only, no protection"
"""What stands in for a secret in a mesh without one, on loopback only: the frames keep one shape."""


class Keyring:
    """The accepted secrets, the primary first.

    Parameters
    ----------
    secrets: text or bytes, each of at least 32 bytes.

    Raises
    ------
    ValueError: no secret, or one that is too short.
    """

    __slots__ = ("_primary", "_roots", "_secrets", "public")

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        self.public = False
        self._secrets: dict[bytes, bytes] = {}
        self._roots: dict[bytes, bytes] = {}
        """Of each secret what every key is expanded from."""
        if not secrets:
            raise ValueError("a keyring needs at least one secret; make one with `mesh keygen`")
        for secret in secrets:
            self.add(secret)
        self._primary = next(iter(self._secrets))

    @classmethod
    def without_secret(cls) -> Keyring:
        """For a mesh on loopback that has no secret."""
        ring = cls([PUBLIC])
        ring.public = True
        return ring

    @property
    def primary(self) -> bytes:
        """The identifier of the key that seals."""
        return self._primary

    def identifiers(self) -> tuple[bytes, ...]:
        return tuple(self._secrets)

    def __contains__(self, identifier: bytes) -> bool:
        return identifier in self._secrets

    def add(self, secret: str | bytes) -> bytes:
        """Accept one more secret; its identifier. The primary stays."""
        data = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(data) < MIN_SECRET_BYTES:
            raise ValueError(
                f"a secret of {len(data)} bytes is too short: at least {MIN_SECRET_BYTES} are needed; "
                "make one with `mesh keygen`"
            )
        root = _extract(data)
        identifier = _expand(root, b"id", b"", KEY_ID_BYTES)
        known = self._secrets.setdefault(identifier, data)
        if known != data:
            raise ValueError("this secret's identifier collides with that of another in the ring; make a new one")
        self._roots[identifier] = root
        return identifier

    def use(self, identifier: bytes) -> None:
        """Seal with this one from now on."""
        if identifier not in self._secrets:
            raise ValueError(f"no secret {identifier.hex()} in the ring: add it first")
        self._primary = identifier

    def remove(self, identifier: bytes) -> None:
        """Accept this one no more."""
        if identifier == self._primary:
            raise ValueError("the primary secret cannot be removed: use another first")
        self._secrets.pop(identifier, None)
        self._roots.pop(identifier, None)

    def derive(self, identifier: bytes, purpose: bytes, context: bytes) -> bytes:
        """A 256-bit key for one purpose and context.

        Raises
        ------
        KeyError: no such secret in the ring.
        """
        return _expand(self._roots[identifier], purpose, context, KEY_BYTES)


def _extract(secret: bytes) -> bytes:
    """The first half of HKDF (RFC 5869, section 2.2), which is the same for every key of a secret."""
    return hmac.digest(b"trio-mesh 1", secret, "sha256")


def _expand(root: bytes, purpose: bytes, context: bytes, length: int) -> bytes:
    """The other half (section 2.3)."""
    return HKDFExpand(SHA256(), length, info=purpose + b"\0" + context).derive(root)
