"""Atomic registers as users ask for them: their arguments as operations of the core, and what came of those (and of a reset) as
results and errors. For peers and for the sponsors of thin clients."""

from __future__ import annotations

from typing import Any

from coordination.agreed.atomics.atomic import ATOMIC, MAX_ATOMIC_BYTES, Op, OpKind, encode_ordered
from coordination.agreed.vocabulary.events import Called, CallFailed, Failure, ResetOver
from coordination.arguments.checks import check_key
from coordination.errors import BadValue, MemoryLost, MeshError, NoQuorum, OutcomeUnknown, ResetRefused, TooLarge
from mesh.schema import MAX_INT_BYTES
from mesh.values import ValueTooLargeError, ValueTypeError

__all__ = [
    "add_op",
    "cas_op",
    "check_encoded",
    "encode_atomic",
    "error_of",
    "new_voters",
    "outcome_of",
    "register_key",
    "set_op",
    "way_out",
]


def register_key(name: str) -> str:
    """Of a user's register. Raises `BadKey`."""
    return ATOMIC + check_key(name, "register name")


def encode_atomic(value: object) -> bytes:
    """A value as it is stored and compared. Raises `BadValue`, `TooLarge`."""
    try:
        data = encode_ordered(value)
    except ValueTypeError as problem:
        raise BadValue(str(problem)) from None
    except ValueTooLargeError as problem:
        raise TooLarge(str(problem)) from None
    if len(data) > MAX_ATOMIC_BYTES:
        raise TooLarge(
            f"the value is {len(data):,} bytes encoded, above {MAX_ATOMIC_BYTES:,}, which an atomic register holds at most: "
            "store it under a key, and the key here"
        )
    return data


def set_op(value: bytes) -> Op:
    return check_encoded(Op(OpKind.SET, value))


def cas_op(old: bytes, new: bytes) -> Op:
    return check_encoded(Op(OpKind.CAS, new, old))


def add_op(n: int, name: str) -> Op:
    """Raises `BadValue`, `TooLarge`."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise BadValue(f"{n!r} cannot be added to the register {name!r}: use an integer")
    op = Op(OpKind.ADD, n=int(n))
    if not op.well_formed():
        raise TooLarge(f"{n.bit_length()} bits are too many for the register {name!r}: at most {8 * MAX_INT_BYTES}")
    return op


def check_encoded(op: Op) -> Op:
    """What a client has encoded is checked again: every reader will decode it."""
    if not op.well_formed():
        raise BadValue("the value is no plain CBOR, or is too large: client and node are of different versions")
    return op


def outcome_of(event: Called | CallFailed, name: str) -> Any:
    """What a call came to, as `Called.outcome` says. Raises as `error_of` says."""
    if isinstance(event, CallFailed):
        raise error_of(event, name)
    return event.outcome


def error_of(failed: CallFailed, name: str) -> MeshError:
    what = f"the register {name!r}"
    match failed.why:
        case Failure.UNAVAILABLE:
            return NoQuorum(f"{what} could not be reached", failed.names, failed.reason)
        case Failure.MEMORY:
            return MemoryLost(name, failed.names)
        case Failure.NOT_INTEGER:
            return BadValue(f"{what} does not hold an integer, so nothing can be added to it: set it first")
        case Failure.TOO_LARGE:
            return TooLarge(f"the sum in {what} would be an integer of more than {MAX_INT_BYTES} bytes: nothing was added")
    return OutcomeUnknown(f"the change of {what} may or may not have happened: {failed.reason}. Read before changing it again")


def new_voters(over: ResetOver) -> tuple[str, ...]:
    """Of a reset. Raises `ResetRefused`."""
    if over.refusal or over.roster is None:
        raise ResetRefused(f"the roster was not reset: {over.refusal}")
    return over.roster.voters


def way_out(forgot: tuple[str, ...]) -> tuple[str, str]:
    """Of a roster that so many have forgotten: why no lock is granted, and what can be done."""
    names = ", ".join(forgot)
    return (
        f"{names}, a majority of the voters, restarted without memory, and forgot what they promised about the next roster",
        "Start a voter that still has its memory (a state_dir keeps it), if there is one; or run `mesh reset-roster`",
    )
