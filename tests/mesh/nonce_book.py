"""The checker of W6: no (key, nonce) pair ever seals twice, whoever seals and over all restarts.

It takes the place of the cipher in `mesh.seal` and `mesh.channel` and sees the very keys and nonces that are used."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import mesh.channel
import mesh.seal

__all__ = ["NonceBook"]


class NonceBook:
    """Every pair that has sealed, and those that did so again with another text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sealed: dict[tuple[bytes, bytes], int] = {}
        self.repeated: list[tuple[bytes, bytes]] = []
        book = self

        class Watched:
            def __init__(self, key: bytes) -> None:
                self._key = key
                self._cipher = AESGCM(key)

            def encrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
                book.enter(self._key, nonce)
                return self._cipher.encrypt(nonce, data, header)

            def decrypt(self, nonce: bytes, data: bytes, header: bytes | None) -> bytes:
                return self._cipher.decrypt(nonce, data, header)

        monkeypatch.setattr(mesh.seal, "AESGCM", Watched)
        monkeypatch.setattr(mesh.channel, "AESGCM", Watched)

    def enter(self, key: bytes, nonce: bytes) -> None:
        pair = (key, nonce)
        if pair in self.sealed:
            self.repeated.append(pair)
        self.sealed[pair] = self.sealed.get(pair, 0) + 1

    @property
    def keys(self) -> int:
        return len({key for key, _ in self.sealed})
