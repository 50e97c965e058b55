"""The hybrid logical clock (Kulkarni et al., 2014): stamps that follow the wall clock, and causality where it fails.

A stamp is one int: 48 bits of wall milliseconds above a 16-bit counter. Rules:

  - `tick` is strictly above every stamp that this clock ticked, merged or was floored at: an event's stamp is above those
    of all events that it may depend on. A full counter carries into the milliseconds.
  - Between readings of the wall, time is an anchor plus the boot-time clock, so that a step of the wall clock (a day
    forward, an hour back) moves no stamp. Small differences are slewed; a larger one is adopted only when peers agree
    that this node is the one that is off.
  - A stamp more than `max_drift` ahead is not merged: one bad clock never drags the others.
  - Wall time appears nowhere else. Timeouts and leases are monotonic."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

__all__ = ["COUNTER_BITS", "HybridClock", "Instant", "Stamp", "make_stamp", "stamp_ms"]

Stamp = int
COUNTER_BITS = 16
NS_PER_MS = 1_000_000

SLEW_LIMIT_MS = 50
"""A difference between the anchored time and the wall of up to this much is an ordinary correction, and slewed."""

SLEW_PERMILLE = 5
"""How fast it is slewed: at most so many ms per second, as the kernel's own discipline."""

SAMPLES = 64
"""Peers whose offset is remembered, the most recently heard."""


class Instant(NamedTuple):
    """The moment of one input, as the driver read its clocks."""

    mono: int
    """CLOCK_MONOTONIC, ns: timers, acceptors."""
    boot: int
    """CLOCK_BOOTTIME, ns, which goes on while the machine is suspended: lease holders."""
    wall: int
    """The wall clock, ms: the hybrid logical clock alone."""


def make_stamp(ms: int, counter: int = 0) -> Stamp:
    return ms << COUNTER_BITS | counter


def stamp_ms(stamp: Stamp) -> int:
    return stamp >> COUNTER_BITS


class HybridClock:
    """One node's clock.

    Parameters
    ----------
    max_drift_ms: how far ahead of this clock a stamp may be to be merged; each clock must be within half of it.
    """

    __slots__ = ("_anchor_boot", "_anchor_ms", "_last", "_median", "_offsets", "_slewed_at", "max_drift_ms")

    def __init__(self, max_drift_ms: int = 500) -> None:
        self.max_drift_ms = max_drift_ms
        self._anchor_ms = -1
        self._anchor_boot = 0
        self._slewed_at = 0
        self._last = 0
        self._offsets: dict[str, float] = {}
        self._median: float | None = None
        """Of the offsets, once it has been asked for: every write does."""

    def _physical(self, now: Instant) -> int:
        """Milliseconds by the anchor, after slewing it towards the wall."""
        if self._anchor_ms < 0:
            self._anchor_ms, self._anchor_boot, self._slewed_at = now.wall, now.boot, now.boot
            return now.wall
        ms = self._anchor_ms + (now.boot - self._anchor_boot) // NS_PER_MS
        difference = now.wall - ms
        if difference and -SLEW_LIMIT_MS <= difference <= SLEW_LIMIT_MS:
            allowed = (now.boot - self._slewed_at) * SLEW_PERMILLE // (1000 * NS_PER_MS)
            if allowed > 0:
                step = max(-allowed, min(allowed, difference))
                if step < 0:
                    self._last = max(self._last, ms << COUNTER_BITS)  # what was read before is never gone back behind
                self._anchor_ms += step
                self._slewed_at = now.boot
                ms += step
        elif difference:
            self._slewed_at = now.boot
            if self._peers_agree(difference):
                self._last = max(self._last, ms << COUNTER_BITS)
                self._anchor_ms, self._anchor_boot = now.wall, now.boot
                self._offsets.clear()
                self._median = None
                return now.wall
        else:
            self._slewed_at = now.boot
        return ms

    def _peers_agree(self, step_ms: int) -> bool:
        """Whether the wall, after its step, is nearer to what peers say than the anchored time is."""
        offset = self.offset()
        return offset is not None and abs(step_ms - offset) < abs(offset)

    def read(self, now: Instant) -> Stamp:
        """The current stamp: never goes back, consumes nothing. Expiry is compared with it."""
        stamp = self._physical(now) << COUNTER_BITS
        return stamp if stamp > self._last else self._last

    def tick(self, now: Instant) -> Stamp:
        """A new stamp, strictly above all before it."""
        stamp = self._physical(now) << COUNTER_BITS
        last = self._last
        self._last = stamp = stamp if stamp > last else last + 1
        return stamp

    def merge(self, stamp: Stamp, now: Instant) -> bool:
        """Follow a stamp that was received; False, and nothing is adopted, if it is too far in the future."""
        if stamp <= self._last:
            return True
        if stamp_ms(stamp) > self._physical(now) + self.max_drift_ms:
            return False
        self._last = stamp
        return True

    def raise_floor(self, stamp: Stamp) -> None:
        """Never tick at or below a stamp that is known to have been used, whatever the wall says."""
        self._last = max(self._last, stamp)

    def sample(self, peer: str, offset_ms: float) -> None:
        """A peer's raw wall clock was `offset_ms` ahead of this node's anchored time (negative: behind)."""
        self._median = None
        self._offsets.pop(peer, None)
        self._offsets[peer] = offset_ms
        if len(self._offsets) > SAMPLES:
            del self._offsets[next(iter(self._offsets))]

    def forget(self, peer: str) -> None:
        """The peer has gone: its clock says nothing any more."""
        self._median = None
        self._offsets.pop(peer, None)

    def offset(self) -> float | None:
        """By how many ms the median of the peers is ahead of this node; None with fewer than two peers."""
        if self._median is None and len(self._offsets) > 1:
            self._median = median(self._offsets.values())
        return self._median

    def check(self) -> float | None:
        """The offset, if it is above half of `max_drift_ms`: then this node's writes are refused with `ClockDrift`."""
        offset = self.offset()
        return offset if offset is not None and abs(offset) > self.max_drift_ms / 2 else None

    def physical_ms(self, now: Instant) -> int:
        """This node's anchored wall time in ms: what offsets are measured against."""
        return self._physical(now)
