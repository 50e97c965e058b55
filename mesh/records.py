"""Records: what stands in a node's memory, as bytes that say which version wrote them.

A record is a CBOR array, its version first, then the fields of its class, as messages are written (`mesh.schema`). A later
version may append fields that have a default. One of a version that is not known is refused, and not taken for damage: the
store was written by a newer program, and an older one must not vote on what it cannot read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mesh.schema import SchemaError, compile_class
from mesh.wire import MAX_DEPTH, MAX_FRAME_BYTES, WireError, load

__all__ = ["DamagedRecordError", "NewerRecordError", "RecordKind"]

T = TypeVar("T")


class DamagedRecordError(Exception):
    """Bytes that no version ever wrote."""


class NewerRecordError(Exception):
    """A record of a version that this program does not know."""


class RecordKind(Generic[T]):
    """How records of one class are written.

    Parameters
    ----------
    kind: a named tuple or dataclass whose annotations say how it is written.
    version: of its fields' meaning; it rises with every change that appending a field with a default cannot express."""

    __slots__ = ("_functions", "_kind", "_version")

    def __init__(self, kind: type[T], version: int = 1) -> None:
        self._kind = kind
        self._version = version
        self._functions: tuple[Callable[[Any], bytes], Callable[[Any], Any]] | None = None

    def _compiled(self) -> tuple[Callable[[Any], bytes], Callable[[Any], Any]]:
        if self._functions is None:
            self._functions = compile_class(self._kind, self._version)
        return self._functions

    def write(self, value: T) -> bytes:
        functions = self._functions
        return (self._compiled() if functions is None else functions)[0](value)

    def read(self, data: bytes) -> T:
        """Raises
        ------
        NewerRecordError: of another version. DamagedRecordError: no such record.
        """
        try:
            raw = load(data, MAX_FRAME_BYTES, MAX_DEPTH)
            if type(raw) is not tuple or not raw or type(raw[0]) is not int:
                raise SchemaError("not an array that begins with a version")
            if raw[0] != self._version:
                raise NewerRecordError(f"a {self._kind.__name__} of version {raw[0]}, where {self._version} is known")
            value: T = self._compiled()[1](raw)
        except (WireError, SchemaError) as problem:
            raise DamagedRecordError(f"no {self._kind.__name__}: {problem}") from None
        return value
