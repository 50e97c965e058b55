"""How well this node itself is doing (Lifeguard, section IV-A: local health aware probe).

A node that gets no acks, and no nacks from helpers that are certainly well, had better doubt itself. Its score slows
its probes and lengthens its timeouts and suspicions, up to `WORST + 1` times, until answers come in again."""

from __future__ import annotations

__all__ = ["WORST", "Health"]

WORST = 8


class Health:
    __slots__ = ("_score",)

    def __init__(self) -> None:
        self._score = 0

    @property
    def multiplier(self) -> int:
        """1 in perfect health."""
        return self._score + 1

    def improve(self) -> None:
        """A probe was answered."""
        self._score = max(0, self._score - 1)

    def worsen(self, by: int = 1) -> None:
        """A probe failed, a helper's nack is missing, this node had to refute, or its own timers were late."""
        self._score = min(WORST, self._score + by)
