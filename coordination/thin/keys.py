"""Keys and counters through a sponsor: `coordination.keys` and `coordination.counting.counters`, with awaited reads.

What is handed in is checked here first, so that a mistake costs no round trip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio

from coordination.arguments.batches import Batch, Wish
from coordination.arguments.checks import (
    check_acks,
    check_amount,
    check_handed,
    check_key,
    check_keys,
    check_pairs,
    check_prefix,
    encode_checked,
    key_ttl_ms,
)
from coordination.errors import BadTTL
from coordination.keys import Acks, Binding, Entry, Fencing
from coordination.thin.core import ThinCore
from mesh.values import decode_value

__all__ = ["ThinCounter", "ThinKV"]

MANY_KEYS = 4_096
MANY_BYTES = 1 << 20
"""Keys and values of one message; more are several."""


class ThinKV:
    """The keys of the mesh as the sponsor has them: `client.kv`.

    Every call is a checkpoint. One that is cancelled while it waits for the answer to a write leaves open whether that
    happened. When the stream breaks, a write raises `OutcomeUnknown` and a read `Unreachable`; every later call raises
    `Disconnected`."""

    __slots__ = ("_core",)

    def __init__(self, core: ThinCore) -> None:
        self._core = core

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        body = await self._core.ask("get", check_key(key))
        return default if body is None else decode_value(body)

    async def entry(self, key: str) -> Entry | None:
        """The value with its stamp, remaining ttl (seconds), lease and writer; None if there is none."""
        found = await self._core.ask("entry", check_key(key))
        if found is None:
            return None
        body, *rest = found
        return Entry(key, decode_value(body), *rest)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that have one, in the order asked for."""
        wanted = check_keys(keys)
        found: dict[str, Any] = {}
        first = 0
        while first < len(wanted):
            some = wanted[first : first + MANY_KEYS]
            bodies = await self._core.ask("get_many", some)
            found |= {key: decode_value(body) for key, body in zip(some, bodies, strict=False) if body is not None}
            first += len(bodies)
        if not wanted:
            await trio.lowlevel.checkpoint()
        return found

    async def scan(self, prefix: str = "") -> list[tuple[str, Any]]:
        """(key, value) of all keys that begin with `prefix`, in key order, read page by page."""
        check_prefix(prefix)
        pairs: list[tuple[str, Any]] = []
        more = True
        while more:
            page, more = await self._core.ask("scan", prefix, pairs[-1][0] if pairs else None)
            pairs += [(key, decode_value(body)) for key, body in page]
        return pairs

    async def _write(self, need: int | None, operation: str, *arguments: Any) -> Any:
        if need is None:
            return await self._core.ask(operation, *arguments)
        return await self._core.ask("acked", need, operation, arguments)

    async def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        lease: Binding | None = None,
        fence: Fencing | None = None,
        acks: Acks = None,
    ) -> int:
        """Put a value; its stamp. The sponsor writes it, under its own name.

        Parameters
        ----------
        ttl: seconds until it expires, at least 1.0; None for never.
        lease: the key is gone on every replica once this lease has ended. Not together with `ttl`.
        fence: as for a peer's `put`; that the lock is held is checked here, before it is sent. What arrives too late loses to a
            later holder's write.
        acks: as for a peer's `put`, counted from the sponsor: so many members beside it. Given up, the write stands.

        Raises
        ------
        BadKey, BadValue, TooLarge, BadTTL, ClockDrift; BadConfig if `lease` or `fence` is none, or another peer's;
        NotHolding if the lease was not entered, or was left; Fenced if the key carries another fence; LeaseLost if the
        lease or the lock is not held any more; StoreFull as a peer's `put`.
        """
        check_key(key)
        body = encode_checked(value)
        key_ttl_ms(ttl)
        check_handed(lease, fence, self._core)
        need = check_acks(acks)
        bound = None
        if lease is not None:
            if ttl is not None:
                raise BadTTL("a key has either a ttl or a lease: the lease has a ttl of its own")
            bound = await lease.bind()
        if fence is None:
            return int(await self._write(need, "put", key, body, ttl, bound))
        return int(await self._write(need, "put_fenced", key, body, ttl, bound, *self._token(fence)))

    def _token(self, fence: Fencing | None) -> tuple[int, str]:
        if fence is None:
            return 0, ""
        if not fence.covers(self._core.now()):
            raise fence.lost()
        return fence.token, fence.key

    async def put_many(self, values: Mapping[str, Any], *, ttl: float | None = None, acks: Acks = None) -> None:
        """Put many keys. All are checked before any is written; more than 1 MiB are written in several steps, of which the
        first may have happened if a later one fails. Raises as `put`."""
        key_ttl_ms(ttl)
        need = check_acks(acks)
        encoded = check_pairs(values)
        some: list[tuple[str, bytes]] = []
        size = 0
        for key, body in encoded:
            some.append((key, body))
            size += len(key) + len(body)
            if size >= MANY_BYTES or len(some) == MANY_KEYS:
                await self._write(need, "put_many", some, ttl)
                some, size = [], 0
        if some:
            await self._write(need, "put_many", some, ttl)
        else:
            await trio.lowlevel.checkpoint()

    async def delete(self, key: str, *, fence: Fencing | None = None, acks: Acks = None) -> bool:
        """Delete a key; whether it had a value on the sponsor. `fence` and `acks` as for `put`."""
        check_key(key)
        check_handed(None, fence, self._core)
        need = check_acks(acks)
        if fence is None:
            return bool(await self._write(need, "delete", key))
        return bool(await self._write(need, "delete_fenced", key, *self._token(fence)))

    async def clear(self, prefix: str, *, fence: Fencing | None = None, acks: Acks = None) -> int:
        """Delete every key under a prefix that had a value on the sponsor at the call ("" for all); how many those were. In
        several steps, of which the first may have happened if a later one fails. Raises as `put`."""
        check_prefix(prefix)
        check_handed(None, fence, self._core)
        need = check_acks(acks)
        cleared: int = 0
        until: int = 0
        last: str | None = None
        while True:
            count, last, until = await self._write(need, "clear", prefix, last, until, *self._token(fence))
            cleared += count
            if last is None:
                return cleared

    def batch(self, *, fence: Fencing | None = None, acks: Acks = None) -> Batch:
        """Several writes that every replica sees all at once or not at all: as a peer's `batch`. The sponsor writes them, when
        the context is left."""
        check_handed(None, fence, self._core)
        need = check_acks(acks)

        async def write(wishes: Sequence[Wish]) -> int:
            bound = {id(wish.lease): await wish.lease.bind() for wish in wishes if wish.lease is not None}
            encoded = [(*wish[:3], None if wish.lease is None else bound[id(wish.lease)]) for wish in wishes]
            return int(await self._write(need, "batch", encoded, *self._token(fence)))

        return Batch(write, self._core)

    async def touch(self, key: str, ttl: float, *, acks: Acks = None) -> bool:
        """Extend the life of a key that has a ttl to `ttl` seconds from now; False if it has no value, or no ttl. It never
        shortens a life. `acks` as for `put`."""
        key_ttl_ms(ttl)
        return bool(await self._write(check_acks(acks), "touch", check_key(key), ttl))


class ThinCounter:
    """One counter: `client.counter(name)`. Adds count as the sponsor's."""

    __slots__ = ("_core", "name")

    def __init__(self, core: ThinCore, name: str) -> None:
        self._core = core
        self.name = check_key(name, "counter name")

    async def add(self, n: int = 1) -> None:
        """Add `n`, which may be negative. A checkpoint. Never sent twice: if the stream breaks before the answer it raises
        `OutcomeUnknown`, for it may have counted. Raises BadValue, TooLarge, ClockDrift."""
        await self._core.ask("add", self.name, check_amount(n, self.name))

    async def subtract(self, n: int = 1) -> None:
        """Add `-n`, as `add`."""
        await self._core.ask("add", self.name, -check_amount(n, self.name))

    async def set(self, n: int) -> None:
        """Let it stand at `n`, as `Counter.set`. A checkpoint. Raises as `add`."""
        await self._core.ask("counter_set", self.name, check_amount(n, self.name))

    async def value(self) -> int:
        """The sum of all adds that have arrived at the sponsor. A checkpoint."""
        value: int = await self._core.ask("value", self.name)
        return value

    async def lag(self) -> float:
        """How old the sponsor's value may be, as `Counter.lag`. A checkpoint."""
        seconds: float = await self._core.ask("lag")
        return seconds
