"""One number of everything that a replica holds, and sums of its parts: whether two that claim the same *are* the same.

    row       of a cell: a hash of (place, order, dot, value hash) and of what else travels with it
    bucket    of a place: by its hash, one of 1,024; its sum is that of the rows in it, modulo 2**64
    total     the sum of all

Rules:
  - A sum forgets the order in which cells came, and a change costs the rows of the cell that goes and of the one that comes,
    whatever the size of the store (Bellare and Micciancio's AdHash, 1997). A difference goes unseen by accident once in 2**64.
    It is no defence against somebody who chooses keys and values so that sums collide: whoever can write can write.
  - Only cells with a dot count: nobody else can have the others. A value that has expired counts as it did before: its cell
    stays, and when it is dropped is each replica's own affair. (Otherwise two clocks that are a millisecond apart are an
    alarm.)
  - The sums are *counted* by a walk over the store, a few cells at a time; a change at a place that the walk has passed changes
    what was counted. Once the walk is through, they hold, and the next walk begins: it counts what is there, and not what is
    believed to be. So a cell that changed in memory, without a write, is found within one walk: the bucket's two sums differ.
    (Without it sums only see faults of the protocol: a lost cell, a wrong claim, a wrong disk.)
  - A replica without others counts nothing: until the first walk is through there is no total, and nothing is compared."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from zlib import crc32

from crdt.cell import KEY, Cell, Place, drop, encode_cell

__all__ = ["BUCKETS", "FANOUT", "MASK", "ROW_BYTES", "STEPS", "Fingerprint", "bucket_of", "place_hash", "row_of"]

FANOUT = 32
"""Groups, and buckets in a group: two questions lead to the buckets that differ."""
BUCKETS = FANOUT * FANOUT
MASK = (1 << 64) - 1
ROW_BYTES = 8
STEPS = 16
"""In which a walk passes through a store that is small. (All of it at each step was a seventh of what such a node does.)"""


ACTOR_BYTES = 16
_FIXED = Struct("<QQ16sQQ16s16sQQ").pack
_BEFORE: Place = (-1, "")


def row_of(cell: Cell) -> int:
    """The hash of one cell, with its value or without, as a number of 64 bits: the same in every process and version."""
    kind, key, order, body, bound, actor, n, hash_, lock, batch = cell
    toucher = order[5] if kind == KEY else b""
    assert isinstance(toucher, bytes)
    if kind != KEY or bound is not None or lock or batch is not None or len(toucher) > ACTOR_BYTES:
        return _hashed(encode_cell(drop(cell) if kind == KEY and order[3] else cell))
    if body is None:
        body = hash_
        tail = b"" if hash_ else b"\0"
    else:
        tail = b""
        if order[3]:  # it may be dropped here, and not there
            body = blake2b(body, digest_size=ROW_BYTES).digest()
    name = key.encode()
    return _hashed(b"".join((_FIXED(*order, actor, n, len(name) << 5 | len(toucher)), name, tail, body)))


def _hashed(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=ROW_BYTES).digest(), "little")


def bucket_of(kind: int, key: str) -> int:
    return crc32(key.encode(), kind) % BUCKETS


def place_hash(kind: int, key: str) -> int:
    """Names a place among the few of a bucket."""
    return _hashed(kind.to_bytes(2, "little") + key.encode())


class Fingerprint:
    __slots__ = ("_counted", "_passed", "_size", "_sums", "_total", "cursor", "walks")

    def __init__(self) -> None:
        self._sums: list[int] | None = None
        """What is believed to be there, as soon as the first walk is through."""
        self._total = 0
        """Of all that."""
        self._counted = [0] * BUCKETS
        self.cursor = _BEFORE
        """The walk has counted what stands up to here."""
        self._passed = self._size = 0
        """Cells that this walk has passed, and the last one."""
        self.walks = 0

    def add(self, cell: Cell) -> None:
        """A cell with a dot has come to its place, which was free."""
        self._change(cell, row_of(cell))

    def remove(self, cell: Cell) -> None:
        """A cell with a dot has gone."""
        self._change(cell, -row_of(cell))

    def _change(self, cell: Cell, row: int) -> None:
        kind, key = place = cell[:2]
        bucket = bucket_of(kind, key)
        if self._sums is not None:
            self._sums[bucket] += row
            self._total += row
        if place <= self.cursor:
            self._counted[bucket] += row

    def count(self, cells: Iterator[Cell], limit: int) -> list[int]:
        """Walk on over so many cells at the most, those behind the cursor in order of place. At the end of a walk: the buckets
        in which something else is held than was believed."""
        counted = self._counted
        if self._sums is not None:
            limit = min(limit, self._size // STEPS + 1)
        self._passed += limit
        for cell in cells:
            kind, key = self.cursor = cell[:2]
            if cell.n:
                counted[bucket_of(kind, key)] += row_of(cell)
            limit -= 1
            if not limit:
                return []
        believed, self._sums = self._sums, counted
        self._total = sum(counted)
        self._counted, self.cursor = [0] * BUCKETS, _BEFORE
        self._size, self._passed = self._passed - limit, 0
        self.walks += 1
        if believed is None or believed == counted:
            return []
        return [bucket for bucket in range(BUCKETS) if (believed[bucket] - counted[bucket]) & MASK]

    @property
    def known(self) -> bool:
        return self._sums is not None

    def total(self) -> bytes:
        """Of everything; empty as long as it is not known."""
        return b"" if self._sums is None else _written(self._total)

    def groups(self) -> bytes:
        """The sums of the groups, one behind the other."""
        sums = self._sums or _NO_SUMS
        return b"".join([_written(sum(sums[first : first + FANOUT])) for first in range(0, BUCKETS, FANOUT)])

    def buckets(self, group: int) -> bytes:
        """The sums of the buckets in one group."""
        first = group * FANOUT
        return b"".join([_written(each) for each in (self._sums or _NO_SUMS)[first : first + FANOUT]])


_NO_SUMS = [0] * BUCKETS


def _written(number: int) -> bytes:
    return (number & MASK).to_bytes(ROW_BYTES, "little")
