"""Errors that travel: as the name of their class, their sentence and their attributes, and raised as the same class."""

from __future__ import annotations

import cbor2

from coordination import errors
from coordination.errors import MeshError
from mesh.wire import MAX_FRAME_BYTES, load

__all__ = ["revived", "told"]

DEPTH = 4
CLASSES: dict[str, type[MeshError]] = {
    found.__name__: found for found in (getattr(errors, name) for name in errors.__all__) if issubclass(found, MeshError)
}


def told(error: MeshError) -> tuple[str, bytes]:
    """The name of the class, and the rest as CBOR."""
    return type(error).__name__, cbor2.dumps([str(error), vars(error)])


def revived(name: str, data: bytes) -> MeshError:
    """The error again; a plain `MeshError` for a class that only a newer sponsor knows.

    Raises
    ------
    WireError: the bytes are no error.
    """
    sentence, attributes = load(data, MAX_FRAME_BYTES, DEPTH)
    kind = CLASSES.get(name, MeshError)
    error = kind.__new__(kind)
    error.args = (str(sentence),)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error
