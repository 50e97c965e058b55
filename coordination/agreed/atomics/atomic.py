"""What an atomic register holds, and what a change does to it: pure transitions of `Value.state`.

A register holds a value (CBOR; nothing counts as null), the number of its changes (its *version*), and of the last 64 processes
that changed it the last request with its results, oldest first. Rules, each with what breaks without it:

  - A process has one request a register under way, and numbers them upwards. The same sequence again gets the results that are
    kept; a lower one is answered "forgotten". (A retry whose first copy was applied adds twice.)
  - A request names the version that its process had *seen* before it first sent it. Who is not among the 64 may change the
    register only if nobody is forgotten who changed it later than that: `floor` is the highest version of those. Had the
    request been applied, then at a version above what was seen, and its entry would be here, or `floor` above it. (Without
    `floor`, a copy that comes after 64 others have changed the register is applied again; by clocks alone, a process whose
    clock is slow is never served.)
  - What is forgotten stays so: `floor` only rises. So "forgotten" means that no copy is applied from now on, not that none was.

Values are compared as they are encoded, the keys of dicts in order: 1, 1.0 and True are three values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cbor2

from mesh.schema import MAX_INT_BYTES
from mesh.values import decode_value, encode_value
from mesh.wire import WireError, load

__all__ = [
    "ACTORS_KEPT",
    "ATOMIC",
    "DIFFERS",
    "MAX_ATOMIC_BYTES",
    "NOTHING",
    "NOT_INTEGER",
    "TOO_LARGE",
    "Op",
    "OpKind",
    "Results",
    "State",
    "encode_ordered",
    "is_atomic",
]

ATOMIC = "atomic/"
ACTORS_KEPT = 64
MAX_ATOMIC_BYTES = 64 << 10
"""Of a value, encoded: it travels whole with every change."""
STATE_BYTES = 4 << 20
STATE_DEPTH = 5
ACTOR_BYTES = 8
"""Of a process's session: 2^64 of them."""
NOTHING = encode_value(None)
DIFFERS = b"differs"
NOT_INTEGER = b"no integer"
TOO_LARGE = b"too large"
"""Results of changes that were refused, and changed nothing. Of others: the sum after an add, else 0."""

Results = tuple[int | bytes, ...]


def is_atomic(key: str) -> bool:
    """Whether a register is one of these: its kind is part of its key."""
    return key.startswith(ATOMIC)


class OpKind:
    SET = 1
    CAS = 2
    ADD = 3


class Op(NamedTuple):
    """One change, as it travels."""

    kind: int
    value: bytes = b""
    """SET and CAS: the new value, encoded."""
    old: bytes = b""
    """CAS: what it must be."""
    n: int = 0
    """ADD."""

    def well_formed(self) -> bool:
        """Whether every reader will be able to decode what it would store."""
        if self.kind == OpKind.ADD:
            return self.n.bit_length() <= 8 * MAX_INT_BYTES
        if self.kind not in (OpKind.SET, OpKind.CAS) or len(self.value) > MAX_ATOMIC_BYTES:
            return False
        try:
            decode_value(self.value)
        except WireError:
            return False
        return True


class Entry(NamedTuple):
    """The last request of one process."""

    sequence: int
    version: int
    """Of the register after it."""
    results: Results


class State:
    """Decoded. `serve` changes it; `encoded` is the `Value.state` of what it has become."""

    __slots__ = ("entries", "floor", "value", "version")

    def __init__(self) -> None:
        self.version = 0
        self.floor = 0
        self.value = NOTHING
        self.entries: dict[bytes, Entry] = {}
        """By process, in the order of their versions."""

    @classmethod
    def read(cls, data: bytes) -> State | None:
        """None: a faulty member wrote it. An empty one is that of a register that was never changed."""
        state = cls()
        if not data:
            return state
        try:
            state.version, state.floor, state.value, entries = load(data, STATE_BYTES, STATE_DEPTH)
            for actor, sequence, version, results in entries:
                state.entries[actor] = Entry(sequence, version, results)
        except (WireError, TypeError, ValueError):
            return None
        return state if state._plain() else None

    def _plain(self) -> bool:
        if type(self.version) is not int or type(self.floor) is not int or type(self.value) is not bytes:
            return False
        for actor, entry in self.entries.items():
            if type(actor) is not bytes or type(entry.sequence) is not int or type(entry.version) is not int:
                return False
            if type(entry.results) is not tuple or any(type(result) not in (int, bytes) for result in entry.results):
                return False
        return True

    def encoded(self) -> bytes:
        entries = [(actor, *entry) for actor, entry in self.entries.items()]
        data: bytes = cbor2.dumps((self.version, self.floor, self.value, entries))
        return data

    def serve(self, session: bytes, sequence: int, seen: int, ops: Sequence[Op]) -> Results | None:
        """Apply a request, unless it was applied before; its results, or None if that is forgotten."""
        actor = session[:ACTOR_BYTES]
        known = self.entries.get(actor)
        if known is not None:
            if sequence <= known.sequence:
                return known.results if sequence == known.sequence else None
            del self.entries[actor]
        elif seen < self.floor:
            return None
        results = tuple([self._apply(op) for op in ops])
        self.version += 1
        self.entries[actor] = Entry(sequence, self.version, results)
        if len(self.entries) > ACTORS_KEPT:
            self._forget()
        return results

    def _forget(self) -> None:
        oldest = next(iter(self.entries))
        self.floor = self.entries.pop(oldest).version

    def _apply(self, op: Op) -> int | bytes:
        if op.kind != OpKind.ADD:
            if op.kind == OpKind.CAS and op.old != self.value:
                return DIFFERS
            self.value = op.value
            return 0
        number = decode_value(self.value)
        if number is None:
            number = 0
        if type(number) is not int:
            return NOT_INTEGER
        number += op.n
        if number.bit_length() > 8 * MAX_INT_BYTES:
            return TOO_LARGE
        self.value = encode_value(number)
        return number


def encode_ordered(value: object) -> bytes:
    """As `mesh.values.encode_value`, with the keys of dicts in order, so that equal values are equal bytes.

    Raises
    ------
    ValueTypeError, ValueTooLargeError
    """
    data = encode_value(value)
    return encode_value(_ordered(value)) if isinstance(value, dict | list | tuple) else data


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value
