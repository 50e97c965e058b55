"""Round trips to each process, smoothed (Jacobson and Karels; RFC 6298), and the timeout that follows from them."""

from __future__ import annotations

__all__ = ["RoundTrips"]


class RoundTrips:
    __slots__ = ("_trips",)

    def __init__(self) -> None:
        self._trips: dict[bytes, tuple[int, int]] = {}

    def sample(self, session: bytes, trip: int) -> None:
        """One measured round trip, in ns."""
        known = self._trips.get(session)
        if known is None:
            self._trips[session] = (trip, trip // 2)
            return
        mean, deviation = known
        deviation += (abs(trip - mean) - deviation) // 4
        self._trips[session] = (mean + (trip - mean) // 8, deviation)

    def mean(self, session: bytes) -> int | None:
        known = self._trips.get(session)
        return None if known is None else known[0]

    def timeout(self, session: bytes, floor: int, ceiling: int) -> int:
        """Mean plus four deviations, within bounds; the ceiling where nothing was measured."""
        known = self._trips.get(session)
        return ceiling if known is None else max(floor, min(ceiling, known[0] + 4 * known[1]))

    def forget(self, session: bytes) -> None:
        self._trips.pop(session, None)
