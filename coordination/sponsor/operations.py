"""What a sponsor does for a client at once, from its own replica and through its own actor: one function an operation.

What comes in is checked again, as if a user of this peer had called: a client may be of another version, or faulty. Large
answers are pages; the client asks for the next one behind the last key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

from coordination.agreed.vocabulary.registers import LOCKS, split_register
from coordination.agreed.vocabulary.values import parse_lease
from coordination.arguments.batches import check_size
from coordination.arguments.checks import check_amount, check_key, check_prefix, key_ttl_ms
from coordination.arguments.rotating import add_secret, remove_secret, standing_of, use_secret
from coordination.errors import BadConfig, BadTTL, BadValue, ClockDrift, DiskFailed, Fenced, LeaseLost, StoreFull
from coordination.sponsor.messages import WRITES
from coordination.stillness import Stillness
from crdt.cell import MAX_LOCK_BYTES, expiry_of, fence_of
from crdt.clock import COUNTER_BITS, HybridClock, Instant
from crdt.store import Put, Store, StoreFencedError
from mesh.directives import Act, Directive
from mesh.membership import Membership
from mesh.replication import Replication, StoreFullError
from mesh.rotation import Rotation
from mesh.values import decode_value
from mesh.wire import WireError

__all__ = ["PAGE_BYTES", "PAGE_ENTRIES", "Operations"]

TOKEN_AHEAD = 3_600_000 << COUNTER_BITS
"""An hour: far above what clocks may differ, and what many grants in a row can add."""
PAGE_ENTRIES = 256
PAGE_BYTES = 256 << 10
"""A page ends with the value that reaches this."""

Text = (str,)
Seconds = (int, float, NoneType)
Optional = (str, NoneType)


class Operations:
    """Each takes the arguments of an `Ask` and answers with what travels back; writes add to `out`."""

    def __init__(self, membership: Membership, store: Store, clock: HybridClock, replication: Replication) -> None:
        self.rotation: Rotation | None = None
        """The ring of the mesh's secrets."""
        self._membership = membership
        self._store = store
        self._clock = clock
        self._replication = replication
        self.stats: Callable[[], dict[str, int]] = dict
        """Every count of the peer."""
        self.end_member: Callable[[str, Instant], Directive] | None = None
        """Gives a dead member up."""
        self.stillness: Callable[[], Stillness] = lambda: Stillness((), "")
        """Why no cut is made."""
        self.forgets: Callable[[Instant], str] = lambda now: ""
        """That none is, and why, if cuts stand still."""
        self.leave: Callable[[], None] | None = None
        """Tells the program of this peer that it is asked to leave the mesh."""
        self._written: list[str] = []
        self._table: dict[str, tuple[tuple[tuple[type, ...], ...], Callable[..., Any]]] = {
            "get": ((Text,), self._get),
            "entry": ((Text,), self._entry),
            "scan": ((Text, Optional), self._scan),
            "put": ((Text, (bytes,), Seconds, Optional), self._put),
            "put_fenced": ((Text, (bytes,), Seconds, Optional, (int,), Text), self._put),
            "put_many": (((tuple,), Seconds), self._put_many),
            "get_many": (((tuple,),), self._get_many),
            "batch": (((tuple,), (int,), Text), self._batch),
            "clear": ((Text, Optional, (int,), (int,), Text), self._clear),
            "delete": ((Text,), self._delete),
            "delete_fenced": ((Text, (int,), Text), self._delete),
            "touch": ((Text, (int, float)), self._touch),
            "add": ((Text, (int,)), self._add),
            "counter_set": ((Text, (int,)), self._counter_set),
            "value": ((Text,), self._value),
            "lag": ((), self._lag),
            "members": ((Optional,), self._members),
            "stats": ((), self._stats),
            "leave": ((), self._leave),
            "end_member": ((Text,), self._end_member),
            "key_list": ((), self._key_list),
            "key_add": (((str, bytes),), self._key_add),
            "key_use": ((Text, (bool,)), self._key_use),
            "key_remove": ((Text, (bool,)), self._key_remove),
        }

    def run(self, operation: str, arguments: Sequence[Any], now: Instant, out: list[Directive]) -> Any:
        """The result of an operation.

        Raises
        ------
        MeshError: as the same call of a peer; `BadConfig` for an operation that there is not, or other arguments.
        """
        known = self._table.get(operation)
        if known is None:
            raise BadConfig(f"the node knows no operation {operation!r}: it is older than this client; update it")
        types, function = known
        check_arguments(operation, types, arguments)
        if operation in WRITES:
            if self._replication.trouble:
                raise DiskFailed(self._replication.trouble)
            offset = self._clock.check()
            if offset is not None:
                raise ClockDrift(offset)
        self._written.clear()
        return function(now, out, *arguments)

    def written(self) -> list[str]:
        """The keys that the last operation wrote."""
        return list(self._written)

    # --- reads -------------------------------------------------------------------------------------------------------

    def _get(self, now: Instant, out: list[Directive], key: str) -> bytes | None:
        cell = self._store.get(check_key(key), self._clock.read(now))
        return None if cell is None else cell.body

    def _get_many(self, now: Instant, out: list[Directive], keys: Sequence[Any]) -> list[bytes | None]:
        """The values of the first of these keys, as many as make a page."""
        stamp = self._clock.read(now)
        page: list[bytes | None] = []
        size = 0
        for key in keys:
            cell = self._store.get(check_key(key), stamp)
            page.append(None if cell is None else cell.body)
            size += 1 if cell is None else len(cell.body or b"")
            if size >= PAGE_BYTES:
                break
        return page

    def _entry(self, now: Instant, out: list[Directive], key: str) -> list[Any] | None:
        stamp = self._clock.read(now)
        cell = self._store.get(check_key(key), stamp)
        if cell is None:
            return None
        expiry, put, actor = expiry_of(cell), cell.order[1], cell.order[2]
        assert isinstance(actor, bytes)
        member = self._membership.by_session(actor)
        remaining = (expiry - stamp) / (1000 << COUNTER_BITS) if expiry else None
        return [cell.body, put, remaining, cell.bound, None if member is None else member.name, fence_of(cell)]

    def _scan(self, now: Instant, out: list[Directive], prefix: str, after: str | None) -> list[Any]:
        """[[key, value], …] and whether there may be more."""
        check_prefix(prefix)
        page: list[list[Any]] = []
        size = 0
        for cell in self._store.scan(prefix, self._clock.read(now), after):
            page.append([cell.key, cell.body])
            size += len(cell.key) + len(cell.body or b"")
            if len(page) == PAGE_ENTRIES or size >= PAGE_BYTES:
                return [page, True]
        return [page, False]

    def _value(self, now: Instant, out: list[Directive], counter: str) -> int:
        return self._store.counter(check_key(counter, "counter name"))

    def _lag(self, now: Instant, out: list[Directive]) -> float:
        return self._replication.lag(now) / 1e9

    def _members(self, now: Instant, out: list[Directive], after: str | None) -> list[Any]:
        """[[name, boot, incarnation, state, address, tags], …] and whether there are more."""
        rest = [member for member in self._membership.members() if after is None or member.name > after]
        page = [
            [each.name, list(each.boot), each.incarnation, each.state.value, each.address, [list(tag) for tag in each.tags]]
            for each in rest[:PAGE_ENTRIES]
        ]
        return [page, len(rest) > PAGE_ENTRIES]

    def _stats(self, now: Instant, out: list[Directive]) -> dict[str, int]:
        return self.stats()

    def _end_member(self, now: Instant, out: list[Directive], name: str) -> None:
        assert self.end_member is not None
        out.append(self.end_member(name, now))

    def _leave(self, now: Instant, out: list[Directive]) -> None:
        if self.leave is None:
            raise BadConfig("this node is part of a program, which alone can have it leave (peer.leave()), and does not listen")
        self.leave()

    # --- the mesh's secrets ------------------------------------------------------------------------------------------

    def _keys(self) -> Rotation:
        if self.rotation is None:
            raise BadConfig("this node keeps no ring of secrets")
        return self.rotation

    def _key_list(self, now: Instant, out: list[Directive]) -> list[Any]:
        rotation = self._keys()
        out.append(Act(rotation, rotation.inquire(now)))
        return [[row.key, row.primary, row.removed, row.lacking, row.unknown, row.using] for row in standing_of(rotation)]

    def _key_add(self, now: Instant, out: list[Directive], secret: str | bytes) -> str:
        rotation = self._keys()
        key, directives = add_secret(rotation, secret, now)
        out.append(Act(rotation, directives))
        return key

    def _key_use(self, now: Instant, out: list[Directive], key: str, force: bool) -> None:
        rotation = self._keys()
        out.append(Act(rotation, use_secret(rotation, key, force, now)))

    def _key_remove(self, now: Instant, out: list[Directive], key: str, force: bool) -> None:
        rotation = self._keys()
        out.append(Act(rotation, remove_secret(rotation, key, force, now)))

    # --- writes ------------------------------------------------------------------------------------------------------

    def _put(
        self,
        now: Instant,
        out: list[Directive],
        key: str,
        body: bytes,
        ttl: float | None,
        bound: str | None,
        token: int = 0,
        lock: str = "",
    ) -> int:
        ttl_ms = self._check_life(check_key(key), ttl, bound)
        return self._write(key, check_body(body), now, out, ttl_ms, bound, token, lock)

    def _check_life(self, key: str, ttl: float | None, bound: str | None) -> int:
        """The ttl in ms."""
        ttl_ms = key_ttl_ms(ttl)
        if bound is not None:
            if ttl_ms:
                raise BadTTL("a key has either a ttl or a lease: the lease has a ttl of its own")
            if parse_lease(bound) is None:
                raise BadConfig(f"{bound!r} is no lease")
            if self._store.lease_ended(bound):
                raise LeaseLost(f"the key {key!r} was not written: its lease has ended")
        return ttl_ms

    def _batch(self, now: Instant, out: list[Directive], wishes: Sequence[Any], token: int, lock: str) -> int:
        """[[key, value or None, ttl, lease], …], all of them or none."""
        puts: dict[str, Put] = {}
        size = 0
        for wish in wishes:
            check_arguments("batch", (Text, (bytes, NoneType), Seconds, Optional), wish if type(wish) is tuple else ())
            key, body, ttl, bound = wish
            ttl_ms = self._check_life(check_key(key), ttl, bound)
            puts[key] = Put(key, body if body is None else check_body(body), ttl_ms, bound)
            size += len(key.encode()) + len(body or b"")
            check_size(len(puts), size)
        if not puts:
            raise BadConfig("a batch of nothing")
        if token:
            check_fence(token, lock, self._clock.read(now))
        try:
            stamp, directives = self._replication.put_batch([*puts.values()], now, fence=token, lock=lock)
        except StoreFencedError as problem:
            raise Fenced.refused(problem.key, problem.fence, problem.lock, token, lock) from None
        except StoreFullError as problem:
            raise self._full(problem) from None
        self._written += puts
        out.append(Act(self._replication, directives))
        return stamp

    def _clear(
        self, now: Instant, out: list[Directive], prefix: str, after: str | None, until: int, token: int, lock: str
    ) -> list[int | str | None]:
        """Delete keys under a prefix, behind one, that were put up to a stamp (0: now): how many, the last that was looked at
        (None if it is over), and that stamp."""
        check_prefix(prefix)
        until = until or self._clock.read(now)
        keys: list[str] = []
        last = None
        for number, cell in enumerate(self._store.scan(prefix, self._clock.read(now), after), 1):
            if cell.order[1] <= until:  # type: ignore[operator]
                keys.append(cell.key)
            if number == PAGE_ENTRIES:
                last = cell.key
                break
        self._check_room(keys, now)
        for key in keys:
            self._write(key, None, now, out, token=token, lock=lock)
        return [len(keys), last, until]

    def _put_many(self, now: Instant, out: list[Directive], pairs: Sequence[Any], ttl: float | None) -> None:
        ttl_ms = key_ttl_ms(ttl)
        for pair in pairs:
            check_arguments("put_many", (Text, (bytes,)), pair if type(pair) is tuple else ())
            check_key(pair[0])
            check_body(pair[1])
        if ttl_ms:
            self._check_room([key for key, _ in pairs], now)
        for key, body in pairs:
            self._write(key, body, now, out, ttl_ms)

    def _delete(self, now: Instant, out: list[Directive], key: str, token: int = 0, lock: str = "") -> bool:
        had = self._store.get(check_key(key), self._clock.read(now)) is not None
        self._write(key, None, now, out, token=token, lock=lock)
        return had

    def _write(
        self,
        key: str,
        body: bytes | None,
        now: Instant,
        out: list[Directive],
        ttl_ms: int = 0,
        bound: str | None = None,
        token: int = 0,
        lock: str = "",
    ) -> int:
        if token:
            check_fence(token, lock, self._clock.read(now))
        try:
            stamp, directives = self._replication.put(key, body, now, ttl_ms=ttl_ms, bound=bound, fence=token, lock=lock)
        except StoreFencedError as problem:
            raise Fenced.refused(key, problem.fence, problem.lock, token, lock) from None
        except StoreFullError as problem:
            raise self._full(problem) from None
        self._written.append(key)
        out.append(Act(self._replication, directives))
        return stamp

    def _check_room(self, keys: Sequence[str], now: Instant) -> None:
        """Refuse before the first is written what would be refused before the last."""
        try:
            self._replication.check_room(keys, now)
        except StoreFullError as problem:
            raise self._full(problem) from None

    def _full(self, problem: StoreFullError) -> StoreFull:
        return StoreFull(problem.keys, problem.limit, problem.seconds, *self.stillness())

    def _touch(self, now: Instant, out: list[Directive], key: str, ttl: float) -> bool:
        done, directives = self._replication.touch(check_key(key), key_ttl_ms(ttl), now)
        if done:
            self._written.append(key)
        out.append(Act(self._replication, directives))
        return done

    def _add(self, now: Instant, out: list[Directive], counter: str, n: int) -> None:
        check_key(counter, "counter name")
        out.append(Act(self._replication, self._replication.add(counter, check_amount(n, counter), now)))

    def _counter_set(self, now: Instant, out: list[Directive], counter: str, n: int) -> None:
        check_key(counter, "counter name")
        out.append(Act(self._replication, self._replication.set_counter(counter, check_amount(n, counter), now)))


def check_arguments(operation: str, types: Sequence[tuple[type, ...]], arguments: Sequence[Any]) -> None:
    """Refuse what is no call of this operation."""
    if len(arguments) != len(types) or any(type(each) not in kinds for each, kinds in zip(arguments, types, strict=False)):
        raise BadConfig(f"these are no arguments of the operation {operation!r}: client and node are of different versions")


def check_fence(token: int, lock: str, stamp: int) -> None:
    """A token of some lock. One that is far ahead of the clock would keep every later holder from its keys."""
    if not 0 < token <= stamp + TOKEN_AHEAD or split_register(lock)[0] not in LOCKS or len(lock.encode()) > MAX_LOCK_BYTES:
        raise BadConfig(f"{token} of {lock!r} is no fencing token")


def check_body(body: bytes) -> bytes:
    """The CBOR of a plain value, which every reader will decode."""
    try:
        decode_value(body)
    except WireError as problem:
        raise BadValue(f"the value is refused: {problem}") from None
    return body
