"""`watch`, of peers and thin clients: what can be followed, and by which of the kinds of watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from types import TracebackType
from typing import Any, Protocol

from coordination.arguments.checks import check_key, followed_key, gauge_prefix
from coordination.arguments.watching import Wanted, check_one, check_wanted
from coordination.core import LeaseCore
from coordination.errors import BadValue
from coordination.register_watches import ElectionWatch, LockWatch
from coordination.watch import WatchEvent

__all__ = ["Sources", "Watch", "watch"]


class Watch(Protocol):
    """`async with peer.watch(…) as changes: async for event in changes: …`, whatever is followed.

    Changes count from the moment of entering the context. The iteration is a checkpoint and ends with the context; one task
    iterates at a time."""

    @property
    def token(self) -> str | None:
        """With this, `watch(…, resume=token)` goes on behind the last event that was read, and tells nothing twice. None while
        a snapshot is read, and for what is gone on with by `snapshot=True`: counters, gauges, locks, elections.

        It is good at the peer, or the node of a thin client, that gave it, as long as its process lives and not too much has
        changed meanwhile (8,192 changes, or 4 MiB of them): else the watch that resumes begins with `resync`, and a
        snapshot."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...
    def __aiter__(self) -> AsyncIterator[WatchEvent]: ...
    async def __anext__(self) -> WatchEvent:
        """The next event. A checkpoint; cancelled, nothing is lost."""

    def close(self) -> None:
        """Leave it, from outside of an `async with`."""


class Sources(Protocol):
    """Where the events of a peer, or of a thin client, come from."""

    def of_keys(self, wanted: Wanted, snapshot: bool, resume: str | None) -> Watch: ...
    def of_counter(self, name: str, snapshot: bool) -> Watch: ...
    def of_gauge(self, name: str, snapshot: bool) -> Watch: ...


def watch(
    core: LeaseCore,
    sources: Sources,
    *,
    key: str | None,
    prefix: str | None,
    keys: Collection[str] | None,
    prefixes: Collection[str] | None,
    counter: str | None,
    gauge: str | None,
    lock: str | None,
    election: str | None,
    snapshot: bool,
    kinds: Iterable[str] | None,
    history: int | None,
    resume: str | None,
) -> Watch:
    """As `Peer.watch` says."""
    others = {"counter": counter, "gauge": gauge, "lock": lock, "election": election}
    if keys is not None and prefixes is not None:
        check_one(key=key, prefix=prefix, **others, keys=keys)
        return sources.of_keys(check_wanted(keys, prefixes, kinds, history), snapshot, resume)
    what = check_one(key=key, prefix=prefix, keys=keys, prefixes=prefixes, **others)
    if what in others and any(each is not None for each in (kinds, history, resume)):
        raise BadValue(
            f"a watch of a {what} takes no kinds, history or resume: it tells the last state, begin with snapshot=True"
        )
    if counter is not None:
        return sources.of_counter(check_key(counter, "counter name"), snapshot)
    if gauge is not None:
        gauge_prefix(gauge)
        return sources.of_gauge(gauge, snapshot)
    if lock is not None:
        return LockWatch(core, followed_key(lock), snapshot)
    if election is not None:
        return ElectionWatch(sources.of_keys(check_wanted((f"election/{election}",), ()), snapshot, None), election)
    if key is not None:
        keys = (key,)
    if prefix is not None:
        prefixes = (prefix,)
    return sources.of_keys(check_wanted(keys or (), prefixes or (), kinds, history), snapshot, resume)
