"""Local commands of the store: each is one step, and what it wrote leaves with the window's end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdt.cell import KEY, expiry_of
from crdt.clock import COUNTER_BITS, Instant, Stamp
from crdt.store import Put
from mesh.directives import Directive, Directives
from mesh.replication.burden import lasts
from mesh.replication.spreading import choose
from mesh.replication.windows import Windows

__all__ = ["Writing"]


class Writing(Windows):
    """What is written here."""

    def put(
        self,
        key: str,
        body: bytes | None,
        now: Instant,
        *,
        ttl_ms: int = 0,
        bound: str | None = None,
        fence: int = 0,
        lock: str = "",
    ) -> tuple[Stamp, Directives]:
        """Put a value, or delete with a body of None; its stamp. `fence`: under that token of `lock`.

        Raises
        ------
        StoreFencedError: the key's cell carries a higher fence, or one of another lock. Nothing was written.
        StoreFullError: too much waits to be forgotten, and this would let one more key fade. Nothing was written.
        """
        if (body is None or ttl_ms or bound is not None) and self._burden.counts(self.round):
            self.store.check_fences((Put(key, body),), fence, lock)  # what will never be taken is told first
            self._take((key,), now)
        stamp = self._clock.tick(now)
        expiry = stamp + (ttl_ms << COUNTER_BITS) if ttl_ms else 0
        self.store.put(key, body, stamp, expiry, bound, fence, lock)
        if self._touched:
            self._touched.pop(key, None)
        return stamp, self._written(now)

    def put_batch(self, puts: Sequence[Put], now: Instant, *, fence: int = 0, lock: str = "") -> tuple[Stamp, Directives]:
        """Put several keys, or delete them, so that every replica sees all or none; their stamp. The expiry of each is given in
        ms from now. Raises `StoreFencedError` and `StoreFullError` as `put` does; then nothing was written."""
        self.store.check_fences(puts, fence, lock)  # before the window ends: what that answers must not be lost
        if self._burden.counts(self.round):
            self._take([put.key for put in puts if put.body is None or put.expiry or put.bound is not None], now)
        out: list[Directive] = []
        self._flush(now, out)
        stamp = self._clock.tick(now)
        stamped = [put._replace(expiry=stamp + (put.expiry << COUNTER_BITS)) if put.expiry else put for put in puts]
        written = self.store.put_batch(stamped, stamp, fence, lock)
        self._changed(now, out)
        self._window.ended(now.mono, len(written))
        names = self._view.names_alive()
        if names and not self._closed:
            self._push(written, choose(names, self._random), out)
        self._wrote()
        return stamp, self._kept(now, out)

    def check_room(self, keys: Iterable[str], now: Instant) -> int:
        """How many of these keys will be let fade that would not have been, if they are deleted or put for a time; nothing is
        counted. Raises `StoreFullError` if not all of them may be."""
        if not self._burden.counts(self.round):
            return 0
        more = sum([lasts(self.store.cell(KEY, key)) for key in keys])
        self._burden.check(more, now.mono)
        return more

    def _take(self, keys: Iterable[str], now: Instant) -> None:
        self._burden.take(self.check_room(keys, now))

    def touch(self, key: str, ttl_ms: int, now: Instant) -> tuple[bool, Directives]:
        """Extend the life of a value that is visible and has a ttl; False if there is none. It never shortens one."""
        stamp = self._clock.tick(now)
        before = self.store.peek(key)
        cell = self.store.touch(key, stamp, stamp + (ttl_ms << COUNTER_BITS))
        if before is not None and before.n and cell is not None and not cell.n:
            self._touched[key] = None
        return cell is not None and expiry_of(cell) > 0, self._written(now)

    def add(self, counter: str, n: int, now: Instant) -> Directives:
        """Add to a counter (subtract, if n is negative)."""
        self.store.add(counter, n, self._clock.tick(now))
        return self._written(now)

    def add_more(self, counter: str, n: int) -> bool:
        """Add to a counter that this window has added to: there is nothing to perform, it leaves with the window, and watchers
        are told then. False, and nothing is done, if it has not: `add` then. (A command of the node for each add takes twenty
        times as long.)"""
        return self.store.add_more(counter, n)

    def set_counter(self, counter: str, base: int, now: Instant) -> Directives:
        """Let a counter stand at a number, from a new epoch on."""
        self.store.set_counter(counter, base, self._clock.tick(now))
        return self._written(now)

    def end_lease(self, lease: str, now: Instant) -> Directives:
        """State that a lease has ended: what is bound to it is gone on every replica. Idempotent."""
        if not self.store.end_lease(lease, self._clock.tick(now)):
            return ()
        return self._written(now)

    def flush(self, now: Instant) -> Directives:
        """End the window at once: what was written has its dots, and leaves."""
        out: list[Directive] = []
        self._flush(now, out)
        return self._kept(now, out)

    def keep(self, now: Instant) -> Directives:
        """Record what has changed: whatever the caller puts behind a barrier waits until it is durable."""
        out: list[Directive] = []
        self._flush(now, out)
        self._recording = True
        return self._kept(now, out)

    @property
    def trouble(self) -> str:
        """Why nothing that is written here now would be kept; empty if it is, or nothing ever is."""
        return "" if self._keeper is None else self._keeper.error

    def keeps(self, mono: int) -> bool:
        """Whether it can be said of what is held here that it is kept, as far as this node keeps anything."""
        return self._keeper is None or self._keeper.ready(mono)
