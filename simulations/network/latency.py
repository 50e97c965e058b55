"""How long a link takes: shapes of latency, in whole numbers alone, so that every Python gives the same from the same draw.

A pair (lowest, highest) is even between the two, and constant if they are equal. `LogNormal` is what measured round trips
mostly look like; `Pareto` has a heavy tail: now and then one takes a hundred times as long. Numbers are 16-bit fixed point;
powers and logarithms of two are parabolas between whole ones, within 0.2 % and 1 %."""

from __future__ import annotations

from dataclasses import dataclass

from simulations.dice import mix

__all__ = ["Latency", "LogNormal", "Pareto", "Shape"]

SECOND = 1_000_000_000
ONE = 1 << 16
LOG2_E = 94_548
SALT, PEPPER = 0x6A09E667F3BCC908, 0xBB67AE8584CAA73B
"""So that what is drawn here is not what else is made of the same draw."""
PARTS = (0, 16, 32, 48)
MEAN = 8 * (ONE - 1) // 2
DEVIATION = 53_510
"""Of the sum of eight even numbers of 16 bits: 65,536 times the root of 8/12."""


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Half of all take less than `median` ns; `sigma` is the standard deviation of the natural logarithm, in thousandths (500:
    one in forty takes 2.7 times the median). The bell is a sum of eight even draws: it ends at 4.9 sigma."""

    median: int
    sigma: int
    highest: int = 60 * SECOND

    def at(self, draw: int) -> int:
        """ns for 64 random bits."""
        one, other = mix(draw ^ SALT), mix(draw ^ PEPPER)
        total = sum([(one >> part & 0xFFFF) + (other >> part & 0xFFFF) for part in PARTS])
        power = (total - MEAN) * self.sigma * LOG2_E // (DEVIATION * 1_000)
        return min(_times_exp2(self.median, power), self.highest)


@dataclass(frozen=True, slots=True)
class Pareto:
    """At least `lowest` ns; the share that takes longer than x is (lowest / x) to the power of `alpha` thousandths."""

    lowest: int
    alpha: int
    highest: int = 60 * SECOND

    def at(self, draw: int) -> int:
        """ns for 64 random bits."""
        bits = mix(draw ^ SALT) or 1
        length = bits.bit_length()
        rest = (bits << (64 - length) >> 47) & 0xFFFF
        power = (65 - length) * ONE - (rest * (88_244 - (22_708 * rest >> 16)) >> 16)
        return min(_times_exp2(self.lowest, power * 1_000 // self.alpha), self.highest)


Shape = LogNormal | Pareto
Latency = tuple[int, int] | LogNormal | Pareto


def _times_exp2(value: int, power: int) -> int:
    """value * 2 ** (power / 65536)."""
    whole, rest = power >> 16, power & 0xFFFF
    product = value * (ONE + (rest * (43_024 + (22_512 * rest >> 16)) >> 16))
    return product << whole - 16 if whole >= 16 else product >> 16 - whole
