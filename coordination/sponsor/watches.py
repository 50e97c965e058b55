"""What the thin clients of a sponsor follow: beginning, ending, and telling them as much as they have granted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coordination.arguments.checks import check_key, gauge_prefix
from coordination.arguments.watching import check_one, check_wanted
from coordination.errors import BadConfig
from coordination.following.feed import RESYNC, Feed
from coordination.following.interest import Interest
from coordination.following.journal import Journal, parse_token, resume
from coordination.following.tallies import Tally
from coordination.sponsor.following import CounterFollowing, Following, GaugeFollowing, SumFollowing
from coordination.sponsor.guests import Guest
from coordination.sponsor.messages import WINDOW, Happened
from coordination.sponsor.operations import check_arguments
from crdt.change import Change
from crdt.clock import HybridClock, Instant, Stamp
from crdt.store import Store
from mesh.directives import Directive, Write

__all__ = ["MAX_WATCHES", "WATCHES", "Watches"]

MAX_WATCHES = 64
"""Of one client."""

NONE = type(None)
WATCHES: dict[str, tuple[tuple[type, ...], ...]] = {
    "watch": ((int,), (str, NONE), (str, NONE), (bool,)),
    "follow": ((int,), (tuple,), (tuple,), (tuple, NONE), (int, NONE), (bool,), (str, NONE)),
    "follow_counter": ((int,), (str,), (bool,)),
    "follow_gauge": ((int,), (str,), (bool,)),
}
"""Watch, key, prefix, snapshot; watch, keys, prefixes, kinds, history, snapshot, token; watch, name, snapshot."""


class Watches:
    """Parameters
    ----------
    name_of: the member that writes as an actor, if it is one now.
    counts: of the sponsor.
    """

    def __init__(self, store: Store, clock: HybridClock, name_of: Callable[[bytes], str | None], counts: Counter[str]) -> None:
        self._store = store
        self._clock = clock
        self._name_of = name_of
        self._counts = counts
        self._interest: Interest[Following | GaugeFollowing] = Interest()
        self._counters: dict[str, dict[CounterFollowing, None]] = {}
        """Who follows which counter."""
        self._journal = Journal()

    def __bool__(self) -> bool:
        return bool(self._interest or self._counters)

    def changed(self, changes: Sequence[Change], counters: Sequence[str]) -> bool:
        """Whether somebody is to be told."""
        self._journal.add(changes)
        followed = [name for name in counters if name in self._counters] if self._counters else []
        for name in followed:
            for counter in self._counters[name]:
                counter.changed()
        if self._interest:
            self._interest.tell(changes)
        return bool(followed or self._interest)

    def begin(self, guest: Guest, operation: str, arguments: tuple[Any, ...], now: Instant) -> bytes:
        """Begin to follow; the session of the store, which a token to come back with names."""
        check_arguments(operation, WATCHES[operation], arguments)
        watch = arguments[0]
        if len(guest.watches) >= MAX_WATCHES or watch in guest.watches:
            raise BadConfig(
                f"this client has {len(guest.watches)} watches, at most {MAX_WATCHES}: leave some, or watch a prefix"
            )
        match operation, arguments:
            case "watch", (_, key, prefix, snapshot):
                check_one(key=key, prefix=prefix)
                wanted = check_wanted((key,), ()) if key is not None else check_wanted((), (prefix,))
                self._follow(guest, watch, wanted.feed(snapshot), None, now)
            case "follow", (_, keys, prefixes, kinds, history, snapshot, token):
                self._follow(guest, watch, check_wanted(keys, prefixes, kinds, history).feed(snapshot), token, now)
            case "follow_counter", (_, name, snapshot):
                seen = None if snapshot else self._store.counter(check_key(name, "counter name"))
                counter = guest.watches[watch] = CounterFollowing(watch, check_key(name, "counter name"), seen)
                self._counters.setdefault(name, {})[counter] = None
            case "follow_gauge", (_, name, snapshot):
                tally = Tally(gauge_prefix(name), self._store.scan(gauge_prefix(name), self._clock.read(now)))
                gauge = guest.watches[watch] = GaugeFollowing(watch, name, tally, snapshot)
                self._interest.add(gauge)
        return self._store.actor

    def _follow(self, guest: Guest, watch: int, feed: Feed, token: str | None, now: Instant) -> None:
        resumed = parse_token(token) if token is not None else None
        following = guest.watches[watch] = Following(watch, feed)
        self._journal.begin(self._store.revision)
        resume(feed, self._store, self._clock.read(now), self._journal, resumed)
        self._interest.add(following)

    def end(self, guest: Guest, watch: int) -> None:
        following = guest.watches.pop(watch, None)
        if isinstance(following, Following | GaugeFollowing):
            self._interest.remove(following)
        elif isinstance(following, CounterFollowing):
            followers = self._counters[following.name]
            del followers[following]
            if not followers:
                del self._counters[following.name]

    def taken(self, guest: Guest, watch: int, batches: int, now: Instant, out: list[Directive]) -> None:
        """The client has read so many batches."""
        following = guest.watches.get(watch)
        if following is not None:
            following.credit = min(WINDOW, following.credit + batches)
            self._tell(guest, following, self._clock.read(now), out)

    def tell_all(self, guests: Iterable[Guest], now: Instant, out: list[Directive]) -> None:
        """Send whatever waits and may be sent."""
        stamp = self._clock.read(now)
        for guest in guests:
            for following in guest.watches.values():
                self._tell(guest, following, stamp, out)

    def _tell(self, guest: Guest, following: Following | SumFollowing, stamp: Stamp, out: list[Directive]) -> None:
        while events := following.batch(self._store, stamp, self._name_of):
            self._counts["resyncs"] += sum([event.kind == RESYNC for event in events])
            out.append(Write(guest.channel, Happened(following.watch, events)))
