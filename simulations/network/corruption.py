"""Bytes that change on their way: what no checksum noticed.

A datagram has one to eight bits flipped, or is cut short; a piece of a stream has one to four bits flipped, and keeps its
length."""

from __future__ import annotations

from simulations.dice import GOLDEN, mix

__all__ = ["flipped", "spoilt"]


def spoilt(data: bytes, draw: int) -> bytes:
    """A datagram with some bits flipped, or, one in four, a beginning of it."""
    if draw & 3 == 0:
        return data[: (draw >> 32) * len(data) >> 32]
    return flipped(data, draw, 1 + (draw >> 2 & 7))


def flipped(data: bytes, draw: int, bits: int) -> bytes:
    """The same with so many different bits the other way round, or as many as there are."""
    changed = bytearray(data)
    chosen: set[int] = set()
    while len(chosen) < min(bits, 8 * len(data)):
        draw = mix(draw + GOLDEN)
        chosen.add((draw >> 32) * 8 * len(data) >> 32)
    for bit in chosen:
        changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)
