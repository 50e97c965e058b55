"""Changes of the mesh's secrets as users ask for them: checked, and refused where somebody would be cut off. For peers and
for the sponsors of thin clients."""

from __future__ import annotations

from dataclasses import dataclass

from coordination.errors import BadConfig, SecretLacking
from crdt.clock import Instant
from mesh.directives import Directives
from mesh.rotation import Rotation

__all__ = ["SecretStanding", "add_secret", "key_of", "remove_secret", "standing_of", "use_secret"]


@dataclass(frozen=True, slots=True)
class SecretStanding:
    """One secret, as a node knows of it."""

    key: str
    """Its identifier."""
    primary: bool
    """That node seals with it."""
    removed: bool
    """It is about to be forgotten."""
    lacking: tuple[str, ...]
    """Members that have not left and lack it."""
    unknown: tuple[str, ...]
    """Members that have not left and have not said what they hold: silent, or of an older version."""
    using: tuple[str, ...]
    """Members that seal with it."""


def key_of(key: str) -> bytes:
    """An identifier as bytes. Raises `BadConfig`."""
    try:
        data = bytes.fromhex(key)
    except (TypeError, ValueError):
        data = b""
    if len(data) != 4:
        raise BadConfig(
            f"{key!r} names no secret: give the 8 hexadecimal digits that `list` and `add` show, not the secret itself"
        )
    return data


def standing_of(rotation: Rotation) -> tuple[SecretStanding, ...]:
    return tuple(
        [
            SecretStanding(row.key.hex(), row.primary, not row.present, row.lacking, row.unknown, row.using)
            for row in rotation.standing()
        ]
    )


def add_secret(rotation: Rotation, secret: str | bytes, now: Instant) -> tuple[str, Directives]:
    """For peers and sponsors. Raises `BadConfig`."""
    if not isinstance(secret, str | bytes):
        raise BadConfig(f"a secret is text or bytes, not {type(secret).__name__}")
    try:
        key, directives = rotation.add(secret, now)
    except (ValueError, LookupError) as problem:
        raise BadConfig(str(problem)) from None
    return key.hex(), directives


def use_secret(rotation: Rotation, key: str, force: bool, now: Instant) -> Directives:
    """For peers and sponsors. Raises `BadConfig`, `SecretLacking`."""
    data = key_of(key)
    lacking = rotation.blocking_use(data)
    if lacking and data in rotation.keyring and not force:
        raise SecretLacking(key, lacking, "seal with it")
    try:
        return rotation.use(data, now)
    except (ValueError, LookupError) as problem:
        raise BadConfig(str(problem)) from None


def remove_secret(rotation: Rotation, key: str, force: bool, now: Instant) -> Directives:
    """For peers and sponsors. Raises `BadConfig`, `SecretLacking`."""
    data = key_of(key)
    lacking = rotation.blocking_remove(data)
    if lacking and data in rotation.keyring and data != rotation.keyring.primary and not force:
        raise SecretLacking(rotation.keyring.primary.hex(), lacking, f"remove {key}")
    try:
        return rotation.remove(data, now)
    except (ValueError, LookupError) as problem:
        raise BadConfig(str(problem)) from None
