"""Gauges through a sponsor: what `coordination.counting.gauges` is to a peer."""

from __future__ import annotations

from coordination.arguments.checks import check_amount, gauge_prefix
from coordination.counting.gauges import Hold
from coordination.following.tallies import contributions
from coordination.thin.core import ThinCore
from coordination.thin.keys import ThinKV

__all__ = ["ThinGauge"]


class ThinGauge:
    """One gauge: `client.gauge(name)`. What is held is bound to a lease of the client itself."""

    __slots__ = ("_core", "_keys", "_prefix", "name")

    def __init__(self, core: ThinCore, keys: ThinKV, name: str) -> None:
        self._core = core
        self._keys = keys
        self._prefix = gauge_prefix(name)
        self.name = name

    def hold(self, n: int = 1, *, ttl: float = 10.0) -> Hold:
        """As `Gauge.hold`."""
        return Hold(self._keys, self._core, self._prefix, check_amount(n, self.name), ttl)

    async def value(self) -> int:
        """The sum of what is held, as far as it has arrived at the node. A checkpoint."""
        return sum((await self.holders()).values())

    async def holders(self) -> dict[str, int]:
        """What each member, or thin client, contributes. A checkpoint: asks for one holder after the other."""
        found = []
        for key, _ in await self._keys.scan(self._prefix):
            entry = await self._keys.entry(key)
            if entry is not None:
                found.append((key, entry.value, entry.lease is not None))
        return contributions(self._prefix, found)
