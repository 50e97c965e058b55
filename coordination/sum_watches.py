"""Watching what counters and gauges stand at. The same events as of keys; a slow reader is told the last value."""

from __future__ import annotations

from abc import abstractmethod

from coordination.arguments.checks import gauge_prefix
from coordination.following.feed import SYNCED
from coordination.following.tallies import Tally
from coordination.watch import EventKind, Hub, PeerWatch, WatchEvent
from crdt.change import Change

__all__ = ["CounterWatch", "GaugeWatch"]


class SumWatch(PeerWatch):
    """A number, whenever it changes: `put` events, old and new."""

    __slots__ = ("_changed", "_line", "_seen", "_snapshot", "name")

    def __init__(self, hub: Hub, name: str, snapshot: bool) -> None:
        super().__init__(hub)
        self.name = name
        self._snapshot = snapshot
        self._line: list[str] = []
        self._seen: int | None = None
        self._changed = False

    def changed(self) -> None:
        """It may have another value."""
        self._changed = True
        self._bell.ring()

    @abstractmethod
    def _value(self) -> int: ...

    @abstractmethod
    def _follow(self) -> None:
        """Have `changed` called from now on."""

    def _begin(self) -> None:
        self._follow()
        self._line = ["put", SYNCED] if self._snapshot else []
        self._seen = None if self._snapshot else self._value()
        self._changed = False

    def _waiting(self) -> bool:
        return self._changed or bool(self._line)

    def _next(self) -> WatchEvent | None:
        revision = self._hub.core.assembly.store.revision
        if self._line and self._line.pop(0) == SYNCED:
            return WatchEvent(EventKind.SYNCED, self.name, None, None, 0, None, revision)
        self._changed = False
        value, old = self._value(), self._seen
        if value == old:
            return None
        self._seen = value
        return WatchEvent(EventKind.PUT, self.name, value, old, 0, None, revision)


class CounterWatch(SumWatch):
    """`async with peer.watch(counter=…) as changes`. Adds of one window (1 ms; 16 under load) are one change."""

    __slots__ = ()

    def _value(self) -> int:
        return self._hub.core.assembly.store.counter(self.name)

    def _follow(self) -> None:
        self._hub.counters.setdefault(self.name, {})[self] = None

    def _end(self) -> None:
        followers = self._hub.counters[self.name]
        del followers[self]
        if not followers:
            del self._hub.counters[self.name]


class GaugeWatch(SumWatch):
    """`async with peer.watch(gauge=…) as changes`. It falls when a hold is left, and when the lease of one that died ends."""

    __slots__ = ("_tally", "keys", "prefixes")

    def __init__(self, hub: Hub, name: str, snapshot: bool) -> None:
        super().__init__(hub, name, snapshot)
        self._tally = Tally(gauge_prefix(name), ())
        self.keys, self.prefixes = self._tally.keys, self._tally.prefixes

    def offer(self, change: Change) -> None:
        """A contribution has changed; never waits."""
        self._tally.offer(change)
        self.changed()

    def _value(self) -> int:
        return self._tally.total

    def _follow(self) -> None:
        core = self._hub.core
        cells = core.assembly.store.scan(gauge_prefix(self.name), core.assembly.clock.read(core.now()))
        self._tally = Tally(gauge_prefix(self.name), cells)
        self._hub.interest.add(self)

    def _end(self) -> None:
        self._hub.interest.remove(self)
