"""Locks, read-write locks and semaphores: who may go on, in the whole mesh, in order of arrival.

All of them are one register each, and differ in who may stand beside whom (`coordination.agreed.vocabulary.modes`). What
holds of one holds of all: the body of an `async with` is cancelled before anyone is granted what it excludes
(`coordination.locking.holding`)."""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

from coordination.agreed.vocabulary.modes import EXCLUSIVE, SHARED, Mode
from coordination.arguments.checks import check_delay, check_hold, check_key, check_lease_ttl, check_permits
from coordination.core import LeaseCore
from coordination.errors import BadConfig, NotHolding
from coordination.locking.bodies import Claim
from coordination.locking.holding import Held, Wish, acquire
from coordination.locking.leases import Lease
from coordination.locking.standing import Holding, standing

__all__ = ["Acquirable", "HoldTerms", "Lock", "RWLock", "Semaphore"]


class HoldTerms(NamedTuple):
    """How it is held, as the user says it: see `Peer.lock`."""

    ttl: float
    lock_delay: float = 0.0
    max_hold: float | None = None
    lease: Lease | None = None


class Acquirable:
    """What can be acquired: stateless and reusable. Exclusion is per acquire, also between tasks of one peer.

    Not re-entrant: a task that has entered it with `async with` and asks again raises `AlreadyHeld` instead of waiting for
    itself (see `coordination.claims` for what is found out)."""

    __slots__ = ("_checked", "_core", "_delay", "_lease", "_mode", "_most", "key", "name", "ttl")

    def __init__(
        self,
        core: LeaseCore,
        kind: str,
        name: str,
        mode: Mode,
        terms: HoldTerms,
    ) -> None:
        self._core = core
        self._lease = check_lease(terms.lease, core)
        self.name = check_key(name, f"{kind} name")
        self.ttl = terms.ttl
        self.key = f"{kind}/{name}"
        """Of its register, as `explain` takes it."""
        self._mode = mode
        self._delay = terms.lock_delay
        self._most = check_hold(terms.max_hold)
        self._checked: tuple[tuple[float, int], Wish] | None = None
        """By its ttl and the longest there is: the same wish is checked once."""
        self._wish()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}, ttl {self.ttl:g} s>"

    def _wish(self) -> Wish:
        by = (self.ttl, self._core.longest_ttl())
        if self._checked is None or self._checked[0] != by:
            ttl = check_lease_ttl(*by)
            self._checked = (by, Wish(self.key, ttl, self._mode, check_delay(self._delay, ttl, by[1]), self._most))
        return self._checked[1]

    async def enter(self, *, wait: bool = True) -> Held | None:
        """What `async with` does at its beginning; without `wait`, None if it would have to. A checkpoint.

        Every entry is to be left with `leave`, by the same task."""
        held = await self._acquire(wait=wait, renew=True)
        if held is None:
            return None
        claim = Claim(held, self._mode)
        self._core.claims.enter(claim)
        return claim.enter()

    async def leave(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """What `async with` does at its end."""
        claim = self._core.claims.leave(self.key, Claim)
        if claim is None:
            raise NotHolding(f"{self.name!r} is left by another task than the one that entered it")
        return await claim.exit(kind, error, tb)

    async def __aenter__(self) -> Held:
        """Wait for one's turn; the lease is renewed in the background. A checkpoint.

        Raises
        ------
        NoQuorum: no majority of the voters answers for 2 s, and none of them is only waiting out its restart.
        AlreadyHeld: this task has entered it already. LimitDiffers: a semaphore of another limit.
        NotHolding: the lease that it is attached to is not entered; LeaseLost: that has ended.
        """
        held = await self.enter()
        assert held is not None
        return held

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Give it back. A checkpoint, shielded for up to a second.

        Raises
        ------
        LeaseLost: the body was cancelled for its loss, or ended after it in peace; an error of its own goes first.
        NotHolding: another task entered it.
        """
        return await self.leave(kind, error, tb)

    async def acquire(self) -> Held:
        """Wait for one's turn. Not renewed by itself, unless it is attached to a lease: call `renew`, and `release`. A
        checkpoint. Raises as the context."""
        held = await self._acquire(wait=True, renew=False)
        assert held is not None
        return held

    async def try_acquire(self) -> Held | None:
        """Acquire without waiting for another holder; None if it is held by others, or they come first. A checkpoint. Raises as
        the context."""
        return await self._acquire(wait=False, renew=False)

    async def _acquire(self, *, wait: bool, renew: bool) -> Held | None:
        wish, lease = self._wish(), self._lease
        self._core.claims.check(self.key, self._mode, wish)
        if lease is None:
            return await acquire(self._core, wish, wait=wait, renew=renew)
        return await acquire(self._core, wish, wait=wait, renew=True, under=lease.held)

    async def holders(self) -> tuple[Holding, ...]:
        """Who holds it, as a majority of its voters says. A checkpoint. Raises `NoQuorum`."""
        return await standing(self._core, self.key)


class Lock(Acquirable):
    """`peer.lock(name, ttl=10.0)`: one holder at a time."""

    __slots__ = ()

    def __init__(self, core: LeaseCore, name: str, terms: HoldTerms) -> None:
        super().__init__(core, "lock", name, EXCLUSIVE, terms)

    async def holder(self) -> Holding | None:
        """Who holds it, as a majority of its voters says; None if nobody does. A checkpoint. Raises `NoQuorum`.

        True at some moment during the call: by its end it may be free, or another's."""
        return next(iter(await self.holders()), None)


class RWLock:
    """`peer.rwlock(name, ttl=10.0)`: many readers at a time, or one writer.

    In order of arrival: a writer that waits holds back the readers that come after it, so that it is not starved. At most 64
    readers hold it at once; more wait."""

    __slots__ = ("_read", "_write", "name")

    def __init__(self, core: LeaseCore, name: str, terms: HoldTerms) -> None:
        self._read = Acquirable(core, "rwlock", name, SHARED, terms)
        self._write = Acquirable(core, "rwlock", name, EXCLUSIVE, terms)
        self.name = name

    def read(self) -> Acquirable:
        """To be used as a lock: held beside other readers."""
        return self._read

    def write(self) -> Acquirable:
        """To be used as a lock: held alone. Its token is above that of every reader before it."""
        return self._write

    async def holders(self) -> tuple[Holding, ...]:
        """Who holds it, as a majority of its voters says: `exclusive` is set for a writer. A checkpoint. Raises `NoQuorum`."""
        return await self._read.holders()


class Semaphore(Acquirable):
    """`peer.semaphore(name, limit, permits=1, ttl=10.0)`: at most `limit` permits are held at a time, in the whole mesh.

    The first use sets the limit, and it stays until nobody has used the semaphore for two max_ttl (30 s, if the mesh has no
    other); who names another one meanwhile gets `LimitDiffers`. In order of arrival: a large request that waits holds back the
    small ones after it. At most 64 holders at once, whatever they take."""

    __slots__ = ("limit", "permits")

    def __init__(self, core: LeaseCore, name: str, limit: int, permits: int, terms: HoldTerms) -> None:
        check_permits(limit, permits, name)
        self.limit = limit
        self.permits = permits
        super().__init__(core, "semaphore", name, Mode(permits, limit), terms)


def check_lease(lease: Lease | None, core: LeaseCore) -> Lease | None:
    """What a lock is to be attached to. Raises `BadConfig`."""
    if lease is not None and not isinstance(lease, Lease):
        raise BadConfig(f"lease={lease!r} is no lease: hand on what `async with peer.lease() as lease` gave")
    if lease is not None and not lease.belongs(core):
        raise BadConfig(f"{lease!r} is another peer's: a lock lives under a lease of the peer that acquires it")
    return lease
