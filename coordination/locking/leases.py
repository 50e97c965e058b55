"""Leases: a life that keys are bound to. Granted, kept alive in the background, and revoked on exit."""

from __future__ import annotations

from types import TracebackType

from coordination.arguments.checks import check_lease_ttl
from coordination.core import LeaseCore
from coordination.errors import LeaseLost, NotHolding
from coordination.locking.bodies import Claim
from coordination.locking.holding import Held, Wish, acquire
from crdt.clock import Instant

__all__ = ["Lease"]


class Lease:
    """`async with peer.lease(ttl=10) as lease: await peer.kv.put(key, value, lease=lease)`

    Keys that are bound to it are gone on every replica once it has ended: at once when the context is left, within the ttl
    after the process dies. (A minority that is cut off goes on showing them until it hears of the end.) Locks that are
    attached to it (`peer.lock(name, lease=lease)`) are renewed as long as it holds, and end with it: their bodies are
    cancelled, and what `acquire` returned is given back. The body of the lease is cancelled, and `LeaseLost` raised, when it
    can be proven no longer. It may be entered again once it has been left, and is another lease then."""

    __slots__ = ("_claim", "_core", "_held", "_used", "ttl")

    def __init__(self, core: LeaseCore, ttl: float) -> None:
        self._core = core
        self.ttl = ttl
        self._claim: Claim | None = None
        self._held: Held | None = None
        self._used = False
        """From the moment it is asked for until it has been given back: it serves one task at a time."""
        self._ttl()

    def __repr__(self) -> str:
        return f"<Lease of {self.ttl:g} s: {f'{self.remaining():.1f} s left' if self._claim is not None else 'not held'}>"

    def _ttl(self) -> int:
        return check_lease_ttl(self.ttl, self._core.longest_ttl())

    async def __aenter__(self) -> Lease:
        """Wait until a majority of the voters granted it. A checkpoint.

        Raises
        ------
        NoQuorum; NotHolding: another task has entered this very object, or is about to.
        """
        if self._used:
            raise NotHolding("this lease is in use: make another with peer.lease()")
        identity = self._core.identity
        key = f"lease/{identity.name}.{identity.boot.session.hex()}.{self._core.holder.next_request()}"
        wish = Wish(key, self._ttl(), kind="lease")
        self._used = True
        try:
            held = await acquire(self._core, wish, wait=True, renew=True)
        except BaseException:
            self._used = False
            raise
        assert held is not None
        self._held = held
        self._claim = Claim(held)
        self._claim.enter()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Revoke it: what is bound to it is gone everywhere. A checkpoint, shielded for up to a second.

        Raises
        ------
        LeaseLost: the body was cancelled for its loss, or ended after it in peace. NotHolding: it was not entered.
        """
        claim, self._claim = self._claim, None
        if claim is None:
            raise NotHolding("this lease was not entered, or has been left")
        try:
            return await claim.exit(kind, error, tb)
        except LeaseLost as lost:
            raise LeaseLost(f"a lease of {self.ttl:g} s was lost: {lost}") from None
        finally:
            self._used = False

    @property
    def held(self) -> Held:
        """The grant. Raises `NotHolding` outside of the context."""
        if self._held is None or self._claim is None:
            raise NotHolding("this lease is not held: enter it with `async with` first")
        return self._held

    def valid(self) -> bool:
        """Whether it holds at this moment, by this process's clock. Local."""
        return self._claim is not None and self.held.valid()

    def remaining(self) -> float:
        """Seconds for which it surely holds; 0.0 after its end. Local."""
        return self.held.remaining() if self._claim is not None else 0.0

    def belongs(self, user: object) -> bool:
        """Whether it is of this very peer or thin client."""
        return user is self._core

    def covers(self, now: Instant) -> bool:
        """Whether it holds at the very moment at which something is bound to it."""
        return self._claim is not None and self.held.covers(now)

    def lost(self) -> LeaseLost:
        """What is raised where it is used after its end. Raises `NotHolding` outside of the context."""
        return self.held.lost()

    async def bind(self) -> str:
        """Its id, checked valid, for what ends with it. A checkpoint. Raises `LeaseLost`, `NotHolding`."""
        return await self.held.bind()
