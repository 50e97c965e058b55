"""Cells: the one mergeable value of which every store is made.

A cell stands under (kind, key). Two cells of the same place join to the higher by `order`, compared element by element; at
equal order the higher dot wins. So every join is total, whoever holds what. The kinds and their orders:

    KEY        fence, put stamp, put actor, expiry stamp or 0, touch stamp, touch actor     body: the value, encoded
    COUNTER    epoch stamp, epoch actor, added, subtracted                                  body: the epoch's base, encoded
    LEASE_END  stamp, actor                                                                 body: empty
    FOLD       tag, epoch stamp, epoch actor, added, subtracted                             body: the epoch's base, encoded

The first three elements of a KEY's order name the *put*: a higher put or delete replaces all, an equal put takes the higher
touch. Cells of kinds that this version does not know are kept and passed on unread.

What was put in one *batch* carries its mark: which of how many dots of the put's actor it stands for. The cells of a batch are
seen together or not at all (`crdt.batches`), so the mark stays on a touched cell: it shows the batch's value.

A body of None is a *tombstone*, unless `hash` is set: then the value expired and was *dropped*, and its hash stays. Of two
cells of one put the joined one has the value if either has it."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from crdt.cbor import NULL, array_head, read_int, write_bytes, write_int, write_text
from crdt.clock import Stamp

__all__ = [
    "ACTOR_BYTES",
    "COUNTER",
    "FOLD",
    "KEY",
    "LEASE_END",
    "MAX_BATCH_KEYS",
    "MAX_BODY_BYTES",
    "MAX_KEY_BYTES",
    "MAX_LOCK_BYTES",
    "Cell",
    "CellError",
    "Mark",
    "Order",
    "Place",
    "above",
    "cell_of",
    "drop",
    "encode_cell",
    "expiry_of",
    "fence_of",
    "fill",
    "is_dropped",
    "join",
    "put_of",
    "stamps_of",
]

KEY, COUNTER, LEASE_END, FOLD = 0, 1, 2, 3

ACTOR_BYTES = 16
HASH_BYTES = 8
MAX_KIND = (1 << 16) - 1
MAX_DOT = (1 << 64) - 1
MAX_KEY_BYTES = 1_024
"""Above any user's key (512) and the suffix of a counter's slot."""
MAX_BOUND_BYTES = 512
MAX_LOCK_BYTES = 600
"""A lock's name (512), and its kind."""
MAX_BODY_BYTES = (1 << 20) + 64
MAX_BATCH_KEYS = 4_096
MAX_ORDER = 16
"""Elements of an order of a kind that is not known yet."""
MAX_NUMBER_BITS = 8 * 1_024
MAX_BASE_BYTES = MAX_NUMBER_BITS // 8 + 4
"""Of a counter's base: a number and its head."""
MAX_STAMP = (1 << 64) - 1

Order: TypeAlias = tuple[int | bytes, ...]
Place: TypeAlias = tuple[int, str]
"""Kind and key."""


class CellError(ValueError):
    """What was received is no cell; says what was wrong."""


class Mark(NamedTuple):
    """Of what was put in one batch: its dots are `first`, `first + 1`, … of the put's actor. A batch of one is what somebody
    else has put again (see `crdt.returning`): the mark is the dot that it was first written under."""

    first: int
    size: int
    place: int
    """Which of them this key's put is, from 0."""


class Cell(NamedTuple):
    kind: int
    key: str
    order: Order
    body: bytes | None
    bound: str | None
    """The lease with which the value ends."""
    actor: bytes
    """With `n` the dot: the last write of this cell. A local write has n = 0 until its window is flushed."""
    n: int
    hash: bytes = b""
    """Of the value that was dropped."""
    lock: str = ""
    """Of a fenced KEY: the lock whose tokens are its fence. No part of its order."""
    batch: Mark | None = None
    """Of a KEY that was put with others. No part of its order."""


def above(cell: Cell, other: Cell) -> bool:
    """Whether the first is strictly higher than the second."""
    if cell.order == other.order:
        return (cell.actor, cell.n) > (other.actor, other.n)
    try:
        return cell.order > other.order
    except TypeError:  # an unknown kind that has a number where another has bytes
        return _ranked(cell.order) > _ranked(other.order)


def _ranked(order: Order) -> tuple[tuple[int, int, bytes], ...]:
    return tuple([(0, item, b"") if isinstance(item, int) else (1, 0, item) for item in order])


def join(cell: Cell, other: Cell) -> Cell:
    """The higher of two cells of one place, with the value of its put if either has it."""
    if above(other, cell):
        cell, other = other, cell
    return fill(cell, other)


def is_dropped(cell: Cell) -> bool:
    """Whether the value is not here, though it is no tombstone."""
    return cell.body is None and cell.hash != b""


def fill(cell: Cell, other: Cell) -> Cell:
    """A cell without its value, with the value from a cell of the same put, if that has it."""
    if cell.hash and other.body is not None and cell.kind == KEY and put_of(cell) == put_of(other):
        return cell._replace(body=other.body, hash=b"")
    return cell


def drop(cell: Cell) -> Cell:
    """The cell without its value: order, dot and the value's hash."""
    if cell.body is None:
        return cell
    return cell._replace(body=None, hash=blake2b(cell.body, digest_size=HASH_BYTES).digest())


def fence_of(cell: Cell) -> int:
    """Of a KEY."""
    return cell.order[0]  # type: ignore[return-value]


def put_of(cell: Cell) -> Order:
    """Of a KEY: which put it is."""
    return cell.order[:3]


def expiry_of(cell: Cell) -> Stamp:
    """Of a KEY: the stamp from which it is expired; 0 if it never is."""
    return cell.order[3]  # type: ignore[return-value]


def stamps_of(cell: Cell) -> tuple[Stamp, ...]:
    """The stamps at which something was written, for the clock to follow (an expiry is not one)."""
    match cell.kind:
        case 0:
            return cell.order[1], cell.order[4]  # type: ignore[return-value]
        case 1 | 2:
            return (cell.order[0],)  # type: ignore[return-value]
        case 3:
            return (cell.order[1],)  # type: ignore[return-value]
        case _:
            return ()


# --- as bytes ------------------------------------------------------------------------------------------------------

_HEADS = tuple([array_head(count) for count in range(7, 11)])


def encode_cell(cell: Cell) -> bytes:
    """Canonical: equal cells are equal bytes."""
    kind, key, order, body, bound, actor, n, hash_, lock, batch = cell
    more: tuple[bytes, ...] = ()
    if batch is not None:
        more = (write_bytes(hash_), write_text(lock), b"".join((_MARK, *map(write_int, batch))))
    elif lock:
        more = (write_bytes(hash_), write_text(lock))
    elif hash_:
        more = (write_bytes(hash_),)
    return b"".join(
        (
            _HEADS[len(more)],
            write_int(kind),
            write_text(key),
            array_head(len(order)),
            *[write_int(item) if isinstance(item, int) else write_bytes(item) for item in order],
            NULL if body is None else write_bytes(body),
            NULL if bound is None else write_text(bound),
            write_bytes(actor),
            write_int(n),
            *more,
        )
    )


_MARK = array_head(3)

_SHAPES: dict[int, tuple[type, ...]] = {
    KEY: (int, int, bytes, int, int, bytes),
    COUNTER: (int, bytes, int, int),
    LEASE_END: (int, bytes),
    FOLD: (int, int, bytes, int, int),
}
_STAMPS: dict[int, tuple[int, ...]] = {KEY: (0, 1, 3, 4), COUNTER: (0,), LEASE_END: (0,), FOLD: (1,)}
"""Where in an order stand stamps and tokens: timers are computed from them."""


def cell_of(raw: object) -> Cell:
    """The cell that was decoded from CBOR, checked in full.

    Raises
    ------
    CellError: it is none, or breaks a bound.
    """
    if type(raw) is not tuple or not 7 <= len(raw) <= 10:
        raise CellError("a cell is an array of 7 to 10")
    kind, key, order, body, bound, actor, n = raw[:7]
    hash_ = raw[7] if len(raw) > 7 else b""
    lock = raw[8] if len(raw) > 8 else ""
    if type(kind) is not int or not 0 <= kind <= MAX_KIND or type(n) is not int or not 1 <= n <= MAX_DOT:
        raise CellError("kind or dot out of range")
    if type(key) is not str or not _fits(key, MAX_KEY_BYTES):
        raise CellError("a key is text of bounded length")
    if type(actor) is not bytes or len(actor) != ACTOR_BYTES:
        raise CellError("an actor is 16 bytes")
    if body is not None and (type(body) is not bytes or len(body) > MAX_BODY_BYTES):
        raise CellError("a body is bytes of bounded length")
    if bound is not None and (type(bound) is not str or not _fits(bound, MAX_BOUND_BYTES)):
        raise CellError("a lease id is text of bounded length")
    if type(hash_) is not bytes or len(hash_) not in (0, HASH_BYTES) or (hash_ and body is not None):
        raise CellError("only a value that was dropped has a hash")
    _check_order(kind, order)
    if type(lock) is not str or not _fits(lock, MAX_LOCK_BYTES) or (lock and (kind != KEY or not order[0])):
        raise CellError("only a key with a fence names the lock of it")
    if kind == KEY and order[3]:
        if bound is not None:
            raise CellError("a key ends by time or with a lease, not both")
    elif hash_:
        raise CellError("only a value with an expiry is dropped")
    if kind in (COUNTER, FOLD) and (body is None or len(body) > MAX_BASE_BYTES or read_int(body) is None):
        raise CellError("a counter's base is a whole number")
    if kind == LEASE_END and body != b"":
        raise CellError("the end of a lease has an empty body")
    batch = _mark_of(raw[9], kind, order, actor, n) if len(raw) > 9 else None
    return Cell(kind, key, order, body, bound, actor, n, hash_, lock, batch)


def _mark_of(raw: object, kind: int, order: Order, actor: bytes, n: int) -> Mark:
    if type(raw) is not tuple or len(raw) != 3 or kind != KEY or any(type(item) is not int for item in raw):
        raise CellError("a mark is three numbers, of a key")
    mark = Mark(*raw)
    if not 1 <= mark.size <= MAX_BATCH_KEYS or not 0 <= mark.place < mark.size:
        raise CellError("a batch is of a few keys, each in its place")
    if not 1 <= mark.first <= MAX_DOT - mark.size:
        raise CellError("a dot of a batch is out of range")
    if mark.size == 1 and actor == order[2]:
        raise CellError("nobody puts again what is its own")
    if actor == order[2] and not order[4] and n != mark.first + mark.place:
        raise CellError("the dot is not that of its place in the batch")
    return mark


def _fits(text: str, limit: int) -> bool:
    return len(text) <= limit and (text.isascii() or len(text.encode()) <= limit)


def _check_order(kind: int, order: object) -> None:
    if type(order) is not tuple or len(order) > MAX_ORDER:
        raise CellError("an order is a bounded array")
    types = tuple([type(item) for item in order])
    shape = _SHAPES.get(kind)
    if (types != shape) if shape is not None else any(kind not in (int, bytes) for kind in types):
        raise CellError(f"an order of kind {kind} does not consist of {types}")
    for item in order:
        if type(item) is int:
            if item < 0 or item.bit_length() > MAX_NUMBER_BITS:
                raise CellError("a number in an order is out of range")
        elif len(item) > MAX_KEY_BYTES:
            raise CellError("bytes in an order are too long")
    for index in _STAMPS.get(kind, ()):
        if order[index] > MAX_STAMP:
            raise CellError("a stamp is out of range")
