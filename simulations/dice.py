"""Chance, by seed: independent streams, one for each concern.

A stream is named by a path: ("link", "n1", "n2"), ("entropy", "n3", 2). Draw number n of a stream depends on the seed, the
path and n alone, so that leaving out one fault, or one message of one link, shifts no other stream's draws."""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["GOLDEN", "MASK", "mix", "seed_of"]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
"""What a counter is multiplied with before it is mixed (SplitMix64)."""


def seed_of(seed: int, *path: str | int) -> int:
    """64 bits for a stream of this name."""
    text = "\0".join([str(seed), *map(str, path)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(number: int) -> int:
    """64 well mixed bits of a number (the finaliser of SplitMix64; Steele, Lea and Flood, 2014)."""
    number &= MASK
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & MASK
    return number ^ number >> 31
