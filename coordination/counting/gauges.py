"""Gauges: sums over those who live. What a holder contributes is a key bound to a lease of its own, so it falls away with it:
at once when the hold is left, within the ttl after its process died. (A counter's +1 of a crashed worker stays for ever.)

A contribution stands under `gauge/NAME/HOLDER.…`, and counts if it is bound to a lease and a whole number; so `mesh kv scan
gauge/` shows it, and `peer.watch(prefix="gauge/NAME/")` follows each, `peer.watch(gauge="NAME")` their sum. Like all keys it is
eventually consistent: in a minority the dead are counted until their end is heard of."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Protocol

from coordination.arguments.checks import check_amount, check_key, gauge_prefix
from coordination.core import Core, LeaseCore
from coordination.following.tallies import contributions, shown
from coordination.keys import Binding
from coordination.locking.leases import Lease

__all__ = ["Gauge", "Hold"]


class Keys(Protocol):
    """The keys of a peer, or of a thin client."""

    def put(self, key: str, value: Any, *, lease: Binding | None = None) -> Awaitable[int]: ...


class Hold:
    """`async with gauge.hold(n) as hold`: n is counted as long as the body runs. `await hold.set(m)` changes it."""

    __slots__ = ("_key", "_keys", "_lease", "n")

    def __init__(self, keys: Keys, core: LeaseCore, prefix: str, n: int, ttl: float) -> None:
        self._keys = keys
        self._lease = Lease(core, ttl)
        identity = core.identity
        self._key = f"{prefix}{identity.name}.{identity.boot.session.hex()[:16]}.{core.holder.next_request()}"
        check_key(self._key)
        self.n = n
        """What is contributed."""

    async def __aenter__(self) -> Hold:
        """Wait until a majority of the voters granted the lease, then count. A checkpoint. Raises `NoQuorum`, `ClockDrift`."""
        await self._lease.__aenter__()
        try:
            await self._keys.put(self._key, self.n, lease=self._lease)
        except BaseException as error:
            await self._lease.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        return await self._lease.__aexit__(kind, error, tb)

    async def set(self, n: int) -> None:
        """Contribute another amount. A checkpoint. Raises `BadValue`, `TooLarge`, `LeaseLost`, `NotHolding`."""
        await self._keys.put(self._key, check_amount(n, "a gauge"), lease=self._lease)
        self.n = n

    def valid(self) -> bool:
        """Whether the lease holds at this moment, by this process's clock. Local."""
        return self._lease.valid()


class Gauge:
    """One gauge: `peer.gauge(name)`."""

    __slots__ = ("_core", "_keys", "_prefix", "name")

    def __init__(self, core: Core, keys: Keys, name: str) -> None:
        self._core = core
        self._keys = keys
        self._prefix = gauge_prefix(name)
        self.name = name

    def hold(self, n: int = 1, *, ttl: float = 10.0) -> Hold:
        """Contribute `n` for as long as the body of `async with gauge.hold(n):` runs. Nothing is asked for yet.

        The body is cancelled, and `LeaseLost` raised, if the lease can be proven no longer, before its contribution falls away.

        Parameters
        ----------
        n: a whole number, also a negative one.
        ttl: seconds after which it falls away if this process dies; 0.5 to the mesh's max_ttl.

        Raises
        ------
        BadValue, TooLarge, BadTTL
        """
        return Hold(self._keys, self._core, self._prefix, check_amount(n, self.name), ttl)

    @property
    def value(self) -> int:
        """The sum of what is held, as far as it has arrived here. Local."""
        return sum(self.holders().values())

    def holders(self) -> dict[str, int]:
        """What each member, or thin client, contributes; those with nothing are left out. Local."""
        core = self._core
        cells = core.assembly.store.scan(self._prefix, core.assembly.clock.read(core.now()))
        return contributions(self._prefix, [shown(cell) for cell in cells])
