"""Batches: puts and deletes that every replica sees all at once or not at all.

They are collected here, and written as one when the context is left in peace; an exception writes nothing. Later writes of one
key in a batch replace earlier ones. See `crdt.batches` for how a replica keeps the promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from coordination.arguments.checks import check_handed, check_key, encode_checked, key_ttl_ms
from coordination.errors import BadTTL, NotHolding, TooLarge
from crdt.cell import MAX_BATCH_KEYS

__all__ = ["MAX_BATCH_BYTES", "Batch", "Wish", "check_size"]

MAX_BATCH_BYTES = 1 << 20
"""Keys and encoded values of one batch."""


class Wish(NamedTuple):
    """One put, or delete, that is asked for."""

    key: str
    body: bytes | None
    ttl: float | None
    lease: Any
    """A lease that is held (`coordination.keys.Binding`), or None."""


class Batch:
    """`async with kv.batch() as batch: batch.put(...); batch.delete(...)`"""

    __slots__ = ("_done", "_size", "_user", "_wishes", "_write", "stamp")

    def __init__(self, write: Callable[[Sequence[Wish]], Awaitable[int]], user: object) -> None:
        self._write = write
        self._user = user
        self._wishes: dict[str, Wish] = {}
        self._size = 0
        self._done = False
        self.stamp: int | None = None
        """Hybrid logical time of the whole batch, once it is written; None before, and for an empty one."""

    def put(self, key: str, value: Any, *, ttl: float | None = None, lease: Any = None) -> None:
        """Put a value when the batch is written. `ttl` and `lease` as for `kv.put`. Local, no checkpoint.

        Raises
        ------
        BadKey, BadValue, BadTTL, BadConfig; TooLarge: the batch would be of more than 4,096 keys, or 1 MiB of keys and values.
        """
        check_key(key)
        body = encode_checked(value)
        key_ttl_ms(ttl)
        check_handed(lease, None, self._user)
        if ttl is not None and lease is not None:
            raise BadTTL("a key has either a ttl or a lease: the lease has a ttl of its own")
        self._add(Wish(key, body, ttl, lease))

    def delete(self, key: str) -> None:
        """Delete a key when the batch is written. Local, no checkpoint. Raises as `put`."""
        self._add(Wish(check_key(key), None, None, None))

    def _add(self, wish: Wish) -> None:
        if self._done:
            raise NotHolding("this batch has ended: begin another with kv.batch()")
        old = self._wishes.get(wish.key)
        size = self._size + weight(wish) - (weight(old) if old is not None else 0)
        check_size(len(self._wishes) + (old is None), size)
        self._wishes[wish.key] = wish
        self._size = size

    def __len__(self) -> int:
        """Keys so far."""
        return len(self._wishes)

    async def __aenter__(self) -> Batch:
        if self._done or self._wishes:
            raise NotHolding("a batch is entered once: begin another with kv.batch()")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Write it. A checkpoint, before anything is written, unless it is left by an exception."""
        self._done = True
        if kind is None and self._wishes:
            self.stamp = await self._write(list(self._wishes.values()))


def weight(wish: Wish) -> int:
    return len(wish.key.encode()) + len(wish.body or b"")


def check_size(keys: int, size: int) -> None:
    """Raises `TooLarge` for what is no batch any more."""
    if keys > MAX_BATCH_KEYS or size > MAX_BATCH_BYTES:
        raise TooLarge(
            f"a batch of {keys:,} keys and {size:,} bytes is above {MAX_BATCH_KEYS:,} keys or {MAX_BATCH_BYTES:,} bytes: use "
            "several, or put_many, which promises less"
        )
