"""Keys: a replicated dictionary with time to live. Reads are local look-ups; writes are local and spread by gossip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import trio

from coordination.arguments.batches import Batch, Wish
from coordination.arguments.checks import (
    check_acks,
    check_handed,
    check_key,
    check_keys,
    check_pairs,
    check_prefix,
    encode_checked,
    key_ttl_ms,
)
from coordination.core import Core
from coordination.errors import BadTTL, Fenced, LeaseLost
from crdt.cell import KEY, Cell, expiry_of, fence_of
from crdt.clock import COUNTER_BITS, Instant
from crdt.store import Put, StoreFencedError
from mesh.replication import Acknowledged, StoreFullError
from mesh.values import decode_value

__all__ = ["KV", "Acks", "Binding", "Entry", "Fencing"]

Acks: TypeAlias = int | Literal["majority"] | None
"""Who must have a write before it returns: so many other members, or a majority of the voters."""

TOGETHER = 128
"""Writes of one call that are made without letting other tasks run: about 2 ms."""

SCALARS = 8_192
"""Decoded scalars that are remembered; beyond it all are forgotten at once and decoded anew."""


class Binding(Protocol):
    """A lease that keys may be bound to."""

    def belongs(self, user: object) -> bool:
        """Whether it is held by this very peer or thin client."""

    async def bind(self) -> str:
        """Its id, checked valid. Raises `LeaseLost` or `NotHolding`."""

    def covers(self, now: Instant) -> bool:
        """Whether it holds at the moment of the write: this process may have been stopped since `bind` answered."""

    def lost(self) -> LeaseLost: ...


class Fencing(Protocol):
    """A lock that is held, and its token."""

    def belongs(self, user: object) -> bool:
        """Whether it is held by this very peer or thin client."""

    @property
    def key(self) -> str:
        """Of the lock's register."""

    @property
    def token(self) -> int: ...
    def covers(self, now: Instant) -> bool:
        """Whether it is held at the moment of the write."""

    def lost(self) -> LeaseLost: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value with what is known of it."""

    key: str
    value: Any
    stamp: int
    """Hybrid logical time of the put."""
    remaining: float | None
    """Seconds until it expires; None for no ttl."""
    lease: str | None
    """The id of the lease that it is bound to."""
    writer: str | None
    """The member that put it, if it is one now."""
    fence: int = 0
    """The fencing token under which it was put; 0 for none."""


class KV:
    """The keys of one peer: `peer.kv`.

    Keys are text of 1 to 512 bytes, values plain CBOR of at most 1 MiB. Eventually consistent: last writer wins by hybrid
    logical time (Kulkarni et al., 2014), the same winner on every replica."""

    __slots__ = ("_clock", "_core", "_driver", "_peek", "_replication", "_scalars", "_store")

    def __init__(self, core: Core) -> None:
        assembly = core.assembly
        self._core = core
        self._driver = core.driver
        self._replication = assembly.replication
        self._store = assembly.store
        self._peek = assembly.store.peek
        self._clock = assembly.clock
        self._scalars: dict[bytes, object] = {}

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key here and now, or `default`. Local, no checkpoint.

        Containers are decoded anew at each call: altering them alters nothing but the copy."""
        try:
            cell = self._peek(key)
        except TypeError:  # it is not even hashable
            check_key(key)
            raise
        if cell is None:
            if type(key) is not str:
                check_key(key)
            return default
        if cell.order[3] and self._expired(cell):
            return default
        body = cell.body
        assert body is not None
        try:
            return self._scalars[body]
        except KeyError:
            return self._decode(body)

    def _expired(self, cell: Cell) -> bool:
        return self._clock.read(self._driver.instant()) >= expiry_of(cell)

    def _decode(self, body: bytes) -> Any:
        value = decode_value(body)
        if not isinstance(value, list | dict) and len(body) <= 1024:
            if len(self._scalars) >= SCALARS:
                self._scalars.clear()
            self._scalars[body] = value
        return value

    def entry(self, key: str) -> Entry | None:
        """The value with its stamp, remaining ttl (seconds), lease and writer; None if there is none. Local."""
        check_key(key)
        stamp = self._clock.read(self._driver.instant())
        cell = self._store.get(key, stamp)
        if cell is None or cell.body is None:
            return None
        expiry = expiry_of(cell)
        put, actor = cell.order[1], cell.order[2]
        assert isinstance(put, int) and isinstance(actor, bytes)
        remaining = (expiry - stamp) / (1000 << COUNTER_BITS) if expiry else None
        return Entry(key, self._decode(cell.body), put, remaining, cell.bound, self.writer(actor), fence_of(cell))

    def writer(self, actor: bytes) -> str | None:
        """The member whose process an actor is."""
        member = self._core.assembly.membership.by_session(actor)
        return None if member is None else member.name

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that have one here, in the order asked for. Local, no checkpoint. Raises BadKey, and
        BadConfig if it is no list."""
        nothing = object()
        found = {key: self.get(key, nothing) for key in check_keys(keys)}
        return {key: value for key, value in found.items() if value is not nothing}

    def scan(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """(key, value) of all keys that begin with `prefix`, in key order. Local, no checkpoint.

        Keys may be written during the iteration: what lies ahead is seen as it is when it is reached."""
        check_prefix(prefix)
        return self._scan(prefix)

    def _scan(self, prefix: str) -> Iterator[tuple[str, Any]]:
        for cell in self._store.scan(prefix, self._clock.read(self._driver.instant())):
            assert cell.body is not None
            yield cell.key, self._decode(cell.body)

    # --- writing -----------------------------------------------------------------------------------------------------

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
        """Put a value; its stamp. Seen here at once and elsewhere as gossip carries it.

        A checkpoint, before anything is written; with `acks` another one, after it.

        Parameters
        ----------
        ttl: seconds until it expires, at least 1.0; None for never.
        lease: the key is gone on every replica once this lease has ended. Not together with `ttl`.
        fence: a lock that is held. Its token leads the order of the key from now on: no write of an earlier holder, however
            late it comes, and none without a token ever undoes this one. The key belongs to that lock for good.
        acks: return once so many other members hold it, or with "majority" a majority of the roster's voters (this node counts
            if it votes), those with a `state_dir` on their disks. It waits without a limit of its own, also for members that
            are not there yet: put it under `trio.fail_after`. Given up, the write stands all the same, and it is unknown who
            has it.

        Raises
        ------
        BadKey, BadValue, TooLarge, BadTTL, ClockDrift; BadConfig if `lease` or `fence` is none, or another peer's;
        NotHolding if the lease was not entered, or was left; Fenced if the key carries another fence; LeaseLost if the
        lease or the lock is not held any more; StoreFull if the mesh forgets nothing, and too many keys wait for it:
        then what has a ttl or a lease is taken only under a key that had one.
        """
        check_key(key)
        body = encode_checked(value)
        ttl_ms = key_ttl_ms(ttl)
        need = check_acks(acks)
        if lease is not None or fence is not None:
            check_handed(lease, fence, self._core)
        if lease is not None and ttl_ms:
            raise BadTTL("a key has either a ttl or a lease: the lease has a ttl of its own")
        await self._core.turn()
        if lease is None:
            stamp = self._put(key, body, ttl_ms, fence=fence)
        else:
            bound = await lease.bind()
            now = self._driver.instant()
            if not lease.covers(now):
                raise lease.lost()
            stamp = self._put(key, body, 0, bound, now, fence)
        if need is not None:
            await self._acknowledged((key,), need)
        return stamp

    async def _acknowledged(self, keys: Sequence[str], need: int) -> None:
        """Wait until others have what was just written. A checkpoint; giving up undoes nothing."""
        entrusting = self._core.assembly.entrusting
        query, mailbox = self._core.dispatch.entrust()
        try:
            with mailbox.expecting(Acknowledged) as waiting:
                now = self._driver.instant()
                places = [(KEY, key) for key in keys]
                self._driver.command(entrusting, entrusting.begin(query, places, need, now), now)
                await waiting.outcome()
        finally:
            self._core.dispatch.asked(query)
            entrusting.end(query)

    def _put(
        self,
        key: str,
        body: bytes | None,
        ttl_ms: int = 0,
        bound: str | None = None,
        now: Instant | None = None,
        fence: Fencing | None = None,
    ) -> int:
        self._core.check_writable()
        replication = self._replication
        now = now or self._driver.instant()
        token, lock = self._token(fence, now)
        try:
            stamp, directives = replication.put(key, body, now, ttl_ms=ttl_ms, bound=bound, fence=token, lock=lock)
        except StoreFencedError as problem:
            raise Fenced.refused(key, problem.fence, problem.lock, token, lock) from None
        except StoreFullError as problem:
            raise self._core.full(problem) from None
        self._driver.command(replication, directives, now)
        return stamp

    def _check_room(self, keys: Sequence[str]) -> None:
        """Refuse before the first is written what would be refused before the last."""
        try:
            self._replication.check_room(keys, self._driver.instant())
        except StoreFullError as problem:
            raise self._core.full(problem) from None

    @staticmethod
    def _token(fence: Fencing | None, now: Instant) -> tuple[int, str]:
        """The token of a lock that is held at the very moment that stamps the write, and the lock."""
        if fence is None:
            return 0, ""
        if not fence.covers(now):
            raise fence.lost()
        return fence.token, fence.key

    async def put_many(self, values: Mapping[str, Any], *, ttl: float | None = None, acks: Acks = None) -> None:
        """Put many keys, each for itself: elsewhere they arrive one by one. All are checked before any is written. A checkpoint
        before the first, and after each 128: one that is cancelled has written the first of them. Raises as `put`."""
        ttl_ms = key_ttl_ms(ttl)
        need = check_acks(acks)
        encoded = check_pairs(values)
        await self._core.turn()
        if ttl_ms:
            self._check_room([key for key, _ in encoded])
        for number, (key, body) in enumerate(encoded, 1):
            self._put(key, body, ttl_ms)
            if number % TOGETHER == 0:
                await trio.lowlevel.checkpoint()
        if need is not None and encoded:
            await self._acknowledged([key for key, _ in encoded], need)

    async def delete(self, key: str, *, fence: Fencing | None = None, acks: Acks = None) -> bool:
        """Delete a key; whether it had a value here. A checkpoint, before anything is written.

        Also without a value here: one that is on its way from elsewhere, and older, is deleted too. `fence` and `acks` as for
        `put`: a key that was deleted under a fence keeps it. Raises as `put`."""
        check_key(key)
        check_handed(None, fence, self._core)
        need = check_acks(acks)
        await self._core.turn()
        had = self._store.get(key, self._clock.read(self._driver.instant())) is not None
        self._put(key, None, fence=fence)
        if need is not None:
            await self._acknowledged((key,), need)
        return had

    async def clear(self, prefix: str, *, fence: Fencing | None = None, acks: Acks = None) -> int:
        """Delete every key under a prefix that has a value here at the call ("" for all); how many those were.

        What is put meanwhile stays. Each is a delete for itself: a checkpoint before the first and after each 128, and one that
        is cancelled, or meets a key that refuses it (`Fenced`, `StoreFull`), has deleted the first of them. Raises as `put`."""
        check_prefix(prefix)
        check_handed(None, fence, self._core)
        need = check_acks(acks)
        await self._core.turn()
        until = self._clock.read(self._driver.instant())
        cleared: list[str] = []
        for cell in self._store.scan(prefix, until):
            if cell.order[1] <= until:  # type: ignore[operator]
                self._put(cell.key, None, fence=fence)
                cleared.append(cell.key)
                if len(cleared) % TOGETHER == 0:
                    await trio.lowlevel.checkpoint()
        if need is not None and cleared:
            await self._acknowledged(cleared, need)
        return len(cleared)

    def batch(self, *, fence: Fencing | None = None, acks: Acks = None) -> Batch:
        """Several writes that every replica sees all at once or not at all: `async with kv.batch() as batch: batch.put(...);
        batch.delete(...)`.

        They are written when the context is left, under one stamp (`batch.stamp`); or not at all, if it is left by an exception
        or one of the keys refuses (`Fenced`, `StoreFull`). Leaving is a checkpoint, before anything is written. At most 4,096
        keys, and 1 MiB of keys and values. `fence` and `acks` as for `put`, for all of it. A later write of one of its keys
        replaces that key alone. Raises as `put`."""
        check_handed(None, fence, self._core)
        need = check_acks(acks)

        async def write(wishes: Sequence[Wish]) -> int:
            await self._core.turn()
            bound = {id(wish.lease): await wish.lease.bind() for wish in wishes if wish.lease is not None}
            self._core.check_writable()
            now = self._driver.instant()
            for wish in wishes:
                if wish.lease is not None and not wish.lease.covers(now):
                    raise wish.lease.lost()
            token, lock = self._token(fence, now)
            puts = [
                Put(wish.key, wish.body, key_ttl_ms(wish.ttl), None if wish.lease is None else bound[id(wish.lease)])
                for wish in wishes
            ]
            try:
                stamp, directives = self._replication.put_batch(puts, now, fence=token, lock=lock)
            except StoreFencedError as problem:
                raise Fenced.refused(problem.key, problem.fence, problem.lock, token, lock) from None
            except StoreFullError as problem:
                raise self._core.full(problem) from None
            self._driver.command(self._replication, directives, now)
            if need is not None:
                await self._acknowledged([put.key for put in puts], need)
            return stamp

        return Batch(write, self._core)

    async def touch(self, key: str, ttl: float, *, acks: Acks = None) -> bool:
        """Extend the life of a key that has a ttl to `ttl` seconds from now; False if it has no value here, or no ttl.

        It never shortens a life (put again for that). A checkpoint, before anything is written. `acks` as for `put`. Raises
        BadKey, BadTTL, ClockDrift."""
        check_key(key)
        ttl_ms = key_ttl_ms(ttl)
        need = check_acks(acks)
        await self._core.turn()
        self._core.check_writable()
        replication = self._replication
        done, directives = replication.touch(key, ttl_ms, self._driver.instant())
        self._driver.command(replication, directives)
        if need is not None and done:
            await self._acknowledged((key,), need)
        return done
