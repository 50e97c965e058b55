"""What one thin client follows, on the sponsor's side: a watch that sends as much as the client takes.

A batch is sent only while the client has granted it. Meanwhile what changes stands in line (`coordination.following.feed`), one
slot a key or change by change; a client that lags too far behind is told so, and given a fresh snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from coordination.following.feed import Feed, Told
from coordination.following.tallies import Tally
from coordination.sponsor.messages import WINDOW, Happening
from crdt.cbor import write_int
from crdt.change import Change
from crdt.clock import Stamp
from crdt.store import Store

__all__ = ["BATCH_BYTES", "BATCH_EVENTS", "CounterFollowing", "Following", "GaugeFollowing", "SumFollowing"]

BATCH_EVENTS = 256
BATCH_BYTES = 64 << 10
"""A batch ends with the event that reaches this; the largest event holds two values."""


class Following:
    """Of keys and prefixes."""

    __slots__ = ("credit", "feed", "keys", "prefixes", "watch")

    def __init__(self, watch: int, feed: Feed) -> None:
        self.watch = watch
        self.feed = feed
        self.keys = feed.keys
        self.prefixes = feed.prefixes
        self.credit = WINDOW
        """Batches that may be sent."""

    def __len__(self) -> int:
        return len(self.feed)

    def offer(self, change: Change) -> None:
        self.feed.offer(change)

    def batch(self, store: Store, stamp: Stamp, name_of: Callable[[bytes], str | None]) -> tuple[Happening, ...]:
        """The next events; none if there is nothing to tell, or the client has enough."""
        if not self.credit or not self.feed.waiting:
            return ()
        events: list[Happening] = []
        size = 0
        for told in self._told(store, stamp):
            kind, key, value, old, written, origin, revision = told
            events.append(Happening(kind, key, value, old, written, name_of(origin) if origin else None, revision))
            size += _size(events[-1])
            if len(events) == BATCH_EVENTS or size >= BATCH_BYTES:
                break
        if events:
            self.credit -= 1
        return tuple(events)

    def _told(self, store: Store, stamp: Stamp) -> Iterator[Told]:
        while (told := self.feed.next(store, stamp)) is not None:
            yield told


class SumFollowing(ABC):
    """Of a counter or a gauge: its last value, whenever the client has room for it."""

    __slots__ = ("_changed", "_seen", "_synced", "credit", "name", "watch")

    def __init__(self, watch: int, name: str, seen: int | None) -> None:
        self.watch = watch
        self.name = name
        self.credit = WINDOW
        self._seen = seen
        """What the client knows; None if it wants to be told first."""
        self._synced = seen is not None
        self._changed = seen is None

    def __len__(self) -> int:
        return int(self._changed)

    @abstractmethod
    def _value(self, store: Store) -> int: ...

    def changed(self) -> None:
        self._changed = True

    def batch(self, store: Store, stamp: Stamp, name_of: Callable[[bytes], str | None]) -> tuple[Happening, ...]:
        """As that of `Following`."""
        if not self.credit or not self._changed:
            return ()
        self._changed = False
        value, old = self._value(store), self._seen
        if value == old:
            return ()
        self._seen = value
        self.credit -= 1
        before = None if old is None else write_int(old)
        events = [Happening("put", self.name, write_int(value), before, 0, None, store.revision)]
        if not self._synced:
            self._synced = True
            events.append(Happening("synced", self.name, None, None, 0, None, store.revision))
        return tuple(events)


class CounterFollowing(SumFollowing):
    __slots__ = ()

    def _value(self, store: Store) -> int:
        return store.counter(self.name)


class GaugeFollowing(SumFollowing):
    """Follows the keys of a gauge (`coordination.following.interest`)."""

    __slots__ = ("_tally", "keys", "prefixes")

    def __init__(self, watch: int, name: str, tally: Tally, snapshot: bool) -> None:
        super().__init__(watch, name, None if snapshot else tally.total)
        self._tally = tally
        self.keys, self.prefixes = tally.keys, tally.prefixes

    def offer(self, change: Change) -> None:
        self._tally.offer(change)
        self.changed()

    def _value(self, store: Store) -> int:
        return self._tally.total


def _size(event: Happening) -> int:
    return len(event.key) + len(event.value or b"") + len(event.old or b"")
