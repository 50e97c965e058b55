"""The secrets of a mesh.

A ring holds one primary secret, with which everything is sealed, and any number of others that are still or already
accepted. To rotate: add the new one everywhere, wait until all have it, use it everywhere, wait, remove the old one
(`mesh.rotation`). Meanwhile it knows of others which secrets they hold, so that nobody is sealed to with what it cannot open.

Every key is derived (HKDF-SHA256) from a secret, a purpose, and what the key is for, so that no key serves twice."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

__all__ = ["KEY_ID_BYTES", "MAX_SECRET_BYTES", "MIN_SECRET_BYTES", "Keyring"]

MIN_SECRET_BYTES = 32
MAX_SECRET_BYTES = 4_096
SESSIONS = 16_384
"""Processes whose secrets are known; beyond it the one that was heard of first goes."""
KEY_ID_BYTES = 4
KEY_BYTES = 32
WRAP_NONCE = bytes(12 - KEY_ID_BYTES)
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

    __slots__ = ("_held", "_primary", "_roots", "_secrets", "_turn", "attentive", "public")

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        self.public = False
        self.attentive = False
        """Whether what others seal with shows what they hold. Only where they also say it (`mesh.rotation`): two that went by
        what they see alone would each stay with the old secret for the other's sake."""
        self._secrets: dict[bytes, bytes] = {}
        self._held: dict[bytes, tuple[bytes, ...]] = {}
        """What other processes hold, by session, as they have said or shown."""
        self._turn = 0
        self._roots: dict[bytes, HMAC] = {}
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
        if not isinstance(secret, str | bytes | bytearray | memoryview):  # bytes(40) would be 40 zeros
            raise ValueError(f"a secret is text or bytes, not {type(secret).__name__}; make one with `mesh keygen`")
        data = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(data) < MIN_SECRET_BYTES:
            raise ValueError(
                f"a secret of {len(data)} bytes is too short: at least {MIN_SECRET_BYTES} are needed; "
                "make one with `mesh keygen`"
            )
        if len(data) > MAX_SECRET_BYTES:
            raise ValueError(f"a secret of {len(data)} bytes is too long: at most {MAX_SECRET_BYTES} are taken")
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

    # --- what others hold ------------------------------------------------------------------------------------------

    def key_to(self, session: bytes) -> bytes:
        """What to seal with to a process: the primary, unless it is known to lack that and to hold another of the ring."""
        primary = self._primary
        if not self._held:
            return primary
        held = self._held.get(session)
        if held is None or primary in held:
            return primary
        return next((key for key in held if key in self._secrets), primary)

    def next_key(self) -> bytes:
        """What to greet with whom nothing is known of: each secret in turn, for it may lack any of them."""
        if len(self._secrets) == 1:
            return self._primary
        self._turn += 1
        others = [key for key in self._secrets if key != self._primary]
        return self._primary if self._turn % 2 else others[self._turn // 2 % len(others)]

    def told(self, session: bytes, held: Sequence[bytes]) -> None:
        """A process has said which secrets it holds."""
        self._held.pop(session, None)
        self._held[session] = tuple(held)
        if len(self._held) > SESSIONS:
            del self._held[next(iter(self._held))]

    def showed(self, session: bytes, identifier: bytes) -> None:
        """A process has sealed with this one, so it holds it."""
        if not self.attentive or (len(self._secrets) == 1 and not self._held):
            return
        held = self._held.get(session)
        if held is None:
            self.told(session, (identifier,))
        elif identifier not in held and len(held) < len(self._secrets):
            self._held[session] = (*held, identifier)

    def forget(self, session: bytes) -> None:
        self._held.pop(session, None)

    # --- secrets that are handed on, and kept ------------------------------------------------------------------------

    def wrap(self, identifier: bytes, key: bytes) -> bytes:
        """A secret of the ring, sealed under a key of 256 bits that seals nothing but secrets: each always the same, so that
        its identifier serves as the nonce."""
        return AESGCM(key).encrypt(identifier + WRAP_NONCE, self._secrets[identifier], None)

    def unwrap(self, identifier: bytes, key: bytes, sealed: bytes) -> bool:
        """Accept a secret that was wrapped; False if it cannot be opened, or is not the one that it is said to be."""
        try:
            secret = AESGCM(key).decrypt(identifier + WRAP_NONCE, sealed, None)
        except (InvalidTag, ValueError):
            return False
        if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
            return False
        if _expand(_extract(secret), b"id", b"", KEY_ID_BYTES) != identifier:
            return False
        self.add(secret)
        return True

    def derive(self, identifier: bytes, purpose: bytes, context: bytes) -> bytes:
        """A 256-bit key for one purpose and context.

        Raises
        ------
        KeyError: no such secret in the ring.
        """
        return _expand(self._roots[identifier], purpose, context, KEY_BYTES)


def _extract(secret: bytes) -> HMAC:
    """The first half of HKDF (RFC 5869, section 2.2), which is the same for every key of a secret, and as far into the other
    half as that is: to copy it takes a fifth of the time of beginning anew."""
    return HMAC(hmac.digest(b"trio-mesh 1", secret, "sha256"), SHA256())


def _expand(root: HMAC, purpose: bytes, context: bytes, length: int) -> bytes:
    """The other half (section 2.3), of which no key needs more than the first block."""
    assert length <= KEY_BYTES
    block = root.copy()
    block.update(purpose + b"\0" + context + b"\1")
    return block.finalize()[:length]
